"""A trace as JSON for ui.perfetto.dev and chrome://tracing (the Trace Event Format).

Each node is a thread of the group "programs" or "servers". The spans of a program's time are slices, what
happens at an instant is a mark, each message is an arrow from a mark of its sender to a mark of its receiver,
on a thread of its own beside the node's; the clock gap and the loss are counters.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from psbook.trace.schema import LEVELS, SPANS
from psbook.trace.statistics import clock_gap, history
from psbook.trace.trace import Trace

Event: TypeAlias = dict[str, Any]

PROGRAMS, SERVERS, RUN = 1, 2, 3
"""Groups of threads: programs, servers, and what belongs to the whole run."""

SHOWN = ("peer", "table", "clock", "version", "staleness", "message", "cause", "bytes", "value", "detail")
"""Columns that an event carries along, where they say something."""


def write(trace: Trace, path: str | os.PathLike[str]) -> Path:
    """Write a trace as JSON, complete or not at all; return its path.

    Memory stays that of the trace: events are written one by one, some 200 bytes each.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.part")
    meta = json.dumps(_strict(trace.meta), sort_keys=True, default=str, allow_nan=False)
    with partial.open("w", encoding="utf-8") as file:
        file.write(f'{{"displayTimeUnit": "ms", "otherData": {meta}, "traceEvents": [')
        encode = json.JSONEncoder(allow_nan=False, ensure_ascii=False).encode
        separator = "\n"
        for event in events(trace):
            file.write(separator + encode(event))
            separator = ",\n"
        file.write("\n]}\n")
    partial.replace(path)
    return path


def events(trace: Trace) -> Iterator[Event]:
    """Yield the events of a trace; ``ts`` and ``dur`` are in microseconds, exact to the nanosecond.

    >>> from psbook.trace import Recorder
    >>> recorder = Recorder()
    >>> recorder.add(0.5, "worker-0", "compute", duration=0.25, clock=3)
    >>> slices = [event for event in events(recorder.trace({})) if event["ph"] == "X"]
    >>> slices[0]["name"], slices[0]["ts"], slices[0]["dur"], slices[0]["args"]
    ('compute', 500000.0, 250000.0, {'clock': 3})
    """
    threads = _threads(trace)
    yield from _names(trace, threads)
    arrows = _arrows(trace)
    columns = ("time", "duration", "node", "kind", *SHOWN)
    cells = zip(*(trace.frame[name].to_list() for name in columns), strict=True)
    for index, row in zip(trace.frame.index, cells, strict=True):
        time, duration, node, kind = row[:4]
        if node not in threads:
            continue
        group, thread = threads[node]
        place = {"pid": group, "tid": thread, "ts": microseconds(time)}
        args = {name: value for name, value in zip(SHOWN, row[4:], strict=True) if _says(value)}
        if kind in SPANS:
            length = microseconds(time + duration) - place["ts"]
            yield {"ph": "X", "name": kind, "cat": "time", **place, "dur": round(length, 3), "args": args}
        elif kind in ("send", "receive"):
            place["tid"] = thread + 1
            name = f"{kind} {args.get('detail', 'message')}"
            yield {"ph": "X", "name": name, "cat": "message", **place, "dur": 0.0, "args": args}
            if index in arrows:
                end = {"ph": "s"} if kind == "send" else {"ph": "f", "bp": "e"}
                yield {**end, "name": "message", "cat": "message", **place, "id": arrows[index]}
        else:
            yield {"ph": "i", "s": "t", "name": kind, "cat": "event", **place, "args": args}
    yield from _counters(trace)


def microseconds(seconds: float) -> float:
    """Return microseconds, rounded to the nanosecond, so that spans which touch also touch in the file."""
    return round(seconds * 1e9) / 1e3


def _threads(trace: Trace) -> dict[str, tuple[int, int]]:
    """Group and thread of each node, in the order of the meta; every second thread is for messages."""
    seen = [node for node in trace.frame["node"].unique() if node != "evaluator"]
    servers = [node for node in seen if node.startswith("server-")]
    known = trace.meta.get("programs") or []
    programs = list(known) + sorted(set(seen) - set(servers) - set(known))
    return {
        node: (group, 1 + 2 * place)
        for group, nodes in ((PROGRAMS, programs), (SERVERS, sorted(servers, key=lambda n: (len(n), n))))
        for place, node in enumerate(nodes)
    }


def _names(trace: Trace, threads: dict[str, tuple[int, int]]) -> Iterator[Event]:
    unit = trace.meta.get("time_unit", "s")
    for group, name in ((PROGRAMS, "programs"), (SERVERS, "servers"), (RUN, "run")):
        yield _name("process_name", group, 0, f"{name} (time in {unit})")
    for node, (group, thread) in threads.items():
        yield _name("thread_name", group, thread, node)
        if "send" in LEVELS[trace.level]:
            yield _name("thread_name", group, thread + 1, f"{node}: messages")


def _name(what: str, group: int, thread: int, name: str) -> Event:
    return {"ph": "M", "name": what, "pid": group, "tid": thread, "args": {"name": name}}


def _arrows(trace: Trace) -> dict[int, int]:
    """Number of the arrow at each row "send" or "receive" whose other end is in the trace, too."""
    rows = trace.of("send", "receive")
    sends = rows["kind"] == "send"
    ends = pd.DataFrame(
        {
            "row": rows.index,
            "kind": rows["kind"],
            "source": rows["node"].where(sends, rows["peer"]),
            "destination": rows["peer"].where(sends, rows["node"]),
            "message": rows["message"],
            "type": rows["detail"],
        }
    )
    # One message may be sent again: its first sending belongs to its first arrival.
    key = ["source", "destination", "message", "type"]
    ends["copy"] = ends.groupby(["kind", *key], observed=True).cumcount()
    pairs = ends[sends].merge(ends[~sends], on=[*key, "copy"], suffixes=("", "_end"))
    numbers = range(1, len(pairs) + 1)
    return dict(zip([*pairs["row"], *pairs["row_end"]], [*numbers, *numbers], strict=True))


def _counters(trace: Trace) -> Iterator[Event]:
    if "clock" in LEVELS[trace.level]:
        gaps = clock_gap(trace)
        for time, gap in zip(gaps["time_s"].tolist(), gaps["gap"].tolist(), strict=True):
            yield _counter("clock gap", time, "iterations", gap)
    losses = history(trace)
    for time, loss in zip(losses["time_s"].tolist(), losses["loss"].tolist(), strict=True):
        if math.isfinite(loss):
            yield _counter("loss", time, "loss", loss)


def _counter(name: str, time: float, series: str, value: float) -> Event:
    return {"ph": "C", "name": name, "pid": RUN, "tid": 0, "ts": microseconds(time), "args": {series: value}}


def _says(value: float | str) -> bool:
    """Whether a cell is neither missing nor beyond what JSON can hold."""
    return value != "" if isinstance(value, str) else value != -1 and math.isfinite(value)


def _strict(value: Any) -> Any:
    """Return a value with infinities and NaN as text, which strict JSON has no numbers for."""
    if isinstance(value, dict):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
