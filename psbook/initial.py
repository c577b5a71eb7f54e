"""Initial values of a table: the same whatever the number of shards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from psbook.core.keys import KeyArray, KeyRange, Keys, count
from psbook.errors import ShapeMismatch
from psbook.updates.base import number

Seed: TypeAlias = int | Sequence[int]
"""Anything `numpy.random.SeedSequence` takes as entropy, for example ``(job seed, number of the table)``."""

Bits: TypeAlias = npt.NDArray[np.uint64]

Draw: TypeAlias = Callable[[np.random.Generator, tuple[int, ...]], npt.ArrayLike]
"""``(rng, shape of the whole table) -> values``."""

Initial: TypeAlias = "float | npt.NDArray[Any] | ByKey | Draw"


class ByKey(ABC):
    """Random initial values that are a function of (seed, key, column), so that any key can be asked for
    alone.
    """

    @abstractmethod
    def rows(self, keys: KeyArray, row_shape: tuple[int, ...], seed: Seed) -> npt.NDArray[np.float64]:
        """Return the initial rows of some keys, shape ``(len(keys), *row_shape)``."""


@dataclass(frozen=True)
class Uniform(ByKey):
    """Uniform on [low, high).

    Examples
    --------
    >>> rule = Uniform(-1.0, 1.0)
    >>> both, one = rule.rows(np.array([3, 10**12]), (), 0), rule.rows(np.array([10**12]), (), 0)
    >>> bool(both[1] == one[0])
    True
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        number(self, "low", -np.inf)
        number(self, "high", self.low)

    def rows(self, keys: KeyArray, row_shape: tuple[int, ...], seed: Seed) -> npt.NDArray[np.float64]:
        """Return the initial rows of some keys."""
        return self.low + (self.high - self.low) * _uniform(keys, row_shape, seed, 0)


@dataclass(frozen=True)
class Normal(ByKey):
    """Normal with mean 0 (Box & Muller 1958).

    Parameters
    ----------
    deviation : float
        Standard deviation, > 0.

    Examples
    --------
    >>> bool(abs(Normal(2.0).rows(np.arange(10_000), (), 0).std() - 2.0) < 0.05)
    True
    """

    deviation: float = 1.0

    def __post_init__(self) -> None:
        number(self, "deviation", 0)

    def rows(self, keys: KeyArray, row_shape: tuple[int, ...], seed: Seed) -> npt.NDArray[np.float64]:
        """Return the initial rows of some keys."""
        radius = np.sqrt(-2.0 * np.log1p(-_uniform(keys, row_shape, seed, 0)))
        return self.deviation * radius * np.cos(2 * np.pi * _uniform(keys, row_shape, seed, 1))


def initial_rows(
    init: Initial, keys: Keys, shape: tuple[int, ...], dtype: np.dtype[Any], seed: Seed
) -> npt.NDArray[Any]:
    """Return the initial rows of some keys of a table, in a new array.

    Parameters
    ----------
    init
        A number, an array of the table's shape, a `ByKey` rule, or ``(rng, shape) -> values`` for the *whole*
        table, of which the keys are cut: every shard draws all of it, so that the cut changes nothing.
    keys
        Which rows.
    shape
        Shape of the whole table.
    dtype
        Of the result.
    seed
        Of the random rules; the same on all shards of a table.

    Raises
    ------
    ShapeMismatch
        If a callable returns another shape than the one it was given.
    """
    n = count(keys)
    if isinstance(init, (int, float)):
        return np.full((n, *shape[1:]), init, dtype)
    if isinstance(init, ByKey):
        listed = np.arange(keys.start, keys.stop) if isinstance(keys, KeyRange) else keys
        return init.rows(listed, shape[1:], seed).astype(dtype)
    if not isinstance(init, np.ndarray):
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))
        drawn = np.asarray(init(rng, shape))
        if drawn.shape != shape:
            raise ShapeMismatch(
                f"init returned the shape {drawn.shape}; required: {shape}, as it was asked for."
            )
        init = drawn
    rows = init[keys.start : keys.stop] if isinstance(keys, KeyRange) else init[keys]
    return np.array(rows, dtype)


def _uniform(keys: KeyArray, row_shape: tuple[int, ...], seed: Seed, stream: int) -> npt.NDArray[np.float64]:
    """Return uniforms on [0, 1): SplitMix64 (Steele et al. 2014) of a counter; twice, to part the seeds."""
    width = int(np.prod(row_shape, dtype=np.int64))
    start = np.random.SeedSequence(seed).generate_state(2, np.uint64)[stream]
    first: Bits = keys.astype(np.uint64) * np.uint64(width)
    cells = np.add.outer(first, np.arange(width, dtype=np.uint64))
    bits: Bits = _mix(_mix(cells) + start)
    uniform = np.ldexp((bits >> np.uint64(11)).astype(np.float64), -53)
    return np.asarray(uniform, np.float64).reshape(len(keys), *row_shape)


def _mix(x: Bits) -> Bits:
    """SplitMix64: a bijection of 64 bits whose output bits look independent."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
