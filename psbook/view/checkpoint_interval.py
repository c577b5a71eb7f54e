"""Expected time over the interval between checkpoints, with simulated means, the minimum and Young's."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from psbook.errors import InvalidJob
from psbook.experiments.checkpoint_interval import (
    CONFIDENCE,
    best_interval,
    expected_time,
    young_interval,
)
from psbook.view.picture import Picture, haloed, picture, tidy
from psbook.view.style import FAINT, INK, OTHERS

CURVE, YOUNG = OTHERS[0].color, OTHERS[1].color


def plot_interval(curve: pd.DataFrame) -> Picture:
    """Draw the time to completion over the interval between checkpoints.

    Parameters
    ----------
    curve : DataFrame
        The outcome of `psbook.experiments.checkpoint_interval.interval_curve`.

    Returns
    -------
    Picture
        One axes: the closed form as a line, simulated means with confidence bars, a diamond at the
        minimum, a square at Young's interval, a dotted line at the work alone.

    Raises
    ------
    InvalidJob
        A table that does not say which job it is about.

    Examples
    --------
    >>> from psbook.experiments.checkpoint_interval import interval_curve
    >>> plot_interval(interval_curve(86400, 1 / 7200, 120, 60, segments=[96], runs=50))
    Checkpoint interval: 86400 s of work take 100229 s at best, with a checkpoint every 890 s of work;
    Young's 929.5 s is 4.4 % longer and takes 0.012 % more time. Without checkpoints it is 1.19e+09 s.
    """
    job = curve.attrs.get("job")
    if job is None:
        raise InvalidJob(
            'a table without .attrs["job"]; required: what interval_curve(…) returns, which loses it in some '
            "operations of pandas. Pass it as it came."
        )
    best, young = best_interval(**job), young_interval(job["rate"], job["cost"])
    lowest = expected_time(**job, every=best)
    # An interval longer than the work is not on the curve: there is no such checkpoint.
    youngs = expected_time(**job, every=young) if young <= job["work"] else None
    figure = picture(8.6, 4.6, "Time to completion over the interval between checkpoints", _note(job))
    axes = figure.subplots()
    tidy(axes)
    axes.set_xscale("log")
    axes.set_xlabel("work between two checkpoints, seconds (logarithmic)")
    axes.set_ylabel("time to completion, seconds")
    _lines(axes, curve, job["work"])
    # One above the other inside the curve: the two are close, and it is flat there.
    where: dict[str, Any] = {"fontsize": 9, "ha": "center" if best < job["work"] else "right"}
    _mark(axes, best, lowest, "D", 7, CURVE)
    haloed(axes, f"◇ best: {best:.4g} s", (best, lowest), xytext=(0, 36), color=CURVE, **where)
    if youngs is not None:
        _mark(axes, young, youngs, "s", 11, YOUNG)
        text = f"□ Young: {young:.4g} s, {_percent(youngs / lowest)} more time"
        haloed(axes, text, (best, lowest), xytext=(0, 20), color=YOUNG, **where)
    figure.psbook_sentence = _sentence(job, best, young, lowest, youngs)
    return figure


def _lines(axes: Axes, curve: pd.DataFrame, work: float) -> None:
    axes.plot(curve["every_s"], curve["expected_s"], color=CURVE, linewidth=1.8)
    first = curve.iloc[0]
    haloed(axes, "closed form", (first["every_s"], first["expected_s"]), xytext=(8, 0), fontsize=9,
           color=CURVE)  # fmt: skip
    points = curve[curve["runs"] > 0]
    if len(points):
        axes.errorbar(points["every_s"], points["simulated_s"], yerr=points["half_width_s"], fmt="o",
                      color=INK, markersize=3.5, linewidth=1.2, capsize=3, zorder=3)  # fmt: skip
        # A curve with one minimum leaves the middle of the top free.
        text = (
            f"dots: mean of {points['runs'].max()} simulated runs,\n"
            f"bars: its {100 * CONFIDENCE:g} % confidence interval"
        )
        haloed(axes, text, (0.5, 1.0), xycoords="axes fraction", xytext=(0, -6), ha="center", va="top",
               fontsize=9, color=INK)  # fmt: skip
    axes.axhline(work, color=FAINT, linewidth=1.2, linestyle=":")
    haloed(axes, "the work alone", (curve["every_s"].iloc[0], work), xytext=(0, 4), fontsize=9, color=FAINT)


def _mark(axes: Axes, every: float, time: float, marker: str, size: float, color: str) -> None:
    # Hollow: one is seen through the other.
    axes.plot([every], [time], marker=marker, color=color, markersize=size, markerfacecolor="none",
              markeredgewidth=1.8, zorder=4)  # fmt: skip


def _note(job: dict[str, float]) -> str:
    parts = [
        f"{job['work']:.6g} s of work",
        f"a failure every {1 / job['rate']:.6g} s",
        f"restart {job['restart']:.4g} s",
        f"checkpoint {job['cost']:.4g} s",
        f"without checkpoints {_scratch(job)}",
    ]
    return "  ·  ".join(parts)


def _scratch(job: dict[str, float]) -> str:
    seconds = expected_time(job["work"], job["rate"], job["restart"])
    return f"{seconds:.3g} s" if math.isfinite(seconds) else "over 1e308 s"


def _percent(ratio: float) -> str:
    """By how much a ratio is above 1.

    >>> _percent(1.028), _percent(1 + 1e-9)
    ('2.8 %', 'less than 0.001 %')
    """
    share = 100 * (ratio - 1)
    return f"{share:.2g} %" if share >= 1e-3 else "less than 0.001 %"


def _sentence(job: dict[str, float], best: float, young: float, lowest: float, youngs: float | None) -> str:
    said = f"Young's {young:.4g} s is longer than the work"
    if youngs is not None:
        said = (
            f"Young's {young:.4g} s is {_percent(young / best)} longer and takes {_percent(youngs / lowest)} "
            f"more time"
        )
    return (
        f"Checkpoint interval: {job['work']:.6g} s of work take {lowest:.6g} s at best, with a checkpoint "
        f"every {best:.4g} s of work; {said}. Without checkpoints it is {_scratch(job)}."
    )
