"""Where the files lie: the few operations that a store needs of any filesystem of fsspec."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePath
from typing import IO, Any
from uuid import uuid4

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractFileSystem

from psbook.errors import CheckpointError


@contextmanager
def naming(file: str, failed: str) -> Iterator[None]:
    """Turn whatever a filesystem raises into a `CheckpointError` that names the file."""
    # Third-party filesystems raise what they like, not only OSError.
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"{file} {failed} ({type(error).__name__}: {error}).") from error


def flush_to_disk(file: Any) -> None:
    """Wait until what was written will survive a loss of power, where that can be asked for."""
    file.flush()
    with suppress(AttributeError, io.UnsupportedOperation):
        os.fsync(file.fileno())


class Folder:
    """A folder, or a prefix of an object store, that holds files side by side.

    Parameters
    ----------
    url
        What fsspec can open: a path, ``memory://…``, ``s3://…``.

    Raises
    ------
    CheckpointError
        If it cannot be reached, or a file cannot be written, listed and removed there.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        if not isinstance(url, str | os.PathLike) or not os.fspath(url):
            raise CheckpointError(f"url={url!r}; required: a path or a URL such as 's3://bucket/run'.")
        self.url = os.fspath(url)
        probe = f"probe-{uuid4().hex}"
        with naming(f"{self.url!r}", "cannot hold checkpoints; required: a folder or URL to write to"):
            self._system, root = url_to_fs(self.url)
            self._root = str(root).rstrip("/")
            self._system.makedirs(self._root or "/", exist_ok=True)
            self._system.pipe_file(self._path(probe), b"probe")
            if probe not in self.list():
                raise FileNotFoundError("a file written there is not listed")
            self._system.rm_file(self._path(probe))

    def _path(self, file: str) -> str:
        return f"{self._root}/{file}"

    @property
    def renames(self) -> bool:
        """Whether a file can be moved in one step: the base class's move is a copy, which helps nobody."""
        return type(self._system).mv is not AbstractFileSystem.mv

    def locate(self, file: str) -> str:
        """Return the full path or URL of a file, for a person."""
        path = self._path(file)
        local = isinstance(self._system, LocalFileSystem)
        return path if local else str(self._system.unstrip_protocol(path))

    def list(self) -> list[str]:
        """Return the names of the files, sorted, as they are now and not as some cache remembers them."""
        with naming(repr(self.url), "cannot be listed"):
            self._system.invalidate_cache()
            try:
                found = self._system.ls(self._root or "/", detail=False)
            except FileNotFoundError:  # an object store has no empty folders
                return []
        return sorted(PurePath(path).name for path in found)

    def size(self, file: str) -> int | None:
        """Return the size of a file in bytes, ``None`` if it is not there."""
        with naming(self.locate(file), "cannot be looked up"):
            self._system.invalidate_cache()
            try:
                return int(self._system.info(self._path(file))["size"])
            except FileNotFoundError:
                return None

    def read(self, file: str) -> bytes:
        """Return the content of a file.

        Raises
        ------
        CheckpointError
            If it is missing or cannot be read.
        """
        with naming(self.locate(file), "cannot be read"):
            try:
                return bytes(self._system.cat_file(self._path(file)))
            except FileNotFoundError:
                pass
        raise CheckpointError(f"{self.locate(file)} is missing.")

    def write(self, file: str, fill: Callable[[IO[bytes]], object]) -> None:
        """Write a new file in a stream; where the filesystem renames, it has its name only once it is whole.

        Raises
        ------
        CheckpointError
            If it cannot be written; the message names it.
        """
        partial = f"{file}.{uuid4().hex}.partial" if self.renames else file
        with naming(self.locate(file), "cannot be written"):
            try:
                with self._system.open(self._path(partial), "wb") as stream:
                    fill(stream)
                    flush_to_disk(stream)
                if partial != file:
                    self._system.mv(self._path(partial), self._path(file))
                self._flush_names()
            except Exception:
                with suppress(Exception):
                    self._system.rm_file(self._path(partial))
                raise

    def put(self, file: str, data: bytes) -> None:
        """Write a small file in one step, over an older one of that name if there is one."""
        if self.renames:
            self.write(file, lambda stream: stream.write(data))
            return
        with naming(self.locate(file), "cannot be written"):
            self._system.pipe_file(self._path(file), data)

    def remove(self, file: str) -> None:
        """Remove a file; one that is gone already, removed by another process, is as good."""
        with naming(self.locate(file), "cannot be removed"), suppress(FileNotFoundError):
            self._system.rm_file(self._path(file))

    def _flush_names(self) -> None:
        # A rename is on disk only when its directory is.
        if isinstance(self._system, LocalFileSystem):
            descriptor = os.open(self._root or "/", os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
