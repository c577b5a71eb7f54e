"""Stale synchronous parallel whose shards send unasked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from psbook.core.clocks import Clocks
from psbook.core.consistency.base import Consistency
from psbook.core.consistency.bounds import check_bound


@dataclass(frozen=True)
class ESSP(Consistency):
    """Eager stale synchronous parallel (Dai et al. 2015, AAAI, §"ESSP").

    The bound is that of ``SSP(s)``. But each time that its minimum rises, a shard sends every worker the rows
    that it has read there before, and a worker reads from what it has been sent as long as that is no older
    than c − s. So reads cost no round trip, and are as fresh as the messages are quick. The price is that all
    rows are sent to all of their readers in each clock.

    It caches every table, whatever ``Table(cache=…)`` says. A program that does not read is sent nothing.

    Parameters
    ----------
    s
        Staleness in clocks, ``>= 0``, or ``math.inf``.

    Raises
    ------
    InvalidJob
        If `s` is negative or not whole.

    Examples
    --------
    >>> ESSP(1).may_read(0, 2, Clocks([0, 1, 2])), ESSP(1).may_reuse(3, row_clock=2)
    (False, True)
    """

    s: float = 0
    min_only: ClassVar[bool] = True
    eager: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_bound("staleness s", self.s)

    def may_read(self, rank: int, clock: int, clocks: Clocks) -> bool:
        """Wait until ``min >= clock - s``."""
        return clocks.min >= clock - self.s

    def may_reuse(self, clock: int, row_clock: float) -> bool:
        """Read what was sent at a minimum of at least ``clock - s``."""
        return row_clock >= max(0, clock - self.s)

    @property
    def label(self) -> str:
        """Such as ``ESSP(2)``."""
        return f"ESSP({'∞' if math.isinf(self.s) else int(self.s)})"
