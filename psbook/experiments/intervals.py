"""Bootstrap confidence intervals for a few runs' worth of numbers, censored ones included.

References
----------
B. Efron, "Better bootstrap confidence intervals", Journal of the American Statistical Association 82(397),
1987 (BCa). B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 13 and 14.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from psbook.errors import InvalidJob
from psbook.laws.streams import generator

Statistic: TypeAlias = Literal["median", "mean"]

RESAMPLES = 2000
"""Resamples of an interval; its ends then wobble by a few hundredths of its width."""

STATISTICS: dict[str, Callable[..., Any]] = {"median": np.median, "mean": np.mean}


class Interval(NamedTuple):
    """A statistic of a sample, and the ends of its confidence interval."""

    value: float
    low: float
    high: float


def bootstrap(
    values: ArrayLike,
    statistic: Statistic = "median",
    confidence: float = 0.95,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return a statistic of a sample and a bootstrap confidence interval for that of the law behind it.

    Parameters
    ----------
    values : (n,) array
        Independent draws; infinite ones are allowed (runs that never reached a target), NaN is not.
    statistic : {"median", "mean"}
        For the mean the interval is BCa, corrected for bias and skewness; for the median, and where a value
        is infinite, it has the plain percentiles.
    confidence : float
        Probability that the interval covers, 0 … 1.
    resamples : int
        How many samples are drawn with replacement from the values.
    seed : int
        Names the random numbers. Equal arguments give equal intervals.

    Returns
    -------
    Interval
        ``(value, low, high)``; NaN without values; with a single value the ends are NaN.

    Raises
    ------
    InvalidJob
        If an argument is out of range, or a value NaN.

    Notes
    -----
    Intervals of few draws are too narrow, those for means most: of nominal 95 %, 94 % for the median and
    90 % (exponential law) to 92 % (normal law) for the mean cover from 20 draws; from 5 draws 93 % and
    81–84 %. Prefer medians. One call costs O(n · resamples).

    Examples
    --------
    >>> bootstrap([1.0, 2.0, 3.0, float("inf")])
    Interval(value=2.5, low=1.0, high=inf)
    """
    sample = np.asarray(values, np.float64)
    if statistic not in STATISTICS:
        raise InvalidJob(f"statistic={statistic!r}; required: 'median' or 'mean'.")
    if not 0 < confidence < 1:
        raise InvalidJob(f"confidence={confidence!r}; required: 0 < confidence < 1.")
    if sample.ndim != 1 or np.isnan(sample).any():
        raise InvalidJob(f"values of shape {sample.shape}, or NaN among them; required: one row of numbers.")
    if not len(sample):
        return Interval(np.nan, np.nan, np.nan)
    value = float(STATISTICS[statistic](sample))
    if len(sample) == 1:
        return Interval(value, np.nan, np.nan)
    drawn = np.sort(_resampled(sample, statistic, resamples, seed))
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    if statistic == "mean" and np.isfinite(sample).all():
        tails = _corrected(tails, sample, drawn, value)
    # No interpolation: between a number and infinity there is nothing.
    low, high = np.quantile(drawn, tails, method="inverted_cdf")
    return Interval(value, float(low), float(high))


def _resampled(sample: NDArray[np.float64], statistic: str, resamples: int, seed: int) -> NDArray[np.float64]:
    picked = generator(seed, "bootstrap").integers(len(sample), size=(resamples, len(sample)))
    found: NDArray[np.float64] = STATISTICS[statistic](sample[picked], axis=1)
    return found


def _corrected(
    tails: NDArray[np.float64], sample: NDArray[np.float64], drawn: NDArray[np.float64], value: float
) -> NDArray[np.float64]:
    """Move the percentiles by bias and acceleration (Efron 1987, §4); the mean's is its skewness / 6√n."""
    spread = sample - sample.mean()
    squares = float(np.square(spread).sum())
    if squares == 0:
        return tails
    acceleration = float((spread**3).sum()) / (6 * squares**1.5)
    # Ties count half, as for a sample of few different values.
    below = (np.searchsorted(drawn, value, "left") + np.searchsorted(drawn, value, "right")) / (
        2 * len(drawn)
    )
    bias = ndtri(np.clip(below, 1 / len(drawn), 1 - 1 / len(drawn)))
    shifted = bias + ndtri(tails)
    moved: NDArray[np.float64] = ndtr(bias + shifted / (1 - acceleration * shifted))
    return moved
