"""What messages and servers cost, from the stamps of a trace: when each left, arrived and was served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from psbook.experiments.calibrate_compute import Floats
from psbook.experiments.calibrate_laws import Fit, fit_law
from psbook.laws import Law
from psbook.simulator import Network
from psbook.trace import Trace
from psbook.trace.schema import LEVELS

MATTERS = 0.05
"""A cost that is below this share of the others is left out: bytes of the largest message, for instance."""

SURE = 5.0
"""Standard errors by which larger messages take longer, if bytes are to count."""

FEW = 10
"""Messages of a size that nothing was ahead of, without which those count that something was ahead of."""

NOTHING = 1e-7
"""Seconds below which a server's work is none."""

BEFORE = ("Hello", "Start", "Begin", "Begun", "Pulse", "Beat", "Reroute")
"""Messages of the controller, which cost nobody's time."""

ROLES = {"Pull": "read", "Push": "head", "Call": "head"}
"""What a server is asked for, by the type of the message."""


@dataclass(frozen=True)
class Costs:
    """Seconds that messages and servers take.

    Attributes
    ----------
    latency : float
        Of a message between two processes, however small [s].
    near : float
        The same within a process [s]; nan if the trace has none.
    bandwidth : float or None
        Bytes per second of a process; ``None``: the bytes make no difference that can be seen.
    service : mapping
        Law of a server's time for each of "head" (a push) and "read" (a pull).
    messages : DataFrame
        ``bytes``, ``seconds``, ``near`` and ``alone`` of every message that arrived; empty without messages
        in the trace.
    """

    latency: float = 0.0
    near: float = np.nan
    bandwidth: float | None = None
    service: Mapping[str, Fit] = field(default_factory=dict)
    served: Mapping[str, Floats] = field(default_factory=dict)
    messages: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=["bytes", "seconds", "near", "alone"])
    )

    @property
    def laws(self) -> dict[str, Law]:
        """Laws of the servers' time, by role, for ``Simulator(service=…)``."""
        return {role: fit.law for role, fit in self.service.items()}

    def network(self, processes: Mapping[str, str]) -> Network | None:
        """Return the network between nodes in these processes; empty: each in one of its own."""
        if not (self.latency or self.bandwidth):
            return None
        nodes = list(processes)
        near = self.near
        if not nodes or not np.isfinite(near) or abs(near - self.latency) <= MATTERS * self.latency:
            return Network(self.bandwidth, self.latency)
        links = {
            (a, b): near for a in nodes for b in nodes if a != b and processes[a] == processes[b]
        }  # fmt: skip
        return Network(self.bandwidth, self.latency, links)


def costs_of(trace: Trace) -> Costs:
    """Return what messages and servers cost in a recorded run.

    Notes
    -----
    From a trace of level "full": the time of a message is that from row "send" to row "receive"; of each size
    the median counts, of those with nothing ahead of them, so that queues are not taken for latency. A
    server's time for a request is that from its arrival, or the end of the one before, to its answer,
    acknowledgement or parking. From a trace of level "iterations": half of what an iteration waited for
    messages, and what it was queued.
    """
    if "send" not in LEVELS[trace.level]:
        return _from_spans(trace)
    messages = _messages(trace)
    near, far = (messages[messages["near"] == which] for which in (True, False))
    latency, slope = _line(far if len(far) else near)
    local, _ = _line(near) if len(near) and len(far) else (np.nan, 0.0)
    served = _served(trace)
    fits = {role: fit_law(x[x > 0]) for role, x in served.items() if float(x.mean()) > NOTHING}
    return Costs(latency, local, 1 / slope if slope else None, fits, served, messages)


def _from_spans(trace: Trace) -> Costs:
    iterations = len(trace.of("clock"))
    spans = trace.of("network", "queued").groupby("kind", observed=True)["duration"].sum()
    if not iterations:
        return Costs()
    latency = float(spans.get("network", 0.0)) / iterations / 2
    queued = float(spans.get("queued", 0.0)) / iterations
    served = {"read": np.full(2, queued)} if queued > NOTHING else {}
    return Costs(latency, service={role: fit_law(x) for role, x in served.items()}, served=served)


