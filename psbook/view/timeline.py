"""What each program did when."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from psbook.errors import InvalidJob
from psbook.trace import Trace
from psbook.trace.schema import SPANS
from psbook.view.marks import draw_moments, mark_legend, moments, outages, told
from psbook.view.picture import Picture, haloed, name_of, note_of, picture, say, thin_hatches, tidy, unit_of
from psbook.view.style import FAINT, INK, KINDS, seconds_label
from psbook.view.waiting import NO_SPANS, kinds_of, legend

ITERATIONS = 30
"""Iterations of the fastest worker that a picture shows unless told otherwise."""

HEIGHT = 0.78


def window(trace: Trace, start: float | None = None, stop: float | None = None) -> tuple[float, float]:
    """Return the seconds to show: all of a short run, the first `ITERATIONS` iterations of a long one.

    Raises
    ------
    InvalidJob
        If `stop` is not after `start`.
    """
    end = trace.end
    begin = 0.0 if start is None else float(start)
    if stop is None:
        clocks = trace.of("clock")
        later = clocks[clocks["time"] >= begin]
        number = later.groupby("node", sort=False, observed=True).cumcount() + 1
        reached = later.loc[number == ITERATIONS, "time"]
        stop = min(end, float(reached.min())) if len(reached) else end
    if not stop > begin and end > 0:
        raise InvalidJob(
            f"timeline from {begin:g} to {float(stop):g} s; required: start < stop, within 0 … {end:g} s."
        )
    return begin, float(stop)


def timeline(trace: Trace, start: float | None = None, stop: float | None = None) -> Picture:
    """Draw a bar a program: the five kinds of its time, and ticks where its clock advances.

    Faults, losses of nodes, restarts and checkpoints are marked above the bars.

    Parameters
    ----------
    trace
        A trace with spans: level "iterations" or "full".
    start, stop
        Seconds to show; see `window`.

    Raises
    ------
    InvalidJob
        If `stop` is not after `start`.
    """
    label, unit = name_of(trace), unit_of(trace)
    spans = trace.of(*SPANS)
    programs = list(trace.meta.get("programs") or sorted(spans["node"].unique()))
    begin, end = window(trace, start, stop)
    figure = picture(11.0, 1.9 + min(0.34 * len(programs), 16.0), f"{label}: timeline", note_of(trace))
    axes = figure.subplots()
    axes.set_xlabel(seconds_label(unit))
    tidy(axes, "x")
    if spans.empty:
        axes.set_yticks([])
        say(axes, NO_SPANS)
        figure.psbook_sentence = f"{label}: {NO_SPANS}".replace("\n", " ")
        return figure
    shown = spans[(spans["time"] < end) & (spans["time"] + spans["duration"] > begin)]
    draw_spans(axes, shown, programs)
    clocks = trace.of("clock")
    clocks = clocks[(clocks["time"] >= begin) & (clocks["time"] <= end)]
    draw_clocks(axes, clocks, programs, end - begin)
    _rows(axes, programs)
    axes.set_xlim(begin, end)
    inside = (shown["time"] + shown["duration"]).clip(upper=end) - shown["time"].clip(lower=begin)
    sums = inside.groupby(shown["kind"], observed=True).sum()
    kinds = kinds_of(sums)
    tick: Any = Line2D([], [], color=INK, marker="|", markersize=9, linestyle="", label="clock()")
    everything = moments(trace)
    befell = [moment for moment in everything if begin <= moment.time <= end]
    unnamed = draw_moments(axes, befell, 700.0, down=outages(trace))
    legend(figure, kinds, [tick, *mark_legend(unnamed)])
    whole = begin == 0 and end >= trace.end
    if not whole:
        axes.set_xlabel(f"{seconds_label(unit)}, {begin:.4g} to {end:.4g} of a run of {trace.end:.4g}")
    said = _sentence(label, unit, programs, sums, clocks, begin, end)
    later = [moment for moment in everything if moment.time > end and moment.kind != "checkpoint"]
    if later:
        hint = f"not shown: {told(later[:1], unit)[:-1]}" + (" and more" if len(later) > 1 else "")
        axes.set_xlabel(f"{axes.get_xlabel()}; {hint}")
        said += f" {hint.capitalize()}; timeline(start, stop) shows it."
    figure.psbook_sentence = f"{said} {told(befell, unit)}".rstrip()
    return figure


def draw_spans(axes: Axes, spans: pd.DataFrame, programs: list[str]) -> None:
    """Draw the spans of each program in a row of its own, the first program on top."""
    at = {node: position for position, node in enumerate(programs)}
    with thin_hatches():
        for (node, kind), rows in spans.groupby(["node", "kind"], sort=False, observed=True):
            if node in at:
                style = KINDS[str(kind)]
                bars = list(zip(rows["time"], rows["duration"], strict=True))
                axes.broken_barh(bars, (at[node] - HEIGHT / 2, HEIGHT), facecolor=style.color,
                                 hatch=style.hatch, edgecolor="#00000060", linewidth=0)  # fmt: skip


def draw_clocks(axes: Axes, clocks: pd.DataFrame, programs: list[str], length: float) -> None:
    """Draw a tick at each call of ``clock()``, with its number where there is room."""
    for position, node in enumerate(programs):
        rows = clocks[clocks["node"] == node]
        times = rows["time"].to_numpy()
        axes.vlines(times, position - HEIGHT / 2, position + HEIGHT / 2, color=INK, linewidth=1.0)
        room = np.diff(times, prepend=0.0) >= 0.018 * length
        for time, number in zip(times[room], rows["clock"].to_numpy()[room], strict=True):
            if len(programs) <= 40:
                haloed(axes, str(number), (time, position), xytext=(-2, 0), ha="right", va="center",
                       fontsize=6.5, color=INK)  # fmt: skip


def _rows(axes: Axes, programs: list[str]) -> None:
    axes.set_ylim(len(programs) - 0.4, -0.6)
    step = max(1, -(-len(programs) // 45))
    axes.set_yticks(range(0, len(programs), step), programs[::step])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.yaxis.label.set_color(FAINT)


def _sentence(
    label: str, unit: str, programs: list[str], sums: pd.Series[Any], clocks: pd.DataFrame,
    begin: float, end: float,
) -> str:  # fmt: skip
    shares = ", ".join(
        f"{KINDS[kind].label} {100 * sums[kind] / sums.sum():.0f} %" for kind in kinds_of(sums)
    )
    ended = clocks.groupby("node", observed=True)["clock"].max()
    between = f", clocks up to {ended.min()} … {ended.max()}" if len(ended) else ""
    return (
        f"{label}: timeline of {len(programs)} programs from {begin:.4g} to {end:.4g} {unit}{between}: "
        f"{shares}."
    )
