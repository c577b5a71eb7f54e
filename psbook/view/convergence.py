"""Loss against seconds and against updates."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from psbook.trace import Trace
from psbook.trace.statistics import history
from psbook.view.marks import draw_moments, in_updates, mark_legend, moments, outages, told
from psbook.view.picture import Picture, haloed, name_of, note_of, picture, say, tidy, unit_of
from psbook.view.style import seconds_label, style_of


def convergence(trace: Trace) -> Picture:
    """Draw the held-out loss of a run in two panels: against time, and against updates applied.

    Faults, losses of nodes, restarts and checkpoints are marked in both; while a node was down and nobody had
    taken its place, time is shaded.

    Parameters
    ----------
    trace
        A trace of any level.

    Returns
    -------
    Picture
        Two axes that share the loss.
    """
    label, unit = name_of(trace), unit_of(trace)
    figure = picture(9.0, 3.7, f"{label}: convergence", note_of(trace))
    left, right = figure.subplots(1, 2, sharey=True)
    rows = history(trace)
    rows = rows[np.isfinite(rows["loss"])]
    for axes, column, name in (
        (left, "time_s", seconds_label(unit)),
        (right, "updates", "updates applied"),
    ):
        tidy(axes)
        axes.set_xlabel(name)
        line = style_of(str(trace.meta.get("model", ""))).line()
        axes.plot(rows[column], rows["loss"], label=label, **line)
        axes.set_xlim(left=0)
    left.set_ylabel("held-out loss")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    if rows.empty:
        say(left, "no loss was measured;\nJob(evaluate=…) measures it")
        say(right, "no loss was measured")
        figure.psbook_sentence = f"{label}: no loss was measured; Job(evaluate=…) measures it."
        return figure
    scale_loss(left, rows["loss"].to_numpy())
    befell = moments(trace)
    if befell:
        for axes in (left, right):
            axes.set_xlim(*axes.get_xlim())
        unnamed = draw_moments(left, befell, 250.0, down=outages(trace))
        draw_moments(right, in_updates(befell, rows), 250.0, labels=False)
        if unnamed:
            figure.legend(handles=mark_legend(unnamed), loc="outside upper right", ncols=4, frameon=False,
                          fontsize=8, handletextpad=0.2, columnspacing=1.0)  # fmt: skip
    first, last = rows.iloc[0], rows.iloc[-1]
    haloed(left, f"{last['loss']:.3g}", (last["time_s"], last["loss"]), xytext=(0, 7), ha="right", fontsize=9)
    figure.psbook_sentence = (
        f"{label}: the held-out loss goes from {first['loss']:.4g} to {last['loss']:.4g} in "
        f"{last['time_s']:.4g} {unit} and {last['updates']:.0f} updates. {told(befell, unit)}"
    ).rstrip()
    return figure


def scale_loss(axes: Axes, losses: np.ndarray) -> None:
    """Make the axis of losses logarithmic where a straight one would flatten them.

    Parameters
    ----------
    losses : (n,) float
        Finite losses.
    """
    if losses.min() > 0 and losses.max() / losses.min() > 5:
        axes.set_yscale("log")
        few_decades = losses.max() / losses.min() < 1e3
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few_decades else (1.0,), numticks=12))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
