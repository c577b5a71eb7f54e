"""`Shelf`: the partitions of a program that are in memory, and the one being read ahead."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from psbook.data.partition import Partition, read

MOST = 2
"""Partitions in memory: one in use, one being read."""


class Shelf:
    """Reads partitions, the next one ahead in a thread, and holds at most two of them, or all.

    Parameters
    ----------
    parts
        The partitions.
    keep
        Whether to hold all that have been read.

    Examples
    --------
    >>> from psbook.data.partition import Given
    >>> shelf = Shelf([Given([1, 2], "a"), Given([3], "b")])
    >>> shelf.get(0, ahead=1), shelf.length(1)
    ([1, 2], 1)
    """

    def __init__(self, parts: Sequence[Partition], keep: bool = False) -> None:
        self._parts = parts
        self._keeps_all = keep or len(parts) <= MOST
        self._held: dict[int, Future[tuple[Any, int]]] = {}
        self._lengths: dict[int, int] = {}

    def get(self, position: int, ahead: int | None = None) -> Any:
        """Return the rows of a partition; begin to read the one that will be asked for next.

        Raises
        ------
        DataError
            If the partition cannot be read.
        """
        if not self._keeps_all:
            self._held = {at: held for at, held in self._held.items() if at == position}
        if position not in self._held:
            self._held[position] = Future()
            self._read(position, self._held[position])
        try:
            rows, self._lengths[position] = self._held[position].result()
        except BaseException:
            del self._held[position]  # it may do better the next time
            raise
        if ahead is not None and ahead not in self._held:
            self._held[ahead] = Future()
            run = contextvars.copy_context().run  # Dask tells by the context in which worker this is
            threading.Thread(
                target=run, args=(self._read, ahead, self._held[ahead]), name="psbook-read", daemon=True
            ).start()
        return rows

    def length(self, position: int) -> int:
        """Return the number of rows of a partition; it is read if that is not known."""
        if position not in self._lengths:
            self.get(position)
        return self._lengths[position]

    @property
    def total(self) -> int | None:
        """Number of rows of all partitions, once every one has been read."""
        return sum(self._lengths.values()) if len(self._lengths) == len(self._parts) else None

    def _read(self, position: int, done: Future[tuple[Any, int]]) -> None:
        try:
            done.set_result(read(self._parts[position]))
        except BaseException as error:  # noqa: BLE001  # whoever asks for the partition gets it
            done.set_exception(error)
