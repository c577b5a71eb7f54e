"""A trace made by hand, small enough to check every number of it on paper.

Two workers, one shard, SSP(1) with the gate at reads, six seconds::

    seconds    0        1        2        3   3.5  4        5.5  6
    worker-0   compute  compute  blocked  compute  idle: finished early
    worker-1   compute ------------------ n q n----compute-----n----     (n network, q queued)
    version    0        1        2        3        4        5

Worker-0 pushes at 1, 2 and 4 s, worker-1 at 3 and 5.5 s; worker-1's first gradient is crossed by two updates,
its second by one. The constants below are those numbers.
"""

from __future__ import annotations

from typing import Any

from psbook.trace import Recorder, Trace

WORKERS = ["worker-0", "worker-1"]
SERVER = "server-0"

META: dict[str, Any] = {
    "job": "by hand",
    "backend": "simulator",
    "model": "SSP",
    "model_label": "SSP(1)",
    "programs": WORKERS,
    "workers": WORKERS,
    "servers": 1,
    "seed": 0,
    "aggregate": "sum",
    "iteration_unit": "one mini-batch",
    "time_unit": "simulated s",
    "tables": {"w": "Table(4)"},
    "end": 6.0,
}

WAITING = {
    "worker-0": {"compute": 3.0, "network": 0.0, "blocked": 1.0, "queued": 0.0, "idle": 2.0, "total": 6.0},
    "worker-1": {"compute": 4.5, "network": 1.25, "blocked": 0.0, "queued": 0.25, "idle": 0.0, "total": 6.0},
}
STALENESS = [0, 0, 2, 0, 1]
"""By version, 1 to 5."""
PUSHED_BY = [0, 0, 1, 0, 1]
LOSSES = [(0.0, 0, 0, 0.7), (2.0, 2, 2, 0.5), (4.0, 4, 4, 0.3), (6.0, 5, 5, 0.25)]
"""Time, iterations, updates, loss."""
CLOCK_GAP = [(1.0, 0, 1), (2.0, 0, 2), (3.0, 1, 2), (4.0, 1, 3), (4.0, 1, 1), (5.5, 2, 2)]
"""Time, min, max: after each clock() and end of a worker."""
LEDGER = {
    "event": ["answer", "answer", "apply", "answer", "apply", "apply", "answer", "answer", "apply", "apply"],
    "version": [0, 0, 1, 1, 2, 3, 3, 3, 4, 5],
    "in_flight": [1, 2, 1, 2, 1, 0, 1, 2, 1, 0],
    "applied": [0, 0, 0, 0, 0, 2, 2, 2, 2, 3],
    "ages": [0, 0, 1, 1, 2, 0, 0, 0, 1, 0],
    "crossings": [0, 0, 1, 1, 2, 2, 2, 2, 3, 3],
}
"""Event by event."""
BYTES = {"Pull": 64, "PullReply": 80, "Push": 80, "Clock": 48}
SENT = dict.fromkeys(BYTES, 5)
SUMMARY = {
    "seconds": 6.0,
    "iterations": 5.0,
    "updates": 5.0,
    "iterations_per_s": 5 / 6,
    "staleness_mean": 0.6,
    "staleness_max": 2.0,
    "idle_share": 1 - 7.5 / 12,
    "blocked_share": 1 / 12,
    "bytes_sent": 5.0 * (64 + 80 + 80 + 48),
    "loss_final": 0.25,
}


