"""A partition: some rows that are not here, and how to read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from psbook.data.structure import count
from psbook.errors import DataError, InvalidJob, PsbookError


class Partition(Protocol):
    """Some rows that can be read, as often as needed; small, and picklable.

    Attributes
    ----------
    label : str
        What errors and the trace call it: a file, a block of an array.
    """

    @property
    def label(self) -> str:
        """What it is called."""

    def read(self) -> Any:
        """Return the rows, in the process that asks."""


@dataclass(frozen=True, eq=False)
class Given:
    """A partition whose rows are in memory already, and travel with it.

    Examples
    --------
    >>> Given([1, 2], "partition 0").read()
    [1, 2]
    """

    rows: Any
    label: str

    def read(self) -> Any:
        """Return the rows."""
        return self.rows


def read(partition: Partition) -> tuple[Any, int]:
    """Read a partition; return its rows, and how many there are.

    Raises
    ------
    DataError
        It cannot be read, or is not rows; the message names it.
    """
    try:
        rows = partition.read()
        return rows, count(rows)
    except InvalidJob as error:
        raise DataError(f"{partition.label}: {error}") from error
    except PsbookError:
        raise
    except Exception as error:
        raise DataError(f"{partition.label} could not be read: {type(error).__name__}: {error}") from error
