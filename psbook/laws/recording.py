"""Reading recorded times from a file; every refusal names file, line and column."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from psbook.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def read_samples(path: str | os.PathLike[str], column: str | None, worker: str | None
                 ) -> dict[str, NDArray[np.float64]]:
    """The positive numbers of one column in file order, apart for each recorded worker.

    Parameters
    ----------
    path : path
        CSV, TSV (both also .gz, .bz2, .xz, .zip, .zst) or Parquet. A first line of numbers only is no header;
        the columns are then called "0", "1", ….
    column : str or None
        Column of the values; None: the file's only column.
    worker : str or None
        Column of the workers' names; None: all rows belong to one worker, called "".

    Returns
    -------
    dict of str to ndarray, float64
        Samples by worker, sorted by worker (as numbers where they are numbers), in the column's unit.

    Raises
    ------
    DataError
        See the message: found, required, remedy.
    """
    file = Path(path).expanduser()
    frame, first, place = _read(file)
    columns = [str(name) for name in frame.columns]
    frame.columns = columns
    column = _the_column(file, columns, column)
    if worker is not None and worker not in columns:
        raise _unknown(file, columns, worker)
    frame = frame[frame.notna().any(axis=1)]  # blank lines
    if frame.empty:
        raise DataError(f"{file} has no rows; required: at least one time; record some first")
    values = _positive(file, frame[column], first, place)
    if worker is None:
        return {"": values}
    names = frame[worker]
    if names.isna().any():
        row = int(names.index[names.isna()][0]) + first
        raise DataError(f"{file}, {place} {row}: column {worker!r} is empty; required: the worker's name; "
                        f"fill it in or drop the row")
    groups = names.groupby(names, sort=True).indices
    return {str(name): values[rows] for name, rows in groups.items()}


def _read(file: Path) -> tuple[pd.DataFrame, int, str]:
    """The table, the number of its first row in the file, and what a row is called there."""
    import pandas as pd

    if not file.exists():
        raise DataError(f"{file} does not exist; required: a CSV or Parquet file; check the path "
                        f"(the working directory is {Path.cwd()})")
    parquet = file.suffix in (".parquet", ".pq")
    try:
        if parquet:
            return pd.read_parquet(file), 0, "row"
        separator = "\t" if ".tsv" in file.suffixes else ","
        head = pd.read_csv(file, sep=separator, header=None, nrows=1, dtype=str, skip_blank_lines=False)
        headless = bool(pd.to_numeric(head.iloc[0], errors="coerce").notna().all())
        frame = pd.read_csv(file, sep=separator, header=None if headless else 0, skip_blank_lines=False,
                            low_memory=False)
        return frame, 1 if headless else 2, "line"
    except pd.errors.EmptyDataError:
        raise DataError(f"{file} is empty; required: at least one time; record some first") from None
    except (OSError, EOFError, ValueError, zlib.error) as error:  # pandas' and pyarrow's are ValueErrors
        kind = "Parquet" if parquet else "CSV"
        raise DataError(f"{file} cannot be read as {kind}: {error}; required: a table of times; check that "
                        f"the file is whole and its ending says what it is") from error


def _the_column(file: Path, columns: list[str], column: str | None) -> str:
    if column is None and len(columns) == 1:
        return columns[0]
    if column is None:
        raise DataError(f"{file} has columns {_listed(columns)}; required: which one holds the times; "
                        f"pass its name as column=…")
    if column not in columns:
        raise _unknown(file, columns, column)
    return column


def _unknown(file: Path, columns: list[str], column: str) -> DataError:
    return DataError(f"{file} has no column {column!r}; it has {_listed(columns)}; pass one of these")


def _listed(columns: list[str], most: int = 12) -> str:
    more = f" and {len(columns) - most} more" if len(columns) > most else ""
    return ", ".join(columns[:most]) + more


def _positive(file: Path, column: pd.Series[Any], first: int, place: str) -> NDArray[np.float64]:
    import pandas as pd

    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if wrong.size:
        at = int(wrong[0])
        raise DataError(f"{file}, {place} {int(column.index[at]) + first}: column {column.name!r} is "
                        f"{str(column.iloc[at])!r}; required: a finite number > 0; correct or drop the row "
                        f"({wrong.size} of {values.size} rows are like this)")
    return values
