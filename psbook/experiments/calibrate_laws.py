"""Elementary laws fitted to a sample by maximum likelihood, and the choice among them.

The choice is Akaike's (1974): twice the parameters minus twice the log-likelihood, smallest first. How far
the best is from the sample, the Kolmogorov–Smirnov distance tells; where that is too far, the sample itself
is drawn from.

References
----------
H. Akaike, "A new look at the statistical model identification", IEEE Transactions on Automatic Control 19(6),
1974.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import exp, inf, log, sqrt

import numpy as np
from scipy.special import digamma, gammaln, polygamma

from psbook.errors import InvalidJob
from psbook.experiments.calibrate_compute import Floats
from psbook.laws import (
    Constant,
    Empirical,
    Exponential,
    Gamma,
    Law,
    LogNormal,
    Pareto,
    ShiftedExponential,
    Sum,
    Uniform,
)

SAME = 1e-6
"""Coefficient of variation below which times are one constant."""

FAR = 1.63
"""√n times the Kolmogorov–Smirnov distance beyond which a law is given up; 1 % of its own samples are."""

LAW_DRAWS = 20_000
"""Draws of a law that a sample is held against."""


@dataclass(frozen=True)
class Fit:
    """A law, the log-likelihood of the sample under it, and how many parameters were fitted."""

    family: str
    law: Law
    log_likelihood: float
    parameters: int

    @property
    def aic(self) -> float:
        """Akaike's information criterion; smaller is better."""
        return 2.0 * self.parameters - 2.0 * self.log_likelihood


def fit_exponential(x: Floats) -> Fit:
    """Exponential.

    >>> fit_exponential(np.array([1.0, 3.0])).law
    Exponential(mean=2.0)
    """
    mean = float(x.mean())
    return Fit("Exponential", Exponential(mean), -len(x) * (log(mean) + 1), 1)


def fit_shifted_exponential(x: Floats) -> Fit:
    """Shifted exponential: the least time, corrected for being above the shift, and the mean beyond it."""
    low, n = float(x.min()), len(x)
    tail = (float(x.mean()) - low) * n / (n - 1)
    law = ShiftedExponential(max(0.0, low - tail / n), tail)
    return Fit("ShiftedExponential", law, -n * (log(float(x.mean()) - low) + 1), 2)


def fit_gamma(x: Floats) -> Fit:
    """Gamma, by Newton's method on ln k − ψ(k) = ln of the mean − mean of the ln."""
    mean, gap = float(x.mean()), log(float(x.mean())) - float(np.log(x).mean())
    k = (3 - gap + sqrt((gap - 3) ** 2 + 24 * gap)) / (12 * gap)
    for _ in range(20):
        k /= 1 + (log(k) - digamma(k) - gap) / (1 - k * polygamma(1, k))
        k = float(k)
    total = (k - 1) * np.log(x).sum() - len(x) * k - len(x) * (gammaln(k) + k * log(mean / k))
    return Fit("Gamma", Gamma(mean, k), float(total), 2)


def fit_log_normal(x: Floats) -> Fit:
    """Log-normal."""
    logs = np.log(x)
    centre, sigma = float(logs.mean()), float(logs.std())
    total = -logs.sum() - len(x) * (log(sigma) + 0.5 * log(2 * np.pi) + 0.5)
    return Fit("LogNormal", LogNormal(exp(centre + sigma**2 / 2), sigma), float(total), 2)


def fit_pareto(x: Floats) -> Fit:
    """Pareto; the shape is corrected for bias, which is that of n − 2 for n."""
    scale, n = float(x.min()), len(x)
    over = float(np.log(x / scale).sum())
    shape = n / over
    total = n * log(shape) + n * shape * log(scale) - (shape + 1) * float(np.log(x).sum())
    return Fit("Pareto", Pareto(scale, (n - 2) / over), total, 2)


