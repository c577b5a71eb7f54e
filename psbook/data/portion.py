"""`Portion`: the partitions of one program, as they travel to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from psbook.data.lazy import Lazy
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

    def futures(self) -> list[Any]:
        """Return the futures that the partitions lie in, where these were made."""
        return [future for part in self.parts for future in getattr(part, "here", {}).values()]

    def at(self, client: Callable[[], Any]) -> Portion:
        """Return the portion in another process: its futures are then those of that process's client."""
        if not any(getattr(part, "remote", None) for part in self.parts):
            return self
        there = client()
        return replace(
            self, parts=tuple(part.at(there) if isinstance(part, Lazy) else part for part in self.parts)
        )
