"""Quantities of a trace as tidy tables.

Every table documents its columns, with units, in ``frame.attrs["columns"]``. What the level of a trace does
not hold is NaN, never zero.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from psbook.trace.schema import SPANS
from psbook.trace.trace import Trace


def documented(frame: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """Return `frame` with the meaning of its columns attached."""
    frame = frame.reset_index(drop=True)
    frame.attrs["columns"] = columns
    return frame


def history(trace: Trace) -> pd.DataFrame:
    """One row an evaluation, in the order of worker iterations.

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
    """One row a number that a program reported."""
    rows = trace.of("report")
    frame = rows[["time", "node", "clock", "detail", "value"]].set_axis(
        ["time_s", "node", "clock", "name", "value"], axis=1
    )
    meaning = {
        "time_s": "[s]",
        "node": "program",
        "clock": "its iterations",
        "name": "name",
        "value": "number",
    }
    return documented(frame, meaning)


def waiting(trace: Trace) -> pd.DataFrame:
    """One row a program: seconds of each kind of its time, which add up to the run (semantics.md H3)."""
    programs = trace.meta.get("programs") or sorted(trace.of(*SPANS)["node"].unique())
    spans = trace.of(*SPANS)
    sums = spans.pivot_table(index="node", columns="kind", values="duration", aggfunc="sum", observed=True)
    frame = sums.reindex(index=programs, columns=list(SPANS)).fillna(0.0 if len(spans) else math.nan)
    frame["total"] = frame[list(SPANS)].sum(axis=1, min_count=1)
    frame = frame.rename_axis(None, axis=1).rename_axis("node").reset_index()
    meanings = {kind: f"time booked as {kind} [s]" for kind in SPANS}
    return documented(
        frame, {"node": "program", **meanings, "total": "sum of the five: the run's length [s]"}
    )


def idle_causes(trace: Trace) -> pd.DataFrame:
    """One row a program and cause of idling: seconds."""
    rows = (
        trace.of("idle").groupby(["node", "detail"], sort=True, observed=True)["duration"].sum().reset_index()
    )
    frame = rows.set_axis(["node", "cause", "seconds"], axis=1)
    return documented(frame, {"node": "program", "cause": "why it had nothing to do", "seconds": "[s]"})


def iterations(trace: Trace) -> pd.DataFrame:
    """One row an iteration of a program: when it began and ended, and where its time went."""
    clocks = trace.of("clock")[["node", "clock", "time"]].rename(columns={"time": "end"})
    clocks["clock"] -= 1
    clocks["start"] = clocks.groupby("node", sort=False, observed=True)["end"].shift(fill_value=0.0)
    spans = trace.of(*SPANS)
    sums = spans.pivot_table(
        index=["node", "clock"], columns="kind", values="duration", aggfunc="sum", observed=True
    ).reindex(columns=list(SPANS))
    frame = clocks.join(sums.fillna(0.0), on=["node", "clock"])
    frame[list(SPANS)] = frame[list(SPANS)].fillna(0.0 if len(spans) else math.nan)
    meanings = {kind: f"time booked as {kind} while at this clock [s]" for kind in SPANS}
    return documented(
        frame[["node", "clock", "start", "end", *SPANS]],
        {"node": "program", "clock": "number of the iteration, from 0", "start": "end of the one before [s]",
         "end": "when it called clock() [s]", **meanings},
    )  # fmt: skip


def staleness(trace: Trace) -> pd.DataFrame:
    """One row an applied update that was computed from a read: how many updates came in between."""
    rows = trace.of("apply")
    rows = rows[rows["staleness"] >= 0]
    frame = rows[["time", "node", "peer", "table", "clock", "version", "staleness"]].set_axis(
        ["time_s", "server", "worker", "table", "clock", "version", "staleness"], axis=1
    )
    return documented(
        frame,
        {"time_s": "when it was applied [s]", "server": "shard", "worker": "who pushed it", "table": "table",
         "clock": "clock it belongs to", "version": "version of the range afterwards",
         "staleness": "version when applied − version read [updates]"},
    )  # fmt: skip


