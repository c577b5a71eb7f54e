"""How long rounds take: order statistics of compute times (theory T1, T2, T20).

A round of n workers that waits for the k fastest takes the k-th order statistic of n draws: the largest
under BSP, the (n−b)-th with b backup workers.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import special, stats

from psbook.errors import InvalidJob
from psbook.experiments.theory.validation import whole
from psbook.laws import Constant, Exponential, Gamma, Law, LogNormal, Pareto, ShiftedExponential, Uniform


def harmonic(n: int) -> float:
    """The harmonic number H_n = 1 + 1/2 + … + 1/n; H_0 = 0.

    Raises
    ------
    InvalidJob
        If `n` is not a whole number ≥ 0.

    Examples
    --------
    >>> round(harmonic(10), 5), round(harmonic(100), 5)
    (2.92897, 5.18738)
    """
    whole("n", n)
    return math.fsum(1 / i for i in range(1, n + 1))


def kth_of(law: Law, k: int, n: int) -> float:
    """Mean of the k-th smallest of n independent compute times (T1, T2).

    Parameters
    ----------
    law : Law
        One of the elementary laws, the same for all workers.
    k, n : int
        1 ≤ k ≤ n.

    Returns
    -------
    float
        Seconds. Exponential with rate μ: (H_n − H_{n−k})/μ; uniform: low + (high − low)·k/(n+1); the
        others by quadrature.

    Raises
    ------
    InvalidJob
        If `k` or `n` is out of range, or workers differ under the law, or depend on one another.

    Notes
    -----
    David and Nagaraja, "Order Statistics" (2003), sections 2.1 and 3.1; Rényi's representation gives the
    exponential case, which is Lemma 1 of Dutta et al. (AISTATS 2018).

    Examples
    --------
    K-sync with 20 workers, exp(1) (T2):

    >>> round(kth_of(Exponential(1.0), 10, 20), 5), round(kth_of(Exponential(1.0), 19, 20), 5)
    (0.66877, 2.59774)
    """
    whole("n", n, least=1)
    whole("k", k, least=1)
    if k > n:
        raise InvalidJob(f"k={k!r} of n={n!r} workers; required: 1 ≤ k ≤ n.")
    if isinstance(law, Constant):
        return law.seconds
    if isinstance(law, Exponential):
        return law.mean * (harmonic(n) - harmonic(n - k))
    if isinstance(law, ShiftedExponential):
        return law.shift + law.tail * (harmonic(n) - harmonic(n - k))
    if isinstance(law, Uniform):
        return law.low + (law.high - law.low) * k / (n + 1)
    if isinstance(law, LogNormal) and law.sigma == 0:
        return law.mean
    return _integrated(law, k, n)


def slowest_of(law: Law, n: int) -> float:
    """Mean seconds of a BSP round of n workers: E[max] (T1).

    Examples
    --------
    >>> round(slowest_of(ShiftedExponential(1.0, 1.0), 10), 5), slowest_of(Uniform(0.0, 11.0), 10)
    (3.92897, 10.0)
    """
    return kth_of(law, n, n)


def stalled(workers: int, backups: int, probability: float) -> float:
    """Probability that a round waits for a slow worker although there are backups (T20).

    Parameters
    ----------
    workers : int
        Gradients that a round needs, N.
    backups : int
        Further workers, b: the round takes the first N gradients of N + b workers.
    probability : float
        That a worker is slow in a round, independent of all else.

    Returns
    -------
    float
        P(Bin(N+b, p) > b).

    Notes
    -----
    Chen et al., "Revisiting Distributed Synchronous SGD" (2016).

    Examples
    --------
    >>> [round(stalled(50, b, 0.02), 4) for b in (0, 1, 2, 4)]
    [0.6358, 0.2717, 0.0859, 0.0045]
    """
    whole("workers", workers, least=1)
    whole("backups", backups)
    if not 0 <= probability <= 1:
        raise InvalidJob(f"probability={probability!r}; required: 0 … 1.")
    return float(stats.binom.sf(backups, workers + backups, probability))


@lru_cache(maxsize=4096)
def _integrated(law: Law, k: int, n: int) -> float:
    """E[X₍ₖ₎] = ∫ x(p) Beta(p; k, n−k+1) dp over the levels p = 1/(1 + e^−u) of X.

    The integrand is analytic in u and falls off exponentially on either side, for which the trapezoidal
    rule is as good as exact.
    """
    step = 0.01
    u = np.arange(-60.0, 690.0, step)
    late = n - k + 1
    density = np.exp(-k * np.logaddexp(0, -u) - late * np.logaddexp(0, u) - special.betaln(k, late))
    return float(step * (_distribution(law).isf(special.expit(-u)) * density).sum())


def _distribution(law: Law) -> Any:
    """The law of one iteration as a frozen distribution of `scipy.stats`."""
    match law:
        case Gamma():
            return stats.gamma(law.shape, scale=law.mean / law.shape)
        case LogNormal():
            return stats.lognorm(law.sigma, scale=law.mean * math.exp(-(law.sigma**2) / 2))
        case Pareto() if law.shape > 1:
            return stats.pareto(law.shape, scale=law.scale)
    raise InvalidJob(
        f"order statistics of {law.label}; required: an elementary law of finite mean, the same for all "
        "workers and without memory, such as Exponential(0.1), Gamma(0.1, 4) or LogNormal(0.1, 0.5)."
    )
