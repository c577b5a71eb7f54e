"""Keys of a table and how they are cut along the borders of the shards (semantics.md B1-B2)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from psbook.errors import InvalidKeys


class KeyRange(NamedTuple):
    """A half-open range of keys ``[start, stop)``.

    >>> KeyRange(2, 7).size
    5
    """

    start: int
    stop: int

    @property
    def size(self) -> int:
        """Number of keys in the range."""
        return self.stop - self.start


KeyArray: TypeAlias = npt.NDArray[np.int64]
Keys: TypeAlias = KeyRange | KeyArray
"""A range, or a sorted array of unique keys."""


def count(keys: Keys) -> int:
    """Number of keys.

    >>> count(KeyRange(2, 7)), count(np.array([1, 5]))
    (5, 2)
    """
    return keys.stop - keys.start if isinstance(keys, KeyRange) else len(keys)


def span(keys: Keys) -> KeyRange:
    """Return the smallest range that holds all keys.

    >>> span(np.array([3, 9]))
    KeyRange(start=3, stop=10)
    """
    if isinstance(keys, KeyRange):
        return keys
    return KeyRange(int(keys[0]), int(keys[-1]) + 1) if len(keys) else KeyRange(0, 0)


def key_bytes(keys: Keys) -> int:
    """Bytes that the keys take in a message: 16 for a range, 8 a key for a list.

    >>> key_bytes(KeyRange(0, 1000)), key_bytes(np.array([1, 5]))
    (16, 16)
    """
    return 16 if isinstance(keys, KeyRange) else 8 * len(keys)


def check_keys(keys: object, size: int, table: str = "table") -> Keys:
    """Return `keys` as a `KeyRange` or a sorted unique ``int64`` array within ``[0, size)``.

    Parameters
    ----------
    keys
        ``None`` (the whole table), a `KeyRange`, a ``slice`` of step 1, or a sequence of integers.
    size
        Number of keys of the table.
    table
        Name used in errors.

    Raises
    ------
    InvalidKeys
        If keys are not integers, not sorted, repeated, or outside the table.

    Examples
    --------
    >>> check_keys(slice(2, 5), 10)
    KeyRange(start=2, stop=5)
    >>> check_keys([1, 4], 10)
    array([1, 4])
    """
    if keys is None:
        return KeyRange(0, size)
    if isinstance(keys, slice):
        if keys.step not in (None, 1):
            raise InvalidKeys(
                f"table {table!r}: a slice of step {keys.step}; required: step 1. Pass an array."
            )
        keys = KeyRange(0 if keys.start is None else keys.start, size if keys.stop is None else keys.stop)
    if isinstance(keys, KeyRange):
        if not 0 <= keys.start <= keys.stop <= size:
            raise InvalidKeys(f"table {table!r}: range {keys.start}:{keys.stop}; required: within 0:{size}.")
        return keys
    array = np.asarray(keys)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InvalidKeys(
            f"table {table!r}: keys of dtype {array.dtype} and {array.ndim} dimensions; "
            "required: a one-dimensional array of integers."
        )
    if array.dtype != np.int64 or not is_fixed(array):
        array = array.astype(np.int64)  # a copy: the caller may fill its own array anew
    if array.size == 0:
        return array
    if not (array[1:] > array[:-1]).all():
        at = int(np.argmin(array[1:] > array[:-1]))
        what = "repeated" if array[at] == array[at + 1] else "not sorted"
        raise InvalidKeys(
            f"table {table!r}: keys are {what} at position {at + 1} ({array[at]} then {array[at + 1]}); "
            "required: strictly increasing. Use np.unique(keys)."
        )
    if array[0] < 0 or array[-1] >= size:
        wrong = array[0] if array[0] < 0 else array[-1]
        raise InvalidKeys(f"table {table!r}: key {wrong}; required: 0 <= key < {size}.")
    return array


def is_fixed(array: npt.NDArray[Any]) -> bool:
    """Whether an array is read-only and owns its memory: nobody has a plain way to change it.

    >>> array = np.arange(3)
    >>> array.flags.writeable = False
    >>> is_fixed(array), is_fixed(array[1:]), is_fixed(np.arange(3))
    (True, False, False)
    """
    return bool(array.flags.owndata and not array.flags.writeable)


class Slice(NamedTuple):
    """The part of a request that one shard serves: its keys, and their positions in the request."""

    shard: int
    keys: Keys
    start: int
    stop: int


def same(one: Keys, other: Keys) -> bool:
    """Whether two requests name the same keys.

    >>> same(KeyRange(0, 2), KeyRange(0, 2)), same(KeyRange(0, 2), np.array([0, 1]))
    (True, False)
    """
    if one is other:
        return True
    if isinstance(one, KeyRange) or isinstance(other, KeyRange):
        return type(one) is type(other) and one == other
    return np.array_equal(one, other)


def union(one: Keys, other: Keys) -> Keys:
    """Return the keys that are in either; a range if they are one.

    >>> union(KeyRange(0, 3), np.array([2, 3])), union(np.array([1]), np.array([4]))
    (KeyRange(start=0, stop=4), array([1, 4]))
    """
    if same(one, other):
        return one
    keys = np.union1d(*(np.arange(k.start, k.stop) if isinstance(k, KeyRange) else k for k in (one, other)))
    whole = span(keys)
    return whole if whole.size == len(keys) else keys


def within(keys: Keys, start: int, stop: int) -> Slice:
    """Return the part of a request between two keys, and where it lies in the request.

    >>> within(np.array([1, 4, 7]), 2, 8)
    Slice(shard=-1, keys=array([4, 7]), start=1, stop=3)
    """
    if isinstance(keys, KeyRange):
        low = min(max(keys.start, start), keys.stop)
        high = max(min(keys.stop, stop), low)
        return Slice(-1, KeyRange(low, high), low - keys.start, high - keys.start)
    low, high = np.searchsorted(keys, (start, stop)).tolist()
    return Slice(-1, keys[low:high], low, high)


class Partition:
    """Cut ``[0, size)`` into contiguous ranges, in order, one a shard; a range may be empty.

    Parameters
    ----------
    size
        Number of keys.
    ranges
        Shard and range of each, without gap or overlap.

    Examples
    --------
    >>> partition = Partition(10, [(0, KeyRange(0, 3)), (7, KeyRange(3, 10))])
    >>> [(s.shard, s.keys.tolist()) for s in partition.split(np.array([1, 4, 5]))]
    [(0, [1]), (7, [4, 5])]
    """

    __slots__ = ("_ranges", "_whole", "borders", "size")

    def __init__(self, size: int, ranges: Sequence[tuple[int, KeyRange]]) -> None:
        self.size = size
        self._ranges = dict(ranges)
        self.borders = np.array([0, *(keys.stop for _, keys in ranges)], dtype=np.int64)
        self._whole = self._split_range(KeyRange(0, size))

    def range(self, shard: int) -> KeyRange:
        """Return the keys of one shard."""
        return self._ranges[shard]

    def split(self, keys: Keys) -> Sequence[Slice]:
        """Return the non-empty slices of a request, in order of their keys."""
        if isinstance(keys, KeyRange):
            return self._whole if keys == (0, self.size) else self._split_range(keys)
        cuts = np.searchsorted(keys, self.borders).tolist()
        return [
            Slice(shard, keys[start:stop], start, stop)
            for shard, (start, stop) in zip(self._ranges, itertools.pairwise(cuts), strict=True)
            if start < stop
        ]

    def _split_range(self, keys: KeyRange) -> list[Slice]:
        slices = []
        for shard, owned in self._ranges.items():
            start, stop = max(keys.start, owned.start), min(keys.stop, owned.stop)
            if start < stop:
                slices.append(Slice(shard, KeyRange(start, stop), start - keys.start, stop - keys.start))
        return slices
