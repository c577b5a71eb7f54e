"""Bounds on how far ahead of the slowest a worker may be, in clocks; and none at all (A1, A3, A5, A10)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from psbook.core.clocks import Clocks
from psbook.core.consistency.base import Consistency
from psbook.core.consistency.bounds import check_bound
from psbook.errors import InvalidJob


@dataclass(frozen=True)
class ASP(Consistency):
    """Asynchronous parallel: no gate (A5)."""

    min_only: ClassVar[bool] = True


@dataclass(frozen=True)
class SSP(Consistency):
    """Stale synchronous parallel (Ho et al. 2013; A1, A3).

    A read at clock c returns every update of clocks ≤ c−s−1 of every worker.

    Parameters
    ----------
    s
        Staleness in clocks, ``>= 0``; ``math.inf`` behaves as `ASP`.
    gate
        ``"read"``: reads wait. ``"clock"``: call number c of ``clock()`` returns when c − min ≤ s.

    Raises
    ------
    InvalidJob
        If `s` is negative or not whole, or `gate` is unknown.

    Examples
    --------
    >>> clocks = Clocks([0, 1, 2])
    >>> SSP(1).may_read(0, 2, clocks), SSP(1).may_read(1, 1, clocks)
    (False, True)
    """

    s: float = 0
    gate: Literal["read", "clock"] = "read"
    min_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_bound("staleness s", self.s)
        if self.gate not in ("read", "clock"):
            raise InvalidJob(f"gate={self.gate!r}; required: 'read' or 'clock'.")

    def may_read(self, rank: int, clock: int, clocks: Clocks) -> bool:
        """Wait until ``min >= clock - s``."""
        return clocks.min >= clock - self.s

    def may_clock(self, rank: int, clock: int, clocks: Clocks) -> bool:
        """With ``gate="clock"``, wait until ``clock - min <= s``."""
        return self.gate == "read" or clocks.min >= clock - self.s

    @property
    def gates_clock(self) -> bool:
        """Only with ``gate="clock"``."""
        return self.gate == "clock"

    def may_reuse(self, clock: int, row_clock: float) -> bool:
        """A copy may be used iff its clock is at least ``max(0, clock - s)``."""
        return math.isfinite(self.s) and row_clock >= max(0, clock - self.s)

    @property
    def label(self) -> str:
        """``SSP(3)``, or ``SSP(3, gate=clock)``."""
        s = "∞" if math.isinf(self.s) else str(int(self.s))
        return f"SSP({s})" if self.gate == "read" else f"SSP({s}, gate=clock)"


@dataclass(frozen=True)
class BoundedDelay(Consistency):
    """Bounded delay τ (Li et al. 2014, §3.5; A10).

    Iteration t starts only after all iterations < t−τ have finished on every worker; ``clock()``, which ends
    iteration t−1, is where it waits. τ may be changed while a run goes on (``worker.change_model``).

    Parameters
    ----------
    tau
        Delay in iterations, ``>= 0``; 0 is sequential, ``math.inf`` eventual consistency.

    Raises
    ------
    InvalidJob
        If `tau` is negative or not whole.
    """

    tau: float = 0
    min_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_bound("delay tau", self.tau)

    def may_read(self, rank: int, clock: int, clocks: Clocks) -> bool:
        """Nothing more than what starting the iteration has already waited for."""
        return clocks.min >= clock - self.tau

    def may_clock(self, rank: int, clock: int, clocks: Clocks) -> bool:
        """Wait until all iterations before ``clock - tau`` have ended everywhere."""
        return clocks.min >= clock - self.tau

    @property
    def label(self) -> str:
        """``Delay(2)``."""
        return f"Delay({'∞' if math.isinf(self.tau) else int(self.tau)})"
