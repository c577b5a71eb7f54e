"""The way to a peer that has no door: a stream of messages over Dask's own comms.

The scheduler's process opens no port of psbook's, so whatever goes to or from the controller takes this way;
so does everything where a door cannot be opened or reached.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from distributed.comm import Comm, connect
from distributed.core import Server, Status
from distributed.protocol import to_serialize
from distributed.protocol.serialize import Serialize, Serialized, deserialize

from psbook.cluster.codec import Frame
from psbook.cluster.plane.framing import Item

SERIALIZERS = ["dask", "error"]
"""Frames are raw bytes: nothing on this plane is unpickled by Dask."""


class CommStream:
    """The outgoing stream to one peer process; messages of one turn of the loop travel together.

    Parameters
    ----------
    comm
        An open connection, the first message of which has been sent; see `open_stream`.
    gone
        Called once, if the connection breaks.
    """

    def __init__(self, comm: Comm, gone: Callable[[BaseException | None], object]) -> None:
        self._comm = comm
        self._gone = gone
        self._queue: deque[Item] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._listener = asyncio.create_task(self._listen())

    def put(self, item: Item) -> None:
        """Queue a message."""
        self._queue.append(item)

    def flush(self) -> None:
        """Begin to send, unless that goes on already."""
        if self._queue and self._sender is None:
            self._sender = asyncio.create_task(self._send())

    async def _send(self) -> None:
        try:
            while self._queue:
                batch = [
                    (source, destination, header, [to_serialize(frame) for frame in frames])
                    for source, destination, header, frames in self._queue
                ]
                self._queue.clear()
                await self._comm.write(batch, serializers=SERIALIZERS, on_error="raise")
        except Exception as error:  # noqa: BLE001  # a task that raises would end unheard; this names it
            self._queue.clear()
            self._gone(error)
        else:
            self._sender = None

    async def _listen(self) -> None:
        """Hear when the peer is gone: nothing is ever sent in this direction."""
        try:
            await self._comm.read()
        except OSError as error:
            self._gone(error)

    def abort(self) -> None:
        """Let go of the connection; what has not been sent is lost."""
        self._queue.clear()
        current = asyncio.current_task()
        for task in (self._sender, self._listener):
            if task is not None and task is not current:
                task.cancel()
        self._comm.abort()

    async def close(self) -> None:
        """Send what is queued, then end the stream."""
        self.flush()
        if (sender := self._sender) is not None:
            await asyncio.wait([sender], timeout=1.0)
            sender.cancel()
        self._listener.cancel()
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self._comm.close(), 1.0)
        self._comm.abort()


async def open_stream(
    server: Server, channel: str, address: str, gone: Callable[[BaseException | None], object]
) -> CommStream:
    """Open a stream from a Dask server to the handler `channel` of another.

    Raises
    ------
    OSError
        If it cannot be reached.
    """
    comm: Comm = await connect(address, **dict(server.rpc.connection_args))
    comm.name = channel
    await comm.write({"op": channel, "source": server.address, "reply": False})
    return CommStream(comm, gone)


class CommDoor:
    """The handler of streams that come in.

    Parameters
    ----------
    server
        The Dask worker or scheduler in whose process this is.
    channel
        Name of the handler.
    deliver
        Called with each message: the address it comes from, and the item.
    gone
        Called when a stream breaks.
    """

    def __init__(
        self,
        server: Server,
        channel: str,
        deliver: Callable[[str, Item], object],
        gone: Callable[[str, BaseException | None], object],
    ) -> None:
        self._server, self._channel = server, channel
        self._deliver, self._gone = deliver, gone
        self._inbound: set[Comm] = set()
        self._closed = False
        handler: Callable[..., Awaitable[Status]] = self._accept
        server.handlers[channel] = handler

    async def _accept(self, comm: Comm, source: str) -> Status:
        """Read a peer's stream until it ends; the Dask handler of the channel."""
        self._inbound.add(comm)
        try:
            while not self._closed:
                for sender, destination, header, frames in await comm.read(deserializers=SERIALIZERS):
                    self._deliver(source, (sender, destination, header, [_array(f) for f in frames]))
        except Exception as error:  # noqa: BLE001  # a handler that raises would take the Dask worker down
            if not self._closed:
                self._gone(source, error)
        finally:
            self._inbound.discard(comm)
            comm.abort()
        return Status.dont_reply

    def close(self) -> None:
        """End every stream and the handler."""
        self._closed = True
        for comm in list(self._inbound):
            comm.abort()
        self._server.handlers.pop(self._channel, None)


def _array(frame: Any) -> Frame:
    """Return a frame as an array; the scheduler gets it as it came, a peer in the same process as it was."""
    if isinstance(frame, Serialize):
        frame = frame.data
    elif isinstance(frame, Serialized):
        frame = deserialize(frame.header, frame.frames)
    array: Frame = frame
    return array
