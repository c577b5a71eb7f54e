"""The manifest: the file whose existence makes a checkpoint exist, and the names of the others."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from uuid import uuid4

from psbook.checkpoints.arrays import json_text
from psbook.errors import CheckpointError

FORMAT = 1
"""Version of the format of manifest and parts together."""

HEADER = re.compile(rb"psbook checkpoint, format (\d{1,9}), sha256 ([0-9a-f]{64})\n")
FILE = re.compile(
    r"checkpoint-(0|[1-9]\d*)\.(manifest|[A-Za-z0-9_-]*\.[0-9a-f]{32}\.npz)(\.[0-9a-f]{32}\.partial)?"
)


@dataclass(frozen=True)
class PartRecord:
    """What the manifest says about one part: how to know it again.

    Parameters
    ----------
    name
        Of the part, unique in the checkpoint.
    file
        Its file, beside the manifest.
    bytes
        Size of the file.
    sha256
        Of the file, 64 hexadecimal digits.
    """

    name: str
    file: str
    bytes: int
    sha256: str


def manifest_file(number: int) -> str:
    """Return the name of a checkpoint's manifest."""
    return f"checkpoint-{number}.manifest"


def part_file(number: int, name: str) -> str:
    """Return a name that no other writer will ever use, readable where `name` allows it."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:60]
    return f"checkpoint-{number}.{readable}.{uuid4().hex}.npz"


def number_of(file: str) -> int | None:
    """Return the number of the checkpoint that a file belongs to, ``None`` for another's file.

    Examples
    --------
    >>> number_of(manifest_file(40)), number_of(part_file(40, "shard 1")), number_of("notes.txt")
    (40, 40, None)
    """
    match = FILE.fullmatch(file)
    return int(match[1]) if match else None


@dataclass(frozen=True)
class Manifest:
    """Everything that holds a checkpoint together.

    Parameters
    ----------
    number
        Clock of the cut.
    meta
        The caller's, JSON.
    parts
        One record a part.
    versions
        Of psbook and the libraries that wrote it.
    """

    number: int
    meta: Mapping[str, Any]
    parts: tuple[PartRecord, ...]
    versions: Mapping[str, str]

    def encode(self, where: str) -> bytes:
        """Return the file's content: a line with format and checksum, then JSON."""
        parts = [asdict(part) for part in self.parts]
        content = {"number": self.number, "meta": self.meta, "parts": parts, "versions": self.versions}
        body = (json_text(content, where) + "\n").encode()
        return (
            f"psbook checkpoint, format {FORMAT}, sha256 {hashlib.sha256(body).hexdigest()}\n".encode() + body
        )

    @classmethod
    def decode(cls, data: bytes, number: int, where: str) -> Manifest:
        """Read a manifest.

        Raises
        ------
        CheckpointError
            If the file is not psbook's, of a newer format, torn, altered or another checkpoint's.
        """
        header = HEADER.match(data)
        if not header:
            raise CheckpointError(
                f"{where} begins with {data[:20]!r}; required: the manifest of a checkpoint, which begins "
                "with 'psbook checkpoint, format'."
            )
        if int(header[1]) != FORMAT:
            raise CheckpointError(
                f"{where} has format {int(header[1])}; required: {FORMAT}, the one that this psbook reads. "
                "If a newer psbook wrote it, install that one."
            )
        content = data[header.end() :]
        found, required = hashlib.sha256(content).hexdigest(), header[2].decode()
        if found != required:
            raise CheckpointError(
                f"{where} was torn or altered: the SHA-256 of its content is {found}; required: {required}, "
                "as its first line says."
            )
        body = json.loads(content)
        if body["number"] != number:
            raise CheckpointError(f"{where} is that of checkpoint {body['number']}; required: of {number}.")
        parts = tuple(PartRecord(**part) for part in body["parts"])
        return cls(number, body["meta"], parts, body["versions"])
