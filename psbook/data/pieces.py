"""Pieces of files as partitions: blocks of lines of text, row groups of Parquet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from psbook.data.formats import Format
from psbook.datasets import columnar, delimited
from psbook.errors import DataError


@dataclass(frozen=True, eq=False)
class Block:
    """The lines of a text file that begin in a range of its bytes.

    Attributes
    ----------
    name : str
        URL of the file.
    start, stop : int
        The range, in bytes; ``None``: up to the end.
    form : Format
        What the lines mean.
    storage : dict
        Options of the file system.
    """

    name: str
    start: int
    stop: int | None
    form: Format
    storage: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def label(self) -> str:
        """The file, and which bytes of it."""
        return self.name if self.stop is None else f"{self.name}, bytes {self.start} to {self.stop}"

    def read(self) -> Any:
        """Return X and y."""
        import fsspec

        with fsspec.open(self.name, "rb", compression=compression(self.name), **self.storage) as file:
            data = file.read() if self.stop is None else self._lines(file)
        try:
            return self.form.text(data, bool(self.form.header) and self.start == 0)
        except DataError as error:
            raise DataError(f"{self.label}: {error}") from error

    def _lines(self, file: Any) -> bytes:
        if self.start:
            file.seek(self.start - 1)
            file.readline()  # the line that began before, and belongs to the block before
        room = (self.stop or 0) - file.tell()
        data: bytes = file.read(room) if room > 0 else b""
        return data if not data or data.endswith(b"\n") else data + file.readline()


@dataclass(frozen=True, eq=False)
class Groups:
    """Row groups of a Parquet file.

    Attributes
    ----------
    name, form, storage
        As of `Block`.
    numbers : tuple of int, optional
        The row groups; by default all.
    """

    name: str
    numbers: tuple[int, ...] | None
    form: Format
    storage: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def label(self) -> str:
        """The file, and which row groups of it."""
        return self.name if self.numbers is None else f"{self.name}, row groups {list(self.numbers)}"

    def read(self) -> Any:
        """Return X and y."""
        import fsspec
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with fsspec.open(self.name, "rb", **self.storage) as file:
                whole = pq.ParquetFile(file)
                found = whole.schema_arrow.names
                self.form.check(found)
                wanted = [each for each in found if each in {*self.form.features, self.form.target}]
                numbers = range(whole.num_row_groups) if self.numbers is None else self.numbers
                table = whole.read_row_groups(list(numbers), columns=wanted)
            return self.form.table(*columnar.numbers(table))
        except (ValueError, pa.ArrowException) as error:  # also `DataError`
            raise DataError(f"{self.label}: {error}") from error


def groups(name: str, form: Format, storage: dict[str, Any], block: int | None) -> list[Groups]:
    """Cut a Parquet file between row groups, into pieces of at least `block` bytes but the last."""
    if block is None:
        return [Groups(name, None, form, storage)]
    import fsspec
    import pyarrow.parquet as pq

    with fsspec.open(name, "rb", **storage) as file:
        footer = pq.ParquetFile(file).metadata
    pieces: list[list[int]] = [[]]
    held = 0
    for number in range(footer.num_row_groups):
        if held >= block:
            pieces.append([])
            held = 0
        pieces[-1].append(number)
        held += footer.row_group(number).total_byte_size
    return [Groups(name, tuple(piece), form, storage) for piece in pieces]


def headed(form: Format, name: str, storage: dict[str, Any]) -> Format:
    """Return the format with the columns that a file of CSV or Parquet has; only its head is read."""
    import fsspec

    if form.kind == "csv":
        with fsspec.open(name, "rb", compression=compression(name), **storage) as file:
            line = next((line for line in file if line.strip()), b"")
        if not line:
            raise DataError(f"{name} is empty; required: at least one line of data")
        at, columns = delimited.names(line, form.delimiter, form.header)
        return form.with_columns(columns, bool(at), name)
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with fsspec.open(name, "rb", **storage) as file:
            return form.with_columns(pq.ParquetFile(file).schema_arrow.names, None, name)
    except pa.ArrowException as error:
        raise DataError(f"{name}: {error}; required: a Parquet file") from error


def compression(name: str) -> str | None:
    """How a file is compressed, by its name.

    >>> compression("rows.svm.gz"), compression("rows.svm")
    ('gzip', None)
    """
    import fsspec

    found: str | None = fsspec.utils.infer_compression(name)
    return found
