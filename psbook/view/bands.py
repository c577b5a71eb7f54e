"""Losses of a sweep over time and over updates, with bands over seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from psbook.view.comparison import DIRECT, Band, band_from, leave_room, losses, name_lines
from psbook.view.convergence import scale_loss
from psbook.view.picture import Picture, picture
from psbook.view.style import FAINT, seconds_label
from psbook.view.swept import Source, grouped, looks_of, swept


def plot_sweep_bands(
    source: Source,
    by: str | Sequence[str] | None = None,
    *,
    target: float | None = None,
    title: str = "",
) -> Picture:
    """Draw losses against time and against updates: the median over seeds, and a band from best to worst.

    Parameters
    ----------
    source
        A `psbook.experiments.Sweep`; runs by label, as in ``{"BSP": [run, run]}``; or a table with columns of
        parameters, ``seed``, ``time_s`` [s], ``updates`` and ``loss``, one row an evaluation.
    by
        Parameters that have lines of their own; over the others, too, the band is taken. All by default.
    target : float, optional
        Loss to mark; that of the sweep by default.
    title
        What was swept.

    Returns
    -------
    Picture
        Two axes that share the loss.

    Examples
    --------
    >>> table = pd.DataFrame(
    ...     {
    ...         "model": "BSP",
    ...         "seed": [0, 0, 1, 1],
    ...         "time_s": [0.0, 2.0] * 2,
    ...         "updates": [0, 8] * 2,
    ...         "loss": [0.7, 0.1, 0.7, 0.3],
    ...     }
    ... )
    >>> plot_sweep_bands(table)
    Sweep. Median last loss and range over seeds: BSP 0.2 (0.1 … 0.3) after 2 simulated s.
    """
    data = swept(source)
    target = data.target if target is None else target
    parts = list(grouped(data.history, data.by(by)))
    labels = [label for label, _ in parts]
    looks = looks_of(labels)
    note = "line: median over seeds; band: from the best to the worst seed"
    figure = picture(10.5, 4.4, title or data.title, note)
    left, right = figure.subplots(1, 2, sharey=True)
    bands = {column: [_band(part, column) for _, part in parts] for column in ("time_s", "updates")}
    losses(left, labels, looks, bands["time_s"], seconds_label(data.unit))
    losses(right, labels, looks, bands["updates"], "updates applied")
    left.set_ylabel("held-out loss")
    right.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    seen = [band for band in bands["time_s"] if len(band.at)]
    if seen:
        scale_loss(left, np.concatenate([band.middle for band in seen]))
        leave_room(left, seen, len(seen) if len(seen) <= DIRECT else 0)
    for axes, column in ((left, "time_s"), (right, "updates")):
        if target is not None:
            axes.axhline(target, color=FAINT, linestyle=":", linewidth=1.0)
        if len(seen) <= DIRECT:
            name_lines(axes, labels, looks, bands[column])
    if len(seen) > DIRECT:
        figure.legend(*left.get_legend_handles_labels(), loc="outside right center", frameon=False,
                      fontsize=8, handlelength=3.2, labelcolor="linecolor")  # fmt: skip
    if target is not None:
        # Beyond the right edge no line passes through it.
        right.annotate(f"target\n{target:.3g}", (1, target), xycoords=("axes fraction", "data"),
                       xytext=(4, 0), textcoords="offset points", va="center", fontsize=8, color=FAINT,
                       annotation_clip=False)  # fmt: skip
    said = [
        f"{label} {band.middle[-1]:.3g} ({band.low[-1]:.3g} … {band.high[-1]:.3g}) after {band.at[-1]:.3g} "
        f"{data.unit}" if len(band.at) else f"{label} none"
        for label, band in zip(labels, bands["time_s"], strict=True)
    ]  # fmt: skip
    figure.psbook_sentence = (
        f"{title or data.title}. Median last loss and range over seeds: {'; '.join(said)}."
    )
    return figure


def _band(part: pd.DataFrame, column: str) -> Band:
    histories = []
    for _, run in part.sort_values(column, kind="stable").groupby("run", sort=False):
        fine = run[np.isfinite(run["loss"])]
        histories.append((fine[column].to_numpy(float), fine["loss"].to_numpy(float), len(fine) < len(run)))
    return band_from(histories)
