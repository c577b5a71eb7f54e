"""FTRL-Proximal, the sparse online learner of click-through prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psbook.updates.base import Array, State, Update, number


@dataclass(frozen=True)
class FTRLProximal(Update):
    """Follow the regularised leader, per coordinate: zeros that stay exactly zero.

    McMahan et al. 2013, algorithm 1 ("Ad click prediction: a view from the trenches"):
    σ = (√(n+g²) − √n)/α, z ← z + g − σw, n ← n + g², and then
    w = 0 if |z| ≤ λ₁, else −(z − sgn(z)λ₁) / ((β+√n)/α + λ₂).

    Initial values other than 0 are kept until the first push: z starts where the last line gives them.

    Parameters
    ----------
    alpha : float
        α > 0: scale of the per-coordinate learning rate α/(β+√Σg²).
    beta : float
        β > 0; the paper finds 1 good enough.
    l1, l2 : float
        λ₁, λ₂ ≥ 0.

    Examples
    --------
    >>> import numpy as np
    >>> rule, value = FTRLProximal(alpha=1.0, beta=1.0, l1=1.0), np.zeros(2)
    >>> value, state = rule.apply(np, value, rule.init(np, value), np.array([3.0, 0.5]))
    >>> value
    array([-0.5,  0. ])
    """

    alpha: float
    beta: float = 1.0
    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        number(self, "alpha", 0)
        number(self, "beta", 0)
        number(self, "l1", 0, closed=True)
        number(self, "l2", 0, closed=True)

    def init(self, xp: Any, value: Array) -> State:
        """Return n = 0 and the z whose weights are `value`."""
        z = -value * (self.beta / self.alpha + self.l2) - xp.sign(value) * self.l1
        return {"z": z, "n": xp.zeros_like(value)}

    def apply(self, xp: Any, value: Array, state: State, grad: Array) -> tuple[Array, State]:
        """Return the new weights, z and n."""
        n = state["n"] + grad * grad
        root = xp.sqrt(n)
        sigma = (root - xp.sqrt(state["n"])) / self.alpha
        z = state["z"] + grad - sigma * value
        weight = (xp.sign(z) * self.l1 - z) / ((self.beta + root) / self.alpha + self.l2)
        return xp.where(xp.abs(z) <= self.l1, xp.zeros_like(weight), weight), {"z": z, "n": n}
