"""Splitting data among workers, and cutting a worker's shard into batches.

Data is an array (numpy, JAX, pandas), a scipy sparse matrix, a list of any objects, or a tuple or dict of
these whose first axes are equally long: the rows. What comes out has the structure of what went in.

Randomness is keyed by (seed, purpose, worker, epoch), never by what was drawn before. So worker 3's fifth
epoch is the same permutation whatever the consistency model, the number of iterations or the other workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psbook.errors import InvalidJob
from psbook.laws.streams import generator, restart


def split(data: Any, workers: int, seed: int = 0) -> list[Any]:
    """Cut data into one shard for each worker.

    Parameters
    ----------
    data : list, or array, sparse matrix, tuple or dict
        A list is taken as one shard for each worker, as it is; shards may differ in length. Anything else
        has its rows permuted and cut into parts whose lengths differ by at most one. None means that the
        job has no data.
    workers : int
        Number of shards, at least 1.
    seed : int, default 0
        Seed of the permutation, 0 … 2^64−1.

    Returns
    -------
    list
        `workers` shards, in rank order; together they are the data, each row once.

    Raises
    ------
    InvalidJob
        No rows, unequal first axes, a list of another length than `workers`, or more workers than rows.

    Examples
    --------
    >>> X, y = np.arange(10).reshape(5, 2), np.arange(5)
    >>> [len(shard_y) for shard_X, shard_y in split((X, y), workers=2)]
    [3, 2]
    """
    if workers < 1:
        raise InvalidJob(f"{workers} workers to split data among; required is at least 1")
    if data is None:
        return [None] * workers
    if isinstance(data, list):
        return _given(data, workers)
    n = rows(data)
    if n < workers:
        raise InvalidJob(
            f"{n} rows for {workers} workers; required is at least one row a worker: use fewer workers, or "
            "give a list with one shard for each worker"
        )
    permuted = generator(seed, "split").permutation(n)
    return [take(data, part) for part in np.array_split(permuted, workers)]


def rows(shard: Any) -> int:
    """Count the rows of data: the length of the first axis that all its arrays share.

    Raises
    ------
    InvalidJob
        Not data, no rows, or unequal first axes.

    Examples
    --------
    >>> rows({"X": np.ones((3, 2)), "y": np.ones(3)})
    3
    """
    lengths = dict(_lengths(shard, "data"))
    if not lengths:
        raise InvalidJob("data without a single array; required is at least one: give data=None for none")
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} has {n} rows" for name, n in lengths.items())
        raise InvalidJob(f"{found}; required are equal first axes: row i of each belongs to example i")
    n = next(iter(lengths.values()))
    if n == 0:
        raise InvalidJob(
            f"{', '.join(lengths)}: no rows; required is at least 1: check how they were selected"
        )
    return n


def take(shard: Any, index: NDArray[np.int64]) -> Any:
    """Select rows, keeping the structure.

    Examples
    --------
    >>> take((np.arange(3), ["x", "y", "z"]), np.array([2, 0]))
    (array([2, 0]), ['z', 'x'])
    """
    if isinstance(shard, dict):
        return {name: take(part, index) for name, part in shard.items()}
    if isinstance(shard, tuple):
        parts = [take(part, index) for part in shard]
        return type(shard)(*parts) if hasattr(shard, "_fields") else tuple(parts)
    if isinstance(shard, list):
        return [shard[i] for i in index]
    return shard.iloc[index] if hasattr(shard, "iloc") else _indexable(shard)[index]


def order(
    n: int,
    size: int | None = None,
    *,
    epochs: int | None = None,
    iterations: int | None = None,
    seed: int = 0,
    worker: int = 0,
    shuffle: bool = True,
) -> Iterator[NDArray[np.int64]]:
    """Row numbers of each batch: `batches` without the data, for engines that gather rows themselves.

    Parameters
    ----------
    n : int
        Number of rows, at least 1.
    size, epochs, iterations, seed, worker, shuffle
        As `batches`.

    Yields
    ------
    int64 array of shape (rows of this batch,)

    Examples
    --------
    >>> [batch.tolist() for batch in order(5, 2, shuffle=False)]
    [[0, 1], [2, 3], [4]]
    """
    _require("batch size", size, 1)
    _require("number of epochs", epochs, 0)
    _require("number of iterations", iterations, 0)
    size = n if size is None else min(size, n)
    if iterations is None:
        iterations = (1 if epochs is None else epochs) * -(-n // size)
    return islice(_endless(n, size, seed, worker, shuffle), iterations)


def batches(
    shard: Any,
    size: int | None = None,
    *,
    epochs: int | None = None,
    iterations: int | None = None,
    seed: int = 0,
    worker: int = 0,
    shuffle: bool = True,
) -> Iterator[Any]:
    """Cut a shard into batches, each epoch in a fresh order.

    Every row appears exactly once in an epoch, so an epoch's last batch may be short; the next epoch starts
    with a new batch.

    Parameters
    ----------
    shard : array, sparse matrix, list, tuple or dict
        This worker's rows.
    size : int, optional
        Rows of a batch, at least 1. By default the whole shard is one batch, uncopied and in its own order.
    epochs : int, default 1
        How often to go through the shard.
    iterations : int, optional
        Exactly so many batches, through as many epochs as that takes; overrides `epochs`.
    seed, worker : int, default 0
        Key of the order: epoch e of worker k is always the same permutation.
    shuffle : bool, default True
        False: the shard's own order in every epoch.

    Yields
    ------
    As `shard`
        The rows of one batch.

    Raises
    ------
    InvalidJob
        At the call, not at the first batch: no rows, unequal first axes, size < 1, a negative number.

    Examples
    --------
    >>> shard = np.arange(5)
    >>> [batch.tolist() for batch in batches(shard, 2, shuffle=False, iterations=4)]
    [[0, 1], [2, 3], [4], [0, 1]]
    """
    if shard is None:
        raise InvalidJob("batches of a job without data; required is Job(data=…)")
    parts = order(
        rows(shard), size, epochs=epochs, iterations=iterations, seed=seed, worker=worker, shuffle=shuffle
    )
    return (shard if size is None else take(shard, part) for part in parts)


def _given(shards: list[Any], workers: int) -> list[Any]:
    """Take the user's own shards, checked now rather than in the middle of a run."""
    if len(shards) != workers:
        raise InvalidJob(
            f"data is a list of {len(shards)} shards for {workers} workers; required is one shard for each "
            "worker: change the list or the number of workers, or give one array (or a tuple of arrays) to "
            "be split"
        )
    for worker, shard in enumerate(shards):
        try:
            rows(shard)
        except InvalidJob as error:
            raise InvalidJob(f"the shard of worker {worker}: {error}") from None
    return list(shards)


