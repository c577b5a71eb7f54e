"""Where each program's time went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from psbook.errors import DataError
from psbook.trace import Trace, statistics
from psbook.trace.schema import SPANS
from psbook.view.picture import Picture, name_of, note_of, picture, say, thin_hatches, tidy, unit_of
from psbook.view.style import INK, KINDS, seconds_label


def waiting(trace: Trace) -> Picture:
    """Draw a bar a program, of the five kinds of its time; each bar is as long as the run (semantics.md H3).

    Parameters
    ----------
    trace
        A trace with spans: level "iterations" or "full".
    """
    label, unit = name_of(trace), unit_of(trace)
    table = seconds_of(trace)
    figure = picture(8.6, 1.9 + 0.26 * min(len(table), 60), f"{label}: where the time went", note_of(trace))
    axes = figure.subplots()
    axes.set_xlabel(seconds_label(unit))
    known = table[list(SPANS)].notna().any(axis=None)
    if table.empty or not known:
        tidy(axes, "x")
        axes.set_yticks([])
        say(axes, NO_SPANS)
        figure.psbook_sentence = f"{label}: {NO_SPANS}".replace("\n", " ")
        return figure
    stacked_bars(axes, table["node"].tolist(), table)
    axes.set_xlim(0, trace.end)
    sums = table[list(SPANS)].sum()
    kinds = kinds_of(sums)
    legend(figure, kinds)
    shares = ", ".join(f"{KINDS[kind].label} {100 * sums[kind] / sums.sum():.0f} %" for kind in kinds)
    many = f"{len(table)} programs" if len(table) > 1 else "1 program"
    figure.psbook_sentence = (
        f"{label}: where the time of {many} went, {trace.end:.4g} {unit} each. On average {shares}."
    )
    return figure


def seconds_of(trace: Trace) -> pd.DataFrame:
    """Return `psbook.trace.statistics.waiting`, without rows where the level of the trace has no times."""
    try:
        return statistics.waiting(trace)
    except DataError:
        return pd.DataFrame(columns=["node", *SPANS], dtype=float)


NO_SPANS = "this trace holds no times of the programs;\nrequired: trace='iterations' or 'full'"


def stacked_bars(axes: Axes, labels: Sequence[str], table: pd.DataFrame) -> None:
    """Draw a horizontal bar a row, the first on top, of the five kinds in seconds.

    Parameters
    ----------
    labels
        Name of each row.
    table : DataFrame
        A column of seconds for each of the five kinds, missing ones as NaN.
    """
    positions = np.arange(len(table))
    left = np.zeros(len(table))
    total = np.nansum(table[list(SPANS)].to_numpy(dtype=float), axis=1)
    with thin_hatches():
        for kind in SPANS:
            seconds = table[kind].fillna(0.0).to_numpy(dtype=float)
            style = KINDS[kind]
            axes.barh(positions, seconds, left=left, height=0.74, color=style.color, hatch=style.hatch,
                      edgecolor="#00000070", linewidth=0, label=style.label)  # fmt: skip
            if len(table) <= 24:
                _shares(axes, positions, left, seconds, total)
            left += seconds
    axes.set_ylim(len(table) - 0.45, -0.55)
    step = max(1, -(-len(table) // 40))
    axes.set_yticks(positions[::step], list(labels)[::step])
    tidy(axes, "x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def kinds_of(sums: pd.Series[Any]) -> list[str]:
    """Return the kinds that took a share of the time worth showing; sums of floats leave crumbs."""
    return [kind for kind in SPANS if sums.get(kind, 0.0) > 1e-6 * sums.sum()]


def _shares(
    axes: Axes, positions: np.ndarray, left: np.ndarray, seconds: np.ndarray, total: np.ndarray
) -> None:
    """Write the share of a kind into its part of the bar, where there is room."""
    for at, begin, length, whole in zip(positions, left, seconds, total, strict=True):
        if whole > 0 and length > 0.07 * total.max():
            axes.text(begin + length / 2, at, f"{100 * length / whole:.0f} %", ha="center", va="center",
                      fontsize=8, color=INK,
                      bbox={"boxstyle": "round,pad=0.12", "fc": "#ffffffb0", "ec": "none"})  # fmt: skip


def legend(figure: Picture, kinds: Sequence[str], more: Sequence[Any] = ()) -> None:
    """Explain the kinds of time in a row above the axes."""
    handles = [*patches(kinds), *more]
    figure.legend(handles=handles, loc="outside upper right", ncols=6, frameon=False, fontsize=9,
                  handlelength=1.6, columnspacing=1.4)  # fmt: skip


def patches(kinds: Sequence[str]) -> list[Patch]:
    """Return samples of how the kinds of time are drawn."""
    with thin_hatches():
        return [
            Patch(facecolor=KINDS[kind].color, hatch=KINDS[kind].hatch, edgecolor="#00000070", linewidth=0,
                  label=KINDS[kind].label)
            for kind in kinds
        ]  # fmt: skip
