"""A checkpoint that exists, as its reader sees it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy.typing as npt

from psbook.checkpoints.arrays import unpack
from psbook.checkpoints.folder import Folder
from psbook.checkpoints.manifest import Manifest, PartRecord
from psbook.errors import CheckpointError


class Checkpoint:
    """One complete checkpoint; made by `CheckpointStore.read`.

    Attributes
    ----------
    number : int
        Clock of the cut.
    meta : dict
        What was committed with it.
    versions : Mapping[str, str]
        Of psbook and the libraries that wrote it.
    """

    def __init__(self, folder: Folder, manifest: Manifest, instead: Callable[[int], str]) -> None:
        self.number = manifest.number
        self.meta = manifest.meta
        self.versions = manifest.versions
        self._records = {record.name: record for record in manifest.parts}
        self._folder = folder
        self._instead = instead

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of its parts, in the order in which they were committed."""
        return tuple(self._records)

    def __repr__(self) -> str:
        return f"<Checkpoint {self.number} of {len(self._records)} parts in {self._folder.url}>"

    def part(self, name: str) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """Return the arrays, writable, and the meta of one part, after checking its size and SHA-256.

        Raises
        ------
        CheckpointError
            If there is no such part, or its file is missing, torn or altered. The message names the file,
            what was found and required, and the newest other checkpoint that is good.
        """
        if name not in self._records:
            raise CheckpointError(
                f"checkpoint {self.number} in {self._folder.url} has no part {name!r}; it has "
                f"{', '.join(map(repr, self.parts)) or 'none'}."
            )
        record = self._records[name]
        try:
            return unpack(sound(self._folder, record), self._folder.locate(record.file))
        except CheckpointError as error:
            raise CheckpointError(f"{error} {self._instead(self.number)}") from error

    def verify(self) -> None:
        """Check every part, so that nothing need be restored of a checkpoint that is not wholly good.

        Raises
        ------
        CheckpointError
            As `part`.
        """
        for name in self.parts:
            self.part(name)


def sound(folder: Folder, record: PartRecord) -> bytes:
    """Return the content of a part's file after checking it against its record.

    Raises
    ------
    CheckpointError
        If it is missing, or not what was written.
    """
    data, where = folder.read(record.file), folder.locate(record.file)
    if len(data) != record.bytes:
        raise CheckpointError(f"{where} has {len(data)} bytes; required: {record.bytes}.")
    found = hashlib.sha256(data).hexdigest()
    if found != record.sha256:
        raise CheckpointError(
            f"{where} was altered: its SHA-256 is {found}; required: {record.sha256}, as when it was written."
        )
    return data