class Builder:
    """Writes rows the way the hosts do, with times, versions and staleness told by the caller.

    Parameters
    ----------
    level, path
        As of `psbook.trace.Recorder`.
    """

    def __init__(self, level: str = "full", path: Any = None) -> None:
        self.recorder = Recorder(level, path)
        self._sequence = 0

    def span(self, start: float, stop: float, worker: int, kind: str, clock: int, detail: str = "") -> None:
        """Book time of a worker."""
        self.recorder.add(start, WORKERS[worker], kind, duration=stop - start, clock=clock, detail=detail)

    def message(self, name: str, source: str, destination: str, sent: float, arrived: float, id: str) -> None:
        """Carry a message."""
        common: dict[str, Any] = {"message": id, "bytes": BYTES[name], "detail": name}
        self.recorder.add(sent, source, "send", peer=destination, **common)
        self.recorder.add(arrived, destination, "receive", peer=source, **common)

    def pull(
        self, worker: int, asked: float, version: int, clock: int, *, shard_min: int = 0,
        reached: float | None = None, answered: float | None = None, back: float | None = None,
        parked: float | None = None, shard: int = 0, table: str = "w",
    ) -> str:  # fmt: skip
        """Ask, be parked until `parked` if that is given, be answered; return the pull's id."""
        node, server, id = WORKERS[worker], f"server-{shard}", self._id(worker, shard, table)
        reached = asked if reached is None else reached
        self.message("Pull", node, server, asked, reached, id)
        common: dict[str, Any] = {"peer": node, "table": table, "message": id}
        if parked is not None:
            self.recorder.add(reached, server, "park", clock=clock, detail=f"{node} must wait", **common)
            self.recorder.add(parked, server, "release", clock=clock, value=parked - reached, **common)
            answered = parked
        answered = reached if answered is None else answered
        self.recorder.add(
            answered, server, "answer", start=0, stop=4, clock=shard_min, version=version, **common
        )
        self.message("PullReply", server, node, answered, answered if back is None else back, id)
        return id

    def push(
        self, worker: int, time: float, version: int, clock: int, cause: str = "", staleness: int = -1, *,
        shard: int = 0, table: str = "w",
    ) -> None:  # fmt: skip
        """Push and apply at once; `version` is the one afterwards."""
        node, server, id = WORKERS[worker], f"server-{shard}", self._id(worker, shard, table)
        self.message("Push", node, server, time, time, id)
        self.recorder.add(
            time, server, "apply", peer=node, table=table, start=0, stop=4, clock=clock, version=version,
            staleness=staleness, message=id, cause=cause,
        )  # fmt: skip

    def clock(self, worker: int, time: float, clock: int) -> None:
        """End an iteration; `clock` is the new count."""
        self.message("Clock", WORKERS[worker], SERVER, time, time, self._id(worker, 0, ""))
        self.recorder.add(time, WORKERS[worker], "clock", clock=clock)

    def trace(self, **meta: Any) -> Trace:
        """Return the trace."""
        return self.recorder.trace({**META, **meta})

    def _id(self, worker: int, shard: int, table: str) -> str:
        self._sequence += 1
        return f"r{worker}.0/{table}/s{shard}#{self._sequence}"


def small_trace(level: str = "full", path: Any = None) -> Trace:
    """Return the trace of the module's picture."""
    build = Builder(level, path)
    add = build.recorder.add
    add(0.0, "evaluator", "loss", clock=0, version=0, value=0.7)
    a0 = build.pull(0, 0.0, version=0, clock=0)
    b0 = build.pull(1, 0.0, version=0, clock=0)
    build.span(0.0, 1.0, 0, "compute", 0)
    build.push(0, 1.0, 1, 0, a0, 0)
    build.clock(0, 1.0, 1)
    a1 = build.pull(0, 1.0, version=1, clock=1)
    build.span(1.0, 2.0, 0, "compute", 1)
    build.push(0, 2.0, 2, 1, a1, 0)
    build.clock(0, 2.0, 2)
    add(2.0, "evaluator", "loss", clock=2, version=2, value=0.5)
    build.span(0.0, 3.0, 1, "compute", 0)
    build.push(1, 3.0, 3, 0, b0, 2)
    build.clock(1, 3.0, 1)
    a2 = build.pull(0, 2.0, version=3, clock=2, shard_min=1, parked=3.0)
    build.span(2.0, 3.0, 0, "blocked", 2)
    b1 = build.pull(1, 3.0, version=3, clock=1, shard_min=1, reached=3.25, answered=3.5, back=4.0)
    build.span(3.0, 3.25, 1, "network", 1)
    build.span(3.25, 3.5, 1, "queued", 1)
    build.span(3.5, 4.0, 1, "network", 1)
    build.span(3.0, 4.0, 0, "compute", 2)
    build.push(0, 4.0, 4, 2, a2, 0)
    build.clock(0, 4.0, 3)
    add(4.0, "evaluator", "loss", clock=4, version=4, value=0.3)
    add(4.0, "worker-0", "finish", clock=3)
    build.span(4.0, 5.5, 1, "compute", 1)
    add(5.5, "worker-1", "report", clock=1, value=0.9, detail="accuracy")
    build.push(1, 5.5, 5, 1, b1, 1)
    build.clock(1, 5.5, 2)
    build.span(5.5, 6.0, 1, "network", 2)
    add(6.0, "worker-1", "finish", clock=2)
    build.span(4.0, 6.0, 0, "idle", 3, "finished early")
    add(6.0, "evaluator", "loss", clock=5, version=5, value=0.25)
    return build.trace()
