"""What a program has still to work through, which may be shared with others while the run goes on (E8)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

REMEMBERED = 64
"""Batches that are kept until their clock is known to be counted."""

_END: Any = object()


class _Ahead(Iterator[Any]):
    """Batches of which the next may be looked at before it is taken."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self._rest = iter(batches)
        self._seen: list[Any] = []

    def __next__(self) -> Any:
        return self._seen.pop() if self._seen else next(self._rest)

    def peek(self) -> Any:
        if not self._seen:
            self._seen.extend(islice(self._rest, 1))
        return self._seen[0] if self._seen else _END


class Supply:
    """A program's own batches, then those that others have left.

    Batches are made when they are taken, except what is given away: that is made at once, and held by whoever
    gets it.

    Examples
    --------
    >>> supply = Supply()
    >>> taken = supply.feed(iter(range(6)), clock=lambda: 0)
    >>> next(taken), supply.give(0.5), list(taken)
    (0, [4, 5], [1, 2, 3])
    """

    def __init__(
        self,
        taken: int = 0,
        given: int = 0,
        taken_adopted: int = 0,
        adopted: Iterable[Any] = (),
        asked: tuple[int, int] = (0, 0),
    ) -> None:
        self.taken = taken
        """Own batches that were taken, in all starts of the program."""
        self.given = given
        """Own batches that were given away, from the end."""
        self.taken_adopted = taken_adopted
        """Batches of others that were taken."""
        self.adopted: list[Any] = list(adopted)
        """All batches that were taken over from others."""
        self.asked, self.before = asked
        """Pieces of work that a queue was asked for, and batches of those before the last."""
        self._again = self.asked > 0
        self._skip = taken
        self._own = _Ahead(())
        self._recent: deque[tuple[int, Any]] = deque(maxlen=REMEMBERED)

    def ask(self) -> int:
        """Return the number of the piece to ask a queue for: the next, or that of before a restart."""
        if not self._again:
            self.before += self.taken
            self.asked, self.taken = self.asked + 1, 0
        self._again = False
        return self.asked

    def skipped(self) -> int:
        """Return how many of the program's own batches were taken before it was started again, once."""
        skip, self._skip = self._skip, 0
        return skip

    def feed(self, own: Iterator[Any], clock: Any) -> Iterator[Any]:
        """Yield the program's batches: its own, without those that were taken before, then others'."""
        if self.given:
            rest = list(own)
            own = iter(rest[: len(rest) - self.given])
        self._own = _Ahead(own)
        while True:
            while (batch := next(self._own, _END)) is not _END:  # others may take from it meanwhile
                self.taken += 1
                self._recent.append((clock(), batch))
                yield batch
            if self.taken_adopted >= len(self.adopted):
                return
            batch = self.adopted[self.taken_adopted]
            self.taken_adopted += 1
            self._recent.append((clock(), batch))
            yield batch

    def upcoming(self) -> Any:
        """Return the batch that will be taken next, as things are; ``None`` if there is none."""
        batch = self._own.peek()
        if batch is not _END:
            return batch
        return self.adopted[self.taken_adopted] if self.taken_adopted < len(self.adopted) else None

    def give(self, share: float) -> list[Any]:
        """Give away a share of what is left, from the end; what a queue hands out is everybody's already."""
        if self.asked:
            return []
        rest = list(self._own)
        kept = len(rest) - int(len(rest) * share)
        self._own = _Ahead(rest[:kept])
        self.given += len(rest) - kept
        return rest[kept:]

    def left(self, counted: int) -> list[Any]:
        """Return what a lost program leaves, once `counted` of its clocks have been counted everywhere."""
        if self.asked:
            return self.adopted[self.taken_adopted :]  # the queue hands the rest out again
        open_batches = [batch for clock, batch in self._recent if clock >= counted]
        return [*open_batches, *self._own, *self.adopted[self.taken_adopted :]]

    def adopt(self, batches: Iterable[Any]) -> None:
        """Take over what others have left."""
        self.adopted.extend(batches)
