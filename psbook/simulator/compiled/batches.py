"""Which rows of the data each worker computes on in each iteration, as whole numbers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psbook.data import order, rows, split
from psbook.errors import Unsupported
from psbook.job import Job

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches of all workers.

    Attributes
    ----------
    sizes
        Rows of a batch: the different numbers there are, the largest first.
    rows
        Row numbers, shape (batches, largest size); a shorter batch is filled up with row 0.
    number
        Which batch worker k computes on in iteration c, shape (workers, iterations); -1: none.
    size
        Place in `sizes` of each batch.
    counts
        Iterations of each worker.
    """

    sizes: tuple[int, ...]
    rows: NDArray[np.int32]
    number: Ints
    size: Ints
    counts: Ints


def leaves(data: Any) -> list[Any]:
    """Return the arrays of data, in order.

    Raises
    ------
    Unsupported
        If there is anything else than arrays of numbers in it.
    """
    if isinstance(data, dict):
        return [leaf for part in data.values() for leaf in leaves(part)]
    if isinstance(data, tuple):
        return [leaf for part in data for leaf in leaves(part)]
    kind = getattr(getattr(data, "dtype", None), "kind", "O")
    if hasattr(data, "indptr") or hasattr(data, "iloc") or not hasattr(data, "shape") or kind not in "fiub":
        raise Unsupported(f"data of type {type(data).__name__}; required: dense arrays of numbers.")
    return [data]


def joined(data: Any) -> Any:
    """Return the rows of all workers as one: a list of shards one behind the other, all else as it is."""
    if not isinstance(data, list):
        leaves(data)
        return data
    for shard in data:
        leaves(shard)
    import jax

    try:
        return jax.tree.map(lambda *parts: np.concatenate([np.asarray(part) for part in parts]), *data)
    except ValueError as error:
        raise Unsupported(f"shards of different structure ({error}); required: equal ones.") from error


def batches_of(job: Job, workers: int, seed: int) -> Batches:
    """Return the batches that ``worker.batches()`` gives to each worker of a job.

    Parameters
    ----------
    job
        With data.
    workers, seed
        Of the cluster.

    Examples
    --------
    >>> import numpy as np, psbook as ps
    >>> job = ps.Job(ps.Loop(print), tables={"w": ps.Table(1)}, data=np.arange(5), batch_size=2)
    >>> found = batches_of(job, workers=2, seed=0)
    >>> found.counts, found.sizes
    (array([2, 1]), (2, 1))
    """
    given = job.batching
    if isinstance(job.data, list):
        given_shards = split(job.data, workers, seed)  # as they are, but checked
        first = np.concatenate([[0], np.cumsum([rows(shard) for shard in given_shards])])
        shards = [np.arange(a, b) for a, b in pairwise(first)]
    else:
        shards = split(np.arange(rows(job.data)), workers, seed)
    if given.size is None:
        return _whole(shards, given.epochs, given.iterations)
    found = [
        list(
            order(
                len(shard), given.size, epochs=given.epochs, iterations=given.iterations, seed=seed, worker=k
            )
        )
        for k, shard in enumerate(shards)
    ]
    counts = np.array([len(each) for each in found])
    lengths = np.array([len(batch) for each in found for batch in each], np.int64)
    flat = np.concatenate(
        [shards[k][np.concatenate(each)] for k, each in enumerate(found) if each] or [lengths]
    )
    return _packed(flat, lengths, counts)


def _whole(shards: list[Ints], epochs: int | None, iterations: int | None) -> Batches:
    """A batch is a worker's whole shard, in its own order."""
    lengths = np.array([len(shard) for shard in shards])
    packed = _packed(np.concatenate(shards), lengths, np.ones(len(shards), np.int64))
    count = iterations if iterations is not None else 1 if epochs is None else epochs
    number = np.repeat(packed.number[:, :1], count, axis=1)
    return Batches(packed.sizes, packed.rows, number, packed.size, np.full(len(shards), count))


def _packed(flat: Ints, lengths: Ints, counts: Ints) -> Batches:
    sizes = sorted(set(lengths.tolist()), reverse=True)
    table = np.zeros((len(lengths), max(sizes, default=0)), np.int32)
    table[np.arange(table.shape[1]) < lengths[:, None]] = flat
    number = np.full((len(counts), int(counts.max(initial=0))), -1)
    number[np.arange(number.shape[1]) < counts[:, None]] = np.arange(len(lengths))
    places = {size: place for place, size in enumerate(sizes)}
    return Batches(tuple(sizes), table, number, np.array([places[n] for n in lengths.tolist()]), counts)
