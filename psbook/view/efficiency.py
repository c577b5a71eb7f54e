"""Why a model is fast: iterations a second times progress an iteration is progress a second."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from psbook.errors import InvalidJob
from psbook.trace.statistics import documented
from psbook.view.picture import Picture, picture, tidy
from psbook.view.style import FAINT, INK, LineStyle
from psbook.view.swept import Source, Swept, grouped, looks_of, swept

COLUMNS = {
    "label": "combination of parameters",
    "run": "number of the run",
    "iterations_per_s": "hardware efficiency: worker iterations a second up to the target [1/s]",
    "progress_per_iteration": "statistical efficiency: share of the way to the target [1/iteration]",
    "progress_per_s": "their product: share of the way to the target [1/s]",
}
"""Columns of `efficiencies`."""

PANELS = (
    ("iterations_per_s", "iterations / second", "hardware efficiency", 1.0),
    ("progress_per_iteration", "% of the way to the target / iteration", "statistical efficiency", 100.0),
    ("progress_per_s", "% of the way to the target / second", "speed", 100.0),
)


def efficiencies(
    source: Source, by: str | Sequence[str] | None = None, target: float | None = None
) -> pd.DataFrame:
    """Return the two efficiencies of each run that reached the target.

    Parameters
    ----------
    source
        A sweep, or a table of evaluations as for `psbook.view.bands.plot_sweep_bands`, with a column
        ``iterations`` (of all workers).
    by
        Parameters; all by default.
    target : float, optional
        The sweep's own; else nine tenths of the way from the median first loss to the lowest of all.

    Returns
    -------
    DataFrame
        A row a run; ``.attrs["columns"]`` explains the columns, ``.attrs["target"]`` is the target.
        With i iterations and t seconds to the target they are i/t, 1/i and 1/t.

    Raises
    ------
    InvalidJob
        If there are no losses.
    """
    data = swept(source)
    if data.history.empty:
        raise InvalidJob("runs without losses; required: a job with an objective, Job(evaluate=…).")
    target = _target(data) if target is None else target
    rows = []
    for label, part in grouped(data.history, data.by(by)):
        for run, history in part.groupby("run", sort=False):
            reached = history[(history["loss"] <= target) & (history["iterations"] > 0)]
            if len(reached):
                first = reached.iloc[0]
                i, t = float(first["iterations"]), float(first["time_s"])
                rows.append((label, run, i / t, 1 / i, 1 / t))
    frame = documented(pd.DataFrame(rows, columns=list(COLUMNS)), COLUMNS)
    frame.attrs["target"] = target
    return frame


def plot_efficiency(
    source: Source, by: str | Sequence[str] | None = None, *, target: float | None = None, title: str = ""
) -> Picture:
    """Draw hardware efficiency × statistical efficiency = speed, a bar a combination of parameters.

    Parameters
    ----------
    source, by, target
        As for `efficiencies`.
    title
        What was swept.

    Returns
    -------
    Picture
        Three axes of bars: medians over seeds, a dot a seed.
    """
    data = swept(source)
    frame = efficiencies(source, by, target)
    target = float(frame.attrs["target"])
    labels = [label for label, _ in grouped(data.history, data.by(by))]
    looks = looks_of(labels)
    note = f"target loss {target:.4g}  ·  bars: median over seeds that reached it; dots: seeds"
    figure = picture(11.0, 1.9 + 0.36 * len(labels), title or data.title, note)
    several = figure.subplots(1, 3, sharey=True)
    for axes, (column, name, heading, scale) in zip(several, PANELS, strict=True):
        values = [scale * frame.loc[frame["label"] == label, column].to_numpy(float) for label in labels]
        _bars(axes, values, looks)
        axes.set_xlabel(name)
        axes.set_title(heading, fontsize=10, color=INK, loc="left")
    for axes, sign in zip(several[1:], "×=", strict=True):
        axes.text(-0.035, 0.5, sign, transform=axes.transAxes, ha="center", va="center", fontsize=18)
    several[0].set_yticks(range(len(labels)), labels)
    several[0].set_ylim(len(labels) - 0.4, -0.6)
    for text, look in zip(several[0].get_yticklabels(), looks, strict=True):
        text.set_color(look.color)
    figure.psbook_sentence = _sentence(title or data.title, frame, labels)
    return figure


def _bars(axes: Axes, values: Sequence[np.ndarray], looks: Sequence[LineStyle]) -> None:
    tidy(axes, "x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    for row, (each, look) in enumerate(zip(values, looks, strict=True)):
        if not len(each):
            axes.text(0, row, "  never reached", va="center", fontsize=8, color=FAINT)
            continue
        middle = float(np.median(each))
        axes.barh(row, middle, height=0.62, color=look.color, alpha=0.8)
        axes.plot(each, np.full(len(each), row), "o", color=INK, markersize=2.5, alpha=0.6)
        axes.annotate(f"{middle:.3g}", (max(middle, float(each.max())), row), xytext=(5, 0), va="center",
                      textcoords="offset points", fontsize=8, color=INK)  # fmt: skip
    axes.set_xlim(0, 1.18 * max((float(each.max()) for each in values if len(each)), default=1.0))


def _sentence(title: str, frame: pd.DataFrame, labels: Sequence[str]) -> str:
    medians = frame.groupby("label", sort=False)[[column for column, *_ in PANELS]].median()
    said = []
    for label in labels:
        if label not in medians.index:
            said.append(f"{label} never reached it")
            continue
        hardware, statistical, speed = medians.loc[label].to_numpy(float)
        said.append(
            f"{label} {hardware:.3g} iterations/s × {100 * statistical:.3g} %/iteration = "
            f"{100 * speed:.3g} %/s"
        )
    return f"{title}: the way to loss {frame.attrs['target']:.4g}. {'; '.join(said)}."


def _target(data: Swept) -> float:
    if data.target is not None:
        return data.target
    losses = data.history.sort_values("time_s", kind="stable")
    losses = losses[np.isfinite(losses["loss"])]
    first = float(losses.groupby("run")["loss"].first().median())
    return first - 0.9 * (first - float(losses["loss"].min()))
