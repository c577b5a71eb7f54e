"""Counting compilations: XLA compiles once for each combination of shapes, and each time costs 10–1000 ms.

The count is taken where it cannot lie: Python runs a jitted function's body only while JAX traces it, that
is, once for each compilation.
"""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax

P = ParamSpec("P")
R = TypeVar("R")

_counts: Counter[str] = Counter()
_lock = threading.Lock()


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """`jax.jit` that counts its compilations.

    Parameters
    ----------
    function : callable
        A pure function of arrays.

    Returns
    -------
    callable
        The compiled function; `compilations` reports it under ``function.__qualname__``.

    Examples
    --------
    >>> import numpy as np
    >>> @compiled
    ... def double(x):
    ...     return 2 * x
    >>> for rows in (3, 3, 4):
    ...     _ = double(np.ones(rows, np.float32))
    >>> compilations()["double"]
    2
    """

    @functools.wraps(function)
    def traced(*args: P.args, **kwargs: P.kwargs) -> R:
        with _lock:
            _counts[function.__qualname__] += 1
        return function(*args, **kwargs)

    return jax.jit(traced)


def compilations() -> dict[str, int]:
    """How often each kernel has been compiled in this process.

    Returns
    -------
    dict of str to int
        Number of compilations by kernel name, in alphabetical order. A process that only runs what it has
        already compiled leaves these numbers unchanged, so the difference between two calls belongs to
        what ran between them.
    """
    with _lock:
        return dict(sorted(_counts.items()))
