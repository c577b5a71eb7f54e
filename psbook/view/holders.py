"""Which server answered for which keys, and when: placement, fail-over and migration in one picture."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import pandas as pd
from matplotlib.ticker import MaxNLocator

from psbook.errors import InvalidJob
from psbook.trace import Trace
from psbook.trace.statistics import require
from psbook.view.marks import draw_moments, mark_legend, moments, told
from psbook.view.picture import Picture, haloed, name_of, note_of, picture, say, thin_hatches, tidy, unit_of
from psbook.view.style import INK, blend, seconds_label

COLORS = ("#3f90da", "#ffa90e", "#92dadd", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70")
"""Petroff (2021), lightened below; a server without one of its own is told apart by its name."""

HATCHES = ("", "///", "\\\\\\", "...", "xx", "++", "--", "oo")


class Held(NamedTuple):
    """A server answered for keys ``[start, stop)`` from its first update of them to the next server's."""

    node: str
    start: int
    stop: int
    begin: float
    end: float


def held(trace: Trace, table: str) -> list[Held]:
    """Return who applied the updates of which keys of a table, in order of the keys and of time.

    Parameters
    ----------
    trace
        A trace with "apply" rows: level "iterations" or "full".
    table
        Name of a table.

    Examples
    --------
    >>> from psbook.trace import Recorder
    >>> recorder = Recorder()
    >>> recorder.add(0.0, "server-0", "apply", table="w", start=0, stop=8)
    >>> recorder.add(2.0, "server-1", "apply", table="w", start=4, stop=8)
    >>> for each in held(recorder.trace({"end": 3.0}), "w"):
    ...     print(*each)
    server-0 0 4 0.0 3.0
    server-0 4 8 0.0 2.0
    server-1 4 8 2.0 3.0
    """
    rows = trace.of("apply")
    rows = rows[(rows["table"] == table) & (rows["start"] >= 0)].sort_values("time", kind="stable")
    borders = sorted({*rows["start"], *rows["stop"]})
    found = []
    for start, stop in pairwise(borders):
        inside = rows[(rows["start"] <= start) & (rows["stop"] >= stop)]
        found += _turns(inside, int(start), int(stop), trace.end)
    return _joined(found)


def _turns(rows: pd.DataFrame, start: int, stop: int, end: float) -> list[Held]:
    first = rows[rows["node"] != rows["node"].shift()]
    times = [*first["time"], end]
    return [
        Held(str(node), start, stop, float(begin), float(until))
        for node, (begin, until) in zip(first["node"], pairwise(times), strict=True)
    ]


def _joined(found: list[Held]) -> list[Held]:
    """Join neighbouring keys that had the same server in the same time."""
    joined: list[Held] = []
    open_ones: dict[tuple[str, int, float, float], int] = {}
    for each in found:
        place = open_ones.pop((each.node, each.start, each.begin, each.end), None)
        if place is None:
            place = len(joined)
            joined.append(each)
        else:
            joined[place] = joined[place]._replace(stop=each.stop)
        open_ones[each.node, each.stop, each.begin, each.end] = place
    return joined


def holders(trace: Trace, table: str | None = None) -> Picture:
    """Draw a bar for each range of keys and the server that answered for it, along time.

    Parameters
    ----------
    trace
        A trace with "apply" rows: level "iterations" or "full".
    table
        Name of a table; by default the first.

    Raises
    ------
    InvalidJob
        If there is no such table.
    DataError
        If the trace has no "apply" rows.
    """
    require(trace, "who held which keys", "apply")
    tables = list(trace.meta.get("tables") or trace.of("apply")["table"].unique())
    if table is not None and table not in tables:
        raise InvalidJob(f"table {table!r}; required: one of {', '.join(map(repr, tables))}.")
    table = table or (tables[0] if tables else "")
    label, unit = name_of(trace), unit_of(trace)
    figure = picture(9.0, 3.6, f"{label}: who answers for which keys of {table!r}", note_of(trace))
    axes = figure.subplots()
    tidy(axes, "x")
    axes.set_xlabel(seconds_label(unit))
    axes.set_ylabel(f"keys of {table!r}")
    bars = held(trace, table)
    if not bars:
        say(axes, "no update was applied")
        figure.psbook_sentence = f"{label}: no update of {table!r} was applied."
        return figure
    nodes = sorted({bar.node for bar in bars}, key=lambda node: (len(node), node))
    with thin_hatches():
        for bar in bars:
            number = nodes.index(bar.node)
            color = blend(COLORS[number % len(COLORS)], "#ffffff", 0.45)
            axes.broken_barh([(bar.begin, bar.end - bar.begin)], (bar.start, bar.stop - bar.start),
                             facecolor=color, hatch=HATCHES[number % len(HATCHES)], edgecolor="#00000080",
                             linewidth=0.6)  # fmt: skip
            if bar.end - bar.begin > 0.09 * trace.end:
                middle = ((bar.begin + bar.end) / 2, (bar.start + bar.stop) / 2)
                haloed(axes, bar.node, middle, xytext=(0, 0), ha="center", va="center", fontsize=8, color=INK)
    axes.set_xlim(0, trace.end)
    axes.set_ylim(max(bar.stop for bar in bars), min(bar.start for bar in bars))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    befell = moments(trace)
    unnamed = draw_moments(axes, befell, 560.0)
    if unnamed:
        figure.legend(handles=mark_legend(unnamed), loc="outside upper right", ncols=4, frameon=False,
                      fontsize=8)  # fmt: skip
    figure.psbook_sentence = f"{label}: {_sentence(bars, trace.end)} {told(befell, unit)}".rstrip()
    return figure


def _sentence(bars: list[Held], end: float) -> str:
    """Who held what at the start, and who at the end."""
    later = {(bar.start, bar.stop, bar.end) for bar in bars}
    first = [bar for bar in bars if not any(_follows(bar, *each) for each in later)]
    last = [bar for bar in bars if bar.end == end]
    return f"at first {_shares(first)}; in the end {_shares(last)}."


def _follows(bar: Held, start: int, stop: int, end: float) -> bool:
    """Whether the keys had been others' before."""
    return end == bar.begin and start < bar.stop and bar.start < stop


def _shares(bars: list[Held]) -> str:
    """Name each server with its ranges.

    >>> _shares([Held("server-0", 0, 4, 0, 1), Held("server-0", 4, 6, 0, 1), Held("server-1", 6, 9, 0, 1)])
    'server-0 answers for keys 0:6, server-1 for keys 6:9'
    """
    ranges: dict[str, list[list[int]]] = {}
    for bar in sorted(bars, key=lambda bar: bar.start):
        mine = ranges.setdefault(bar.node, [])
        if mine and mine[-1][1] == bar.start:
            mine[-1][1] = bar.stop
        else:
            mine.append([bar.start, bar.stop])
    said = [
        f"{node} for keys {' and '.join(f'{start}:{stop}' for start, stop in mine)}"
        for node, mine in ranges.items()
    ]
    return ", ".join(said).replace(" for keys", " answers for keys", 1)
