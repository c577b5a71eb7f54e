"""How often to write a checkpoint: the expected time of work that fails, and the interval that minimises it.

The model: failures come as a Poisson process of rate λ while the job works or writes a checkpoint. Each
costs a restart of R seconds, during which nothing fails, and what was not yet saved. Work W is cut into
m = W/τ segments of τ seconds, each ended by a checkpoint of C seconds, the last one too.

A segment occupies L = τ + C seconds and survives with probability e^{−λL}: it fails e^{λL} − 1 times on
average and is up for (e^{λL} − 1)/λ, so that the whole takes

    T(τ) = W/τ · (1/λ + R) · (e^{λ(τ+C)} − 1),      and T = (1/λ + R)(e^{λW} − 1) from scratch.

Daly's complete cost model lets failures strike the restart too and has e^{λR}/λ for 1/λ + R. Neither
factor contains τ: the best interval is the same, the root of (1 − λτ) e^{λ(τ+C)} = 1, which is
λτ = 1 + W₀(−e^{−1−λC}) with Lambert's W. Young's √(2C/λ) is its first term for small λC.

References
----------
J. W. Young, "A first order approximation to the optimum checkpoint interval", Communications of the ACM
17(9), 1974. J. T. Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps",
Future Generation Computer Systems 22(3), 2006.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import stdtrit

from psbook.errors import InvalidJob
from psbook.laws.streams import generator
from psbook.trace.statistics import documented

MOST_FAILURES = 20_000
"""Failures a run may expect in `simulate_time`; e^{λ(τ+C)} easily asks for more than anyone waits for."""

CONFIDENCE = 0.999
"""Probability that an interval of `interval_curve` covers the mean."""

COLUMNS = {
    "every_s": "work between two checkpoints [s]",
    "segments": "segments that the work is cut into, work / every_s; whole where it is simulated",
    "expected_s": "expected time to completion, closed form [s]",
    "simulated_s": "mean time to completion of the simulated runs [s]; NaN where none was simulated",
    "half_width_s": "half the width of Student's 99.9 % confidence interval of simulated_s [s]; NaN likewise",
    "runs": "simulated runs, 0 where none was simulated",
}
"""Columns of `interval_curve`."""


def expected_time(
    work: float, rate: float, restart: float = 0.0, every: float | None = None, cost: float = 0.0
) -> float:
    """Expected seconds to complete work that fails at random (theory T17).

    Parameters
    ----------
    work : float
        Seconds the work takes without failures, > 0.
    rate : float
        Failures a second, ≥ 0.
    restart : float
        Seconds from a failure until work goes on, ≥ 0.
    every : float, optional
        Seconds of work between two checkpoints, at most `work`. By default there is none, and a failure
        throws the job back to its beginning.
    cost : float
        Seconds a checkpoint takes, ≥ 0; not paid where there is none.

    Returns
    -------
    float
        Seconds; infinite beyond the largest float. Exact where `every` divides `work`. Elsewhere the number
        of segments is taken as the fraction it is. A shorter last segment makes the job longer by one
        checkpoint at most, or even shorter where `every` is above the best interval.

    Raises
    ------
    InvalidJob
        An argument out of its range.

    Examples
    --------
    A day of work, a failure every two hours, two minutes to restart, a minute a checkpoint:

    >>> job = {"work": 86400, "rate": 1 / 7200, "restart": 120}
    >>> f"{expected_time(**job):.3g}", round(expected_time(**job, every=900, cost=60))
    ('1.19e+09', 100230)
    """
    _check(work, rate, restart, every, cost)
    if every is None:
        return _segment(work, rate, restart)
    return work / every * _segment(every + cost, rate, restart)


def best_interval(work: float, rate: float, restart: float, cost: float) -> float:
    """Seconds of work between checkpoints that minimise `expected_time`, to rounding.

    Parameters
    ----------
    work, rate, restart, cost : float
        As for `expected_time`; `rate` and `cost` > 0.

    Returns
    -------
    float
        Seconds, `work` at most: there is one checkpoint at least, at the end. The restart does not move
        it. The time is convex in the number of segments, so the best whole number of them is one of the
        two neighbours of ``work / best_interval(…)``.

    Raises
    ------
    InvalidJob
        An argument out of its range.

    Notes
    -----
    For checkpoints of 5 min at a failure every 24 h, 6 h and 15 min Daly prints 117 min, 57 min and
    9.1 min (captions of Figs. 3–5), from a series in √(λC/2) that ends 0.3 % below the minimum in the last.

    Examples
    --------
    >>> [round(best_interval(30_000, 1 / minutes, 10, 5), 1) for minutes in (1440, 360, 15)]
    [116.7, 56.7, 9.2]
    """
    _check(work, rate, restart, None, cost)
    _positive(rate=rate, cost=cost)
    saving = rate * cost
    # With λτ = 1 − e^{−y} the equation is y + e^{−y} − 1 = λC, which keeps its digits where λC is small;
    # Lambert's W, next to its branch point, has lost half of them at λC = 1e-10.
    y = brentq(lambda y: y + math.expm1(-y) - saving, saving, saving + 2, xtol=1e-300, rtol=1e-15)
    return min(work, -math.expm1(-y) / rate)


def young_interval(rate: float, cost: float) -> float:
    """Young's first-order interval √(2C/λ), seconds of work between checkpoints.

    It is too long by about √(2λC)/3 of the best one: by 1.5 % to 5 % where λC is between 0.00099 and
    0.0105, a checkpoint some 1000th to 100th of the time between failures. The time is flat there: such an
    interval takes less than 0.02 % longer. The *time* is 1.5 % to 5 % off at λC from 0.22 to 0.50 only.

    Parameters
    ----------
    rate : float
        Failures a second, > 0.
    cost : float
        Seconds a checkpoint takes, > 0.

    Raises
    ------
    InvalidJob
        An argument that is not > 0.

    Examples
    --------
    >>> round(young_interval(1 / 7200, 60)), round(best_interval(86400, 1 / 7200, 120, 60))
    (930, 890)
    """
    _positive(rate=rate, cost=cost)
    return math.sqrt(2 * cost / rate)


def simulate_time(
    work: float,
    rate: float,
    restart: float = 0.0,
    every: float | None = None,
    cost: float = 0.0,
    runs: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """Simulate the process failure by failure; nothing of the closed form is used.

    Parameters
    ----------
    work, rate, restart, every, cost : float
        As for `expected_time`. Where `every` does not divide `work`, the last segment is the shorter one.
    runs : int
        How many independent runs, ≥ 1.
    seed : int
        Names the stream of failures. With equal seed and `runs`, run i is up equally long before its j-th
        failure whatever the other arguments are.

    Returns
    -------
    (runs,) float64
        Seconds to completion of each run.

    Raises
    ------
    InvalidJob
        An argument out of its range, or runs that expect more than `MOST_FAILURES` failures.

    Notes
    -----
    Draws `runs` numbers for each failure of the unluckiest run.

    Examples
    --------
    >>> simulate_time(86400, 1 / 7200, 120, every=900, cost=60, runs=4).shape
    (4,)
    >>> simulate_time(86400, 0.0, 120, every=900, cost=60, runs=2).tolist()  # 96 checkpoints
    [92160.0, 92160.0]
    """
    _check(work, rate, restart, every, cost)
    _check_runs(runs, 1)
    every, cost = (work, 0.0) if every is None else (every, cost)
    # A quotient that rounding lifted over a whole number is not another segment.
    segments = max(1, math.ceil(work / every - 1e-9))
    occupied, missing = every + cost, segments * every - work
    _check_failures(segments * _segment(occupied, rate, 0.0) * rate)
    rng = generator(seed, "checkpoint interval")
    seconds, saved, running = np.zeros(runs), np.zeros(runs), np.arange(runs)
    while len(running):
        needed = (segments - saved[running]) * occupied - missing
        drawn = rng.standard_exponential(runs)[running]
        fails = drawn < rate * needed
        seconds[running[~fails]] += needed[~fails]
        running, up = running[fails], drawn[fails] / rate
        seconds[running] += up + restart
        saved[running] += up // occupied
    return seconds


def interval_curve(
    work: float,
    rate: float,
    restart: float,
    cost: float,
    *,
    segments: Sequence[int] | None = None,
    runs: int = 400,
    seed: int = 0,
) -> pd.DataFrame:
    """Expected time over the interval between checkpoints, with simulated means on the way.

    Parameters
    ----------
    work, rate, restart, cost : float
        As for `best_interval`.
    segments : sequence of int, optional
        Whole numbers of segments to simulate; by default a dozen over the range of the curve, where the
        time is within twice the smallest.
    runs : int
        Runs for each of them, ≥ 2; all meet the same failures.
    seed : int
        As for `simulate_time`.

    Returns
    -------
    DataFrame
        One row an interval, ascending; ``.attrs["columns"]`` explains the columns, ``.attrs["job"]`` holds
        the arguments ``work``, ``rate``, ``restart`` and ``cost``. Plot it with
        `psbook.view.checkpoint_interval.plot_interval`.

    Raises
    ------
    InvalidJob
        An argument out of its range.

    Notes
    -----
    Student's interval is what it says once most runs meet failures. Where they are rare it needs enough
    runs for dozens of failures: runs that met none have no spread.

    Examples
    --------
    >>> curve = interval_curve(86400, 1 / 7200, 120, 60, segments=[96], runs=100)
    >>> curve.loc[curve["runs"] > 0, ["every_s", "segments", "expected_s"]].round().values.tolist()
    [[900.0, 96.0, 100230.0]]
    """
    best = best_interval(work, rate, restart, cost)
    _check_runs(runs, 2)
    job = {"work": work, "rate": rate, "restart": restart, "cost": cost}
    grid = np.geomspace(best / 20, min(work, 20 * best), 240)
    times = np.array([expected_time(**job, every=every) for every in grid])
    grid = grid[times <= 2 * expected_time(**job, every=best)]
    if segments is None:
        segments = np.unique(np.geomspace(work / grid[-1], work / grid[0], 12).round().astype(int)).tolist()
    for number in segments:
        if not isinstance(number, (int, np.integer)) or number < 1:
            raise InvalidJob(f"segments={segments!r}; required: whole numbers ≥ 1, for example [1, 10, 100].")
    rows = [_row(job, float(every)) for every in grid]
    rows += [_row(job, work / number, runs, seed) for number in segments]
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("every_s", kind="stable")
    frame = documented(frame, COLUMNS)
    frame.attrs["job"] = job
    return frame


def _row(job: dict[str, float], every: float, runs: int = 0, seed: int = 0) -> tuple[float, ...]:
    mean = width = math.nan
    if runs:
        seconds = simulate_time(**job, every=every, runs=runs, seed=seed)
        mean = float(seconds.mean())
        quantile = float(stdtrit(runs - 1, (1 + CONFIDENCE) / 2))
        width = quantile * float(seconds.std(ddof=1)) / math.sqrt(runs)
    return every, job["work"] / every, expected_time(**job, every=every), mean, width, runs


def _segment(occupied: float, rate: float, restart: float) -> float:
    """(1/λ + R)(e^{λL} − 1), which tends to L as λ → 0."""
    if rate == 0:
        return occupied
    try:
        return (1 / rate + restart) * math.expm1(rate * occupied)
    except OverflowError:
        return math.inf


def _check(work: float, rate: float, restart: float, every: float | None, cost: float) -> None:
    _positive(work=work)
    for name, value in (("rate", rate), ("restart", restart), ("cost", cost)):
        if not (_is_finite(value) and value >= 0):
            raise InvalidJob(f"{name}={value!r}; required: a finite number ≥ 0; {_UNITS[name]}.")
    if every is not None and not (_is_finite(every) and 0 < every <= work):
        raise InvalidJob(
            f"every={every!r} with work={work!r}; required: seconds > 0, at most the work; "
            f"every=None for no checkpoint."
        )


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (_is_finite(value) and value > 0):
            raise InvalidJob(f"{name}={value!r}; required: a finite number > 0; {_UNITS[name]}.")


_UNITS = {
    "work": "it is the seconds of work without failures",
    "rate": "it is failures a second: pass 1 / (seconds between failures)",
    "restart": "it is the seconds from a failure until work goes on",
    "cost": "it is the seconds a checkpoint takes",
}


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and math.isfinite(value)


def _check_runs(runs: int, least: int) -> None:
    if not isinstance(runs, (int, np.integer)) or runs < least:
        raise InvalidJob(f"runs={runs!r}; required: an integer ≥ {least}, for example runs=1000.")


def _check_failures(failures: float) -> None:
    if failures > MOST_FAILURES:
        raise InvalidJob(
            f"a run of this job expects {failures:.3g} failures; required to simulate it: {MOST_FAILURES} at "
            f"most. Pass a shorter every=…, or take expected_time(…)."
        )
