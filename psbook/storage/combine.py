"""Several pushes as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from psbook.core.keys import KeyRange, Keys, span

Part = tuple[Keys, npt.NDArray[Any]]


def combined(parts: Sequence[Part], how: Literal["sum", "last"]) -> Part:
    """Return the one push that equals several: sums over the union of their keys, in the order given.

    Parameters
    ----------
    parts
        At least one pair of keys and rows; their order decides the rounding of a sum, and who is last.
    how
        "sum", or "last": each key's row is that of the last part that has it.

    Examples
    --------
    >>> combined([(KeyRange(0, 2), np.array([1, 1])), (np.array([1, 3]), np.array([5, 7]))], "sum")
    (array([0, 1, 3]), array([1, 6, 7]))
    >>> combined([(KeyRange(0, 2), np.array([1, 1])), (np.array([1, 2]), np.array([5, 7]))], "last")
    (KeyRange(start=0, stop=3), array([1, 5, 7]))
    """
    keys, rows = parts[0]
    if len(parts) == 1:
        return keys, rows
    if isinstance(keys, KeyRange) and all(isinstance(k, KeyRange) and k == keys for k, _ in parts):
        if how == "last":
            return keys, parts[-1][1]
        total = rows + parts[1][1]
        for _, rows in parts[2:]:
            total += rows
        return keys, total
    return _union(parts, how)


def as_array(keys: Keys) -> npt.NDArray[np.int64]:
    """Return keys as an array."""
    return np.arange(keys.start, keys.stop) if isinstance(keys, KeyRange) else keys


def _union(parts: Sequence[Part], how: Literal["sum", "last"]) -> Part:
    union = np.unique(np.concatenate([as_array(keys) for keys, _ in parts]))
    out = np.zeros((len(union), *parts[0][1].shape[1:]), parts[0][1].dtype)
    for keys, rows in parts:
        at = np.searchsorted(union, as_array(keys))  # unique within a part: no row is written twice
        out[at] = rows if how == "last" else out[at] + rows
    whole = span(union)
    return (whole if whole.size == len(union) else union), out
