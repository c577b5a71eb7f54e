"""`Partitions`: data that is read by the programs that train on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psbook.data import lazy
from psbook.data.partition import Given, Partition
from psbook.data.portion import Portion
from psbook.data.structure import rows
from psbook.errors import InvalidJob


class Partitions:
    """Data in partitions, each read by the program that trains on it, in the process where that runs.

    A job makes it of Dask collections, delayed objects, futures and paths by itself; it is written out only
    for its options.

    Parameters
    ----------
    data
        A dask array, dataframe or bag; a list of delayed objects or futures, one for each partition; a tuple
        or dict of these with equally many partitions, as ``(X, y)``; a list of rows in memory; or a list of
        objects with a ``label`` and a method ``read()`` that returns rows.
    target : str, optional
        Of a dataframe, the column of the labels: rows are then pairs of X (float32, shape (n, other columns))
        and y. Without it rows are frames.
    queue : bool
        False: partitions are dealt out beforehand, as evenly as can be. True: a program gets its next one
        when it has worked through the one before; it writes ``async for batch in worker.batches()``.
    keep : bool
        Whether a program keeps what it has read. By default it holds two partitions at most, and reads again
        in each epoch.

    Attributes
    ----------
    parts : tuple of Partition
        The partitions, in their order.

    Raises
    ------
    InvalidJob
        No partitions, unequal numbers or lengths of partitions, an unknown target, or no data at all.

    Examples
    --------
    >>> import numpy as np
    >>> data = Partitions([np.arange(3), np.arange(3, 5), np.arange(5, 9)])
    >>> data
    <Partitions: 3, dealt out>
    >>> [portion.numbers for portion in data.deal(2)]
    [(0, 2), (1,)]
    """

    def __init__(
        self, data: Any, *, target: str | None = None, queue: bool = False, keep: bool = False
    ) -> None:
        self.parts: tuple[Partition, ...] = tuple(_parts(data, target))
        self.queue = queue
        self.keep = keep
        if not self.parts:
            raise InvalidJob("data without partitions; required is at least one: check how they were made")

    def deal(self, workers: int) -> list[Portion]:
        """Deal out: worker k of n gets partitions k, k + n, k + 2n, …, so numbers differ by at most one.

        This does not depend on the seed, which draws the order in which a worker goes through its own.

        Raises
        ------
        InvalidJob
            Fewer partitions than workers.
        """
        n = len(self.parts)
        if n < workers:
            raise InvalidJob(
                f"{n} partitions for {workers} workers; required is at least one for each: use fewer workers "
                "or cut the data finer, with X.rechunk(…), df.repartition(npartitions=…) or "
                "ps.read(…, block=…)"
            )
        if self.queue:
            return [Portion(self.parts, tuple(range(n)), self.keep, queue=True)] * workers
        return [
            Portion(self.parts[k::workers], tuple(range(k, n, workers)), self.keep) for k in range(workers)
        ]

    def __len__(self) -> int:
        return len(self.parts)

    def __repr__(self) -> str:
        return f"<Partitions: {len(self.parts)}, {'from a queue' if self.queue else 'dealt out'}>"


def _parts(data: Any, target: str | None) -> Sequence[Partition]:
    if lazy.is_lazy(data):
        return lazy.partitions(data, target)
    if target is not None:
        raise InvalidJob(f"target={target!r}; required: a dask dataframe whose column it is, or no target.")
    if isinstance(data, list | tuple) and all(hasattr(type(part), "read") for part in data):
        return data
    if isinstance(data, list):
        for position, part in enumerate(data):
            try:
                rows(part)
            except InvalidJob as error:
                raise InvalidJob(f"partition {position}: {error}") from None
        return [Given(part, f"partition {position}") for position, part in enumerate(data)]
    raise InvalidJob(
        f"Partitions of {type(data).__name__}; required: a Dask collection, or a list of partitions. Rows in "
        "memory are given to the job as they are."
    )
