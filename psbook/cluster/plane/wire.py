"""One connection of the data plane: frames out under flow control, frames in without a copy."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from psbook.cluster.plane.framing import Buffer, Item, Limits, Unpacker, pack
from psbook.errors import Malformed

JOINED_BYTES = 2**16
"""Buffers below this are joined: many small messages travel in one write."""

TOGETHER = 16
"""So many buffers are not held back to the end of the turn: the other side has something to do meanwhile."""

CHUNK_BYTES = 2**18
"""Large ones are written in parts: asyncio copies what the socket did not take at once."""

Deliver: TypeAlias = Callable[["Wire", Item], None]
"""Takes a message off the wire."""

Gone: TypeAlias = Callable[["Wire", BaseException | None], None]
"""Hears that a connection has ended; ``None``: the other side closed it, with nothing half sent."""


class Wire(asyncio.BufferedProtocol):
    """A connection, from either side; everything happens on the loop that made it.

    Parameters
    ----------
    deliver
        Called with each message.
    gone
        Called once, when the connection has ended.
    first
        Sizes that are refused of the first message, if others than of all.
    after
        Called when all messages of one read are delivered: the moment to send what they caused.

    Notes
    -----
    A value is read when the socket takes it, so it must not change after it was sent.
    """

    def __init__(
        self,
        deliver: Deliver,
        gone: Gone,
        first: Limits | None = None,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        self.peer = ""
        """Address, or node, of the other side, once it has said so."""
        self.home = ""
        """Address of its process."""
        self._lost = False
        self._deliver = deliver
        self._gone = gone
        self._after = after
        self._unpacker = Unpacker(first=first)
        self._out: deque[Buffer] = deque()
        self._paused = False
        self._why: BaseException | None = None
        self._transport: asyncio.Transport | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self.sent_bytes = 0
        """Bytes given to the socket so far."""

    def admit(self, peer: str, home: str, deliver: Deliver) -> None:
        """Let the other side in: what it sends from now on goes to `deliver`."""
        self.peer, self.home, self._deliver = peer, home, deliver

    # asyncio's protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take up the connection."""
        self._transport = transport  # type: ignore[assignment]  # sockets have transports of both directions
        # Pause as soon as the socket is full. Zero would do the same, but deadlocks under TLS.
        self._transport.set_write_buffer_limits(high=1)  # type: ignore[union-attr]

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where the next bytes go."""
        return self._unpacker.target()

    def buffer_updated(self, nbytes: int) -> None:
        """Deliver what is whole."""
        try:
            for item in self._unpacker.took(nbytes):
                self._deliver(self, item)
        except Malformed as error:
            self._end(error)
            return
        self._after()

    def pause_writing(self) -> None:
        """The socket is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """The socket takes more."""
        self._paused = False
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end."""
        self._transport, self._lost = None, True
        self._out.clear()
        self._empty.set()
        self._gone(self, self._why or exc)

    # Sending

    def put(self, item: Item) -> None:
        """Queue a message; it goes with the next `flush`, or when enough are together."""
        if self._lost:
            return  # whoever sends will hear of it
        self._out.extend(pack(item))
        if len(self._out) >= TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Give the socket what it takes; the rest goes when it takes more."""
        transport, out = self._transport, self._out
        while out and not self._paused and transport is not None:
            if len(out[0]) < JOINED_BYTES:
                joined, size = [], 0
                while out and size < JOINED_BYTES and len(out[0]) < JOINED_BYTES:
                    joined.append(out.popleft())
                    size += len(joined[-1])
                self._write(transport, joined[0] if len(joined) == 1 else b"".join(joined))
            else:
                self._write_large(transport, memoryview(out.popleft()))
        if not out:
            self._empty.set()
        else:
            self._empty.clear()

    def _write(self, transport: asyncio.Transport, data: Buffer) -> None:
        self.sent_bytes += len(data)
        transport.write(data)

    def _write_large(self, transport: asyncio.Transport, view: memoryview) -> None:
        start = 0
        while start < len(view) and not self._paused:
            self._write(transport, view[start : start + CHUNK_BYTES])
            start += CHUNK_BYTES
        if start < len(view):
            self._out.appendleft(view[start:])

    # The end

    def _end(self, why: BaseException) -> None:
        """Close at once, for a reason."""
        self._why = why
        self.abort()

    def abort(self) -> None:
        """Let go; what has not been sent is lost."""
        self._out.clear()
        if self._transport is not None:
            self._transport.abort()

    async def close(self, seconds: float = 1.0) -> None:
        """Send what is queued, as far as it can be in so many seconds, and close."""
        self.flush()
        try:
            await asyncio.wait_for(self._empty.wait(), seconds)
        except TimeoutError:
            self.abort()
        if self._transport is not None:
            self._transport.close()
