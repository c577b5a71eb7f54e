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

SPREAD = 4.0
"""Largest over smallest message without which bytes cannot be told from messages."""

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
        ``bytes``, ``seconds`` and ``near`` of every message that arrived; empty without messages in the
        trace.
    """

    latency: float = 0.0
    near: float = np.nan
    bandwidth: float | None = None
    service: Mapping[str, Fit] = field(default_factory=dict)
    served: Mapping[str, Floats] = field(default_factory=dict)
    messages: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["bytes", "seconds", "near"]))

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
    the median counts, so that queues in a network are not taken for latency. A server's time for a request is
    that from its arrival, or the end of the one before, to its answer, acknowledgement or parking. From a
    trace of level "iterations": half of what an iteration waited for messages, and what it was queued.
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
    near = [
        of_process.get(a, a) == of_process.get(b, b) for a, b in zip(both["node"], both["peer"], strict=True)
    ]
    return pd.DataFrame(
        {"bytes": both["bytes"], "seconds": both["arrived"] - both["time"], "near": np.array(near, bool)}
    )


def _line(messages: pd.DataFrame) -> tuple[float, float]:
    """Seconds a message and seconds a byte: a line through the medians of the sizes, by least squares."""
    if not len(messages):
        return 0.0, 0.0
    sizes = messages.groupby("bytes")["seconds"].agg(["median", "count"])
    overall = max(0.0, float(messages["seconds"].median()))
    at = sizes.index.to_numpy(dtype=np.float64)
    if len(at) < 2 or at.max() < SPREAD * at.min():
        return overall, 0.0
    slope, intercept = np.polyfit(at, sizes["median"], 1, w=np.sqrt(sizes["count"]))
    if intercept < 0:  # a line through the origin
        weights = sizes["count"].to_numpy()
        slope, intercept = float((weights * at * sizes["median"]).sum() / (weights * at**2).sum()), 0.0
    if slope * at.max() <= MATTERS * overall:
        return overall, 0.0
    return float(intercept), float(slope)


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
