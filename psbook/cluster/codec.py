"""Messages as bytes: a short msgpack header, and the raw bytes of large arrays beside it.

A message is a dataclass or a named tuple of numbers, texts, keys and at most one value. Arrays never pass
through pickle: a small one lies inside the header, a large one is sent as it is in memory. What has no
form here, the function of a `psbook.core.messages.Call` for example, is pickled into the header.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import cloudpickle  # type: ignore[import-untyped]
import msgpack  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt

from psbook.core import controls, keys, messages, routes
from psbook.storage.shard import Block

Frame: TypeAlias = npt.NDArray[np.uint8]
"""The bytes of one array, one-dimensional."""

INLINE_BYTES = 1 << 17
"""Arrays below this many bytes are copied into the header: at 100 kB three times the messages a second that
frames of their own reach, at 256 kB as many, above fewer (two processes on one machine)."""

_DATACLASSES: dict[str, type] = {}
_FIELDS: dict[type, tuple[str, ...]] = {}


def register(*classes: type) -> None:
    """Let dataclasses and named tuples pass by name and fields.

    Parameters
    ----------
    classes
        Classes whose constructor takes the fields in their order.
    """
    for cls in classes:
        names = getattr(cls, "_fields", None) or tuple(f.name for f in dataclasses.fields(cls))
        _DATACLASSES[cls.__name__] = cls
        _FIELDS[cls] = tuple(names)


def _is_message(thing: object) -> bool:
    ours = isinstance(thing, type) and thing.__module__ in (messages.__name__, controls.__name__)
    return ours and dataclasses.is_dataclass(thing)


register(keys.KeyRange, messages.MessageId, routes.Routes, routes.Segment, Block)
register(*filter(_is_message, {**vars(controls), **vars(messages)}.values()))


def encode(message: object) -> tuple[bytes, list[Frame]]:
    """Return the header and the frames of a message.

    Notes
    -----
    Frames are views of the message's arrays: these must not change afterwards. Arrays below `INLINE_BYTES`
    are copied at once.

    Examples
    --------
    >>> from psbook.core.keys import KeyRange
    >>> header, frames = encode((KeyRange(0, 2), np.zeros(2)))
    >>> frames
    []
    >>> decode(header, frames)
    (KeyRange(start=0, stop=2), array([0., 0.]))
    """
    frames: list[Frame] = []
    try:
        return packed(_pack(message, frames)), frames
    except OverflowError:  # msgpack's integers have 64 bits, Python's have no limit
        return packed(["p", cloudpickle.dumps(message)]), []


class _Packers(threading.local):
    """A packer for each thread: to make one takes longer than to pack a small message."""

    def __init__(self) -> None:
        self.packer = msgpack.Packer()


_packers = _Packers()


def packed(thing: Any) -> bytes:
    r"""Return plain things as msgpack.

    >>> packed([1, "a"])
    b'\x92\x01\xa1a'
    """
    data: bytes = _packers.packer.pack(thing)
    return data


def decode(header: bytes, frames: Sequence[Any] = ()) -> Any:
    """Return the message of a header and its frames.

    Arrays of the message are read-only where they lie in the header, and views of `frames` elsewhere.
    """
    return _unpack(msgpack.unpackb(header, strict_map_key=False), frames)


def _pack(thing: Any, frames: list[Frame]) -> Any:
    cls = type(thing)
    if cls in _PLAIN:
        return thing
    names = _FIELDS.get(cls)
    if names is not None:
        return ["m", cls.__name__, *[_pack(getattr(thing, name), frames) for name in names]]
    if isinstance(thing, np.ndarray | np.generic) or type(thing).__module__.startswith("jax"):
        return _pack_array(thing, frames)
    pack = _CONTAINERS.get(cls)
    return ["p", cloudpickle.dumps(thing)] if pack is None else pack(thing, frames)


def _pack_array(thing: Any, frames: list[Frame]) -> list[Any]:
    array = np.asarray(thing)
    if array.dtype.hasobject:
        return ["p", cloudpickle.dumps(thing)]
    kind = array.dtype.name if array.dtype.kind == "V" else array.dtype.str
    scalar = isinstance(thing, np.generic)
    if array.nbytes < INLINE_BYTES:
        return ["s" if scalar else "a", kind, array.shape, array.tobytes()]
    frames.append(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return ["a", kind, array.shape, len(frames) - 1]


def _unpack(thing: Any, frames: Sequence[Any]) -> Any:
    if type(thing) is not list:
        return thing
    return _UNPACK[thing[0]](thing, frames)


def _unpack_array(thing: list[Any], frames: Sequence[Any]) -> Any:
    _, kind, shape, where = thing
    data = frames[where] if isinstance(where, int) else where
    return np.frombuffer(data, dtype=np.dtype(kind)).reshape(shape)


def _sequence(cls: type) -> Callable[[list[Any], Sequence[Any]], Any]:
    return lambda thing, frames: cls(_unpack(each, frames) for each in thing[1:])


_PLAIN = frozenset({type(None), bool, int, float, str, bytes})
_CONTAINERS: dict[type, Callable[[Any, list[Frame]], list[Any]]] = {
    list: lambda thing, frames: ["l", *[_pack(each, frames) for each in thing]],
    tuple: lambda thing, frames: ["t", *[_pack(each, frames) for each in thing]],
    dict: lambda thing, frames: ["d", *[_pack(each, frames) for item in thing.items() for each in item]],
}
_UNPACK: dict[str, Callable[[list[Any], Sequence[Any]], Any]] = {
    "m": lambda thing, frames: _DATACLASSES[thing[1]](*[_unpack(each, frames) for each in thing[2:]]),
    "a": _unpack_array,
    "s": lambda thing, frames: _unpack_array(thing, frames)[()],
    "p": lambda thing, frames: cloudpickle.loads(thing[1]),
    "l": _sequence(list),
    "t": _sequence(tuple),
    "d": lambda thing, frames: dict(_pairs([_unpack(each, frames) for each in thing[1:]])),
}


def _pairs(items: list[Any]) -> zip[tuple[Any, Any]]:
    return zip(items[::2], items[1::2], strict=True)
