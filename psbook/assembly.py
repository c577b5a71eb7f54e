"""Puts the shards' parts of a value together again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from psbook.core.actions import Part
from psbook.core.keys import Keys, count
from psbook.storage.combine import as_array
from psbook.table import Table

Rows = npt.NDArray[Any]


class SparseRows(NamedTuple):
    """The touched rows of a sparse table: sorted keys, and one row a key."""

    keys: npt.NDArray[np.int64]
    values: Rows


def assemble(table: Table, keys: Keys, parts: Sequence[Part]) -> Rows:
    """Return the rows of a pull, in the order of its keys, read-only."""
    if len(parts) == 1 and parts[0].within is None:
        rows: Rows = parts[0].reply.value
        return rows
    rows = np.empty((count(keys), *table.row_shape), table.dtype)
    for part in parts:
        rows[part.start : part.stop] = _value(table, part)
    rows.flags.writeable = False
    return rows


def _value(table: Table, part: Part) -> Rows:
    """A part's rows: of a reply, or of a cached copy with the worker's own later updates applied once."""
    rows: Rows = part.reply.value
    if part.deltas:
        rows = rows.copy()
        held = as_array(part.reply.keys)
        for keys, value, scale in part.deltas:
            _, at, of = np.intersect1d(held, as_array(keys), assume_unique=True, return_indices=True)
            rows[at] = table.update.apply(np, rows[at], {}, np.asarray(value)[of] * table.dtype.type(scale))[
                0
            ]
    return rows if part.within is None else rows[part.within]


def whole(table: Table, pieces: Sequence[tuple[Keys, Rows]]) -> Any:
    """Return a whole table from its shards: what a pull of all of it gives, or `SparseRows`."""
    values = np.concatenate([values for _, values in pieces])
    if table.is_sparse:
        return SparseRows(np.concatenate([as_array(keys) for keys, _ in pieces]), values)
    return table.decode(values)
