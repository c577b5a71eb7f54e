"""Threads of one worker: one computation in several parts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

from psbook.errors import InvalidJob

Rows: TypeAlias = Sequence[tuple[Any, ...]]
"""Arguments of each call."""


def rows_of(function: Callable[..., Any], columns: Sequence[Iterable[Any]]) -> Rows:
    """Return the arguments of each call.

    Raises
    ------
    InvalidJob
        If there is no function, no call, or the columns differ in length.

    Examples
    --------
    >>> rows_of(pow, [(2, 3), (4, 5)])
    [(2, 4), (3, 5)]
    """
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise InvalidJob(f"worker.compute_each got {function!r}; required: a function, not its result.")
    filled = [list(column) for column in columns]
    lengths = sorted({len(column) for column in filled})
    if len(lengths) != 1 or lengths == [0]:
        found = " and ".join(map(str, lengths)) or "no"
        raise InvalidJob(
            f"worker.compute_each got columns of {found} rows; required: at least one column, all of the "
            "same length, at least 1."
        )
    return list(zip(*filled, strict=True))


def in_turn(function: Callable[..., Any], rows: Rows) -> list[Any]:
    """Call a function for each row, one after the other.

    >>> in_turn(pow, [(2, 4), (3, 5)])
    [16, 243]
    """
    return [function(*row) for row in rows]


def side_by_side(function: Callable[..., Any], rows: Rows) -> list[Any]:
    """Call a function for each row, all at once; raise what the first of the rows raised, if one did.

    >>> side_by_side(pow, [(2, 4), (3, 5)])
    [16, 243]
    """
    with ThreadPoolExecutor(len(rows), thread_name_prefix="psbook-row") as threads:
        return [future.result() for future in [threads.submit(function, *row) for row in rows]]
