"""The clocks of a group of workers, and their minimum (semantics.md, words; A7-A9)."""

from __future__ import annotations

import math
from collections.abc import Iterable

from psbook.errors import ProtocolError


class Clocks:
    """Clock of every worker that is neither finished nor removed.

    ``min`` over nobody is infinite, so that a run whose workers are done releases every read.
    A histogram of clock values makes ``min`` cost O(1) amortised for any number of workers.

    Examples
    --------
    >>> clocks = Clocks([0, 1])
    >>> clocks.advance(0, 1), clocks.min, clocks.slowest()
    (False, 0, [1])
    >>> clocks.remove(1)
    True
    >>> clocks.min
    1
    """

    __slots__ = ("_active", "_count", "_last", "min", "reached", "times")

    def __init__(self, ranks: Iterable[int], start: int = 0) -> None:
        self._active = dict.fromkeys(ranks, start)
        self._count = {start: len(self._active)}
        self.reached = dict(self._active)
        """Last clock of every worker ever seen, finished ones included."""
        self.min: float = start if self._active else math.inf
        self.times: dict[int, tuple[float, float]] = {}
        """When each worker made its last two clocks [s], if it has made two and times are noted."""
        self._last: dict[int, float] = {}

    def __getitem__(self, rank: int) -> int:
        return self._active[rank]

    def __contains__(self, rank: int) -> bool:
        return rank in self._active

    def __len__(self) -> int:
        return len(self._active)

    def items(self) -> Iterable[tuple[int, int]]:
        """(rank, clock) of the active workers."""
        return self._active.items()

    def slowest(self) -> list[int]:
        """Ranks whose clock is the minimum."""
        return [rank for rank, clock in self._active.items() if clock == self.min]

    def add(self, rank: int, clock: int | None = None) -> int:
        """Let a worker join: at `clock`, by default ``min``, or where it was if that is later (A7)."""
        if clock is None:
            everyone = self.min if self._active else max(self.reached.values(), default=0)
            clock = max(int(everyone), self.reached.get(rank, 0))
        self._active[rank] = self.reached[rank] = clock
        self._count[clock] = self._count.get(clock, 0) + 1
        self.min = min(self.min, clock)
        return clock

    def advance(self, rank: int, clock: int, jump: bool = False) -> bool:
        """Count clock number `clock` of a worker, or let it `jump` there; return whether ``min`` rose."""
        before = self._active[rank]
        if clock != before + 1 and not (jump and clock > before):
            raise ProtocolError(f"rank {rank} went from clock {before} to {clock}; required: steps of one")
        self._active[rank] = self.reached[rank] = clock
        self._count[before] -= 1
        self._count[clock] = self._count.get(clock, 0) + 1
        return self._settle()

    def note(self, rank: int, now: float) -> None:
        """Note when a worker made a clock."""
        if rank in self._last:
            self.times[rank] = self._last[rank], now
        self._last[rank] = now

    def remove(self, rank: int) -> bool:
        """Take a finished or dead worker out of ``min``; return whether ``min`` rose."""
        clock = self._active.pop(rank, None)
        if clock is None:
            return False
        self._count[clock] -= 1
        return self._settle()

    def _settle(self) -> bool:
        before = self.min
        if not self._active:
            self.min = math.inf
        else:
            while not self._count.get(int(self.min), 0):
                self._count.pop(int(self.min), None)
                self.min += 1
        return self.min > before

    def validate(self) -> None:
        """Raise `ProtocolError` unless ``min`` is the minimum of the active clocks."""
        required = min(self._active.values(), default=math.inf)
        if self.min != required:
            raise ProtocolError(f"min is {self.min}; required: {required} for clocks {self._active}")
