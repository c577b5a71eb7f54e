"""The trace of a compiled run: the rows that the message-level engine would keep at level "iterations"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from psbook.core.layout import Layout
from psbook.core.messages import MessageId
from psbook.core.routes import Segment
from psbook.loop import Loop
from psbook.simulator.compiled.order import Ints, Order
from psbook.simulator.compiled.timing import Timeline
from psbook.table import Table
from psbook.trace import Recorder

Row: TypeAlias = tuple[float, float, int, dict[str, Any]]
"""When it is written down, the time it is about, who, and the row."""

SHORT = 1e-12
"""Waits below this share of a run are rounding."""


def record(
    recorder: Recorder, times: Timeline, order: Order, counts: Ints, loop: Loop, layout: Layout,
    tables: dict[str, Table], losses: Any, history: Sequence[tuple[float, int, int, float]],
) -> float:  # fmt: skip
    """Write the rows of a run; return when it ended.

    Parameters
    ----------
    recorder
        Takes the rows.
    times, order, counts
        Of the run.
    loop, layout, tables
        Of the job.
    losses
        Loss of each entry's batch.
    history
        Time, worker iterations, updates and loss of each evaluation.
    """
    end = float(times.finish.max())
    rows: list[Row] = []
    ids = _Ids(loop, counts)
    if recorder.wants("compute"):
        for worker, count in enumerate(counts):
            rows += _spans(times, worker, int(count), end)
    rows += _reports(times, order, losses)
    if recorder.wants("apply"):
        rows += _applies(times, order, loop, layout, tables, ids)
        rows += _drops(times, order, loop, layout, tables, ids)
    for worker, count in enumerate(counts):
        at = float(times.finish[worker])
        rows.append((at, at, worker, {"kind": "finish", "clock": int(count)}))
    for at, iterations, updates, loss in history:
        rows.append((at, at, len(counts), {"node": "evaluator", "kind": "loss", "clock": iterations,
                                           "version": updates, "value": loss}))  # fmt: skip
    for segment in layout.routes.segments:
        recorder.add(0.0, segment.chain[0], "serve", shard=segment.shard, version=0, detail="both")
    rows.sort(key=lambda row: (row[0], row[2]))
    for _, at, worker, row in rows:
        recorder.add(at, row.pop("node", None) or layout.programs[worker], row.pop("kind"), **row)
    return end


def _spans(times: Timeline, worker: int, count: int, end: float) -> Iterator[Row]:
    """Where a worker's time went."""
    until = 0.0
    for kind, upto, clock in _parts(times, worker, count):
        if upto > until + SHORT * end:
            yield upto, until, worker, {"kind": kind, "duration": upto - until, "clock": clock}
            until = upto
        if kind == "compute":
            yield upto, upto, worker, {"kind": "clock", "clock": clock + 1}
    if end > until:
        idle = {"kind": "idle", "duration": end - until, "clock": count, "detail": "finished early"}
        yield until, until, worker, idle


def _parts(times: Timeline, worker: int, count: int) -> Iterator[tuple[str, float, int]]:
    """Kind, end and clock of each part of a worker's time."""
    served, start, finished, back = (
        part[worker].tolist() for part in (times.served, times.start, times.end, times.back)
    )
    ready = times.ready[worker].tolist()
    for c in range(count):
        if c % times.n_fetch == 0:
            yield "network", ready[c] + times.latency, c
            yield "blocked", served[c], c
            yield "network", start[c], c
        yield "compute", finished[c], c
        if back[c] > finished[c]:
            yield "network", finished[c] + times.latency, c + 1
            yield "blocked", back[c] - times.latency, c + 1
            yield "network", back[c], c + 1
    yield "network", float(times.finish[worker]) - times.latency, count
    yield "network", float(times.finish[worker]), count


def _reports(times: Timeline, order: Order, losses: Any) -> Iterator[Row]:
    """The losses of the workers' batches."""
    for entry in np.flatnonzero(order.computes).tolist():
        worker, step = int(order.worker[entry]), int(order.step[entry])
        at = float(times.end[worker, step])
        yield at, at, worker, {"kind": "report", "clock": step, "value": float(losses[entry]),
                               "detail": "batch_loss"}  # fmt: skip


