"""A bound on the lead that follows the speeds of the workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from psbook.core.clocks import Clocks
from psbook.core.consistency.base import Consistency
from psbook.core.consistency.bounds import check_count
from psbook.errors import InvalidJob


@dataclass(frozen=True)
class DSSP(Consistency):
    r"""Dynamic stale synchronous parallel (Zhao et al. 2019, ICDCS, algorithms 1 and 2).

    A worker whose lead over the slowest is at most `low` reads; one whose lead is above `high` waits. Between
    them the fastest worker goes on if that makes its next wait shorter: from the times T of the last clock of
    itself (p) and of the slowest (q), and their last intervals I, the number of further iterations is

    .. math:: r^* = \arg\min_r \min_k |T_q + (k+1) I_q - T_p - r I_p|,

    the least of them if some are equally good, and it waits if that is 0. The question is put anew at each
    read, and to a worker that waits at each clock of another, with the times that the shard has then. Until
    a worker has made two clocks, `low` is all that it gets.

    A program that does not read is never held. Each shard goes by when messages came to itself.

    Parameters
    ----------
    low, high
        Range of the threshold in clocks, ``0 <= low <= high``; if they are equal, this is `SSP`.

    Raises
    ------
    InvalidJob
        If a bound is not whole, or negative, or `low` is above `high`.

    Examples
    --------
    >>> clocks = Clocks([0, 1])
    >>> for clock, time in ((1, 1.0), (2, 2.0)):
    ...     _ = clocks.advance(0, clock)
    ...     clocks.note(0, time)
    >>> DSSP(0, 3).may_read(0, 2, clocks)  # nothing is known of the other
    False
    >>> for clock, time in ((1, 2.1), (2, 6.1)):
    ...     _ = clocks.advance(1, clock)
    ...     clocks.note(1, time)
    >>> _ = clocks.advance(0, 3)
    >>> clocks.note(0, 6.2)
    >>> DSSP(0, 3).threshold(0, 3, clocks), DSSP(0, 3).may_read(0, 3, clocks)
    (1, True)
    """

    low: int
    high: int
    timed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_count("lower threshold", self.low)
        check_count("upper threshold", self.high)
        if self.low > self.high:
            raise InvalidJob(f"thresholds from {self.low} to {self.high}; required: low <= high.")

    def may_read(self, rank: int, clock: int, clocks: Clocks) -> bool:
        """Wait if the lead is above the threshold of the moment."""
        return clock - clocks.min <= self.low or clock - clocks.min <= self.threshold(rank, clock, clocks)

    def threshold(self, rank: int, clock: int, clocks: Clocks) -> float:
        """Return the lead, from `low` to `high`, up to which a worker at `clock` would best go on now."""
        lead = clock - clocks.min
        most = int(self.high - lead) + 1
        if most < 1 or any(at > clock for _, at in clocks.items()):
            return self.low
        slowest = clocks.slowest()[0]
        times = clocks.times
        if slowest == rank or rank not in times or slowest not in times:
            return self.low
        (before, last), (before_slow, last_slow) = times[rank], times[slowest]
        mine = [last + further * (last - before) for further in range(most + 1)]
        others = [last_slow + (further + 1) * (last_slow - before_slow) for further in range(most + 1)]
        waits = [min(abs(other - end) for other in others) for end in mine]
        best = waits.index(min(waits))
        return max(self.low, lead + best - 1) if best else self.low

    def may_reuse(self, clock: int, row_clock: float) -> bool:
        """A copy may be used as under SSP with the lower threshold."""
        return row_clock >= max(0, clock - self.low)

    @property
    def label(self) -> str:
        """Such as ``DSSP(1, 4)``."""
        return f"DSSP({self.low}, {self.high})"
