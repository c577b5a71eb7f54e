"""From a key to the place of its row: a hash table in numpy, without a loop over the keys."""

from __future__ import annotations

from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from psbook.core.keys import KeyArray

Slots: TypeAlias = npt.NDArray[np.int64]
Number = TypeVar("Number", bound=np.generic)


class KeyIndex:
    """Numbers keys 0, 1, 2, … as they are inserted, and finds the number of a key again.

    Open addressing with linear probing; every round of probing handles all keys still unresolved at once. The
    table is at most half full and doubles, so that n insertions cost O(n).

    Examples
    --------
    >>> index = KeyIndex()
    >>> index.insert(np.array([5, 10**12]))
    array([0, 1])
    >>> index.find(np.array([4, 10**12]))
    array([-1,  1])
    >>> len(index)
    2
    """

    def __init__(self) -> None:
        self._keys: Slots = np.empty(0, np.int64)
        self._places = np.full(64, -1, np.int64)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def keys(self) -> KeyArray:
        """All keys by number."""
        return self._keys[: self._count]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._keys.nbytes + self._places.nbytes

    def find(self, keys: KeyArray) -> Slots:
        """Return each key's number, or −1."""
        if not self._count:
            return np.full(len(keys), -1, np.int64)
        at = self._home(keys)
        found = self._places[at]
        # Most are found or missed at once; a place that is free, -1, is compared with the last key, in vain.
        on = np.flatnonzero((found >= 0) & (self._keys[found] != keys))
        at = at[on]
        while on.size:
            at = self._next(at)
            slots = self._places[at]
            found[on] = slots
            other = (slots >= 0) & (self._keys[slots] != keys[on])
            on, at = on[other], at[other]
        return found

    def insert(self, keys: KeyArray) -> Slots:
        """Return each key's number, giving the next numbers to new ones; keys must be unique."""
        slots = self.find(keys)
        new = np.flatnonzero(slots < 0)
        if new.size:
            start, self._count = self._count, self._count + new.size
            slots[new] = np.arange(start, self._count)
            self._keys = grown(self._keys, self._count)
            self._keys[start : self._count] = keys[new]
            if 2 * self._count > len(self._places):
                self._places = np.full(1 << (4 * self._count - 1).bit_length(), -1, np.int64)
                start = 0
            self._place(np.arange(start, self._count))
        return slots

    def _place(self, slots: Slots) -> None:
        at = self._home(self._keys[slots])
        while slots.size:
            free = self._places[at] < 0
            self._places[at[free]] = slots[free]  # of several that aim at one place the last stays
            lost = self._places[at] != slots
            slots, at = slots[lost], self._next(at[lost])

    def _home(self, keys: KeyArray) -> Slots:
        """Fibonacci hashing (Knuth, volume 3, section 6.4): the top bits of a product."""
        bits = len(self._places).bit_length() - 1
        hashed = keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        return (hashed >> np.uint64(64 - bits)).astype(np.int64)

    def _next(self, at: Slots) -> Slots:
        return (at + 1) & (len(self._places) - 1)


def grown(array: npt.NDArray[Number], length: int) -> npt.NDArray[Number]:
    """Return `array`, or a copy with room for at least `length` rows and twice what it had."""
    if length <= len(array):
        return array
    larger = np.empty((max(length, 2 * len(array), 16), *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger
