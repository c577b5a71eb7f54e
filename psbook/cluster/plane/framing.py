"""Messages as a stream of bytes, and back; no socket, no event loop.

A frame is a prefix of 16 bytes (four that name the format, then the lengths of head and body), the head, and
the body. The head is msgpack: from, to, the lengths of the arrays in the body, and the message itself in the
form of `psbook.cluster.codec`. The body holds large arrays as they lie in memory, each padded to `ALIGNMENT`.
What a reader gets for an array is a view of the memory into which the socket wrote it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgpack  # type: ignore[import-untyped]
import numpy as np

from psbook.cluster.codec import Frame, packed
from psbook.cluster.plane.memory import Memory
from psbook.errors import Malformed, TooLarge

PREFIX = struct.Struct("<4sIQ")
MAGIC = b"psb1"

ALIGNMENT = 64
"""Arrays begin at multiples of so many bytes of the body: a cache line, as numpy and XLA like it."""

MOST_HEAD = 2**28
MOST_BODY = 2**33
"""Bytes of a head and of a body that are taken in at most: nobody can make a process reserve more."""

NAMES_BYTES = 2**16
"""Room in a head for the names of sender and receiver and for the lengths of the arrays."""

BUFFER_BYTES = 2**18
"""What is asked of a socket at once: of small messages, some thousands."""

Buffer: TypeAlias = bytes | memoryview

Item: TypeAlias = tuple[str, str, bytes, list[Frame]]
"""A message on its way: from, to, header and frames of `psbook.cluster.codec.encode`."""


class Limits(NamedTuple):
    """Bytes of a head and of a body that are taken in at most."""

    head: int = MOST_HEAD
    body: int = MOST_BODY


USUAL = Limits()


def checked(item: Item, limits: Limits = USUAL) -> Item:
    """Return a message that every process takes in.

    Raises
    ------
    TooLarge
        If none would.
    """
    source, destination, header, frames = item
    body = sum(_padded(frame.nbytes) for frame in frames)
    if len(header) > limits.head - NAMES_BYTES or body > limits.body:
        raise TooLarge(
            f"a message of {source} to {destination} has {len(header) + body} bytes; required: at most "
            f"{limits.head} beside its large arrays, and {limits.body} in these. Use more servers, or "
            "smaller parts."
        )
    return item


def pack(item: Item) -> list[Buffer]:
    """Return the bytes of a message: one short buffer, then the arrays as they are.

    Examples
    --------
    >>> unpacker = Unpacker()
    >>> unpacker.feed(b"".join(pack(("a", "b", b"header", [np.arange(3, dtype="uint8")]))))
    [('a', 'b', b'header', [array([0, 1, 2], dtype=uint8)])]
    """
    source, destination, header, frames = item
    lengths = [frame.nbytes for frame in frames]
    head = packed((source, destination, lengths, header))
    buffers: list[Buffer] = [PREFIX.pack(MAGIC, len(head), sum(map(_padded, lengths))) + head]
    for frame, length in zip(frames, lengths, strict=True):
        buffers.append(memoryview(frame))  # type: ignore[arg-type]  # an array is a buffer
        if padding := _padded(length) - length:
            buffers.append(bytes(padding))
    return buffers


def _padded(length: int) -> int:
    return -(-length // ALIGNMENT) * ALIGNMENT


class Unpacker:
    """Takes a stream of bytes in, wherever it is cut, and gives the messages.

    It is driven as an `asyncio.BufferedProtocol` is: `target` says where the next bytes go, `took` that so
    many have been put there. Heads and bodies that do not fit into the common buffer get memory of their
    own, and the socket writes straight into it.

    Parameters
    ----------
    limits
        Sizes that are refused before any memory is reserved for them.
    first
        The same for the first message, if it differs.

    Raises
    ------
    Malformed
        By `took`, if the bytes are no message; the stream is of no use any more.

    Notes
    -----
    State is one buffer of `BUFFER_BYTES`, at most one message, and memory for the next ones (`Memory`).
    """

    def __init__(self, limits: Limits = USUAL, first: Limits | None = None) -> None:
        self._memory = Memory()
        self._limits = first or limits
        self._later = limits
        self._buffer = memoryview(b"")
        self._start = self._stop = 0
        self._large: memoryview | None = None
        """What is being filled, if it is not the common buffer."""
        self._filled = 0
        self._lengths: tuple[int, int] | None = None
        self._head: Any = None

    def target(self) -> memoryview:
        """Return where the next bytes go; never empty."""
        if self._large is not None:
            return self._large[self._filled :]
        if not self._buffer:
            self._buffer = memoryview(bytearray(BUFFER_BYTES))  # only for a connection that brings something
        if self._start == self._stop:
            self._start = self._stop = 0
        elif self._stop == len(self._buffer):
            rest = bytes(self._buffer[self._start : self._stop])
            self._buffer[: len(rest)] = rest
            self._start, self._stop = 0, len(rest)
        return self._buffer[self._stop :]

    def took(self, count: int) -> Iterator[Item]:
        """Say that `count` bytes have come; yield the messages that are whole now.

        Each is yielded before the next is looked at, and all of them must be taken.
        """
        if self._large is not None:
            self._filled += count
            if self._filled < len(self._large):
                return
            piece, self._large = self._large, None
            yield from self._next(piece)
        else:
            self._stop += count
        while self._large is None:
            waiting = self._stop - self._start
            if self._lengths is None:
                if waiting < PREFIX.size:
                    break
                self._lengths = self._checked(*PREFIX.unpack_from(self._buffer, self._start))
                self._start += PREFIX.size
                waiting -= PREFIX.size
            wanted = self._lengths[0] if self._head is None else self._lengths[1]
            if waiting >= wanted:
                piece = self._buffer[self._start : self._start + wanted]
                self._start += wanted
                # A body is copied: the buffer is used again, and its arrays live as long as somebody likes.
                yield from self._next(piece if self._head is None else self._filled_with(piece))
            elif self._head is None and wanted <= len(self._buffer) // 2:
                break  # `target` makes room for the rest
            else:
                self._large = self._filled_with(self._buffer[self._start : self._stop], wanted)
                self._start, self._filled = self._stop, waiting

    def feed(self, data: bytes) -> list[Item]:
        """Take bytes in from memory; return the messages that are whole then."""
        items: list[Item] = []
        rest = memoryview(data)
        while rest:
            target = self.target()
            count = min(len(target), len(rest))
            target[:count] = rest[:count]
            items += self.took(count)
            rest = rest[count:]
        return items

    def _next(self, piece: memoryview) -> Iterator[Item]:
        """Take a head, or the body that it announced."""
        if self._head is None:
            self._head = self._read_head(piece)
            if self._lengths and self._lengths[1]:
                return
            piece = memoryview(b"")
        source, destination, lengths, header = self._head
        self._head = self._lengths = None
        yield source, destination, header, list(_cut(piece, lengths))
        self._limits = self._later

    def _filled_with(self, begin: memoryview, size: int | None = None) -> memoryview:
        """Return memory of a message's own that begins with some bytes."""
        whole = self._memory.take(len(begin) if size is None else size)
        whole[: len(begin)] = begin
        return whole

    def _checked(self, magic: bytes, head: int, body: int) -> tuple[int, int]:
        if magic != MAGIC:
            raise Malformed(f"a frame begins with {magic!r}; required: {MAGIC!r}, of psbook's data plane.")
        if head > self._limits.head or body > self._limits.body:
            raise Malformed(
                f"a frame announces {head} + {body} bytes; required: at most {self._limits.head} + "
                f"{self._limits.body}."
            )
        return head, body

    def _read_head(self, piece: memoryview) -> tuple[str, str, list[int], bytes]:
        try:
            source, destination, lengths, header = msgpack.unpackb(piece)
            ours = isinstance(source, str) and isinstance(destination, str) and isinstance(header, bytes)
            body = sum(map(_padded, lengths))
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise Malformed(f"the head of a frame is no message ({error!r})") from error
        if not ours or any(length < 0 for length in lengths) or self._lengths is None:
            raise Malformed("the head of a frame is no message: it lacks sender, receiver or header.")
        if body != self._lengths[1]:
            raise Malformed(f"the arrays of a frame take {body} bytes, its body {self._lengths[1]}.")
        return source, destination, lengths, header


def _cut(body: memoryview, lengths: Sequence[int]) -> Iterator[Frame]:
    start = 0
    for length in lengths:
        frame: Frame = np.frombuffer(body[start : start + length], np.uint8)
        frame.flags.writeable = False
        yield frame
        start += _padded(length)
