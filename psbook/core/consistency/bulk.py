"""One after the other, or all together: the two models that every other is held against (A0, A4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from psbook.core.clocks import Clocks
from psbook.core.consistency.base import Consistency


@dataclass(frozen=True)
class Serial(Consistency):
    """One worker at a time, (k1, s1), (k2, s1), …: equals the single-machine run (A0)."""

    def may_read(self, rank: int, clock: int, clocks: Clocks) -> bool:
        """Wait until lower ranks have ended this clock and higher ranks the one before."""
        return all(other == rank or at >= clock + (other < rank) for other, at in clocks.items())

    def push_scale(self, workers: int) -> float:
        """One gradient an update: nothing to average."""
        return 1.0


@dataclass(frozen=True)
class BSP(Consistency):
    """Bulk synchronous parallel: pushes are summed at the end of the clock, then reads are answered (A4)."""

    buffered: ClassVar[bool] = True
    min_only: ClassVar[bool] = True

    def may_read(self, rank: int, clock: int, clocks: Clocks) -> bool:
        """Wait until every worker has ended all earlier clocks."""
        return clocks.min >= clock

    def may_reuse(self, clock: int, row_clock: float) -> bool:
        """A copy of this round is as good as the shard's."""
        return row_clock >= clock
