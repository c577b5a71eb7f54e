"""The record of a run: rows and what is known about the run; saved, loaded, compared."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from psbook.errors import DataError
from psbook.trace.schema import COLUMNS, NAMES

META_KEY = b"psbook"


def arrow_schema(meta: dict[str, Any] | None = None) -> pa.Schema:
    """Schema of a trace's Parquet file."""
    types = {"float64": pa.float64(), "int64": pa.int64(), "str": pa.string()}
    fields = [pa.field(column.name, types[column.dtype]) for column in COLUMNS]
    text = json.dumps(meta or {}, sort_keys=True, default=str)
    return pa.schema(fields, metadata={META_KEY: text.encode()})


def frame_of(rows: Sequence[tuple[Any, ...]] | pd.DataFrame) -> pd.DataFrame:
    """Return rows as a DataFrame sorted by time; equal times keep their order."""
    if not isinstance(rows, pd.DataFrame):
        columns = list(zip(*rows, strict=True)) or [()] * len(COLUMNS)
        rows = pd.DataFrame(
            {
                column.name: pd.array(values, dtype="str") if column.dtype == "str"
                else np.array(values, dtype=column.dtype)
                for column, values in zip(COLUMNS, columns, strict=True)
            }
        )  # fmt: skip
    return rows.sort_values("time", kind="stable", ignore_index=True)


def frame_from(table: pa.Table) -> pd.DataFrame:
    """Return rows read from Parquet as a DataFrame, in the order in which they lie there."""
    frame: pd.DataFrame = table.select(list(NAMES)).to_pandas()
    return frame.astype({column.name: column.dtype for column in COLUMNS})


class Trace:
    """The record of one run.

    Parameters
    ----------
    frame
        Rows with the columns of `psbook.trace.schema.COLUMNS`, sorted by time.
    meta
        What is known about the run: backend, model, workers, seed, units, versions.

    Examples
    --------
    >>> from psbook.trace import Recorder
    >>> recorder = Recorder()
    >>> recorder.add(0.5, "worker-0", "clock", clock=1)
    >>> trace = recorder.trace({"backend": "simulator"})
    >>> len(trace), trace.meta["backend"]
    (1, 'simulator')
    """

    def __init__(self, frame: pd.DataFrame, meta: dict[str, Any]) -> None:
        self.frame = frame
        self.meta = meta
        frame.attrs["columns"] = {column.name: f"{column.meaning} [{column.unit}]" for column in COLUMNS}

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        return (
            f"<Trace of {len(self)} rows: {self.meta.get('model_label', '?')} on "
            f"{self.meta.get('backend', '?')}, "
            f"{self.end:.6g} {self.meta.get('time_unit', 's')}>"
        )

    @property
    def end(self) -> float:
        """End of the run, seconds."""
        if "end" in self.meta:
            return float(self.meta["end"])
        return float((self.frame["time"] + self.frame["duration"]).max()) if len(self) else 0.0

    @property
    def level(self) -> str:
        """Level it was recorded at: which kinds of row it can hold, see `psbook.trace.schema.LEVELS`."""
        return str(self.meta.get("trace_level", "full"))

    def of(self, *kinds: str) -> pd.DataFrame:
        """Rows of some kinds."""
        return self.frame[self.frame["kind"].isin(kinds)]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the trace to a Parquet file, complete or not at all; return its path."""
        path = Path(path)
        table = pa.Table.from_pandas(self.frame[list(NAMES)], schema=arrow_schema(), preserve_index=False)
        partial = path.with_name(f".{path.name}.part")
        pq.write_table(table.replace_schema_metadata(arrow_schema(self.meta).metadata), partial)
        partial.replace(path)
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trace:
        """Read a trace.

        Raises
        ------
        DataError
            If the file is missing or is not a trace of psbook.
        """
        if not Path(path).is_file():
            raise DataError(f"{path}: no such file; required: a trace written by Trace.save.")
        try:
            table = pq.read_table(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{path}: not a Parquet file ({error}); required: a trace of psbook.") from error
        metadata = table.schema.metadata or {}
        if META_KEY not in metadata or not set(NAMES) <= set(table.column_names):
            raise DataError(
                f"{path}: a Parquet file, but no trace of psbook; required: one written by Trace.save."
            )
        return cls(frame_from(table), json.loads(metadata[META_KEY]))

    def hash(self) -> str:
        """SHA-256 of all rows, independent of the platform, the hash seed and how the rows were stored."""
        digest = hashlib.sha256()
        for column in COLUMNS:
            values = self.frame[column.name]
            if column.dtype == "str":
                texts = values.to_list()
                digest.update(np.fromiter(map(len, texts), dtype="<i8").tobytes())
                digest.update("".join(texts).encode())
            else:
                numbers = np.array(values, dtype=np.dtype(column.dtype).newbyteorder("<"))
                if column.dtype == "float64":
                    numbers[np.isnan(numbers)] = np.nan  # NaN has many bit patterns
                digest.update(numbers.tobytes())
        return digest.hexdigest()

    def summary(self) -> pd.Series[Any]:
        """Return the run in one row, see `psbook.trace.statistics.summary`."""
        from psbook.trace.statistics import summary

        return summary(self)

    def to_perfetto(self, path: str | os.PathLike[str]) -> Path:
        """Write the trace as JSON for ui.perfetto.dev or chrome://tracing; return the path."""
        from psbook.trace.perfetto import write

        return write(self, path)
