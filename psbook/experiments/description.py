"""What a job or cluster is, in plain lines: for a hash, and to say by name in what two of them differ.

A description holds no address, no order of a set and nothing that a run leaves behind, so that it is the
same in every process. Data are told by their SHA-256, functions by that of their code.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from psbook.experiments.code import callable_parts, class_code, code_text

Description = dict[str, str]
"""Text by path: ``{"tables.w.update.rate": "0.1"}``."""

Known = dict[int, tuple[np.ndarray[Any, Any], str]]
"""Arrays with their hashes, by ``id``; they are held, so that no other array gets the same one."""

LONG = 64
"""Lists of more plain items are told by their hash."""

PLAIN: Any = (object.__reduce__, object.__reduce_ex__)
"""How objects are pickled whose attributes are all there is to them."""

ALIVE = ("_thread", "asyncio", "dask", "distributed", "threading", "tornado")
"""Objects of these packages are connections and threads, no configuration."""


def describe(
    value: object, name: str = "", leave_out: Sequence[str] = (), known: Known | None = None
) -> Description:
    """Return what a value is made of, one line a part.

    Parameters
    ----------
    value
        A job, a cluster, a model, or anything that one of them may hold.
    name
        Path that the lines begin with.
    leave_out
        Paths that do not count, such as ``"trace_path"``.
    known
        Arrays that have been hashed before, for many descriptions of the same data.

    Notes
    -----
    Of a function there count its code, its defaults, what it closes over, and the global constants, arrays
    and functions of its own module that it names; of an object its state, and the code of its class if that
    is your own. Of what cannot even be pickled nothing but the class counts.

    Examples
    --------
    >>> from psbook.updates import SGD
    >>> describe({"update": SGD(0.5), "rows": np.zeros(2)}, "job")["job.update.rate"]
    '0.5'
    """
    skipped = {_join(name, path) for path in leave_out}
    return dict(_lines(value, name, skipped, (), {} if known is None else known))


def fingerprint(*descriptions: Mapping[str, str]) -> str:
    """Return the SHA-256 of descriptions, in hexadecimal.

    >>> fingerprint({"a": "1", "b": "2"}) == fingerprint({"b": "2", "a": "1"})
    True
    """
    lines = (
        f"{number}:{path}={text}"
        for number, description in enumerate(descriptions)
        for path, text in sorted(description.items())
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def difference(here: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """Say in what two descriptions differ, by name.

    >>> difference({"job.rate": "0.1"}, {"job.rate": "0.2", "job.l2": "1"})
    ['job.l2 is missing, and 1 there', 'job.rate is 0.1, and 0.2 there']
    """
    paths = [path for path in sorted({*here, *there}) if here.get(path) != there.get(path)]
    return [
        f"{path} is {here.get(path, 'missing')}, and {there.get(path, 'missing')} there" for path in paths
    ]


def _join(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)


def _lines(
    value: Any, path: str, skipped: set[str], inside: tuple[int, ...], known: Known
) -> Iterator[tuple[str, str]]:
    if path in skipped:
        return
    if isinstance(value, np.ndarray) and value.dtype != object:
        if id(value) not in known:
            known[id(value)] = value, _array(value)
        yield path, known[id(value)][1]
        return
    if id(value) in inside:  # it holds itself
        yield path, "itself"
        return
    text = _leaf(value)
    if text is not None:
        yield path, text
        return
    head, parts = _parts(value)
    yield path, head
    for name, part in parts:
        yield from _lines(part, _join(path, name), skipped, (*inside, id(value)), known)


def _leaf(value: Any) -> str | None:
    """Text of a value that has no parts; ``None`` if it has."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | complex | str):
        return repr(value)
    if isinstance(value, bytes | bytearray):
        return _hashed("bytes", value)
    if isinstance(value, type | BuiltinFunctionType):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, Enum | PurePath | np.dtype | range | slice):
        return str(value)
    if isinstance(value, set | frozenset):
        return f"set of {', '.join(sorted(map(repr, value)))}"
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, CodeType):
        return _hashed("code", code_text(value).encode())
    if type(value).__module__.partition(".")[0] in ALIVE:
        return f"a {type(value).__module__}.{type(value).__qualname__}"
    return None


def _parts(value: Any) -> tuple[str, Iterator[tuple[object, Any]]]:
    """Head line and named parts of a value that has parts."""
    found = callable_parts(value) if callable(value) else None
    if found is not None:
        return found[0], iter(found[1].items())
    if isinstance(value, Mapping):
        return "mapping", ((key, value[key]) for key in sorted(value, key=str))
    if isinstance(value, list | tuple):
        if len(value) > LONG and all(isinstance(item, bool | int | float | str) for item in value):
            return _hashed(f"{len(value)} items", repr(value).encode()), iter(())
        return f"{type(value).__name__} of {len(value)}", enumerate(value)
    if sparse.issparse(value):
        rows = sparse.coo_array(value)
        return f"sparse {rows.shape}", iter({"data": rows.data, "row": rows.row, "col": rows.col}.items())
    if isinstance(value, pd.DataFrame | pd.Series):
        hashes = pd.util.hash_pandas_object(value).to_numpy()
        return type(value).__name__, iter(
            [("columns", list(getattr(value, "columns", ()))), ("rows", hashes)]
        )
    if isinstance(value, np.ndarray):
        return "objects", enumerate(value.ravel().tolist())
    if hasattr(value, "__array__"):
        return type(value).__name__, iter([("array", np.asarray(value))])
    return f"{type(value).__module__}.{type(value).__qualname__}", _state(value)


def _state(value: Any) -> Iterator[tuple[object, Any]]:
    """Fields of a dataclass; attributes; or what a pickle would hold."""
    kind: Any = type(value)
    if methods := class_code(kind):
        yield "class", methods
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            if field.compare:
                yield field.name, getattr(value, field.name)
    elif hasattr(value, "__dict__") and (kind.__reduce__, kind.__reduce_ex__) == PLAIN:
        yield from sorted(vars(value).items())
    else:
        try:
            reduced = value.__reduce_ex__(2)
        except Exception:  # noqa: BLE001  # it cannot be pickled, for whatever reason
            text = repr(value)
            yield "repr", text if " at 0x" not in text else "unknown"
        else:
            yield from (
                zip(("made of", "state"), reduced[1:3], strict=False) if isinstance(reduced, tuple) else ()
            )


def _array(value: np.ndarray[Any, Any]) -> str:
    return _hashed(f"{value.dtype}{list(value.shape)}", np.ascontiguousarray(value).tobytes())


def _hashed(head: str, data: bytes | bytearray) -> str:
    return f"{head} sha256 {hashlib.sha256(data).hexdigest()[:32]}"
