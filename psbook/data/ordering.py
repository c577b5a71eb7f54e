"""The order of rows: which belong to which batch, as whole numbers.

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
    check(size, epochs, iterations)
    size = n if size is None else min(size, n)
    if iterations is None:
        iterations = (1 if epochs is None else epochs) * -(-n // size)
    return islice(_endless(n, size, seed, worker, shuffle), iterations)


def check(size: int | None, epochs: int | None, iterations: int | None) -> None:
    """Raise `InvalidJob` unless batches can be cut so."""
    _require("batch size", size, 1)
    _require("number of epochs", epochs, 0)
    _require("number of iterations", iterations, 0)


def _endless(n: int, size: int, seed: int, worker: int, shuffle: bool) -> Iterator[NDArray[np.int64]]:
    rng = generator(seed, "data", worker)
    for epoch in count():
        permuted = restart(rng, worker, epoch).permutation(n) if shuffle else np.arange(n)
        for start in range(0, n, size):
            yield permuted[start : start + size]


def _require(what: str, value: Any, least: int) -> None:
    if value is not None and not (isinstance(value, (int, np.integer)) and value >= least):
        raise InvalidJob(f"{what} {value!r}; required is an integer of at least {least}")
