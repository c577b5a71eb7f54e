"""What an objective reads of the tables, if it says so: then snapshots hold that and no more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from psbook.core.keys import KeyArray, KeyRange, Keys, within
from psbook.errors import InvalidJob
from psbook.table import Table

Rows = npt.NDArray[Any]

KeysRead: TypeAlias = Mapping[str, KeyArray]
"""Keys by table; a table that is not in it is read as a whole."""

WHOLE: KeysRead = MappingProxyType({})
"""Everything is read."""


def reads_of(evaluate: Callable[..., float] | None, tables: Mapping[str, Table]) -> dict[str, KeyArray]:
    """Return what an objective reads: its attribute ``reads``, if it has one.

    Of a table in it the objective gets `SparseRows` of those keys; a key that nobody has pushed to may be
    missing there if the table is sparse.

    Raises
    ------
    InvalidJob
        If it is not sorted, unique keys by name of a table.

    Examples
    --------
    >>> class First:
    ...     reads = {"w": [0, 2]}
    >>> reads_of(First(), {"w": Table(3)}), reads_of(None, {})
    ({'w': array([0, 2])}, {})
    """
    said = getattr(evaluate, "reads", {})
    if not isinstance(said, Mapping) or not said.keys() <= tables.keys():
        raise InvalidJob(
            f"evaluate.reads is {said!r}; required: keys by table, of the tables {', '.join(tables)}."
        )
    checked = {name: tables[name].check_keys(name, keys) for name, keys in said.items()}
    return {
        name: np.arange(keys.start, keys.stop) if isinstance(keys, KeyRange) else keys
        for name, keys in checked.items()
    }


def restricted(held: Keys, rows: Rows, wanted: KeyArray) -> tuple[KeyArray, Rows]:
    """Return those of the wanted keys that are held, and their rows.

    >>> restricted(KeyRange(2, 5), np.array([2.0, 3.0, 4.0]), np.array([0, 3, 9]))
    (array([3]), array([3.]))
    >>> restricted(np.array([1, 3]), np.array([1.0, 3.0]), np.array([0, 3, 9]))
    (array([3]), array([3.]))
    """
    if isinstance(held, KeyRange):
        keys: Any = within(wanted, held.start, held.stop).keys
        return keys, rows[keys - held.start]
    if not len(held) or np.array_equal(held, within(wanted, int(held[0]), int(held[-1]) + 1).keys):
        return held, rows  # a snapshot that was taken of these keys
    keys, at, _ = np.intersect1d(held, wanted, assume_unique=True, return_indices=True)
    return keys, rows[at]
