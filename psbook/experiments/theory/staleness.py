"""How stale updates are: exact means and laws (theory T4, T5, T6, T21)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from psbook.errors import InvalidJob
from psbook.experiments.theory.validation import positive, whole


def asp_staleness_pmf(rates: Sequence[float], count: int) -> np.ndarray:
    """Law of an update's staleness under ASP with exponential times and no other delay (T5).

    Parameters
    ----------
    rates : sequence of float
        Iterations a second of each worker, > 0; only their ratios matter.
    count : int
        How many probabilities, of staleness 0 … count − 1.

    Returns
    -------
    (count,) float64
        Of worker i a share p_i = r_i/R of the updates comes, R = Σ r; its staleness is geometric on
        0, 1, … with parameter p_i, because each update meanwhile is its own with probability p_i. So
        P(σ = k) = Σ p_i · p_i (1 − p_i)^k.

    Raises
    ------
    InvalidJob
        If there are no rates, one is not positive, or `count` is negative.

    Examples
    --------
    >>> asp_staleness_pmf([1.0, 1.0], 3).tolist()
    [0.5, 0.25, 0.125]
    """
    whole("count", count)
    if not len(rates):
        raise InvalidJob("rates=[]; required: the rate of at least one worker, as in [1.0, 1.0].")
    for rate in rates:
        positive("rate", rate, "iterations a second")
    p = np.asarray(rates, np.float64) / math.fsum(rates)
    law: np.ndarray = ((1 - p) ** np.arange(count)[:, None] * p**2).sum(axis=1)
    return law


def asp_staleness_mean(rates: Sequence[float]) -> np.ndarray:
    """Mean staleness of each worker's updates under ASP, (R − r_i)/r_i (T5); weighted by rate, n − 1.

    Parameters
    ----------
    rates : sequence of float
        Iterations a second of each worker, > 0.

    Returns
    -------
    (n,) float64
        Updates.

    Examples
    --------
    >>> asp_staleness_mean([1.0, 3.0]).round(4).tolist()
    [3.0, 0.3333]
    """
    r = np.asarray(rates, np.float64)
    mean: np.ndarray = (r.sum() - r) / r
    return mean


def asp_staleness_variance(n: int) -> float:
    """Variance of the staleness under ASP with n equal exponential workers, n(n − 1) (T5).

    Examples
    --------
    >>> asp_staleness_variance(10)
    90.0
    """
    whole("n", n, least=1)
    return float(n * (n - 1))


def mean_staleness(kind: str, workers: int, k: int = 1) -> float:
    """Mean staleness of the gradients that are applied, for any law of the compute times (T6).

    It follows from conservation (T4): an update ages every gradient that is in flight by one.

    Parameters
    ----------
    kind : {"asp", "ksync", "kasync", "kbatchasync", "bsp"}
        "asp": n − 1. "kbatchasync": (n − 1)/K. "kasync": n/K − 1. "ksync" and "bsp": 0.
    workers : int
        n ≥ 1.
    k : int
        Gradients that make an update, 1 ≤ K ≤ n.

    Returns
    -------
    float
        Updates.

    Raises
    ------
    InvalidJob
        For another kind, or numbers out of range.

    Notes
    -----
    The kinds are those of Dutta et al., "Slow and Stale Gradients Can Win the Race" (AISTATS 2018).

    Examples
    --------
    >>> [mean_staleness(kind, 20, 5) for kind in ("kbatchasync", "kasync", "ksync")]
    [3.8, 3.0, 0.0]
    """
    whole("workers", workers, least=1)
    whole("k", k, least=1)
    if k > workers:
        raise InvalidJob(f"k={k!r} of {workers} workers; required: 1 ≤ k ≤ workers.")
    means = {
        "bsp": 0.0,
        "ksync": 0.0,
        "asp": workers - 1.0,
        "kbatchasync": (workers - 1) / k,
        "kasync": workers / k - 1,
    }
    if kind not in means:
        raise InvalidJob(f"mean staleness of {kind!r}; required: one of {', '.join(means)}.")
    return means[kind]


def missing_updates(s: int, workers: int) -> int:
    """Updates of others that an SSP read may miss at most, s(P − 1) (T21; Ho et al. 2013, section 3).

    Examples
    --------
    >>> missing_updates(3, 8)
    21
    """
    whole("s", s)
    whole("workers", workers, least=1)
    return s * (workers - 1)


def regret_bound(s: int, workers: int, updates: np.ndarray | float, F: float, L: float) -> np.ndarray:
    """Bound of the mean regret of SGD under SSP, 4FL·√(2(s+1)P/T) (T21).

    Parameters
    ----------
    s : int
        Staleness bound, clocks.
    workers : int
        P.
    updates : array_like
        T, updates applied, > 0.
    F : float
        With D(x‖x′) = ‖x − x′‖²/2 ≤ F² for all points met.
    L : float
        Lipschitz constant of every component, in units of loss over those of the parameters.

    Returns
    -------
    float64, shape of `updates`
        Mean over the T components of f_t(x̃_t), minus the minimum; in units of loss. For convex components
        and steps η_t = σ/√t with σ = F/(L·√(2(s+1)P)), nothing else.

    Notes
    -----
    Ho et al., "More Effective Distributed ML via a Stale Synchronous Parallel Parameter Server"
    (NIPS 2013), Theorem 1.

    Examples
    --------
    Four times the updates halve it:

    >>> regret_bound(1, 2, np.array([8.0, 32.0]), F=1.0, L=1.0).tolist()
    [4.0, 2.0]
    """
    whole("s", s)
    whole("workers", workers, least=1)
    bound: np.ndarray = 4 * F * L * np.sqrt(2 * (s + 1) * workers / np.asarray(updates, np.float64))
    return bound
