"""Cutting rows into batches, each epoch in a fresh order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from psbook.data.ordering import order
from psbook.data.portion import Portion
from psbook.data.stream import Stream
from psbook.data.structure import rows, take
from psbook.errors import InvalidJob


def batches(
    shard: Any,
    size: int | None = None,
    *,
    epochs: int | None = None,
    iterations: int | None = None,
    seed: int = 0,
    worker: int = 0,
    shuffle: bool = True,
    skip: int = 0,
) -> Iterator[Any]:
    """Cut a shard into batches, each epoch in a fresh order.

    Every row appears exactly once in an epoch, so an epoch's last batch may be short; the next epoch starts
    with a new batch.

    Parameters
    ----------
    shard : array, sparse matrix, list, tuple or dict; or Portion or Stream
        This worker's rows, or where it reads them.
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
    skip : int, default 0
        Batches to leave out at the beginning; their rows are not even selected.

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
    >>> import numpy as np
    >>> shard = np.arange(5)
    >>> [batch.tolist() for batch in batches(shard, 2, shuffle=False, iterations=4)]
    [[0, 1], [2, 3], [4], [0, 1]]
    """
    if shard is None:
        raise InvalidJob("batches of a job without data; required is Job(data=…)")
    if isinstance(shard, Portion):
        shard = shard.open()
    if isinstance(shard, Stream):
        return shard.batches(
            size, epochs=epochs, iterations=iterations, seed=seed, worker=worker, shuffle=shuffle, skip=skip
        )
    parts = order(
        rows(shard), size, epochs=epochs, iterations=iterations, seed=seed, worker=worker, shuffle=shuffle
    )
    return (shard if size is None else take(shard, part) for part in islice(parts, skip, None))
