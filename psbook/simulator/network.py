"""The network: full-duplex NICs with first-come-first-served queues, cut-through, and latency.

A message of S bytes from a to b leaves when a's NIC has sent what was queued before (egress), its first byte
arrives a latency α later, and it is there when b's NIC has taken it in after what arrived before (ingress):

====================  ===================================================================
leaves                t0 = max(now, egress free at a); then egress free at a = t0 + S/B_a
first byte at b       h = t0 + α
taken in              t1 = max(h, ingress free at b) + S/B_b; then ingress free at b = t1
arrives               max(h + S/B_a, t1)
====================  ===================================================================

So an idle path takes S/min(B_a, B_b) + α: bytes are received while they are sent. The receiver's NIC is
booked for S/B_b only, even when a slower sender stretches the message: n slow senders fill one fast
receiver together, max(S/B_a, n·S/B_b). The switch between the NICs has no limit and drops nothing.

Queues are first come, first served by message, not shared byte by byte: the last of n slow receivers of
one fast sender has its message after (n−1)·S/B_a + S/B_b, where fair sharing would need max(n·S/B_a, S/B_b).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, isfinite

from psbook.errors import InvalidJob

Bandwidth = float | Mapping[str, float] | None


@dataclass(slots=True)
class _Nic:
    """One host's network interface: bytes/s in each direction, and when each direction is free (s)."""

    bandwidth: float
    egress_free: float = 0.0
    ingress_free: float = 0.0