def messages(trace: Trace) -> pd.DataFrame:
    """One row a type of message: how many were sent, and their bytes."""
    rows = (
        trace.of("send")
        .groupby("detail", sort=True, observed=True)["bytes"]
        .agg(["count", "sum"])
        .reset_index()
    )
    frame = rows.set_axis(["message", "count", "bytes"], axis=1)
    return documented(
        frame, {"message": "type", "count": "messages sent", "bytes": "bytes sent, headers included"}
    )


def clock_gap(trace: Trace) -> pd.DataFrame:
    """One row a call of ``clock()``: the slowest and the fastest clock among unfinished workers then."""
    workers = list(trace.meta.get("workers") or trace.of("clock")["node"].unique())
    rows = trace.of("clock", "finish")
    rows = rows[rows["node"].isin(workers)]
    clocks = dict.fromkeys(workers, 0)
    found = []
    for time, node, kind, clock in rows[["time", "node", "kind", "clock"]].itertuples(index=False):
        if kind == "finish":
            clocks.pop(node, None)
        else:
            clocks[node] = clock
        if clocks:
            found.append((time, min(clocks.values()), max(clocks.values())))
    frame = pd.DataFrame(found, columns=["time_s", "min", "max"])
    return documented(frame, {"time_s": "[s]", "min": "slowest clock", "max": "fastest clock"})


def updates(trace: Trace) -> float:
    """Updates applied, on the shard with most; a BSP round of a table is one. NaN without "apply" rows."""
    rows = trace.of("apply")
    if rows.empty:
        return math.nan if trace.meta.get("trace_level") == "off" else 0.0
    per_shard = (
        rows.groupby(["node", "table"], observed=True)["version"].max().groupby("node", observed=True).sum()
    )
    return float(per_shard.max())


def summary(trace: Trace) -> pd.Series[Any]:
    """Return a run in one row.

    Returns
    -------
    Series
        ``seconds``; ``iterations`` of workers; ``updates`` applied (a BSP round is one);
        ``iterations_per_s``; ``staleness_mean``, ``staleness_max`` in updates; ``idle_share``, of the workers' time all that is not
        compute; ``blocked_share``, held by the consistency model; ``bytes_sent``; ``loss_final``. NaN where
        the level of the trace does not tell.
    """
    seconds = trace.end
    workers = set(trace.meta.get("workers") or trace.of("clock")["node"].unique())
    level = trace.meta.get("trace_level", "full")
    clocks = trace.of("clock")
    ended = float(clocks["node"].isin(workers).sum()) if level != "off" else math.nan
    stale = staleness(trace)["staleness"]
    time = waiting(trace)
    time = time[time["node"].isin(workers)]
    total = float(time["total"].sum()) or math.nan
    losses = history(trace)["loss"]
    sent = trace.of("send")["bytes"]
    return pd.Series(
        {
            "seconds": seconds,
            "iterations": ended,
            "updates": updates(trace),
            "iterations_per_s": ended / seconds if seconds else math.nan,
            "staleness_mean": float(stale.mean()) if len(stale) else math.nan,
            "staleness_max": float(stale.max()) if len(stale) else math.nan,
            "idle_share": 1.0 - float(time["compute"].sum()) / total,
            "blocked_share": float(time["blocked"].sum()) / total,
            "bytes_sent": float(sent.sum()) if level == "full" else math.nan,
            "loss_final": float(losses.iloc[-1]) if len(losses) else math.nan,
        },
        dtype=np.float64,
    )


def time_to_target(trace: Trace, target: float) -> float:
    """Seconds to the first evaluation whose loss is at most `target`; NaN if there is none.

    Not interpolated: the loss was not known in between.
    """
    rows = history(trace)
    reached = rows.loc[rows["loss"] <= target, "time_s"]
    return float(reached.iloc[0]) if len(reached) else math.nan
