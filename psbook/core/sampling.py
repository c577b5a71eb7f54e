"""Samples of the workers that depend on nothing but a seed and who draws when.

A hash of (seed, rank, clock) stands for a stream of random numbers: every shard, and both engines, draw the
same sample for a worker at a clock without telling one another, in whatever order they ask.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

STEP = np.uint64(0x9E3779B97F4A7C15)
"""Of SplitMix64: 2^64 over the golden ratio."""

BLOCK = 64
"""Clocks that are drawn at once for one worker."""


def _mix(words: Words) -> Words:
    """Finish SplitMix64 (Steele, Lea and Flood 2014): each bit changes about half of the result's."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def sample(
    seed: int, ranks: npt.ArrayLike, clocks: npt.ArrayLike, workers: int, beta: int
) -> npt.NDArray[np.int64]:
    """Draw `beta` of the other workers, for each worker and clock; all subsets are equally likely.

    Parameters
    ----------
    seed
        0 … 2^64−1.
    ranks, clocks
        Whole numbers >= 0, whose shapes broadcast. Ranks are below `workers`.
    workers
        Number of workers, the drawing one included.
    beta
        Workers of a sample, at most `workers` − 1.

    Returns
    -------
    array of int64
        Ranks, shape (…, beta); none is twice in a sample, and none is the drawing worker's.

    Notes
    -----
    Floyd's algorithm (Bentley and Floyd 1987), for all samples at once: O(beta²) operations on arrays, and
    memory for `beta` numbers a sample, whatever the number of workers.

    Examples
    --------
    >>> sample(seed=0, ranks=[0, 1, 2], clocks=5, workers=3, beta=2).shape
    (3, 2)
    >>> sample(0, 1, 5, workers=100, beta=4).tolist() == sample(0, [0, 1], [[4], [5]], 100, 4)[1, 1].tolist()
    True
    """
    rank, clock = np.broadcast_arrays(np.asarray(ranks, np.uint64), np.asarray(clocks, np.uint64))
    with np.errstate(over="ignore"):
        state = _mix(_mix(_mix(np.full(rank.shape, seed, np.uint64) + STEP) ^ rank) + STEP ^ clock)
        drawn = np.empty((*rank.shape, beta), np.uint64)
        for number in range(beta):
            last = workers - 1 - beta + number
            state = state + STEP
            one = ((_mix(state) >> np.uint64(32)) * np.uint64(last + 1)) >> np.uint64(32)
            known = (drawn[..., :number] == one[..., None]).any(axis=-1)
            drawn[..., number] = np.where(known, np.uint64(last), one)
    return (drawn + (drawn >= rank[..., None])).astype(np.int64)


@lru_cache(maxsize=4096)
def _block(seed: int, rank: int, number: int, workers: int, beta: int) -> list[list[int]]:
    clocks = np.arange(number * BLOCK, (number + 1) * BLOCK)
    drawn: list[list[int]] = sample(seed, rank, clocks, workers, beta).tolist()
    return drawn


def sample_of(seed: int, rank: int, clock: int, workers: int, beta: int) -> list[int]:
    """Return one sample, as `sample` draws it; those of the next clocks are drawn with it.

    >>> sample_of(3, 1, 70, workers=9, beta=4) == sample(3, 1, 70, 9, 4).tolist()
    True
    """
    return _block(seed, rank, clock // BLOCK, workers, beta)[clock % BLOCK]
