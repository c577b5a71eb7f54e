"""Reading Parquet: pyarrow parses, psbook says which column and row is wrong and why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray


def parse(path: Path) -> tuple[NDArray[np.float64], list[str]]:
    """Values of shape (rows, columns), and the columns' names.

    Raises
    ------
    ValueError, OSError
        Not Parquet, a column that is not numeric, or a missing value; the message names column and row.
    """
    return numbers(pq.read_table(path))


def numbers(table: pa.Table) -> tuple[NDArray[np.float64], list[str]]:
    """Values of shape (rows, columns), and the columns' names, of a table; raises as `parse`."""
    columns = [_column(name, table.column(name)) for name in table.column_names]
    return np.column_stack(columns) if columns else np.empty((0, 0)), list(table.column_names)


def _column(name: str, values: pa.ChunkedArray) -> NDArray[np.float64]:
    kind = values.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise ValueError(f"column {name!r} is of type {kind}; required are numbers only")
    if values.null_count:
        row = int(np.argmax(values.is_null().to_numpy()))
        raise ValueError(f"column {name!r}, row {row} (from 0): missing; required are numbers only")
    found = np.asarray(values.to_numpy(), np.float64)
    unfit = ~(np.abs(found) <= np.finfo(np.float32).max)  # written so that NaN is unfit
    if unfit.any():
        row = int(np.argmax(unfit))
        raise ValueError(f"column {name!r}, row {row} (from 0): {found[row]} is not a finite float32 number")
    return found
