"""The store: parts first, the manifest last, and only then is something older removed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from psbook.checkpoints.arguments import whole
from psbook.checkpoints.arrays import Arrays, Counted, pack
from psbook.checkpoints.checkpoint import Checkpoint, sound
from psbook.checkpoints.folder import Folder
from psbook.checkpoints.manifest import Manifest, PartRecord, manifest_file, number_of, part_file
from psbook.errors import CheckpointError
from psbook.versions import versions


class CheckpointStore:
    """Checkpoints in a folder, or under a prefix of an object store.

    Any number of processes may write parts; one of them, who has all their records, commits. The manifest
    makes a checkpoint exist: it is written last and in one step, so that a crash at any time leaves the
    checkpoints that were complete before. Files that are not a checkpoint's are left alone.

    One folder is for one history. A run that goes on from a checkpoint older than the newest replaces the
    later ones as it passes their numbers; until then `latest` is the older history's.

    Parameters
    ----------
    url : str or path
        A path, or any URL of fsspec that every process reaches. Credentials are where fsspec's package for it
        looks for them. The folder is made if need be. On a filesystem that renames, no file is ever seen half
        written; on others that is up to the filesystem, and true of object stores.
    keep : int
        How many complete checkpoints stay, at least 1. When there are that many, whatever is older goes,
        complete or not. A checkpoint that is being read is not protected: the reader may get the error that a
        part is missing, and `keep` should leave it time.

    Raises
    ------
    CheckpointError
        If the place cannot be reached, or a file cannot be written, listed and removed there.
    InvalidJob
        If `keep` is not a whole number of at least 1.

    Examples
    --------
    >>> import numpy as np
    >>> store = CheckpointStore("memory://weights")
    >>> record = store.write_part(40, "server-0", {"w": np.arange(3.0)}, {"version": 7})
    >>> store.commit(40, [record], {"model": "BSP"})
    >>> checkpoint = store.read()
    >>> checkpoint
    <Checkpoint 40 of 1 parts in memory://weights>
    >>> checkpoint.part("server-0")
    ({'w': array([0., 1., 2.])}, {'version': 7})
    """

    def __init__(self, url: str | os.PathLike[str], keep: int = 3) -> None:
        self.keep = whole("keep", keep, 1)
        self._folder = Folder(url)

    def __repr__(self) -> str:
        return f"CheckpointStore({self.url!r}, keep={self.keep})"

    @property
    def url(self) -> str:
        """Where the files lie, as it was given."""
        return self._folder.url

    def write_part(
        self, number: int, name: str, arrays: Arrays, meta: Mapping[str, Any] | None = None
    ) -> PartRecord:
        """Write one part of a checkpoint to come, from any process.

        Parameters
        ----------
        number
            Of the checkpoint: the clock of the cut, at least 0.
        name
            Of the part, any text, unique in the checkpoint.
        arrays
            Named arrays of any shape and any dtype but Python objects and strings of variable length.
        meta
            What else is known, JSON.

        Returns
        -------
        PartRecord
            For the process that commits.

        Raises
        ------
        CheckpointError
            If something in it cannot be stored, or the file cannot be written; the message names it.
        """
        file = part_file(whole("number", number, 0), name)
        where = f"part {name!r} of checkpoint {number}"
        counted: list[Counted] = []
        self._folder.write(file, lambda stream: counted.append(pack(stream, arrays, meta or {}, where)))
        return PartRecord(name, file, counted[0].size, counted[0].sha256)

    def commit(
        self, number: int, records: Iterable[PartRecord], meta: Mapping[str, Any] | None = None
    ) -> None:
        """Make a checkpoint exist, then remove what is older than the newest `keep` complete ones.

        A complete checkpoint of that number is replaced. The one just committed always stays, even where
        `keep` newer ones exist.

        Parameters
        ----------
        number
            Clock of the cut.
        records
            Of all its parts, as `write_part` returned them.
        meta
            What else is known, JSON.

        Raises
        ------
        CheckpointError
            If a part is not there, or not of this checkpoint, or the manifest cannot be written: then the
            checkpoint does not exist. Also if only older ones could not be removed; the message says so.
        """
        number, parts = whole("number", number, 0), tuple(records)
        self._check(number, parts)
        file = manifest_file(number)
        manifest = Manifest(number, dict(meta or {}), parts, versions())
        self._folder.put(file, manifest.encode("manifest"))
        try:
            self._retire(number)
        except CheckpointError as error:
            raise CheckpointError(
                f"checkpoint {number} is complete, but not all older files were removed: {error}"
            ) from error

    def numbers(self) -> list[int]:
        """Return the numbers of all committed checkpoints, ascending.

        One that was damaged later is among them; reading it says what is wrong.
        """
        return committed(self._folder.list())

    def latest(self) -> int | None:
        """Return the number of the newest committed checkpoint, ``None`` if there is none."""
        return max(self.numbers(), default=None)

    def read(self, number: int | None = None) -> Checkpoint:
        """Open a checkpoint, the newest by default; never an older one in its stead.

        Parts are checked when they are read. To know of all before using the first: `Checkpoint.verify`.

        Raises
        ------
        CheckpointError
            If there is none, or its manifest is missing, torn, altered, foreign or of a newer format. The
            message names the file, what was found and required, and the newest other checkpoint that is good.
        """
        number = self._newest() if number is None else whole("number", number, 0)
        try:
            return Checkpoint(self._folder, self._manifest(number), self._instead)
        except CheckpointError as error:
            raise CheckpointError(f"{error} {self._instead(number)}") from error

    def _newest(self) -> int:
        files = self._folder.list()
        numbers = committed(files)
        if numbers:
            return numbers[-1]
        begun = sorted({number for file in files if (number := number_of(file)) is not None})
        found = f"only files of {', '.join(map(str, begun))}, never committed" if begun else "no file of one"
        raise CheckpointError(f"no checkpoint in {self.url}: {found}; required: a complete one.")

    def _manifest(self, number: int) -> Manifest:
        file = manifest_file(number)
        return Manifest.decode(self._folder.read(file), number, self._folder.locate(file))

    def _check(self, number: int, parts: tuple[PartRecord, ...]) -> None:
        names = [part.name for part in parts]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise CheckpointError(
                f"checkpoint {number} has several parts named {repeated}; required: one each."
            )
        for part in parts:
            if number_of(part.file) != number:
                raise CheckpointError(
                    f"part {part.name!r} ({part.file}) was written for checkpoint {number_of(part.file)}; "
                    f"required: {number}."
                )
            size = self._folder.size(part.file)
            if size != part.bytes:
                found = "is missing" if size is None else f"has {size} bytes"
                raise CheckpointError(
                    f"{self._folder.locate(part.file)} {found}; required: {part.bytes} bytes. Either the "
                    f"writer's {self.url} is another folder, or newer checkpoints have retired this one."
                )

    def _retire(self, number: int) -> None:
        files = self._folder.list()
        complete = (found for found in reversed(committed(files)) if self._is_complete(found, files))
        kept = list(islice(complete, self.keep))
        if len(kept) < self.keep:
            return
        oldest = min(kept[-1], number)
        old = [file for file in files if (found := number_of(file)) is not None and found < oldest]
        # A checkpoint ends to exist before its parts go.
        for file in sorted(old, key=lambda file: not file.endswith(".manifest")):
            self._folder.remove(file)

    def _is_complete(self, number: int, files: list[str]) -> bool:
        try:
            return {part.file for part in self._manifest(number).parts} <= set(files)
        except CheckpointError:
            return False

    def _instead(self, number: int) -> str:
        try:
            others = [other for other in reversed(self.numbers()) if other != number]
        except CheckpointError as error:
            return f"Whether another one is good cannot be told: {error}"
        for other in others:
            if self._is_good(other):
                return f"The newest other checkpoint that is good is {other}: read({other})."
        return f"No other checkpoint in {self.url} is good."

    def _is_good(self, number: int) -> bool:
        try:
            for part in self._manifest(number).parts:
                sound(self._folder, part)
        except CheckpointError:
            return False
        return True


def committed(files: Iterable[str]) -> list[int]:
    """Return the numbers of the checkpoints that have a manifest among some files, ascending."""
    return sorted(
        number for file in files if (number := number_of(file)) is not None and file == manifest_file(number)
    )
