"""Rows: what data is made of, whatever it is kept in; counting, selecting and joining them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psbook.errors import InvalidJob


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
    n = count(shard)
    if n == 0:
        names = ", ".join(name for name, _ in _lengths(shard, "data"))
        raise InvalidJob(f"{names}: no rows; required is at least 1: check how they were selected")
    return n


def count(shard: Any) -> int:
    """Count the rows of data, of which there may be none.

    Raises
    ------
    InvalidJob
        Not data, or unequal first axes.

    Examples
    --------
    >>> count(([], np.ones((0, 2))))
    0
    """
    lengths = dict(_lengths(shard, "data"))
    if not lengths:
        raise InvalidJob("data without a single array; required is at least one: give data=None for none")
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} has {n} rows" for name, n in lengths.items())
        raise InvalidJob(f"{found}; required are equal first axes: row i of each belongs to example i")
    return next(iter(lengths.values()))


def take(shard: Any, index: NDArray[np.int64]) -> Any:
    """Select rows, keeping the structure.

    Examples
    --------
    >>> take((np.arange(3), ["x", "y", "z"]), np.array([2, 0]))
    (array([2, 0]), ['z', 'x'])
    """

    def some(part: Any) -> Any:
        if isinstance(part, list):
            return [part[i] for i in index]
        return part.iloc[index] if hasattr(part, "iloc") else _indexable(part)[index]

    return each(some, shard)


def join(shards: Sequence[Any]) -> Any:
    """Put rows of equal structure behind each other.

    Examples
    --------
    >>> join([(np.arange(2), ["x", "y"]), (np.arange(1), ["z"])])
    (array([0, 1, 0]), ['x', 'y', 'z'])
    """
    return shards[0] if len(shards) == 1 else each(_joined, *shards)


def each(function: Callable[..., Any], data: Any, *others: Any) -> Any:
    """Apply a function to the arrays of data, and to those in the same places of others.

    Examples
    --------
    >>> each(len, {"X": [1, 2], "y": [0, 1]})
    {'X': 2, 'y': 2}
    """
    if isinstance(data, dict):
        return {name: each(function, part, *(other[name] for other in others)) for name, part in data.items()}
    if isinstance(data, tuple):
        parts = [each(function, *same) for same in zip(data, *others, strict=True)]
        return type(data)(*parts) if hasattr(data, "_fields") else tuple(parts)
    return function(data, *others)


def leaves(data: Any, name: str = "data") -> Iterator[tuple[str, Any]]:
    """Yield the arrays of data with their names.

    Examples
    --------
    >>> list(leaves({"X": (1, 2)}))
    [("data['X'][0]", 1), ("data['X'][1]", 2)]
    """
    if isinstance(data, dict):
        for key, part in data.items():
            yield from leaves(part, f"{name}[{key!r}]")
    elif isinstance(data, tuple):
        for position, part in enumerate(data):
            yield from leaves(part, f"{name}[{position}]")
    else:
        yield name, data


def _joined(first: Any, *others: Any) -> Any:
    if isinstance(first, list):
        return [row for part in (first, *others) for row in part]
    if hasattr(first, "iloc"):
        import pandas as pd

        return pd.concat([first, *others])
    if hasattr(first, "tocsr"):
        from scipy import sparse

        return sparse.vstack([first, *others], format="csr")
    if type(first).__module__.startswith("jax"):
        import jax.numpy as jnp

        return jnp.concatenate([first, *others])
    return np.concatenate([first, *others])


def _lengths(data: Any, name: str) -> Iterator[tuple[str, int]]:
    """Name and length of the first axis of each leaf."""
    for leaf, part in leaves(data, name):
        yield leaf, len(part) if isinstance(part, list) else _indexable(part, leaf).shape[0]


def _indexable(data: Any, name: str = "data") -> Any:
    """Return `data` if it has rows, as CSR where its sparse format cannot select them."""
    if not getattr(data, "shape", ()):
        raise InvalidJob(
            f"{name} is {type(data).__name__} without rows; required is an array, a sparse matrix, a list, "
            "or a tuple or dict of these"
        )
    return data.tocsr() if hasattr(data, "tocsr") else data
