"""Rates that adapt to each coordinate: Adagrad and Adam."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from psbook.updates.base import Array, State, Update, number


@dataclass(frozen=True)
class Adagrad(Update):
    """w ← w − η g with η = γ / √(Σ g²), where the sum *includes* the present g.

    Duchi et al. 2011; on the server of Downpour SGD, Dean et al. 2012, section 4.1 (there g is the pushed
    Δw). A coordinate whose gradients were all zero stays where it is.

    Parameters
    ----------
    rate : float
        γ > 0: the length of a coordinate's first step (with `initial` 0).
    initial : float
        Where the sum of squares starts, ≥ 0.
    epsilon : float
        Added to the sum under the root, ≥ 0.

    Examples
    --------
    >>> import numpy as np
    >>> rule, value = Adagrad(1.0), np.zeros(2)
    >>> value, state = rule.apply(np, value, rule.init(np, value), np.array([3.0, 0.0]))
    >>> value, state
    (array([-1.,  0.]), {'squares': array([9., 0.])})
    >>> rule.apply(np, value, state, np.array([4.0, 0.0]))[0]
    array([-1.8,  0. ])
    """

    rate: float
    initial: float = 0.0
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        number(self, "rate", 0)
        number(self, "initial", 0, closed=True)
        number(self, "epsilon", 0, closed=True)

    def init(self, xp: Any, value: Array) -> State:
        """Return the sums of squares before the first update."""
        return {"squares": xp.full_like(value, self.initial)}

    def apply(self, xp: Any, value: Array, state: State, grad: Array) -> tuple[Array, State]:
        """Return the new value and sums of squares."""
        squares = state["squares"] + grad * grad
        root = xp.sqrt(squares + self.epsilon)
        return value - self.rate * grad / xp.where(root > 0, root, 1), {"squares": squares}


@dataclass(frozen=True)
class Adam(Update):
    """m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², w ← w − η m̂ / (√v̂ + ε), m̂ = m/(1−β₁ᵗ), v̂ = v/(1−β₂ᵗ).

    Kingma & Ba 2015, algorithm 1. Every row counts its own steps t, so rows that are seldom pushed are
    corrected for *their* age (the "lazy" Adam of sparse embeddings); with whole pushes all counts are equal.

    Parameters
    ----------
    rate : float
        η > 0.
    beta1, beta2 : float
        Decay of the two moments, in [0, 1).
    epsilon : float
        ε > 0.

    Examples
    --------
    >>> import numpy as np
    >>> rule, value = Adam(0.1), np.zeros(2)
    >>> value, state = rule.apply(np, value, rule.init(np, value), np.array([5.0, -0.01]))
    >>> value.round(6), state["count"]
    (array([-0.1,  0.1]), array([1, 1], dtype=int32))
    """

    rate: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        number(self, "rate", 0)
        number(self, "beta1", 0, 1, closed=True)
        number(self, "beta2", 0, 1, closed=True)
        number(self, "epsilon", 0)

    def init(self, xp: Any, value: Array) -> State:
        """Return zero moments and step counts."""
        return {
            "mean": xp.zeros_like(value),
            "square": xp.zeros_like(value),
            "count": xp.zeros(value.shape[0], dtype="int32"),
        }

    def apply(self, xp: Any, value: Array, state: State, grad: Array) -> tuple[Array, State]:
        """Return the new value, moments and step counts."""
        count = state["count"] + 1
        mean = self.beta1 * state["mean"] + (1 - self.beta1) * grad
        square = self.beta2 * state["square"] + (1 - self.beta2) * (grad * grad)
        root = xp.sqrt(square / _correction(xp, self.beta2, count, value))
        step = mean / _correction(xp, self.beta1, count, value) / (root + self.epsilon)
        return value - self.rate * step, {"mean": mean, "square": square, "count": count}


def _correction(xp: Any, beta: float, count: Array, like: Array) -> Array:
    """Return 1 − βᵗ a row, shaped to divide `like`.

    Through expm1, because 1 − 0.999 loses four digits in float32.
    """
    log = math.log(beta) if beta else -math.inf
    power = -xp.expm1(count.astype(like.dtype) * log)
    return power.reshape(count.shape + (1,) * (like.ndim - 1))
