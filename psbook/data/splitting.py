"""Splitting data among workers."""

from __future__ import annotations

from typing import Any

import numpy as np

from psbook.data.partitions import Partitions
from psbook.data.structure import rows, take
from psbook.errors import InvalidJob
from psbook.laws.streams import generator


def split(data: Any, workers: int, seed: int = 0) -> list[Any]:
    """Cut data into one shard for each worker.

    Parameters
    ----------
    data : list, or array, sparse matrix, tuple or dict; or Partitions
        A list is taken as one shard for each worker, as it is; shards may differ in length. `Partitions` are
        dealt out unread, see `Partitions.deal`. Anything else has its rows permuted and cut into parts whose
        lengths differ by at most one. None means that the job has no data.
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
        No rows, unequal first axes, a list of another length than `workers`, or more workers than rows or
        partitions.

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
    if isinstance(data, Partitions):
        return list(data.deal(workers))
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


def _given(shards: list[Any], workers: int) -> list[Any]:
    """Take the user's own shards, checked now rather than in the middle of a run."""
    if len(shards) != workers:
        raise InvalidJob(
            f"data is a list of {len(shards)} shards for {workers} workers; required is one shard for each "
            "worker: change the list or the number of workers, give one array (or a tuple of arrays) to be "
            "split, or ps.Partitions(list) to deal more of them out"
        )
    for worker, shard in enumerate(shards):
        try:
            rows(shard)
        except InvalidJob as error:
            raise InvalidJob(f"the shard of worker {worker}: {error}") from None
    return list(shards)
