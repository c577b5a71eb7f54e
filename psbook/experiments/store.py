"""The folder of a sweep: what has run is there, whatever happens to the process.

``sweep.json``
    Configuration, parameters and versions.
``chunks/<name>.table.parquet``, ``chunks/<name>.history.parquet``
    Runs as they end, some at a time. The table is written last: a chunk without it does not count.
``table.parquet``, ``history.parquet``
    All runs, when the sweep has ended; the chunks are then removed.

One process at a time writes to a folder. Every file appears complete or not at all. Rows are known by the
hash of their point's configuration; of two with the same hash the one from a chunk counts.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from psbook.errors import DataError, InvalidJob
from psbook.experiments.description import difference

FORMAT = 1
META_KEY = b"psbook"
Frames = tuple[pd.DataFrame, pd.DataFrame]


class Store:
    """What is on disk of a sweep.

    Parameters
    ----------
    path
        The folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.chunks = self.path / "chunks"

    def open(self, meta: dict[str, Any]) -> None:
        """Begin a sweep here, or go on with the one that is here.

        Raises
        ------
        InvalidJob
            If the folder belongs to another sweep: the message says in what it differs.
        DataError
            If it cannot be written, or holds something else.
        """
        if (self.path / "sweep.json").exists():
            there = self.meta()
            self._check(meta, there)
            for name, texts in there["parameters"].items():
                meta["parameters"][name] = {**texts, **meta["parameters"][name]}
            meta["versions"] += [found for found in there["versions"] if found not in meta["versions"]]
        elif self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise DataError(f"{self.path} holds something else; required: a new path, or that of a sweep.")
        try:
            self.chunks.mkdir(parents=True, exist_ok=True)
            self._write_meta(meta)
        except OSError as error:
            raise DataError(
                f"{self.path}: {error.strerror}; required: a folder that can be written."
            ) from error

    def _check(self, meta: dict[str, Any], there: dict[str, Any]) -> None:
        wrong = difference(meta["configuration"], there["configuration"])
        if meta["parameters"].keys() != there["parameters"].keys():
            named = (", ".join(each["parameters"]) or "none" for each in (meta, there))
            wrong.append("the parameters are {}, and {} there".format(*named))
        if wrong:
            more = f", and {len(wrong) - 4} more" if len(wrong) > 4 else ""
            raise InvalidJob(
                f"path {str(self.path)!r} holds another sweep: {'; '.join(wrong[:4])}{more}; required: a "
                "path of its own for each job and cluster. Only values and seeds may be added."
            )

    def meta(self) -> dict[str, Any]:
        """Return what is known about the sweep.

        Raises
        ------
        DataError
            If there is none.
        """
        try:
            meta: dict[str, Any] = json.loads((self.path / "sweep.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path}: no sweep ({error}); required: a folder of ps.sweep.") from None
        if meta.get("format") != FORMAT:
            raise DataError(
                f"{self.path}: format {meta.get('format')!r}; required: {FORMAT}, as psbook writes."
            )
        return meta

    def _write_meta(self, meta: dict[str, Any]) -> None:
        target = self.path / "sweep.json"
        partial = target.with_name(".sweep.json.part")
        partial.write_text(json.dumps(meta, indent=1, sort_keys=False), encoding="utf-8")
        partial.replace(target)

    def read(self) -> Frames | None:
        """Return all runs that are here, each once; ``None`` if there are none."""
        tables, histories = [], []
        seen: set[str] = set()
        chunks = sorted(self.chunks.glob("*.table.parquet"), key=lambda path: path.stat().st_mtime_ns)
        for path in [*reversed(chunks), self.path / "table.parquet"]:
            if not path.exists():
                continue
            table = _read(path)
            history = _read(path.with_name(path.name.replace("table.parquet", "history.parquet")))
            table = table[~table["hash"].isin(seen)]
            tables.append(table)
            histories.append(history[history["hash"].isin(table["hash"])])
            seen |= set(table["hash"])
        if not tables:
            return None
        return pd.concat(tables, ignore_index=True), pd.concat(histories, ignore_index=True)

    def add(self, table: pd.DataFrame, history: pd.DataFrame) -> None:
        """Write runs that have ended."""
        name = hashlib.sha256("".join(table["hash"]).encode()).hexdigest()[:16]
        _write(history, self.chunks / f"{name}.history.parquet", {})
        _write(table, self.chunks / f"{name}.table.parquet", {})

    def finish(self, table: pd.DataFrame, history: pd.DataFrame, meta: dict[str, Any]) -> None:
        """Write all runs into one table and one history."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._write_meta(meta)
        _write(history, self.path / "history.parquet", meta)
        _write(table, self.path / "table.parquet", meta)
        if self.chunks.is_dir():
            # Tables first: a chunk with its history only does not count.
            for path in [*self.chunks.glob("*.table.parquet"), *self.chunks.glob("*")]:
                path.unlink(missing_ok=True)
            self.chunks.rmdir()


def _write(frame: pd.DataFrame, path: Path, meta: dict[str, Any]) -> None:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    text = json.dumps({**meta, "columns": frame.attrs.get("columns", {})})
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), META_KEY: text.encode()})
    partial = path.with_name(f".{path.name}.part")
    pq.write_table(table, partial)
    partial.replace(path)


def _read(path: Path) -> pd.DataFrame:
    try:
        frame: pd.DataFrame = pq.read_table(path).to_pandas()
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: {error}; required: a file that ps.sweep wrote. Remove it.") from error
    frame.attrs.clear()
    return frame


def keep(frames: Frames | None, hashes: Sequence[str]) -> tuple[Frames | None, Frames | None]:
    """Divide runs into those with these hashes and the others."""
    if frames is None:
        return None, None
    table, history = frames
    ours, evaluated = table["hash"].isin(hashes), history["hash"].isin(hashes)
    return (table[ours], history[evaluated]), (table[~ours], history[~evaluated])