class _Ids:
    """Ids of a worker's messages to a shard, which are numbered in the order in which they are sent."""

    def __init__(self, loop: Loop, counts: Ints) -> None:
        steps = np.arange(int(counts.max(initial=0)) + 1)
        self.pulls = np.where(steps % loop.n_fetch == 0, len(loop.pulled), 0)
        pushes = np.where(loop.pushes_at(steps), len(loop.pushed), 0)
        self.before = np.concatenate([[0], np.cumsum(self.pulls + pushes + 1)])
        self.loop, self.counts = loop, counts

    def pull(self, worker: int, step: int, table: str, shard: int) -> str:
        """Id of the last pull at a step or before."""
        step = step // self.loop.n_fetch * self.loop.n_fetch
        sequence = int(self.before[step]) + 1 + self.loop.pulled.index(table)
        return str(MessageId(worker, 0, table, shard, sequence))

    def push(self, worker: int, step: int, table: str, shard: int) -> str:
        """Id of the push at a step, or behind the last clock."""
        sent = int(self.pulls[step]) if step < self.counts[worker] else 0
        sequence = int(self.before[step]) + sent + 1 + self.loop.pushed.index(table)
        return str(MessageId(worker, 0, table, shard, sequence))


def _applies(
    times: Timeline, order: Order, loop: Loop, layout: Layout, tables: dict[str, Table], ids: _Ids
) -> Iterator[Row]:
    """What the shards applied, push by push."""
    pending: list[int] = []
    arrived = applied_at(times, order)
    for entry in range(len(order.worker)):
        if order.pushes[entry] and order.accepted[entry]:
            pending.append(entry)
        if not order.applies[entry]:
            continue
        version, at = int(order.version[entry]) + 1, float(arrived[entry])
        pairs = [(table, segment) for table in loop.pushed for segment in layout.routes.segments]
        if len(pending) > 1:  # a round closes shard by shard, and pushes come table by table
            pairs.sort(key=lambda pair: pair[1].shard)
        for table, segment in pairs:
            for push in sorted(pending, key=lambda push: (order.worker[push], order.step[push])):
                yield at, at, -1, _apply_row(order, push, table, segment, version, loop, layout, tables, ids)
        pending = []


def _drops(
    times: Timeline, order: Order, loop: Loop, layout: Layout, tables: dict[str, Table], ids: _Ids
) -> Iterator[Row]:
    """What the shards dropped, push by push."""
    for push in np.flatnonzero(order.pushes & ~order.accepted).tolist():
        worker = int(order.worker[push])
        at, now = float(times.end[worker, order.step[push]]), int(order.version[push])
        for table in loop.pushed:
            for segment in layout.routes.segments:
                row = _push_row(order, push, table, segment, loop, layout, tables, ids)
                why = f"computed from a read of an older round than {now}"
                read = int(order.version[order.read[push] + 1]) if table in loop.pulled else -1
                yield at, at, worker, {**row, "kind": "drop", "version": read, "detail": why}


def _apply_row(
    order: Order, push: int, table: str, segment: Segment, version: int, loop: Loop, layout: Layout,
    tables: dict[str, Table], ids: _Ids,
) -> dict[str, Any]:  # fmt: skip
    row = _push_row(order, push, table, segment, loop, layout, tables, ids)
    read = int(order.version[order.read[push] + 1])
    staleness = version - 1 - read if table in loop.pulled else -1
    return {**row, "kind": "apply", "version": version, "staleness": staleness}


def _push_row(
    order: Order, push: int, table: str, segment: Segment, loop: Loop, layout: Layout,
    tables: dict[str, Table], ids: _Ids,
) -> dict[str, Any]:  # fmt: skip
    """What a row tells of a push, whatever became of it."""
    worker, step = int(order.worker[push]), int(order.step[push])
    keys, read = segment.keys(tables[table].size), table in loop.pulled
    last = step if order.computes[push] else step - 1
    return {
        "node": segment.chain[0], "peer": layout.programs[worker], "table": table, "shard": segment.shard,
        "start": keys.start, "stop": keys.stop, "clock": step,
        "message": ids.push(worker, step, table, segment.shard),
        "cause": ids.pull(worker, last, table, segment.shard) if read else "",
    }  # fmt: skip


def applied_at(times: Timeline, order: Order) -> Any:
    """When what each entry completes is applied, seconds."""
    sent = np.concatenate([times.end, times.back[:, -1:]], axis=1)
    last = np.concatenate([times.back, times.back[:, -1:]], axis=1)[
        order.worker, np.maximum(order.step - 1, 0)
    ]
    arrived = np.where(order.computes, sent[order.worker, order.step], last) + times.latency
    return np.maximum.accumulate(arrived)
