"""What vector clocks cost in memory: one a key against one a range of keys (Li et al. 2014, §4.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from psbook.core.ranged_clocks import RangedVectorClock
from psbook.errors import InvalidJob
from psbook.laws.streams import generator
from psbook.trace.statistics import documented

COLUMNS = {
    "keys": "keys of the shard",
    "per_key": "numbers that a clock for each key holds: keys × senders",
    "whole": "numbers held where every push is of the whole shard",
    "layers": "numbers held where every push is of one of eight layers",
    "anywhere": "numbers held where every push is of a range that begins and ends anywhere",
    "single": "numbers held where every push is of 64 single keys, drawn at random",
}
"""Columns of `clock_memory`."""

LAYERS, SINGLE = 8, 64


def clock_memory(keys: Sequence[int], *, senders: int = 8, pushes: int = 16, seed: int = 0) -> pd.DataFrame:
    """Count the numbers that the clocks of a shard hold, by how its keys are pushed.

    Parameters
    ----------
    keys : sequence of int
        Sizes of the shard, each at least 8.
    senders, pushes : int
        How many workers push, and how often each, at least once.
    seed : int
        Of the ranges and keys that are drawn.

    Returns
    -------
    DataFrame
        One row a size; ``.attrs["columns"]`` explains the columns. Plot it with
        `psbook.view.clock_memory.plot_clock_memory`.

    Raises
    ------
    InvalidJob
        If a number makes no sense.

    Examples
    --------
    >>> clock_memory([1000], senders=4)[["per_key", "whole", "layers"]].values.tolist()
    [[4000, 4, 32]]
    """
    if not len(keys) or min(keys) < LAYERS or senders < 1 or pushes < 1:
        raise InvalidJob(
            f"keys={list(keys)}, senders={senders}, pushes={pushes}; required: at least {LAYERS} keys, one "
            "sender and one push."
        )
    rows = []
    for size in keys:
        counts = {
            way: _entries(size, senders, pushes, way, generator(seed, "clock memory"))
            for way in ("whole", "layers", "anywhere", "single")
        }
        rows.append({"keys": size, "per_key": size * senders, **counts})
    frame = documented(pd.DataFrame(rows, columns=list(COLUMNS)), COLUMNS)
    frame.attrs["senders"], frame.attrs["pushes"] = senders, pushes
    return frame


def _entries(size: int, senders: int, pushes: int, way: str, rng: np.random.Generator) -> int:
    clock = RangedVectorClock(0, size)
    for number in range(1, pushes + 1):
        for sender in range(senders):
            for start, stop in _pushed(way, size, number, rng):
                clock.set(start, stop, sender, number)
    return clock.entries


def _pushed(way: str, size: int, number: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Ranges of a sender's push of that number."""
    if way == "layers":
        layer = number % LAYERS
        return [(layer * size // LAYERS, (layer + 1) * size // LAYERS)]
    if way == "anywhere":
        start, stop = sorted(rng.choice(size + 1, 2, replace=False).tolist())
        return [(start, stop)]
    if way == "single":
        return [(key, key + 1) for key in rng.integers(size, size=SINGLE).tolist()]
    return [(0, size)]
