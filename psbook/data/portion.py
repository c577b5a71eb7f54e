"""`Portion`: the partitions of one program, as they travel to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psbook.data.partition import Partition

if TYPE_CHECKING:
    from psbook.data.stream import Stream


@dataclass(frozen=True, eq=False)
class Portion:
    """What one program is to read.

    Attributes
    ----------
    parts : tuple of Partition
        Its partitions; from a queue, those of all.
    numbers : tuple of int
        Their numbers among all.
    keep : bool
        Whether what has been read stays in memory.
    queue : bool
        Whether the program asks for each partition.
    """

    parts: tuple[Partition, ...]
    numbers: tuple[int, ...]
    keep: bool = False
    queue: bool = False

    def open(self) -> Stream:
        """Return the reading of it, which holds what is in memory; for the process where the program runs."""
        from psbook.data.stream import Stream

        return Stream(self)

    def futures(self) -> Iterator[Any]:
        """Yield the keys of the futures that the partitions lie in."""
        for part in self.parts:
            yield from getattr(part, "remote", {}).values()
