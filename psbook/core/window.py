"""Receive window: a worker's writes to one shard in the order in which they were sent, each one once."""

from __future__ import annotations

from typing import Literal

from psbook.core.messages import Pull, Write

UNORDERED = -1
"""`after` of a push that stands outside the order."""

RESYNC = -2
"""`after` of a write that is to be taken whatever came before: the shard has lost what did."""

Standing = Literal["new", "repeat", "stale"]


class Window:
    """Puts one sender's writes in order and names duplicates (semantics.md, words: message id; D5).

    A write says which write came before it, so that numbers may have gaps. A push of a mode that is not
    exactly-once stands outside the order (`after` is −1).

    Examples
    --------
    >>> from psbook.core.messages import Clock, MessageId
    >>> first, second = (Clock(MessageId(0, 0, "", 0, n), n, after=n - 1) for n in (1, 2))
    >>> window = Window()
    >>> window.accept(second), len(window.accept(first)), window.standing(first)
    ([], 2, 'repeat')
    """

    __slots__ = ("_early", "_loose", "held", "incarnation", "joined", "last")

    def __init__(self, incarnation: int = 0, last: int = 0) -> None:
        self.incarnation = incarnation
        self.last = last
        """Number of the last write that was handled."""
        self.joined = False
        """Whether the worker was not among the workers when it sent its first message."""
        self.held: list[Pull] = []
        """Reads that came before a write they follow."""
        self._early: dict[int, Write] = {}
        self._loose = 0

    def standing(self, write: Write, at_most_once: bool = False) -> Standing:
        """Tell a new write from one that came before, and from one of an earlier start of the worker."""
        if write.id.incarnation < self.incarnation:
            return "stale"
        if write.id.incarnation > self.incarnation:
            return "new"
        if write.after == UNORDERED:
            return "stale" if at_most_once and write.id.sequence <= self._loose else "new"
        return "repeat" if write.id.sequence <= self.last or write.after in self._early else "new"

    def accept(self, write: Write) -> list[Write]:
        """Take a write; return those that may be handled now, in order."""
        sequence = write.id.sequence
        if write.after == UNORDERED:
            self._loose = max(self._loose, sequence)
            return [write]
        if write.after == self.last and not self._early:
            self.last = sequence
            return [write]
        if sequence <= self.last:
            return []
        ready = []
        if write.after == RESYNC:
            self.last = sequence
            ready.append(write)
        else:
            self._early[write.after] = write
        while self.last in self._early:
            ready.append(self._early.pop(self.last))
            self.last = ready[-1].id.sequence
        return ready

    def is_early(self, write: Write) -> bool:
        """Whether a write is kept, but not handled yet, because one that it follows has not come."""
        return write.after in self._early

    @property
    def early(self) -> list[Write]:
        """Writes that came before one they follow."""
        return list(self._early.values())

    def forget_early(self) -> None:
        """Drop what came out of order; it is not acknowledged, and comes again."""
        self._early.clear()

    def released(self) -> list[Pull]:
        """Return the reads whose writes have come."""
        ready = [pull for pull in self.held if pull.after <= self.last]
        if ready:
            self.held = [pull for pull in self.held if pull.after > self.last]
        return ready
