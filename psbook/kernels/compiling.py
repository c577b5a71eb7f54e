"""Counting compilations: XLA compiles once for each combination of shapes, and each time costs 10–1000 ms.

The count is taken where it cannot lie: Python runs a jitted function's body only while JAX traces it, that
is, once for each compilation.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

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
    return Kernel(function)


class Kernel(Generic[P, R]):
    """A jitted function that counts its compilations, and travels between processes by name.

    A worker process thus uses the kernel of its own installation, compiled once for all its programs. One
    that no module holds under its name, in a notebook for example, is sent as the function it was made of.
    """

    def __init__(self, function: Callable[P, R]) -> None:
        functools.update_wrapper(self, function)
        self._jitted = jax.jit(self._traced)

    def _traced(self, *args: P.args, **kwargs: P.kwargs) -> R:
        function: Callable[P, R] = self.__wrapped__  # type: ignore[attr-defined]  # of update_wrapper
        with _lock:
            _counts[function.__qualname__] += 1
        return function(*args, **kwargs)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Compute."""
        result: R = self._jitted(*args, **kwargs)
        return result

    def __reduce__(self) -> str | tuple[Any, ...]:
        module, name = self.__module__, self.__wrapped__.__qualname__  # type: ignore[attr-defined]
        if module != "__main__" and getattr(sys.modules.get(module), name, None) is self:
            return str(name)
        return Kernel, (self.__wrapped__,)  # type: ignore[attr-defined]


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
