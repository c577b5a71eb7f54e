"""Memory for what a connection receives, used again when nobody looks at it any more."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

KEPT = 4
"""Pieces of memory kept for later, at most; each is as large as something that came."""

KEPT_BYTES = 2**29
"""Bytes of them, at most."""


class Memory:
    """Gives out memory, and takes a piece again once the last view of it has gone.

    Fresh memory is touched page by page for the first time, which takes longer than to copy into it: on the
    machines this was measured on 2 to 100 times. An iteration receives what the one before did, so a few
    pieces are enough.

    Notes
    -----
    A piece is in use as long as something refers to it besides this object: a view counts as a reference to
    what it views. At most `KEPT` pieces and `KEPT_BYTES` are kept.

    Examples
    --------
    >>> memory = Memory()
    >>> first = memory.take(100_000)
    >>> second = memory.take(100_000)
    >>> where = np.frombuffer(first, "uint8").ctypes.data
    >>> del first
    >>> np.frombuffer(memory.take(90_000), "uint8").ctypes.data == where
    True
    """

    def __init__(self) -> None:
        self._pieces: list[np.ndarray[Any, np.dtype[np.uint8]]] = []

    def take(self, size: int) -> memoryview:
        """Return `size` bytes that nobody else looks at; what they hold is not set."""
        pieces = self._pieces
        for index in range(len(pieces)):
            if size <= pieces[index].size <= 2 * size and sys.getrefcount(pieces[index]) == _UNUSED:
                return memoryview(pieces[index])[:size]  # type: ignore[arg-type]  # an array is a buffer
        fresh = np.empty(size, np.uint8)
        pieces.append(fresh)
        while len(pieces) > KEPT or sum(piece.size for piece in pieces) > KEPT_BYTES:
            pieces.pop(0)  # whoever looks at it still does
        return memoryview(fresh)  # type: ignore[arg-type]


def _references() -> int:
    """Return the count of references to an array that only a list holds."""
    pieces = [np.empty(0, np.uint8)]
    return sys.getrefcount(pieces[0])


_UNUSED = _references()
