"""Asynchrony acts like momentum (theory T19)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from psbook.experiments.theory.validation import whole


class ImplicitMomentum(NamedTuple):
    """E[w_{t+1} − w_t] = momentum · E[w_t − w_{t−1}] − step · α · E[∇f(w_t)]; both are pure numbers."""

    momentum: float
    step: float


def implicit_momentum(workers: int) -> ImplicitMomentum:
    """Momentum and step that ASP with M exponential workers has on average (T19).

    Parameters
    ----------
    workers : int
        M ≥ 1.

    Returns
    -------
    ImplicitMomentum
        1 − 1/M and 1/M: the staleness is geometric with p = 1/M (T5), and a geometric mixture of old
        gradients is what momentum is.

    Notes
    -----
    Mitliagkas, Zhang, Hadjis and Ré, "Asynchrony begets Momentum" (2016), Theorem 5. It holds for gradients
    whose staleness is drawn afresh, independent of the path; a worker's own next read is not.

    Examples
    --------
    >>> implicit_momentum(4)
    ImplicitMomentum(momentum=0.75, step=0.25)
    """
    whole("workers", workers, least=1)
    return ImplicitMomentum(1 - 1 / workers, 1 / workers)


def mean_path(workers: int, rate: float, curvature: float, steps: int) -> np.ndarray:
    """Mean of w_0 … w_steps under ASP on the quadratic ½·λ·w², from w_0 = 1 (T19).

    Parameters
    ----------
    workers : int
        M.
    rate : float
        α, learning rate.
    curvature : float
        λ; α·λ is a pure number.
    steps : int
        Updates.

    Returns
    -------
    (steps + 1,) float64
        In units of w_0; reads from before the start give w_0.

    Examples
    --------
    >>> mean_path(1, 0.5, 1.0, 2).tolist(), mean_path(2, 0.5, 1.0, 2).tolist()
    ([1.0, 0.5, 0.25], [1.0, 0.5, 0.125])
    """
    momentum, step = implicit_momentum(workers)
    w = np.ones(steps + 1)
    moved = -rate * curvature
    for t in range(steps):
        moved = momentum * moved - step * rate * curvature * w[t]
        w[t + 1] = w[t] + moved
    return w
