"""What befell a run, marked along the time of a picture: faults, what was lost, restarts, checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from psbook.trace import Trace
from psbook.view.style import MARKS

LEVELS = 4
"""Rows of labels above a picture; what finds no room there has its sign only."""

LETTER, FONT = 4.3, 7.5
"""Width of a letter of a label, and its size, points."""

VERBS = {
    "crash": "crashes",
    "restart": "starts again",
    "pause": "hangs",
    "resume": "goes on",
    "join": "joins",
    "leave": "is to leave",
}
"""What the kinds of `psbook.simulator.faults.Event` are called; those of `FAULTS` are faults."""

FAULTS = ("crash", "pause", "join", "leave")


class Moment(NamedTuple):
    """Something that befell the run.

    Attributes
    ----------
    time : float
        Seconds.
    kind : str
        How it is drawn, one of `psbook.view.style.MARKS`.
    text : str
        What happened to whom.
    """

    time: float
    kind: str
    text: str


@dataclass(frozen=True)
class Outage:
    """A stretch of time in which a node was down, and nobody had taken its place yet."""

    start: float
    stop: float


def moments(trace: Trace) -> list[Moment]:
    """Return what befell a run, in order; what happens to several nodes at once is one moment.

    Parameters
    ----------
    trace
        A trace of any level.

    Examples
    --------
    >>> from psbook.trace import Recorder
    >>> recorder = Recorder()
    >>> recorder.add(3.0, "server-1", "fault", detail="crash: server-1 crashes at 3 s and never comes back.")
    >>> recorder.add(3.5, "server-1", "lost", detail="server-1: no sign of life since 3 s")
    >>> for moment in moments(recorder.trace({})):
    ...     print(*moment)
    3.0 fault server-1 crashes
    3.5 lost server-1 given up
    """
    nodes: dict[tuple[float, str, str], list[str]] = {}
    for row in _rows(trace.of("fault", "lost", "restart", "checkpoint")):
        kind, verb, who = _read(row)
        held = nodes.setdefault((float(row.time), kind, verb), [])
        if who not in held:  # a restart is in the trace as what was planned and as what was done
            held.append(who)
    return [Moment(time, kind, f"{_listed(who)} {verb}".strip()) for (time, kind, verb), who in nodes.items()]


def _rows(frame: pd.DataFrame) -> Iterator[Any]:
    yield from frame.itertuples()


def _read(row: Any) -> tuple[str, str, str]:
    """Kind of mark, what happened, and to whom."""
    if row.kind == "checkpoint":
        return "checkpoint", "", f"checkpoint {row.clock}"
    if row.kind == "restart":
        return "restart", VERBS["restart"], row.node
    if row.kind == "lost":
        if not np.isnan(row.value):
            return "lost", "", f"{row.value:.0f} updates lost"
        return "lost", "has left" if row.detail.startswith("left") else "given up", row.node
    event = row.detail.partition(":")[0]
    return ("fault" if event in FAULTS else "restart"), VERBS.get(event, event), row.node


def outages(trace: Trace) -> list[Outage]:
    """Return from each crash or hang to when the node is given up, or back."""
    rows = trace.of("fault", "lost", "restart")
    found = []
    for row in _rows(rows[rows["kind"] == "fault"]):
        if row.detail.startswith(("crash:", "pause:")):
            later = rows[(rows["node"] == row.node) & (rows["time"] > row.time)]
            found.append(Outage(row.time, float(later["time"].min()) if len(later) else trace.end))
    return found


def draw_moments(
    axes: Axes, shown: Sequence[Moment], width: float, *, labels: bool = True, down: Sequence[Outage] = ()
) -> list[Moment]:
    """Draw a line and a sign at each moment, its text above the axes where there is room.

    Parameters
    ----------
    axes
        Its x axis is time, and already has its limits.
    shown
        What to draw; what lies outside of the limits is left out.
    width
        About how wide the axes are, points.
    labels
        Whether to write the texts.
    down
        Stretches to shade.

    Returns
    -------
    list of Moment
        Those that are drawn without their text, for a legend.
    """
    begin, end = axes.get_xlim()
    for outage in down:
        start, stop = max(outage.start, begin), min(outage.stop, end)
        if stop > start:
            axes.axvspan(start, stop, facecolor=MARKS["fault"].color, alpha=0.09, linewidth=0, zorder=0.5)
    inside = [moment for moment in shown if begin <= moment.time <= end]
    for moment in inside:
        look = MARKS[moment.kind]
        if look.dashes:
            axes.axvline(moment.time, color=look.color, linestyle=look.dashes, linewidth=1.1, zorder=2.6)
        axes.plot([moment.time], [1.0], marker=look.marker, color=look.color, markersize=look.size,
                  markeredgecolor="white", markeredgewidth=0.6, linestyle="", clip_on=False, zorder=6,
                  transform=axes.get_xaxis_transform())  # fmt: skip
    named = _write(axes, inside, width / (end - begin)) if labels and end > begin else []
    return [moment for moment in inside if moment not in named]


def _write(axes: Axes, inside: Sequence[Moment], scale: float) -> list[Moment]:
    """Write texts in as few rows as they need; a checkpoint's only where all of them find room."""
    named = []
    taken = [-np.inf] * LEVELS
    begin, end = axes.get_xlim()
    halo = [withStroke(linewidth=2.0, foreground="white", alpha=0.85)]
    for moment in _worth_naming(inside, scale):
        long = LETTER * len(moment.text) + 8
        at = (moment.time - begin) * scale
        to_left = at + long > (end - begin) * scale + 30
        left = at - long if to_left else at
        level = next((number for number, right in enumerate(taken) if left > right), None)
        if level is None:
            continue
        taken[level] = left + long
        named.append(moment)
        axes.annotate(moment.text, (moment.time, 1.0), xycoords=("data", "axes fraction"),
                      xytext=(-5 if to_left else 5, 3 + 9 * level), textcoords="offset points",
                      ha="right" if to_left else "left", va="bottom", fontsize=FONT,
                      color=MARKS[moment.kind].color, path_effects=halo)  # fmt: skip
    return named