def fit_uniform(x: Floats) -> Fit:
    """Uniform; the ends are corrected for being inside."""
    low, high, n = float(x.min()), float(x.max()), len(x)
    more = (high - low) / (n - 1)
    return Fit("Uniform", Uniform(max(0.0, low - more), high + more), -n * log(high - low), 2)


def _shifted(family: str, fit: Callable[[Floats], Fit], x: Floats) -> Fit:
    """Return a law behind a shift, the best of a grid that stays away from the least time.

    At the least time itself the likelihood has no bound.
    """
    gap = (float(x.mean()) - float(x.min())) / max(8, sqrt(len(x)))
    shifts = float(x.min()) - gap * np.geomspace(1.0, 64.0, 13)
    found = [(shift, fit(x - shift)) for shift in shifts.tolist() if shift > 0]
    if not found:
        return Fit(family, Constant(1.0), -inf, 3)
    shift, best = max(found, key=lambda each: each[1].log_likelihood)
    return Fit(family, Sum(best.law, Constant(shift)), best.log_likelihood, 3)


FAMILIES: dict[str, Callable[[Floats], Fit]] = {
    "Exponential": fit_exponential,
    "ShiftedExponential": fit_shifted_exponential,
    "Gamma": fit_gamma,
    "LogNormal": fit_log_normal,
    "Pareto": fit_pareto,
    "Uniform": fit_uniform,
    "Gamma + shift": lambda x: _shifted("Gamma + shift", fit_gamma, x),
    "LogNormal + shift": lambda x: _shifted("LogNormal + shift", fit_log_normal, x),
}
"""Laws that are tried, by name."""


def candidates(x: Floats) -> Iterator[Fit]:
    """Fit every family that a sample of times can come from."""
    for fit in FAMILIES.values():
        with np.errstate(all="ignore"):
            try:
                found = fit(x)
            except (ValueError, ZeroDivisionError, OverflowError, InvalidJob):
                continue
        if np.isfinite(found.log_likelihood):
            yield found


def fit_law(x: Floats, family: str | None = None) -> Fit:
    """Return the best law for a sample, or that of a family; the sample itself where none is near enough.

    Parameters
    ----------
    x : (n,) array
        Seconds, > 0.
    family : str, optional
        One of `FAMILIES`, "Constant" or "Empirical".

    Examples
    --------
    >>> fit_law(np.full(9, 0.1)).law
    Constant(seconds=0.1)
    >>> fit_law(Gamma(0.1, shape=30.0).times(0, 2000, seed=0)).family
    'Gamma'
    """
    if family == "Constant" or (family is None and float(x.std()) <= SAME * float(x.mean())):
        return Fit("Constant", Constant(float(x.mean())), inf, 1)
    if family == "Empirical":
        return Fit("Empirical", Empirical(x, "bootstrap"), 0.0, len(x))
    if family is not None:
        return FAMILIES[family](x)
    best = min(candidates(x), key=lambda fit: fit.aic, default=None)
    if best is None or distance(x, best.law) * sqrt(len(x)) > FAR:
        return Fit("Empirical", Empirical(x, "bootstrap"), 0.0, len(x))
    return best


def distance(x: Floats, law: Law, worker: int = 0, seed: int = 1) -> float:
    """Return the Kolmogorov–Smirnov distance between a sample and draws of a law for a worker.

    >>> distance(np.full(5, 2.0), Constant(2.0)), distance(np.full(5, 2.0), Constant(3.0))
    (0.0, 1.0)
    """
    drawn = np.sort(law.times(worker, LAW_DRAWS, seed))
    x = np.sort(x)
    # Times that differ by rounding alone are the same.
    grid = np.unique(np.concatenate([x, drawn])) * (1 + 1e-9)
    return float(
        np.abs(
            np.searchsorted(x, grid, "right") / len(x) - np.searchsorted(drawn, grid, "right") / LAW_DRAWS
        ).max()
    )
