"""Collectives on channels: every program of a role takes part, in the same order of calls."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from psbook.errors import InvalidJob
from psbook.worker import Worker


async def broadcast(worker: Worker, value: Any = None, root: int = 0) -> Any:
    """Give the root's value to everybody along a binomial tree, ⌈log₂ n⌉ rounds (theory.md T12).

    Parameters
    ----------
    worker
        The program's handle.
    value
        At the root, what is spread; ignored elsewhere.
    root
        Rank of the root.
    """
    n = worker.workers
    if not 0 <= root < n:
        raise InvalidJob(f"broadcast(root={root}); required: 0 <= root < {n}.")
    place = (worker.rank - root) % n
    reach = 1
    if place:
        reach = 1 << (place.bit_length() - 1)
        value = await worker.receive((place - reach + root) % n, "broadcast")
        reach *= 2
    while reach < n:
        if place < reach and place + reach < n:
            worker.send((place + reach + root) % n, value, "broadcast")
        reach *= 2
    return value


async def tree_aggregate(
    worker: Worker, value: Any, combine: Callable[[Any, Any], Any] = operator.add, depth: int = 2
) -> Any:
    """Combine everybody's value at rank 0 through `depth` levels, as Spark's treeAggregate (theory.md T13).

    Returns the combined value at rank 0, ``None`` elsewhere. Values are combined in the order of ranks, so
    that the result does not depend on who is late.
    """
    if depth < 1:
        raise InvalidJob(f"tree_aggregate(depth={depth}); required: >= 1.")
    n, rank = worker.workers, worker.rank
    scale = max(math.ceil(n ** (1 / depth)), 2)
    while n > scale + math.ceil(n / scale):
        groups = n // scale
        if rank >= groups:
            worker.send(rank % groups, value, "tree_aggregate")
            return None
        value = await _combined(worker, value, combine, range(rank + groups, n, groups))
        n = groups
    if rank:
        worker.send(0, value, "tree_aggregate")
        return None
    return await _combined(worker, value, combine, range(1, n))


async def _combined(worker: Worker, value: Any, combine: Callable[[Any, Any], Any], sources: range) -> Any:
    for source in sources:
        value = combine(value, await worker.receive(source, "tree_aggregate"))
    return value


async def all_reduce(worker: Worker, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sum everybody's array at everybody around a ring: 2(n−1) steps of 1/n of the bytes (theory.md T12)."""
    n, rank = worker.workers, worker.rank
    array = np.asarray(array)
    chunks = np.array_split(array.reshape(-1), n)
    after, before = (rank + 1) % n, (rank - 1) % n
    for step in range(n - 1):
        worker.send(after, chunks[(rank - step) % n], "all_reduce")
        at = (rank - step - 1) % n
        chunks[at] = chunks[at] + await worker.receive(before, "all_reduce")
    for step in range(n - 1):
        worker.send(after, chunks[(rank + 1 - step) % n], "all_reduce")
        chunks[(rank - step) % n] = await worker.receive(before, "all_reduce")
    return np.concatenate(chunks).reshape(array.shape)
