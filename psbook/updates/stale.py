"""Rules that know how old a gradient is: delay compensation, and a rate divided by the staleness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from psbook.errors import InvalidJob
from psbook.updates.base import Array, State, Update, number


@dataclass(frozen=True)
class DelayCompensated(Update):
    """w ← w − η (g + λ g⊙g⊙(w − r)), where g was computed at r: asynchronous SGD made up for its delay.

    Zheng et al. 2017 ("Asynchronous stochastic gradient descent with delay compensation"), equation 10 and
    algorithm 2: λ g⊙g stands for the diagonal of the Hessian in the gradient's expansion around r, so that
    the step is to first order the one from g at w. `adaptive` is their DC-ASGD-a, equation 14, where each
    coordinate has its λ = λ₀ / √(m + ε) with m ← d m + (1 − d) g⊙g, m = 0 at the start; otherwise it is
    DC-ASGD-c. A gradient computed from the present value, so every one under BSP, is not changed.

    The server keeps the rows that each worker has read last (`Update.needs`). The job must sum: a mean under
    an asynchronous model divides g by the number of workers, and so g⊙g by its square, which
    ``aggregate="sum"`` does not (with `adaptive` the two differ by a factor of the rate only).

    Parameters
    ----------
    rate : float
        Learning rate η > 0.
    strength : float
        λ ≥ 0, or λ₀; 0 is SGD. The paper has λ = 0.04, and λ₀ = 2 with `adaptive`, for CIFAR-10.
    adaptive : bool
        Let λ follow the gradients' size.
    decay : float
        d in [0, 1), of the mean square.
    epsilon : float
        ε > 0.

    Examples
    --------
    >>> import numpy as np
    >>> rule, read = DelayCompensated(0.5, strength=1.0), np.array([0.0])
    >>> rule.apply(np, np.array([0.5]), {}, np.array([-1.0]), read=read)
    (array([0.75]), {})
    >>> rule.apply(np, np.array([0.5]), {}, np.array([-1.0]))[0]
    array([1.])
    """

    rate: float
    strength: float
    adaptive: bool = False
    decay: float = 0.95
    epsilon: float = 1e-7
    needs: ClassVar[frozenset[str]] = frozenset({"read"})

    def __post_init__(self) -> None:
        number(self, "rate", 0)
        number(self, "strength", 0, closed=True)
        number(self, "decay", 0, 1, closed=True)
        number(self, "epsilon", 0)
        if not isinstance(self.adaptive, bool):
            raise InvalidJob(f"DelayCompensated(adaptive={self.adaptive!r}); required: True or False.")

    def init(self, xp: Any, value: Array) -> State:
        """Return zero mean squares, if λ follows them."""
        return {"square": xp.zeros_like(value)} if self.adaptive else {}

    def apply(
        self, xp: Any, value: Array, state: State, grad: Array, *, read: Array | None = None
    ) -> tuple[Array, State]:
        """Return the new value and mean squares; without `read`, the gradient is taken as fresh."""
        strength: Any = self.strength
        if self.adaptive:
            square = self.decay * state["square"] + (1 - self.decay) * (grad * grad)
            strength, state = self.strength / xp.sqrt(square + self.epsilon), {"square": square}
        moved = value - (value if read is None else read)
        return value - self.rate * (grad + strength * grad * (grad * moved)), state


@dataclass(frozen=True)
class StalenessAware(Update):
    """w ← w − (η / τ) g, where τ is the gradient's staleness; a fresh one, τ = 0, has the whole rate.

    Zhang, Gupta, Lian & Liu 2016 ("Staleness-aware async-SGD for distributed deep learning"): τ counts the
    updates of the shard between the read and the push, and the rate is divided by max(τ, 1). An update of
    several pushes is divided by their mean staleness, where the paper's n-softsync divides each gradient by
    its own; under BSP all are fresh.

    Parameters
    ----------
    rate : float
        Learning rate η > 0 of a gradient that is at most one update old.

    Examples
    --------
    >>> import numpy as np
    >>> rule, value, grad = StalenessAware(0.6), np.array([1.0]), np.array([1.0])
    >>> [rule.apply(np, value, {}, grad, staleness=tau)[0].round(2).item() for tau in (0, 1, 2, 3)]
    [0.4, 0.4, 0.7, 0.8]
    """

    rate: float
    needs: ClassVar[frozenset[str]] = frozenset({"staleness"})

    def __post_init__(self) -> None:
        number(self, "rate", 0)

    def apply(
        self, xp: Any, value: Array, state: State, grad: Array, *, staleness: Any = 0.0
    ) -> tuple[Array, State]:
        """Return ``value - rate / max(staleness, 1) * grad``."""
        age = xp.maximum(xp.asarray(staleness, value.dtype), 1)
        return value - self.rate / age * grad, state