def _messages(trace: Trace) -> pd.DataFrame:
    rows = trace.of("send", "receive")
    rows = rows[(rows["message"] != "") & ~rows["detail"].isin(BEFORE)]
    sent, received = (rows[rows["kind"] == kind] for kind in ("send", "receive"))
    one = sent[["time", "node", "peer", "message", "detail", "bytes"]].drop_duplicates(
        ["node", "peer", "message", "detail"]
    )
    other = received[["time", "node", "peer", "message", "detail"]].drop_duplicates(
        ["node", "peer", "message", "detail"]
    )
    other = other.rename(columns={"node": "peer", "peer": "node", "time": "arrived"})
    both = one.merge(other, on=["node", "peer", "message", "detail"])
    of_process = {
        node: address for address, nodes in (trace.meta.get("processes") or {}).items() for node in nodes
    }
    ends = zip(both["node"], both["peer"], strict=True)
    near = [of_process.get(a, a) == of_process.get(b, b) for a, b in ends]
    seconds = both["arrived"] - both["time"]
    found = pd.DataFrame({"bytes": both["bytes"], "seconds": seconds, "near": np.array(near, bool)})
    return found.assign(alone=_alone(both))


def _alone(both: pd.DataFrame) -> np.ndarray:
    """Whether nothing was ahead of each message: at its sender, or on the way to its receiver."""
    alone = np.ones(len(both), bool)
    sent, arrived = both["time"].to_numpy(), both["arrived"].to_numpy()
    for places in both.groupby("node", observed=True).indices.values():
        own = places[np.argsort(sent[places], kind="stable")]
        before = np.maximum.accumulate(np.concatenate([[-np.inf], arrived[own][:-1]]))
        alone[own] &= before <= sent[own]
    for places in both.groupby("peer", observed=True).indices.values():
        own = places[np.argsort(arrived[places], kind="stable")]
        before = np.concatenate([[-np.inf], arrived[own][:-1]])
        alone[own] &= before <= sent[own]
    return alone


def _line(messages: pd.DataFrame) -> tuple[float, float]:
    """Seconds a message and seconds a byte: a line through the medians of the sizes, by least squares."""
    if not len(messages):
        return 0.0, 0.0
    if messages["alone"].sum() >= FEW:
        messages = messages[messages["alone"]]
    parts = messages.groupby("bytes")["seconds"]
    overall = max(0.0, float(messages["seconds"].median()))
    middle = parts.median().to_numpy()
    spread = (parts.quantile(0.75) - parts.quantile(0.25)).to_numpy() / 1.35
    at, count = np.array(list(parts.groups), np.float64), parts.size().to_numpy()
    errors = 1.2533 * np.maximum(spread, 1e-3 * overall + 1e-12) / np.sqrt(count)
    if len(at) < 2:
        return overall, 0.0
    weight = errors**-2
    centre = float((weight * at).sum() / weight.sum())
    across = float((weight * (at - centre) ** 2).sum())
    slope = float((weight * (at - centre) * middle).sum()) / across
    if slope < SURE / np.sqrt(across) or slope * at.max() <= MATTERS * overall:
        return overall, 0.0
    intercept = float((weight * middle).sum() / weight.sum()) - slope * centre
    if intercept < 0:  # a line through the origin
        return 0.0, float((weight * at * middle).sum() / (weight * at**2).sum())
    return intercept, slope


def _served(trace: Trace) -> dict[str, Floats]:
    """Seconds that each server was busy with each pull and push."""
    servers = list(trace.meta.get("servers", ()))
    rows = trace.frame[trace.frame["node"].isin(servers)]
    found: dict[str, list[float]] = {"head": [], "read": []}
    for _, own in rows.groupby("node", observed=True, sort=True):
        asked = own[(own["kind"] == "receive") & own["detail"].isin(list(ROLES))]
        asked = asked.drop_duplicates("message")
        done = own[own["kind"].isin(["answer", "park", "send", "apply"]) & (own["message"] != "")]
        ends = done.groupby("message")["time"].min()
        asked = asked.assign(end=asked["message"].map(ends)).dropna(subset=["end"]).sort_values("end")
        before = np.concatenate([[-np.inf], np.maximum.accumulate(asked["end"].to_numpy())[:-1]])
        seconds = asked["end"].to_numpy() - np.maximum(asked["time"].to_numpy(), before)
        for detail, each in zip(asked["detail"], seconds.tolist(), strict=True):
            found[ROLES[detail]].append(max(0.0, each))
    return {role: np.array(each) for role, each in found.items() if each}