def _worth_naming(inside: Sequence[Moment], scale: float) -> list[Moment]:
    saved = [moment.time for moment in inside if moment.kind == "checkpoint"]
    room = len(saved) < 2 or float(np.diff(saved).min()) * scale > 16 * LETTER
    return sorted(moment for moment in inside if room or moment.kind != "checkpoint")


def mark_legend(shown: Sequence[Moment]) -> list[Line2D]:
    """Return a sample of each kind of mark that occurs."""
    kinds = {moment.kind for moment in shown}
    return [
        Line2D([], [], color=look.color, marker=look.marker, markersize=look.size, linestyle="",
               markeredgecolor="white", markeredgewidth=0.6, label=look.label)
        for kind, look in MARKS.items() if kind in kinds
    ]  # fmt: skip


def in_updates(shown: Sequence[Moment], history: pd.DataFrame) -> list[Moment]:
    """Return the same moments along the updates applied instead of time.

    Parameters
    ----------
    shown
        Moments in seconds.
    history : DataFrame
        What `psbook.trace.statistics.history` returns, at least one row.
    """
    rows = history.sort_values("time_s", kind="stable")
    return [
        moment._replace(time=float(np.interp(moment.time, rows["time_s"], rows["updates"])))
        for moment in shown
    ]


def told(shown: Sequence[Moment], unit: str) -> str:
    """Say what befell the run, as the end of a picture's sentence; empty if nothing did."""
    saved = sum(moment.kind == "checkpoint" for moment in shown)
    parts = [f"{moment.text} at {moment.time:.4g} {unit}" for moment in shown if moment.kind != "checkpoint"]
    more = [f"and {len(parts) - 8} more such events"] if len(parts) > 8 else []
    said = "; ".join(parts[:8] + more)
    counted = f"{saved} checkpoint{'s were' if saved > 1 else ' was'} taken." if saved else ""
    return " ".join(part for part in (said and f"{said}.", counted) if part)


def _listed(nodes: Sequence[str]) -> str:
    *most, last = nodes
    return f"{', '.join(most)} and {last}" if most else last
