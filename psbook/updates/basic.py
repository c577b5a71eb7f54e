"""Assign, add, and gradient descent with and without momentum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from psbook.errors import InvalidJob
from psbook.updates.base import Array, State, Update, number


@dataclass(frozen=True)
class Assign(Update):
    """w ← the pushed value; of several in one update the last worker's.

    Examples
    --------
    >>> import numpy as np
    >>> Assign().apply(np, np.zeros(2), {}, np.array([3.0, 4.0]))
    (array([3., 4.]), {})
    """

    gradient: ClassVar[bool] = False
    combine: ClassVar[Literal["sum", "last"]] = "last"

    def apply(self, xp: Any, value: Array, state: State, grad: Array) -> tuple[Array, State]:
        """Return the pushed value."""
        return grad, state


@dataclass(frozen=True)
class Add(Update):
    """w ← w + Δ: the default, for counters, statistics and updates that the worker has computed itself.

    Examples
    --------
    >>> import numpy as np
    >>> Add().apply(np, np.ones(2), {}, np.array([3.0, 4.0]))
    (array([4., 5.]), {})
    """

    additive: ClassVar[bool] = True
    gradient: ClassVar[bool] = False

    def apply(self, xp: Any, value: Array, state: State, grad: Array) -> tuple[Array, State]:
        """Return ``value + grad``."""
        return value + grad, state


@dataclass(frozen=True)
class SGD(Update):
    """w ← w − η g (Robbins & Monro 1951).

    Parameters
    ----------
    rate : float
        Learning rate η > 0.

    Examples
    --------
    >>> import numpy as np
    >>> SGD(0.5).apply(np, np.ones(2), {}, np.array([1.0, -2.0]))
    (array([0.5, 2. ]), {})
    """

    rate: float
    additive: ClassVar[bool] = True

    def __post_init__(self) -> None:
        number(self, "rate", 0)

    def apply(self, xp: Any, value: Array, state: State, grad: Array) -> tuple[Array, State]:
        """Return ``value - rate * grad``."""
        return value - self.rate * grad, state


@dataclass(frozen=True)
class Momentum(Update):
    """v ← μ v + g, w ← w − η v; with Nesterov's form w ← w − η (g + μ v).

    Polyak 1964 (heavy ball); Sutskever et al. 2013, section 2 (Nesterov). Of a push of a few rows only those
    rows' velocities decay.

    Parameters
    ----------
    rate : float
        Learning rate η > 0.
    momentum : float
        μ in [0, 1).
    nesterov : bool
        Look ahead.

    Examples
    --------
    >>> import numpy as np
    >>> rule, grad = Momentum(0.5, 0.5), np.array([1.0])
    >>> value, state = rule.apply(np, np.array([1.0]), {"velocity": np.array([2.0])}, grad)
    >>> value, state["velocity"]
    (array([0.]), array([2.]))
    """

    rate: float
    momentum: float = 0.9
    nesterov: bool = False

    def __post_init__(self) -> None:
        number(self, "rate", 0)
        number(self, "momentum", 0, 1, closed=True)
        if not isinstance(self.nesterov, bool):
            raise InvalidJob(f"Momentum(nesterov={self.nesterov!r}); required: True or False.")

    def init(self, xp: Any, value: Array) -> State:
        """Return zero velocities."""
        return {"velocity": xp.zeros_like(value)}

    def apply(self, xp: Any, value: Array, state: State, grad: Array) -> tuple[Array, State]:
        """Return the new value and velocity."""
        velocity = self.momentum * state["velocity"] + grad
        step = grad + self.momentum * velocity if self.nesterov else velocity
        return value - self.rate * step, {"velocity": velocity}