@dataclass
class Network:
    """NICs, latencies, and who shares a host.

    Parameters
    ----------
    bandwidth : float, mapping or None
        Bytes per second of a NIC in each direction (10 Gb/s is 1.25e9): one number; or by host, node or role,
        ``{"worker": 1.25e9, "server-0": 5e9}``, looked up in this order. None: no limit.
    latency : float
        Seconds from the sending NIC to the receiving one.
    links : mapping of (source, destination) to float, optional
        Latencies of particular links in seconds; each end a host, node or role.
    hosts : mapping of node to host, optional
        Nodes on one host share its NIC, and what they send to each other costs nothing. A node that is not
        listed has a host of its own.

    Raises
    ------
    InvalidJob
        A bandwidth that is not > 0, a latency that is not finite and ≥ 0, a node without a bandwidth.

    Notes
    -----
    A network has a state, the queues of its NICs. `fresh` gives an idle one of the same make for each run.

    Examples
    --------
    >>> network = Network(bandwidth=100.0, latency=0.5)
    >>> network.arrival(0.0, "worker-0", "server-0", nbytes=200)
    2.5
    >>> network.arrival(0.0, "worker-1", "server-0", nbytes=200)
    4.5
    """

    bandwidth: Bandwidth = None
    latency: float = 0.0
    links: Mapping[tuple[str, str], float] = field(default_factory=dict)
    hosts: Mapping[str, str] = field(default_factory=dict)
    _nics: dict[str, _Nic] = field(init=False, repr=False, compare=False, default_factory=dict)
    _paths: dict[tuple[str, str], tuple[_Nic, _Nic, float] | None] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        rates = self.bandwidth if isinstance(self.bandwidth, Mapping) else {"": self.bandwidth}
        for name, rate in rates.items():
            if rate is not None and not rate > 0:
                raise InvalidJob(
                    f"Network: bandwidth {name} is {rate!r}; required: bytes per second, > 0; "
                    f"None means no limit"
                )
        for link, seconds in [("every link", self.latency), *self.links.items()]:
            if not (isfinite(seconds) and seconds >= 0):
                raise InvalidJob(
                    f"Network: latency of {link} is {seconds!r}; required: finite seconds, ≥ 0; "
                    f"for example 1e-4"
                )

    def fresh(self, hosts: Mapping[str, str] | None = None) -> Network:
        """An idle network of the same make, for one run; `hosts`, if given, replaces the placement."""
        return Network(self.bandwidth, self.latency, self.links, self.hosts if hosts is None else hosts)

    @property
    def unlimited(self) -> bool:
        """Whether no NIC is ever busy: a message arrives when its first byte does."""
        return self.bandwidth is None

    @property
    def label(self) -> str:
        """Short text for plots."""
        if self.bandwidth is None and self.latency == 0 and not self.links:
            return "no network cost"
        if self.bandwidth is None:
            return f"latency {self.latency:g} s"
        rates = self.bandwidth if isinstance(self.bandwidth, Mapping) else {"": self.bandwidth}
        listed = ", ".join(f"{name} {rate:g} B/s".strip() for name, rate in rates.items())
        return f"{listed}, latency {self.latency:g} s"

    def arrival(self, now: float, source: str, destination: str, nbytes: float) -> float:
        """Send a message and tell when all of it has arrived: `depart` and `land` at once.

        This books the receiver's NIC in the order of the calls, which is right when first bytes arrive in
        that order: a receiver with one sender, or senders with nothing queued. Otherwise a message that
        still waits in its sender's NIC holds up later comers at the receiver's, which idles. An engine
        therefore calls `depart`, and calls `land` at the time that `depart` gave.

        Parameters
        ----------
        now : float
            Seconds; must not fall from call to call.
        source, destination : str
            Nodes.
        nbytes : float
            Size on the wire, header included.

        Returns
        -------
        float
            Seconds.
        """
        return self.land(self.depart(now, source, destination, nbytes), source, destination, nbytes)

    def depart(self, now: float, source: str, destination: str, nbytes: float) -> float:
        """Queue a message at the sender's NIC and tell when its first byte reaches the receiver's NIC.

        Parameters as for `arrival`.
        """
        path = self._path(source, destination)
        if path is None:
            return now
        nic, _, latency = path
        start = nic.egress_free
        if start < now:
            start = now
        nic.egress_free = start + nbytes / nic.bandwidth
        return start + latency

    def land(self, head: float, source: str, destination: str, nbytes: float) -> float:
        """Queue a message at the receiver's NIC and tell when all of it has arrived.

        Parameters
        ----------
        head : float
            Seconds at which its first byte is there, as `depart` gave it; must not fall from call to call.
        source, destination, nbytes
            As for `depart`.
        """
        path = self._path(source, destination)
        if path is None:
            return head
        sender, receiver, _ = path
        start = receiver.ingress_free
        if start < head:
            start = head
        taken, sent = start + nbytes / receiver.bandwidth, head + nbytes / sender.bandwidth
        receiver.ingress_free = taken
        return max(taken, sent)

    def _path(self, source: str, destination: str) -> tuple[_Nic, _Nic, float] | None:
        """Sender's NIC, receiver's NIC and latency; None on one host."""
        try:
            return self._paths[source, destination]
        except KeyError:
            a, b = self.hosts.get(source, source), self.hosts.get(destination, destination)
            path = (
                None
                if a == b
                else (self._nic(source, a), self._nic(destination, b), self._latency(source, destination))
            )
            self._paths[source, destination] = path
            return path

    def _nic(self, node: str, host: str) -> _Nic:
        rate = self._rate(node)
        nic = self._nics.setdefault(host, _Nic(rate))
        if nic.bandwidth != rate:
            raise InvalidJob(
                f"Network: {node} wants {rate:g} B/s of {host}, which has {nic.bandwidth:g}; "
                f"required: one bandwidth for all nodes of a host; name the host in bandwidth="
            )
        return nic

    def _rate(self, node: str) -> float:
        if not isinstance(self.bandwidth, Mapping):
            return inf if self.bandwidth is None else self.bandwidth
        for name in self._names(node):
            if name in self.bandwidth:
                return self.bandwidth[name]
        raise InvalidJob(
            f"Network: bandwidth names {', '.join(self.bandwidth)}; required: one for {node}; "
            f"add {self._names(node)[-1] or node!r}"
        )

    def _latency(self, source: str, destination: str) -> float:
        if self.links:
            for a in self._names(source):
                for b in self._names(destination):
                    if (a, b) in self.links:
                        return self.links[a, b]
        return self.latency

    def _names(self, node: str) -> tuple[str, str, str]:
        """What a node may be called in a mapping, in this order: its host, itself, its role."""
        return self.hosts.get(node, node), node, node.rpartition("-")[0]
