"""Reading delimited text (CSV): numpy parses, psbook says which line and column is wrong and why."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psbook.datasets.text import fault, open_text

Row = tuple[int, list[str]]


def parse(path: Path | bytes, delimiter: str, header: bool | None) -> tuple[NDArray[np.float64], list[str]]:
    """Values of shape (rows, columns), and the columns' names ("0", "1", … without a header).

    Raises
    ------
    ValueError, OSError, EOFError
        From numpy; `diagnose` finds the line.
    """
    start, named = names(path, delimiter, header)
    with warnings.catch_warnings(), open_text(path) as lines:
        warnings.simplefilter("ignore")  # numpy's "no data": the caller raises it as an error
        values = np.loadtxt(
            lines,
            delimiter=delimiter,
            skiprows=start,
            quotechar='"',
            comments=None,
            ndmin=2,
            dtype=np.float64,
        )
    if values.size and values.shape[1] != len(named):
        raise ValueError(f"{values.shape[1]} fields under {len(named)} names")
    return values, named


def diagnose(path: Path | bytes, delimiter: str, header: bool | None) -> str | None:
    """Say what is wrong with the first faulty line, as ``line n: …``, or None."""
    start, named = names(path, delimiter, header)
    for number, row in _rows(path, delimiter):
        if number <= start:
            continue
        if len(row) != len(named):
            return f"line {number}: {len(row)} fields; required are {len(named)}, as in the first line"
        for name, cell in zip(named, row, strict=True):
            if why := "the field is empty" if not cell.strip() else fault(cell):
                return f"line {number}, column {name!r}: {why}; required are numbers only"
    return None


def names(path: Path | bytes, delimiter: str, header: bool | None) -> tuple[int, list[str]]:
    """Lines up to the end of the header (0 without one), and the columns' names.

    Unless told, a first row is a header if none of its cells is a number.
    """
    number, first = next(chain(_rows(path, delimiter), [(0, [])]))
    if header is None:
        header = bool(first) and all((fault(cell) or "").endswith("not a number") for cell in first)
    if header:
        return number, [cell.strip() for cell in first]
    return 0, [str(position) for position in range(len(first))]


def _rows(path: Path | bytes, delimiter: str) -> Iterator[Row]:
    """Line number and cells of each line that is not blank."""
    with open_text(path) as lines:
        reader: Any = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
        for row in reader:
            if row:
                yield reader.line_num, row
