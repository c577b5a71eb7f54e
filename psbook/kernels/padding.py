"""Padding sparse batches to powers of two, so that ragged rows do not recompile without end.

A sparse batch has three sizes: rows, stored entries, and unique keys. Each is rounded up to a power of two,
a *bucket*; the padding is inert (row weight 0, entry value 0). Entries are a flat list with their row
numbers rather than a rows × longest-row block: on two CPU cores the gradient of 1024 rows of 20 entries on
average takes about the same time either way, but one row of 1000 entries makes the block 18 times slower.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from psbook.errors import InvalidJob
from psbook.kernels.unique import unique_keys

SMALLEST = 64
"""Entries and keys below this share one bucket: they cost the same time, and compilations are saved."""


class SparseBatch(NamedTuple):
    """A padded sparse batch; a JAX pytree.

    Attributes
    ----------
    keys : int64 array of shape (k,)
        The batch's unique features, sorted, **not** padded: what to pull and push.
    slots : int
        Number of keys after padding; k ≤ slots.
    row, column : int32 arrays of shape (entries,)
        Row number of each entry (ascending), and position of its feature in `keys`.
    value : float32 array of shape (entries,)
        0 for padding.
    y : float32 array of shape (rows,)
        Labels; 0 for padding.
    weight : float32 array of shape (rows,)
        1 for a row of the batch, 0 for padding.
    """

    keys: NDArray[np.int64]
    slots: int
    row: NDArray[np.int32]
    column: NDArray[np.int32]
    value: NDArray[np.float32]
    y: NDArray[np.float32]
    weight: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(rows, entries, keys) after padding: what decides whether XLA must compile."""
        return len(self.y), len(self.value), self.slots


def bucket(n: int, smallest: int = 1) -> int:
    """Return the least power of two that is at least `n` and at least `smallest`.

    Examples
    --------
    >>> [bucket(n) for n in (0, 1, 2, 3, 64, 65)]
    [1, 1, 2, 4, 64, 128]
    """
    return 1 << max(n - 1, smallest - 1, 0).bit_length()


def pad(
    X: Any, y: ArrayLike, rows: int | None = None, entries: int = SMALLEST, keys: int = SMALLEST
) -> SparseBatch:
    """Pad a batch of sparse rows to buckets.

    Parameters
    ----------
    X : scipy sparse matrix or array of shape (n, d)
        The batch; n ≥ 1. Any format; duplicates are summed.
    y : array of shape (n,)
        Labels, 0 or 1.
    rows : int, optional
        Number of rows after padding, at least n; default the bucket of n. Give the batch size, so that the
        short last batch of an epoch has the shape of the others.
    entries, keys : int, default 64
        The smallest buckets in use: room for fewer is not distinguished.

    Returns
    -------
    SparseBatch

    Raises
    ------
    InvalidJob
        No rows, more than `rows` of them, or not one label for each.

    Examples
    --------
    >>> X = sparse.csr_array(np.array([[0, 5.0, 0, 0], [0, 0, 0, 7.0], [0, 8.0, 0, 9.0]]))
    >>> batch = pad(X, [0, 1, 1])
    >>> batch.keys.tolist(), batch.shape, batch.column[:4].tolist()
    ([1, 3], (4, 64, 64), [0, 1, 0, 1])
    """
    X, y = _canonical(X), np.asarray(y)
    n = X.shape[0]
    rows = bucket(n) if rows is None else rows
    if not 1 <= n <= rows or y.shape != (n,):
        raise InvalidJob(
            f"a sparse batch has {n} rows, labels of shape {y.shape} and room for {rows} rows; required are "
            f"1 to {rows} rows and one label for each: check what is passed as X, y and rows"
        )
    unique, column = unique_keys(X.indices)
    room = bucket(X.nnz, entries)
    # Padding entries sit in the last row, so that row numbers stay sorted; their value 0 makes them inert.
    row = filled(np.repeat(np.arange(n), np.diff(X.indptr)), room, np.int32, rows - 1)
    return SparseBatch(
        unique,
        bucket(len(unique), keys),
        row,
        filled(column, room, np.int32),
        filled(X.data, room, np.float32),
        filled(y, rows, np.float32),
        filled(np.ones(n), rows, np.float32),
    )


def _canonical(X: Any) -> Any:
    """Return X as CSR without duplicates, never changing the caller's matrix."""
    X = sparse.csr_array(X)
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


def filled(values: NDArray[Any], length: int, dtype: Any, filler: int = 0) -> NDArray[Any]:
    """`values` followed by `filler` up to `length`."""
    padded = np.full(length, filler, dtype)
    padded[: len(values)] = values
    return padded


@dataclass(frozen=True)
class Padding:
    """The shapes that batches of one shard can have: the bound on compilations, known before clock 0.

    Attributes
    ----------
    rows : int
        Rows of every batch after padding.
    entries, keys : tuple of int
        The buckets that can occur, ascending, at most four of each: batches with less than 1/8 of the most
        that is possible are padded up to that, so the bound is at most 16 shapes however ragged the rows.

    Examples
    --------
    >>> X = sparse.random_array((100, 1000), density=0.02, format="csr", rng=np.random.default_rng(0))
    >>> padding = Padding.of(X, size=8)
    >>> padding.rows, padding.entries, padding.keys, len(padding.shapes)
    (8, (64, 128, 256), (64, 128, 256), 6)
    """

    rows: int
    entries: tuple[int, ...]
    keys: tuple[int, ...]

    @classmethod
    def of(cls, X: Any, size: int | None = None) -> Padding:
        """Find the padding of all batches of `size` rows (default: all rows) of the sparse matrix `X`.

        The fewest and most entries are those of the shortest and longest rows taken together (for the
        fewest, of the epoch's short last batch); a batch has at least as many keys as its longest row has
        entries, and at most as many as it has entries or X has features in use.
        """
        X = _canonical(X)
        n = X.shape[0]
        size = n if size is None else min(size, n)
        if size < 1:
            raise InvalidJob(f"{n} rows in batches of {size}; required is at least 1 of both")
        lengths = np.sort(np.diff(X.indptr))
        last = n % size or size
        most = int(lengths[-size:].sum())
        features = len(np.unique(X.indices))
        return cls(
            bucket(size),
            _buckets(int(lengths[:last].sum()), most),
            _buckets(int(lengths[last - 1]), min(most, features)),
        )

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """Every (rows, entries, keys) that can occur; their number bounds the compilations."""
        return [(self.rows, e, k) for e, k in product(self.entries, self.keys) if k <= e]

    def pad(self, X: Any, y: ArrayLike) -> SparseBatch:
        """`pad` a batch to one of `shapes`."""
        return pad(X, y, self.rows, self.entries[0], self.keys[0])


def _buckets(fewest: int, most: int) -> tuple[int, ...]:
    last = bucket(most, SMALLEST)
    first = bucket(fewest, max(SMALLEST, last // 8))
    return tuple(1 << power for power in range(first.bit_length() - 1, last.bit_length()))
