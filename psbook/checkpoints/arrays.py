"""One part as bytes: named arrays and what is known about them, as NumPy's ``.npz`` without pickle."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from psbook.errors import CheckpointError

Arrays = Mapping[str, npt.NDArray[Any]]


class Counted(io.RawIOBase):
    """A stream that passes everything on, and knows size [bytes] and SHA-256 of what went through."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        """Return ``True``."""
        return True

    def write(self, data: Any) -> int:
        """Write all of `data`."""
        self._stream.write(data)
        self._digest.update(data)
        self.size += len(data)
        return len(data)

    @property
    def sha256(self) -> str:
        """Digest so far, 64 hexadecimal digits."""
        return self._digest.hexdigest()


def json_text(value: object, where: str) -> str:
    """Return a value as JSON that reads back as the same value (a tuple as a list, a NaN as NaN).

    Raises
    ------
    CheckpointError
        If it would not: JSON itself would turn the key 3 into "3" in silence.

    Examples
    --------
    >>> json_text({"clocks": (3, 4)}, "meta")
    '{"clocks": [3, 4]}'
    >>> json_text({"clocks": {0: 3}}, "meta")
    Traceback (most recent call last):
    psbook.errors.CheckpointError: meta["clocks"] has the key 0; required: keys of dictionaries are text.
    """
    check_json(value, where)
    return json.dumps(value, sort_keys=True)


def check_json(value: object, where: str) -> None:
    """Raise `CheckpointError` unless JSON can hold `value`; `where` says how to get to it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise CheckpointError(
                    f"{where} has the key {key!r}; required: keys of dictionaries are text."
                )
            check_json(inner, f"{where}[{json.dumps(key)}]")
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            check_json(inner, f"{where}[{place}]")
    elif value is not None and not isinstance(value, str | int | float):
        raise CheckpointError(
            f"{where} is a {type(value).__name__}; required: dictionaries, lists, text, numbers, booleans "
            "and None. Arrays go into `arrays`."
        )


def storable(array: npt.NDArray[Any], where: str) -> tuple[npt.NDArray[Any], str]:
    """Return an array as NumPy can store it without pickle, and the name of its dtype if that is not NumPy's.

    Raises
    ------
    CheckpointError
        If its dtype cannot be stored: Python objects, strings of variable length.
    """
    dtype = array.dtype
    if dtype.kind == "V" and not issubclass(dtype.type, np.void):  # bfloat16 and its like, which JAX brings
        return array.view(f"u{dtype.itemsize}"), dtype.name
    if dtype.hasobject or np.lib.format.descr_to_dtype(np.lib.format.dtype_to_descr(dtype)) != dtype:
        raise CheckpointError(f"{where} has the dtype {dtype!r}; required: numbers, or text of fixed length.")
    return array, ""


def named_dtype(name: str) -> np.dtype[Any]:
    """Return a dtype that is not NumPy's own; they have names once JAX is imported."""
    import jax  # noqa: F401

    return np.dtype(name)


def pack(stream: IO[bytes], arrays: Arrays, meta: Mapping[str, Any], where: str) -> Counted:
    """Write arrays and meta into a stream; return how much that was.

    Parameters
    ----------
    stream
        Need not be able to seek.
    arrays
        Of any shape, 0-dimensional and empty ones too; any dtype but Python objects.
    meta
        JSON.
    where
        What error messages call the part.
    """
    check_json(dict.fromkeys(arrays), f"{where}: arrays")
    stored = [storable(np.asarray(array), f"{where}: array {name!r}") for name, array in arrays.items()]
    names = [[name, dtype] for name, (_, dtype) in zip(arrays, stored, strict=True)]
    header = json_text({"arrays": names, "meta": dict(meta)}, where).encode()
    counted = Counted(stream)
    # Numbered, because a name in a zip file may not be any text. Version 3 holds fields of any name;
    # np.savez warns whenever it needs it.
    with zipfile.ZipFile(counted, "w") as archive:
        for place, array in enumerate([np.frombuffer(header, "uint8"), *(array for array, _ in stored)]):
            with archive.open(f"arr_{place}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, version=(3, 0), allow_pickle=False)
    return counted


def unpack(data: bytes, where: str) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Return the arrays, writable, and the meta that `pack` wrote.

    Raises
    ------
    CheckpointError
        If `pack` has not written it.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            header = json.loads(stored["arr_0"].tobytes())
            arrays = {}
            for place, (name, dtype) in enumerate(header["arrays"], start=1):
                array = stored[f"arr_{place}"]
                arrays[name] = array.view(named_dtype(dtype)) if dtype else array
            return arrays, header["meta"]
    except Exception as error:
        raise CheckpointError(
            f"{where} is no part of a checkpoint ({type(error).__name__}: {error}); "
            "required: one that psbook wrote."
        ) from error
