"""Takes the rows of a trace while a run goes on."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from psbook.errors import InvalidJob, ProtocolError
from psbook.trace.schema import COLUMNS, KINDS, LEVELS, NAMES
from psbook.trace.trace import Trace, arrow_schema, frame_from, frame_of

Row: TypeAlias = tuple[Any, ...]

CHUNK = 50_000
"""Rows of a group when a trace is streamed to disk."""


class Recorder:
    """Collects rows, those that its level keeps.

    Parameters
    ----------
    level : {"off", "iterations", "full"}
        How much is kept, see `psbook.trace.schema.LEVELS`.
    path : path, optional
        Stream the rows to this Parquet file in groups of `CHUNK`, so that memory stays bounded.

    Raises
    ------
    InvalidJob
        If the level is unknown.
    ProtocolError
        By `add`, if the schema has no such kind of row.

    Examples
    --------
    >>> recorder = Recorder("iterations")
    >>> recorder.add(0.5, "worker-0", "clock", clock=1)
    >>> recorder.add(0.5, "worker-0", "send", bytes=48)
    >>> len(recorder.rows())
    1
    """

    __slots__ = ("_kinds", "_path", "_rows", "_writer", "_writing", "level")

    def __init__(self, level: str = "full", path: str | os.PathLike[str] | None = None) -> None:
        if level not in LEVELS:
            raise InvalidJob(f"trace={level!r}; required: one of {', '.join(map(repr, LEVELS))}.")
        self.level = level
        self._kinds = LEVELS[level]
        self._rows: list[Row] = []
        self._path = path
        self._writer: pq.ParquetWriter | None = None
        # Whoever evaluates adds rows beside whoever collects them, and a Parquet writer is for one thread.
        self._writing: AbstractContextManager[object] = nullcontext() if path is None else threading.Lock()

    def wants(self, kind: str) -> bool:
        """Whether rows of this kind are kept."""
        return kind in self._kinds

    def add(
        self,
        time: float,
        node: str,
        kind: str,
        *,
        duration: float = 0.0,
        peer: str = "",
        table: str = "",
        shard: int = -1,
        start: int = -1,
        stop: int = -1,
        clock: int = -1,
        version: int = -1,
        staleness: int = -1,
        message: str = "",
        cause: str = "",
        bytes: int = -1,
        value: float = math.nan,
        detail: str = "",
    ) -> None:
        """Keep a row, if its kind is of the level; the columns are those of the schema."""
        if kind in self._kinds:
            row = (time, duration, node, kind, peer, table, shard, start, stop, clock, version, staleness,
                   message, cause, bytes, value, detail)  # fmt: skip
            self._rows.append(row)
            if self._path is not None and len(self._rows) >= CHUNK:
                self._write()
        elif kind not in KINDS:
            raise ProtocolError(f"a row of kind {kind!r}; required: one of {', '.join(KINDS)}")

    def rows(self) -> list[Row]:
        """Rows that are in memory, as tuples in the order of the schema."""
        return self._rows

    def take(self) -> list[Row]:
        """Return the rows that are in memory, and forget them; others may add rows meanwhile."""
        count = len(self._rows)
        taken = self._rows[:count]
        del self._rows[:count]
        return taken

    def extend(self, rows: Iterable[Row], offset: float = 0.0) -> None:
        """Take over rows of another process, whose clock is `offset` seconds behind."""
        for row in rows:
            self._rows.append((row[0] + offset, *row[1:]))
            if self._path is not None and len(self._rows) >= CHUNK:
                self._write()

    def trace(self, meta: dict[str, Any]) -> Trace:
        """Return the trace: rows sorted by time, in the order they came where times are equal."""
        if self._writer is None:
            frame = frame_of(self._rows)
        else:
            self._write()
            self._writer.close()
            frame = frame_of(frame_from(pq.read_table(self._path)))
        trace = Trace(frame, {"trace_level": self.level, **meta})
        if self._path is not None:
            trace.save(self._path)
        return trace

    def _write(self) -> None:
        with self._writing:
            if self._writer is None:
                self._writer = pq.ParquetWriter(self._path, arrow_schema())
            columns = list(zip(*self.take(), strict=True)) or [()] * len(COLUMNS)
            self._writer.write_table(pa.table(dict(zip(NAMES, columns, strict=True)), schema=arrow_schema()))
