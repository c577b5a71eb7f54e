"""What of each worker's pushes others have not read yet, by the size of the values (VAP)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection


class Transit:
    """Norms of the pushes of each worker to each table of a shard, until all who read it have read them.

    Examples
    --------
    >>> transit = Transit()
    >>> for rank in (0, 1):
    ...     transit.read(rank, "w", version=0)
    >>> transit.wrote(0, "w", version=1, norm=0.5)
    >>> transit.of(0, readers={0, 1}), transit.of(0, readers={0}), transit.of(1, readers={0, 1})
    (0.5, 0.0, 0.0)
    """

    def __init__(self) -> None:
        self._seen: dict[str, dict[int, int]] = {}
        self._sent: dict[int, dict[str, deque[tuple[int, float]]]] = {}

    def wrote(self, rank: int, table: str, version: int, norm: float) -> None:
        """Note a push, which made `version` of the table."""
        self._sent.setdefault(rank, {}).setdefault(table, deque()).append((version, norm))

    def read(self, rank: int, table: str, version: int) -> None:
        """Note that a worker has read a table at `version`."""
        self._seen.setdefault(table, {})[rank] = version

    def of(self, rank: int, readers: Collection[int]) -> float:
        """Sum of the norms of a worker's pushes that some other of the `readers` of their table lacks."""
        total = 0.0
        for table, sent in self._sent.get(rank, {}).items():
            seen = {other: version for other, version in self._seen.get(table, {}).items() if other != rank}
            everybody = min(seen.values(), default=math.inf)
            while sent and sent[0][0] <= everybody:
                sent.popleft()
            known = min((version for other, version in seen.items() if other in readers), default=math.inf)
            total += math.fsum(norm for version, norm in sent if version > known)
        return total

    def forget(self, rank: int) -> None:
        """Forget a worker that has ended."""
        self._sent.pop(rank, None)
        for seen in self._seen.values():
            seen.pop(rank, None)