def _endless(n: int, size: int, seed: int, worker: int, shuffle: bool) -> Iterator[NDArray[np.int64]]:
    rng = generator(seed, "data", worker)
    for epoch in count():
        permuted = restart(rng, worker, epoch).permutation(n) if shuffle else np.arange(n)
        for start in range(0, n, size):
            yield permuted[start : start + size]


def _lengths(data: Any, name: str) -> Iterator[tuple[str, int]]:
    """Name and length of the first axis of each leaf."""
    if isinstance(data, dict):
        for key, part in data.items():
            yield from _lengths(part, f"{name}[{key!r}]")
    elif isinstance(data, tuple):
        for position, part in enumerate(data):
            yield from _lengths(part, f"{name}[{position}]")
    else:
        yield name, len(data) if isinstance(data, list) else _indexable(data, name).shape[0]


def _indexable(data: Any, name: str = "data") -> Any:
    """Return `data` if it has rows, as CSR where its sparse format cannot select them."""
    if not getattr(data, "shape", ()):
        raise InvalidJob(
            f"{name} is {type(data).__name__} without rows; required is an array, a sparse matrix, a list, "
            "or a tuple or dict of these"
        )
    return data.tocsr() if hasattr(data, "tocsr") else data


def _require(what: str, value: Any, least: int) -> None:
    if value is not None and not (isinstance(value, (int, np.integer)) and value >= least):
        raise InvalidJob(f"{what} {value!r}; required is an integer of at least {least}")
