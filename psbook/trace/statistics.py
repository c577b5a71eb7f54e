"""Quantities of a trace as tidy tables.

Every table documents its columns, with units, in ``frame.attrs["columns"]``. Seconds are those of
``trace.meta["time_unit"]``. A table whose rows the level of the trace leaves out raises `DataError`; in
`summary` such a quantity is NaN. Nothing is zero by omission. Each table costs O(rows).
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from psbook.errors import DataError
from psbook.trace.schema import LEVELS, SPANS
from psbook.trace.trace import Trace


def documented(frame: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """Return `frame` with the meaning of its columns attached."""
    frame = frame.reset_index(drop=True)
    frame.attrs["columns"] = columns
    return frame


def require(trace: Trace, what: str, *kinds: str) -> None:
    """Raise `DataError` unless the trace's level keeps rows of these kinds, which `what` is made of."""
    if not set(kinds) <= LEVELS[trace.level]:
        enough = next(name for name, kept in LEVELS.items() if set(kinds) <= kept)
        raise DataError(
            f"the trace was recorded at level {trace.level!r}, which leaves out what {what} needs; required: "
            f'level {enough!r}. Run again with trace="{enough}".'
        )


def history(trace: Trace) -> pd.DataFrame:
    """One row an evaluation, in the order of worker iterations; every level has them.

    >>> from psbook.trace import Recorder
    >>> recorder = Recorder()
    >>> recorder.add(0.0, "evaluator", "loss", clock=0, version=0, value=0.7)
    >>> history(recorder.trace({})).to_dict("records")
    [{'time_s': 0.0, 'iterations': 0, 'updates': 0, 'loss': 0.7}]
    """
    rows = trace.of("loss").sort_values(["clock", "time"], kind="stable")
    frame = rows[["time", "clock", "version", "value"]].set_axis(
        ["time_s", "iterations", "updates", "loss"], axis=1
    )
    return documented(
        frame,
        {
            "time_s": "when the snapshot was taken [s]",
            "iterations": "worker iterations ended by then",
            "updates": "updates applied by then, over all tables, on the shard with most",
            "loss": "held-out objective of the server's tables",
        },
    )


def reports(trace: Trace) -> pd.DataFrame:
    """One row a number that a program reported; every level has them."""
    rows = trace.of("report")
    frame = rows[["time", "node", "clock", "detail", "value"]].set_axis(
        ["time_s", "node", "clock", "name", "value"], axis=1
    )
    meaning = {
        "time_s": "when it was reported [s]",
        "node": "program",
        "clock": "its iterations ended by then",
        "name": "what it is",
        "value": "the number, in the program's own unit",
    }
    return documented(frame, meaning)


def waiting(trace: Trace) -> pd.DataFrame:
    """One row a program: seconds of each kind of its time, which add up to the run (semantics.md H3).

    Raises
    ------
    DataError
        If the trace has no spans.
    """
    require(trace, "the programs' time", *SPANS)
    spans = trace.of(*SPANS)
    programs = trace.meta.get("programs") or sorted(spans["node"].unique())
    sums = spans.pivot_table(index="node", columns="kind", values="duration", aggfunc="sum", observed=True)
    frame = sums.reindex(index=programs, columns=list(SPANS)).fillna(0.0).astype(np.float64)
    frame["total"] = frame.sum(axis=1)
    frame = frame.rename_axis(None, axis=1).rename_axis("node").reset_index()
    meanings = {kind: f"time booked as {kind} [s]" for kind in SPANS}
    return documented(
        frame, {"node": "program", **meanings, "total": "sum of the five: the run's length [s]"}
    )


def idle_causes(trace: Trace) -> pd.DataFrame:
    """One row a program and cause of idling: seconds. Raises `DataError` if the trace has no spans."""
    require(trace, "idling", "idle")
    rows = (
        trace.of("idle").groupby(["node", "detail"], sort=True, observed=True)["duration"].sum().reset_index()
    )
    frame = rows.set_axis(["node", "cause", "seconds"], axis=1)
    return documented(
        frame, {"node": "program", "cause": "why it had nothing to do", "seconds": "time idle for it [s]"}
    )


