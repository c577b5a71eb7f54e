"""Bugs of the consistency models: who waits, what a clock counts, when a round is closed."""

from __future__ import annotations

from psbook.bugs.bug import Bug
from psbook.core.actions import Action
from psbook.core.clocks import Clocks
from psbook.core.consistency import SSP
from psbook.core.messages import Clock, Write
from psbook.core.shard import Shard

_repeat = Shard.repeat


def _may_read(self: SSP, _rank: int, clock: int, clocks: Clocks) -> bool:
    return clocks.min >= clock - self.s - 1


GATE_OFF_BY_ONE = Bug(
    "gate off by one",
    "a read is answered one clock too early",
    "any gate written with > for >=",
    "Ho et al. 2013, section 3: a read at clock c sees all updates of the clocks up to c − s − 1",
    SSP,
    "may_read",
    _may_read,
    "a read shows every update that the model promises",
)


def _advance(self: Clocks, rank: int, clock: int, _jump: bool = False) -> bool:
    """Count messages: so many as there are workers end a clock, whoever has sent them."""
    before = self.min
    self._active[rank] = self.reached[rank] = clock
    self.min = sum(self._active.values()) // len(self._active)
    return self.min > before


ROUND_BY_COUNT = Bug(
    "BSP round closed by message count",
    "a round ends with as many clock messages as there are workers, though two may be of one worker",
    "Paracel",
    "github.com/douban/paracel, include/server.hpp: `incr_int` counts up to worker_sz; semantics A9",
    Clocks,
    "advance",
    _advance,
    "under BSP a read shows whole rounds only",
)


def _count_again(self: Shard, write: Write) -> list[Action]:
    if isinstance(write, Clock) and write.id.rank in self.clocks:
        self.clocks.advance(write.id.rank, self.clocks[write.id.rank] + 1)
    return _repeat(self, write)


CLOCK_TWICE = Bug(
    "clock counted twice",
    "a clock message that is sent again, because its acknowledgement was lost, counts as one more clock",
    "any server that counts clock messages and is behind a network that retries",
    "semantics A9 and D5",
    Shard,
    "repeat",
    _count_again,
    "min never exceeds what is applied",
)


def _leave(self: Shard, _rank: int, now: float) -> list[Action]:
    return self._release(now)


FINISHED_IN_MIN = Bug(
    "finished worker kept in min",
    "who has worked through its data holds the others back for ever",
    "any job with as many mini-batches as each worker happens to have",
    "semantics A8: uneven data must never hang a run",
    Shard,
    "_leave",
    _leave,
    "every run can end",
)
