"""The standard questions about a sweep: how long to a loss, how good after a time, and what is worth both."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from psbook.errors import InvalidJob
from psbook.experiments.intervals import Statistic
from psbook.experiments.swept import Sweep
from psbook.experiments.tidy import estimated, frame_of, groups


def time_to_target(
    sweep: Sweep, target: float, by: str | Sequence[str] | None = None, confidence: float = 0.95
) -> pd.DataFrame:
    """Seconds until the loss is at most a target: medians over seeds, with runs that never get there.

    Parameters
    ----------
    sweep
        The runs.
    target : float
        Loss.
    by
        Parameters, one row a combination; all by default.
    confidence : float
        Of the bootstrap interval.

    Returns
    -------
    DataFrame
        ``time_s``: the median. A run that never reached the target counts as infinitely slow, so where half
        of the runs or more did not, the median is infinite, and no run is left out to make it finite. What
        is known of those runs is that they take longer than ``censored_s``, the shortest of them.
        ``reached`` and ``share_reached`` count the others.

    Raises
    ------
    InvalidJob
        If the runs have no losses, or `by` names none.

    Examples
    --------
    >>> from psbook.experiments.by_hand import by_hand
    >>> sweep = by_hand(["model"], {("ASP",): [[1, 0.5, 0.25]], ("BSP",): [[1, 0.8, 0.4], [1, 0.9, 0.9]]})
    >>> time_to_target(sweep, 0.5)[["model", "time_s", "share_reached"]].values.tolist()
    [['ASP', 1.0, 1.0], ['BSP', inf, 0.5]]
    """
    _check_losses(sweep)
    times = sweep.times_to(target)
    rows = []
    names = sweep.grouping(by)
    for labels, part in groups(sweep.table, names):
        good = part[part["error"] == ""]
        found = times[good["run"]].to_numpy()
        missed = good["seconds"].to_numpy()[~np.isfinite(found)]
        rows.append({
            **labels, "runs": len(good), "failed": len(part) - len(good),
            "reached": int(np.isfinite(found).sum()),
            "share_reached": float(np.isfinite(found).mean()) if len(found) else math.nan,
            **estimated("time_s", found, confidence),
            "censored_s": float(missed.min()) if len(missed) else math.nan,
        })  # fmt: skip
    meanings = {
        "reached": "runs that reached the target",
        "share_reached": "reached / runs",
        "time_s": f"median time to a loss of at most {target:g}, infinite where it is never reached [s]",
        "censored_s": "length of the shortest run that never reached it [s]; NaN if there is none",
    }
    return frame_of(rows, names, meanings, confidence)


def loss_at(
    sweep: Sweep,
    seconds: float,
    by: str | Sequence[str] | None = None,
    confidence: float = 0.95,
    statistic: Statistic = "median",
) -> pd.DataFrame:
    """Loss at a budget of time: the last one that was evaluated by then.

    Parameters
    ----------
    sweep
        The runs.
    seconds : float
        The budget, in the time unit of the sweep.
    by, confidence, statistic
        As for `Sweep.summary`.

    Returns
    -------
    DataFrame
        ``loss``; infinite for a run that had diverged. ``share_ended`` of the runs had ended before the
        budget: a longer run might have done better.

    Raises
    ------
    InvalidJob
        If the runs have no losses, or an argument makes no sense.

    Examples
    --------
    >>> from psbook.experiments.by_hand import by_hand
    >>> sweep = by_hand(["model"], {("ASP",): [[1, 0.5, 0.25]], ("BSP",): [[1, 0.8]]})
    >>> loss_at(sweep, 1.5)[["model", "loss", "share_ended"]].values.tolist()
    [['ASP', 0.5, 0.0], ['BSP', 0.8, 1.0]]
    """
    _check_losses(sweep)
    if not seconds >= 0:
        raise InvalidJob(f"seconds={seconds!r}; required: a time >= 0.")
    losses = sweep.losses_at(seconds)
    names = sweep.grouping(by)
    rows = []
    for labels, part in groups(sweep.table, names):
        good = part[part["error"] == ""]
        rows.append({
            **labels, "runs": len(good), "failed": len(part) - len(good),
            **estimated("loss", losses[good["run"]].to_numpy(), confidence, statistic),
            "share_ended": float((good["seconds"] < seconds).mean()) if len(good) else math.nan,
        })  # fmt: skip
    meanings = {
        "loss": f"{statistic} of the last loss within {seconds:g} s",
        "share_ended": "share of the runs that ended before",
    }
    return frame_of(rows, names, meanings, confidence)


def pareto(
    sweep: Sweep,
    by: str | Sequence[str] | None = None,
    *,
    time: str = "seconds",
    quality: str = "loss_final",
    statistic: Statistic = "median",
) -> pd.DataFrame:
    """Settings by time and quality, and which of them no other one beats in both.

    Parameters
    ----------
    sweep
        The runs.
    by
        Parameters, one row a combination; all by default.
    time, quality : str
        Columns of ``sweep.table``; of both less is better.
    statistic
        Over seeds.

    Returns
    -------
    DataFrame
        One row a combination, by time; ``front`` says whether it is on the Pareto front.

    Raises
    ------
    InvalidJob
        If a name is no parameter, or no quantity.

    Examples
    --------
    >>> from psbook.experiments.by_hand import by_hand
    >>> sweep = by_hand(["model"], {("ASP",): [[1, 0.5, 0.25]], ("BSP",): [[1, 1, 1, 0.8]]})
    >>> pareto(sweep)[["model", "seconds", "loss_final", "front"]].values.tolist()
    [['ASP', 2.0, 0.25, True], ['BSP', 3.0, 0.8, False]]
    """
    frame = sweep.summary(by, [time, quality], statistic=statistic)
    frame["front"] = front_of(frame[time], frame[quality])
    meanings = {**frame.attrs["columns"], "front": f"no other row has less {time} and less {quality}"}
    frame = frame.sort_values([time, quality], kind="stable", ignore_index=True)
    frame.attrs["columns"] = meanings
    return frame


def front_of(times: ArrayLike, losses: ArrayLike) -> NDArray[np.bool_]:
    """Say of points in the plane which ones no other point beats.

    A point is beaten by one that is at most as large in both and smaller in one; equal points share the
    front. A point that is not finite is never on it.

    >>> front_of([1, 2, 3, 3], [5, 6, 4, 5]).tolist()
    [True, False, True, False]
    """
    x, y = np.asarray(times, np.float64), np.asarray(losses, np.float64)
    finite = np.isfinite(x) & np.isfinite(y)
    order = np.lexsort((y, x))
    order = order[finite[order]]
    on_front = np.zeros(len(x), bool)
    best = math.inf
    for place, index in enumerate(order):
        twin = place > 0 and (x[index], y[index]) == (x[order[place - 1]], y[order[place - 1]])
        on_front[index] = y[index] < best or (twin and on_front[order[place - 1]])
        best = min(best, y[index])
    return on_front


def _check_losses(sweep: Sweep) -> None:
    if sweep.history.empty:
        raise InvalidJob("a sweep without losses; required: a job with an objective, Job(evaluate=…).")