def iterations(trace: Trace) -> pd.DataFrame:
    """One row an ended iteration of a program: when it began and ended, and where its time went.

    Raises
    ------
    DataError
        If the trace has no spans.
    """
    require(trace, "iterations", "clock", *SPANS)
    clocks = trace.of("clock")[["node", "clock", "time"]].rename(columns={"time": "end"})
    clocks["clock"] -= 1
    clocks["start"] = clocks.groupby("node", sort=False, observed=True)["end"].shift(fill_value=0.0)
    sums = trace.of(*SPANS).pivot_table(
        index=["node", "clock"], columns="kind", values="duration", aggfunc="sum", observed=True
    )
    if sums.empty:
        frame = clocks.assign(**dict.fromkeys(SPANS, 0.0))
    else:
        frame = clocks.join(sums.reindex(columns=list(SPANS)), on=["node", "clock"])
        frame[list(SPANS)] = frame[list(SPANS)].fillna(0.0)
    meanings = {kind: f"time booked as {kind} while at this clock [s]" for kind in SPANS}
    return documented(
        frame[["node", "clock", "start", "end", *SPANS]],
        {"node": "program", "clock": "number of the iteration, from 0",
         "start": "end of the one before, 0 for the first [s]", "end": "when it called clock() [s]",
         **meanings},
    )  # fmt: skip


def staleness(trace: Trace) -> pd.DataFrame:
    """One row an applied update that was computed from a read: how many updates came in between.

    Raises
    ------
    DataError
        If the trace has no "apply" rows.
    """
    require(trace, "staleness", "apply")
    rows = trace.of("apply")
    rows = rows[rows["staleness"] >= 0]
    frame = rows[["time", "node", "peer", "table", "clock", "version", "staleness"]].set_axis(
        ["time_s", "server", "worker", "table", "clock", "version", "staleness"], axis=1
    )
    return documented(
        frame,
        {"time_s": "when it was applied [s]", "server": "shard", "worker": "who pushed it", "table": "table",
         "clock": "clock it belongs to", "version": "version of the table on the shard afterwards [updates]",
         "staleness": "version when applied − version read [updates]"},
    )  # fmt: skip


def messages(trace: Trace) -> pd.DataFrame:
    """One row a type of message: how many were sent, and their bytes.

    Raises
    ------
    DataError
        If the trace is not of level "full".
    """
    require(trace, "messages", "send")
    rows = (
        trace.of("send")
        .groupby("detail", sort=True, observed=True)["bytes"]
        .agg(["count", "sum"])
        .reset_index()
    )
    frame = rows.set_axis(["message", "count", "bytes"], axis=1)
    return documented(
        frame,
        {
            "message": "type",
            "count": "messages sent",
            "bytes": "bytes sent, headers included, of all together",
        },
    )


def clock_gap(trace: Trace) -> pd.DataFrame:
    """One row a call of ``clock()`` and an end of a worker: slowest and fastest clock of who is not finished.

    Raises
    ------
    DataError
        If the trace has no "clock" rows.

    Examples
    --------
    >>> from psbook.trace import Recorder
    >>> recorder = Recorder()
    >>> recorder.add(1.0, "worker-0", "clock", clock=1)
    >>> clock_gap(recorder.trace({"workers": ["worker-0", "worker-1"]})).to_dict("records")
    [{'time_s': 1.0, 'min': 0, 'max': 1, 'gap': 1}]
    """
    require(trace, "the clock gap", "clock", "finish")
    rows = trace.of("clock", "finish")
    workers = workers_of(trace)
    rows = rows[rows["node"].isin(workers)]
    clocks = dict.fromkeys(workers, 0)
    holders = Counter(clocks.values())
    low = high = 0
    found = []
    columns = (rows[name].to_list() for name in ("time", "node", "kind", "clock"))
    for time, node, kind, clock in zip(*columns, strict=True):
        if node not in clocks:
            continue
        holders[clocks[node]] -= 1
        if kind == "finish":
            del clocks[node]
        else:
            clocks[node] = clock
            holders[clock] += 1
            high = max(high, clock)
        if not clocks:
            break
        while not holders[low]:
            low += 1
        while not holders[high]:
            high -= 1
        found.append((time, low, high, high - low))
    frame = pd.DataFrame(found, columns=["time_s", "min", "max", "gap"])
    return documented(
        frame,
        {"time_s": "when a worker clocked or ended [s]", "min": "slowest clock afterwards",
         "max": "fastest clock afterwards", "gap": "max − min [iterations]"},
    )  # fmt: skip


