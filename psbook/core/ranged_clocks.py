"""Vector clocks of key ranges: which numbers of which sender a range has had (semantics.md C1-C2).

A clock a key would need m numbers for each of all keys. Senders write ranges, so neighbouring keys have
the same clock, and it is stored once: O(m k) numbers for m senders and k distinct ranges (Li et al. 2014,
"Scaling Distributed Machine Learning with the Parameter Server", section 4.1).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, TypeAlias

from psbook.core.keys import KeyRange
from psbook.errors import ProtocolError

Sender: TypeAlias = int | str
Entries: TypeAlias = dict[Sender, int]
"""Last number of every sender that has one. A sender without an entry counts as 0: numbers start at 1."""


class RangedVectorClock:
    """Vector clocks of the keys of ``[start, stop)``, stored once for each range of equal ones.

    For k ranges and m senders, finding a key's range costs O(log k); writing or comparing a message's range
    costs O(log k + r m) for the r ranges that it meets, and O(k) pointer moves where it splits any.

    Parameters
    ----------
    start, stop : int
        The keys ``[start, stop)``, at least one; any integers.

    Raises
    ------
    ProtocolError
        If there is no key. So do all methods that are given keys outside the clock's, a range whose stop is
        before its start, or a number below 1.

    Examples
    --------
    >>> clock = RangedVectorClock(0, 100)
    >>> clock.set(10, 20, "worker-0", 1)
    >>> clock.ranges()
    [(0, 10, {}), (10, 20, {'worker-0': 1}), (20, 100, {})]
    >>> [tuple(part) for part in clock.fresh(15, 30, "worker-0", 1)]
    [(20, 30)]
    """

    __slots__ = ("_entries", "_starts", "start", "stop")

    def __init__(self, start: int, stop: int) -> None:
        if start >= stop:
            raise ProtocolError(f"a clock of the keys {start}:{stop}; required: at least one key")
        self.start = start
        self.stop = stop
        self._starts = [start]
        self._entries: list[Entries] = [{}]

    def __len__(self) -> int:
        """Number of ranges, k."""
        return len(self._starts)

    def __repr__(self) -> str:
        return f"<RangedVectorClock {self.start}:{self.stop}, {len(self)} ranges, {self.entries} entries>"

    @property
    def entries(self) -> int:
        """Number of stored (range, sender) pairs, at most m k; one clock a key would store them a key."""
        return sum(map(len, self._entries))

    def at(self, position: int) -> Entries:
        """Return the clock of one key: the last number of every sender that wrote it."""
        self._check(position, position + 1)
        return dict(self._entries[bisect_right(self._starts, position) - 1])

    def ranges(self) -> list[tuple[int, int, Entries]]:
        """All ranges ``(start, stop, clock)`` in order; neighbours have different clocks."""
        borders = pairwise((*self._starts, self.stop))
        return [(*border, dict(held)) for border, held in zip(borders, self._entries, strict=True)]

    def set(self, start: int, stop: int, sender: Sender, number: int) -> None:
        """Raise a sender's number to at least `number` in ``[start, stop)``, where it is less.

        One range becomes three at most: all keys of the message take its number, also those it has no value
        for. Numbers never fall.
        """
        self._check(start, stop, number)
        if start == stop:
            return
        first, last = self._split(start), self._split(stop)
        for held in self._entries[first:last]:
            held[sender] = max(number, held.get(sender, 0))
        self._merge(first, last)

    def fresh(self, start: int, stop: int, sender: Sender, number: int) -> list[KeyRange]:
        """Parts of a message's range in which it is no duplicate: its number is above the sender's last.

        They are in order and do not touch; the rest of the message is to be ignored.
        """
        self._check(start, stop, number)
        parts: list[KeyRange] = []
        for left, right, held in self._within(start, stop):
            if number > held.get(sender, 0):
                touches = bool(parts) and parts[-1].stop == left
                parts.append(KeyRange(parts.pop().start if touches else left, right))
        return parts

    def cut(self, start: int, stop: int) -> RangedVectorClock:
        """Return a copy of the clocks of ``[start, stop)``: what travels with the values of these keys.

        This clock stays as it is, for its owner may go on serving while the copy is under way (E4).
        """
        self._check(start, stop)
        part = RangedVectorClock(start, stop)
        pieces = list(self._within(start, stop))
        part._starts = [left for left, _, _ in pieces]
        part._entries = [dict(held) for _, _, held in pieces]
        return part

    def paste(self, other: RangedVectorClock) -> None:
        """Replace the clocks of other's keys by other's, together with their values.

        A number may fall here, as it must: values that replace others have had the updates that their own
        clock names and no more. Pasting a new clock forgets a range.
        """
        self._check(other.start, other.stop)
        first, last = self._split(other.start), self._split(other.stop)
        self._starts[first:last] = other._starts
        self._entries[first:last] = [dict(held) for held in other._entries]
        self._merge(first, first + len(other))

    def state(self) -> list[list[Any]]:
        """Return the clock in plain lists, ``[start, stop, [[sender, number], …]]`` a range.

        Equal clocks give equal lists, whatever their history.

        >>> RangedVectorClock.from_state(RangedVectorClock(0, 9).state())
        <RangedVectorClock 0:9, 1 ranges, 0 entries>
        """
        return [
            [start, stop, sorted(map(list, held.items()), key=repr)] for start, stop, held in self.ranges()
        ]

    @classmethod
    def from_state(cls, state: list[list[Any]]) -> RangedVectorClock:
        """Return the clock that `state` was written from; `ProtocolError` if it cannot be one."""
        if not state:
            raise ProtocolError("the state of a clock is empty; required: at least one range")
        if any(left[1] != right[0] for left, right in pairwise(state)):
            raise ProtocolError(f"ranges with a gap or an overlap in the state of a clock: {state}")
        clock = cls(state[0][0], state[-1][1])
        clock._starts = [start for start, _, _ in state]
        clock._entries = [dict(held) for _, _, held in state]
        clock.validate()
        return clock

    def validate(self) -> None:
        """Raise `ProtocolError` unless the ranges are in order, not empty, and unlike their neighbours."""
        if self._starts[0] != self.start or len(self._starts) != len(self._entries):
            raise ProtocolError(
                f"clocks {self._entries} at {self._starts}; required: one a range from {self.start} on"
            )
        for left, right in pairwise((*self._starts, self.stop)):
            if left >= right:
                raise ProtocolError(f"the range {left}:{right} of a clock; required: at least one key")
        for at, (before, held) in enumerate(pairwise(self._entries), 1):
            if before == held:
                raise ProtocolError(
                    f"equal clocks {held} on both sides of key {self._starts[at]}; required: one range"
                )
        for held in self._entries:
            if any(number < 1 for number in held.values()):
                raise ProtocolError(f"a clock {held}; required: numbers from 1 on")

    def _check(self, start: int, stop: int, number: int = 1) -> None:
        if not self.start <= start <= stop <= self.stop:
            raise ProtocolError(f"the keys {start}:{stop}; required: within {self.start}:{self.stop}")
        if number < 1:
            raise ProtocolError(f"a message of number {number}; required: numbers from 1 on")

    def _within(self, start: int, stop: int) -> Iterator[tuple[int, int, Entries]]:
        """Ranges that meet ``[start, stop)``, cut to it; their clocks are not copies."""
        if start == stop:
            return
        first, last = bisect_right(self._starts, start) - 1, bisect_left(self._starts, stop)
        borders = pairwise((start, *self._starts[first + 1 : last], stop))
        for (left, right), held in zip(borders, self._entries[first:last], strict=True):
            yield left, right, held

    def _split(self, position: int) -> int:
        """Make `position` a border; return the number of the range that begins there."""
        at = bisect_left(self._starts, position)
        if position < self.stop and (at == len(self) or self._starts[at] != position):
            self._starts.insert(at, position)
            self._entries.insert(at, dict(self._entries[at - 1]))
        return at

    def _merge(self, first: int, last: int) -> None:
        """Take away the borders of ranges number `first` … `last` that part equal clocks."""
        begin, end = max(first, 1), min(last, len(self) - 1) + 1
        kept = [at for at in range(begin, end) if self._entries[at] != self._entries[at - 1]]
        self._starts[begin:end] = [self._starts[at] for at in kept]
        self._entries[begin:end] = [self._entries[at] for at in kept]
