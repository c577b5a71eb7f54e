"""The gradients that a shard has collected since its last round ended (semantics.md A11)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from psbook.core.messages import Push

NO_READ = -1
"""Round of a gradient that was computed from no read."""


class Collection:
    """The open round of a shard: its number, and the pushes of each gradient by worker and clock.

    Examples
    --------
    >>> collection = Collection()
    >>> collection.add(rank=2, clock=0, pushes=[])
    >>> 2 in collection, len(collection), collection.is_old(0)
    (True, 1, False)
    >>> collection.close(), collection.round, collection.is_old(0)
    ([], 1, True)
    """

    __slots__ = ("_gradients", "ranks", "round")

    def __init__(self) -> None:
        self.round = 0
        """Rounds that have ended."""
        self._gradients: dict[tuple[int, int], Sequence[Push]] = {}
        self.ranks: set[int] = set()
        """Workers with a gradient in it."""

    def __len__(self) -> int:
        return len(self._gradients)

    def __contains__(self, rank: int) -> bool:
        return rank in self.ranks

    @property
    def pushes(self) -> list[Push]:
        """All pushes, in order of rank, then clock; each gradient's own as they were made."""
        return [push for _, pushes in sorted(self._gradients.items(), key=_place) for push in pushes]

    def is_old(self, read: int) -> bool:
        """Whether a gradient was computed from a read of a round that is over."""
        return NO_READ < read < self.round

    def add(self, rank: int, clock: int, pushes: Sequence[Push]) -> None:
        """Take in what a worker pushed in a clock."""
        self._gradients[rank, clock] = pushes
        self.ranks.add(rank)

    def close(self, until: int = 0) -> list[Push]:
        """End the round, and those before number `until`; return what was collected."""
        pushes = self.pushes
        self._gradients.clear()
        self.ranks.clear()
        self.round = max(self.round + 1, until)
        return pushes

    def cut(self, own: Callable[[Iterable[Push]], list[Push]]) -> None:
        """Keep only the pushes' parts in a part of the shard's range."""
        self._gradients = {place: own(pushes) for place, pushes in self._gradients.items()}


def _place(item: tuple[tuple[int, int], Sequence[Push]]) -> tuple[int, int]:
    return item[0]