def workers_of(trace: Trace) -> list[str]:
    """Return the programs whose clocks count: those the trace names, else those that clocked."""
    return list(trace.meta.get("workers") or sorted(trace.of("clock")["node"].unique()))


def updates(trace: Trace) -> float:
    """Updates applied, over all tables, on the shard with most; a BSP round of a table is one.

    NaN if the trace has no "apply" rows.
    """
    if "apply" not in LEVELS[trace.level]:
        return math.nan
    rows = trace.of("apply")
    if rows.empty:
        return 0.0
    per_shard = (
        rows.groupby(["node", "table"], observed=True)["version"].max().groupby("node", observed=True).sum()
    )
    return float(per_shard.max())


SUMMARY: dict[str, str] = {
    "seconds": "length of the run [s]",
    "iterations": "worker iterations ended",
    "updates": "updates applied, on the shard with most; a BSP round is one",
    "iterations_per_s": "iterations / seconds [1/s]",
    "staleness_mean": "mean over the applied updates that were computed from a read [updates]",
    "staleness_max": "the largest [updates]",
    "idle_share": "share of the workers' time that is not compute",
    "blocked_share": "share of the workers' time held by the consistency model",
    "bytes_sent": "bytes of all messages, headers included [bytes]",
    "loss_final": "last loss",
}
"""Quantities of `summary`."""


def summary(trace: Trace) -> pd.Series[Any]:
    """Return a run in one row.

    Returns
    -------
    Series
        The quantities of `SUMMARY`, which are also in ``.attrs["columns"]``; NaN where the level of the trace
        does not tell.
    """
    kept = LEVELS[trace.level]
    seconds = trace.end
    workers = workers_of(trace)
    ended = stale_mean = stale_max = idle = blocked = sent = math.nan
    if "clock" in kept:
        ended = float(trace.of("clock")["node"].isin(workers).sum())
    if "apply" in kept and len(stale := staleness(trace)["staleness"]):
        stale_mean, stale_max = float(stale.mean()), float(stale.max())
    if "compute" in kept:
        time = waiting(trace)
        time = time[time["node"].isin(workers)]
        total = float(time["total"].sum()) or math.nan
        idle = 1.0 - float(time["compute"].sum()) / total
        blocked = float(time["blocked"].sum()) / total
    if "send" in kept:
        sent = float(trace.of("send")["bytes"].sum())
    losses = history(trace)["loss"]
    values = (
        seconds, ended, updates(trace), ended / seconds if seconds else math.nan, stale_mean, stale_max, idle,
        blocked, sent, float(losses.iloc[-1]) if len(losses) else math.nan,
    )  # fmt: skip
    series = pd.Series(dict(zip(SUMMARY, values, strict=True)), dtype=np.float64)
    series.attrs["columns"] = dict(SUMMARY)
    return series


def time_to_target(trace: Trace, target: float) -> float:
    """Seconds to the first evaluation whose loss is at most `target`; NaN if there is none.

    Not interpolated: the loss was not known in between.
    """
    rows = trace.of("loss")
    return float(rows.loc[rows["value"] <= target, "time"].min())
