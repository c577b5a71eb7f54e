"""The convergence that is predicted, with its band, beside that of a real run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from psbook.errors import InvalidJob
from psbook.trace import statistics
from psbook.view.convergence import scale_loss
from psbook.view.picture import Picture, haloed, picture, say, tidy
from psbook.view.style import FAINT, INK, style_of

if TYPE_CHECKING:
    from psbook.experiments.prediction import Prediction
    from psbook.run import Run


def plot_prediction(prediction: Prediction, run: Run | None = None, loss: float | None = None) -> Picture:
    """Draw losses over time.

    Parameters
    ----------
    prediction
        What `psbook.predict` returns.
    run
        The same job, made for real.
    loss
        A loss to mark, with the interval of the time to it.

    Returns
    -------
    Picture
        The median of the simulated runs as a line, a band in which a run lies with the prediction's
        confidence, dots for the real run; below, intervals of the time that the run takes.

    Raises
    ------
    InvalidJob
        If the job has no objective.
    """
    meta = prediction.runs[0].meta
    title = f"Predicted: {prediction.workers} workers, {prediction.model.label}"
    recorded = prediction.calibration.trace
    known = recorded.meta
    note = (
        f"{meta['job']}  ·  from {len(known['workers'])} workers under {known['model_label']}  ·  "
        f"one iteration = {meta['iteration_unit']}  ·  median and {100 * prediction.confidence:g} % of "
        f"{len(prediction.runs)} simulated runs"
    )
    figure = picture(8.6, 4.6, title, note)
    axes, below = figure.subplots(2, 1, height_ratios=[4.0, 0.7], sharex=True)
    tidy(axes)
    tidy(below, "x")
    below.set_xlabel("seconds (predicted ones are simulated)")
    below.set_yticks([])
    if prediction.history.empty:
        say(axes, "no loss was measured;\nJob(evaluate=…) measures it")
        if loss is not None:
            raise InvalidJob("a loss to mark, but the job has no objective; required: Job(evaluate=…).")
    else:
        _losses(axes, prediction, run, loss)
    seconds = prediction.seconds
    color = style_of(prediction.model.family).color
    below.plot(
        [seconds.low, seconds.high], [-0.5, -0.5], color=color, linewidth=6, alpha=0.35, solid_capstyle="butt"
    )
    below.plot([seconds.value], [-0.5], marker="|", markersize=14, color=color, markeredgewidth=2.2)
    below.set_ylim(-1, 1)
    text = f"ends after {seconds.value:.3g} s ({seconds.low:.3g} … {seconds.high:.3g})"
    if run is not None:
        below.plot([run.seconds], [-0.5], marker="o", markersize=6, color=INK)
        text += f"; the real run took {run.seconds:.3g} s"
    haloed(below, text, (0, 0.5), xytext=(4, 0), va="center", fontsize=9, color=INK)
    axes.set_xlim(left=0)
    figure.psbook_sentence = str(prediction)
    if run is not None:
        figure.psbook_sentence += f" The real run took {run.seconds:.3g} s."
    return figure


def _losses(axes: Axes, prediction: Prediction, run: Run | None, loss: float | None) -> None:
    style = style_of(prediction.model.family)
    ends = [each.seconds for each in prediction.runs]
    grid = np.linspace(0.0, float(np.median(ends)), 200)
    curves = np.array([_curve(each.history, grid) for each in prediction.runs])
    tails = ((1 - prediction.confidence) / 2, 0.5, (1 + prediction.confidence) / 2)
    low, middle, high = np.quantile(curves, tails, axis=0)
    axes.fill_between(grid, low, high, color=style.color, alpha=0.2, linewidth=0)
    axes.plot(grid, middle, color=style.color, linestyle=style.dashes, linewidth=1.8, label="predicted")
    if run is not None:
        rows = statistics.history(run.trace)
        rows = rows[np.isfinite(rows["loss"])]
        step = max(1, len(rows) // 60)
        axes.plot(rows["time_s"][::step], rows["loss"][::step], color=INK, linestyle="", marker="o",
                  markersize=3, label="real run")  # fmt: skip
    scale_loss(axes, middle[np.isfinite(middle)])
    axes.set_ylabel("held-out loss")
    if loss is not None:
        time = prediction.time_to(loss)
        axes.axhline(loss, color=FAINT, linestyle=":", linewidth=1.0)
        if np.isfinite(time.high):
            axes.plot([time.low, time.high], [loss, loss], color=INK, linewidth=2.4)
        haloed(axes, f"{loss:.3g} after {time.value:.3g} s", (time.value, loss), xytext=(6, 6), fontsize=9,
               color=INK)  # fmt: skip
    axes.legend(frameon=False, fontsize=9)


def _curve(history: pd.DataFrame, grid: np.ndarray) -> np.ndarray:
    """Loss that was known last at each time of the grid."""
    rows = history.sort_values("time_s")
    times, losses = rows["time_s"].to_numpy(float), rows["loss"].to_numpy(float)
    return losses[np.maximum(0, np.searchsorted(times, grid, "right") - 1)]
