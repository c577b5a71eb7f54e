"""The data plane of one process: messages from node to node, in order for each pair of nodes.

Here over Dask's own comms, one persistent stream to each peer process. Whatever replaces it keeps this
interface: `Plane.send` from any thread, `Plane.close`, and the two callbacks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from distributed.comm import Comm, connect
from distributed.core import Server, Status
from distributed.protocol import to_serialize
from distributed.protocol.serialize import Serialize, Serialized, deserialize

from psbook.cluster.codec import Frame, decode, encode

logger = logging.getLogger(__name__)

Receive: TypeAlias = Callable[[str, str, Any], None]
"""Takes a message off the plane: ``receive(source, destination, message)``, on the process's loop."""

Broken: TypeAlias = Callable[[str, BaseException], None]
"""Hears that the stream to or from an address broke: ``broken(address, why)``."""

SERIALIZERS = ["dask", "error"]
"""Frames are raw bytes: nothing on this plane is unpickled by Dask."""


class Plane:
    """The streams of one process.

    Parameters
    ----------
    server
        The Dask worker or scheduler in whose process this is.
    channel
        Name of the run's handler; the same in all processes.
    routes
        Address of the process of each node.
    receive
        Called on the process's loop for every message to a node of this process.
    broken
        Called on the process's loop when a stream breaks, at most once per stream.

    Notes
    -----
    Messages that are sent within one turn of the loop travel together. Values must not change after they
    were sent: large arrays are read when the socket takes them, and inside a process not copied at all.
    """

    def __init__(
        self, server: Server, channel: str, routes: Mapping[str, str], receive: Receive, broken: Broken
    ) -> None:
        self.address = server.address
        self.channel = channel
        self.routes = routes
        self.closed = False
        self._server = server
        self._receive = receive
        self._broken = broken
        self._loop = server.loop.asyncio_loop  # type: ignore[attr-defined]
        self._links: dict[str, _Link] = {}
        self._inbound: set[Comm] = set()
        server.handlers[channel] = self._accept

    def send(self, source: str, destination: str, message: object) -> None:
        """Send a message; from any thread, in order for each thread."""
        address = self.routes[destination]
        if address == self.address:
            self._post(self._receive, source, destination, message)
            return
        header, frames = encode(message)
        self._post(self._put, address, (source, destination, header, [to_serialize(f) for f in frames]))

    def _post(self, function: Callable[..., None], *arguments: Any) -> None:
        # The loop is closed only when the whole process goes, and then nobody waits for the message.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    def _put(self, address: str, item: tuple[Any, ...]) -> None:
        if self.closed:
            return
        link = self._links.get(address)
        if link is None:
            link = self._links[address] = _Link(address, self)
        link.put(item)

    def connection_arguments(self) -> dict[str, Any]:
        """Return what `connect` needs: Dask's own security contexts."""
        return dict(self._server.rpc.connection_args)

    def lost(self, address: str, why: BaseException) -> None:
        """Report a broken stream, unless the plane is being closed; the next message begins a new one."""
        link = self._links.pop(address, None)
        if link is not None:
            link.abort()
        if not self.closed:
            logger.info("psbook stream to %s broke: %r", address, why)
            self._broken(address, why)

    async def _accept(self, comm: Comm, source: str) -> Status:
        """Read a peer's stream until it ends; the Dask handler of the channel."""
        self._inbound.add(comm)
        try:
            while not self.closed:
                for item in await comm.read(deserializers=SERIALIZERS):
                    self._deliver(*item)
        except Exception as error:  # noqa: BLE001  # a handler that raises would take the Dask worker down
            self.lost(source, error)
        finally:
            self._inbound.discard(comm)
            comm.abort()
        return Status.dont_reply

    def _deliver(self, source: str, destination: str, header: bytes, frames: list[Any]) -> None:
        self._receive(source, destination, decode(header, [_array(frame) for frame in frames]))

    async def close(self) -> None:
        """Send what is queued, then end every stream and the handler."""
        await asyncio.gather(*(link.close() for link in self._links.values()))
        self.closed = True
        self._links.clear()
        for comm in list(self._inbound):
            comm.abort()
        self._server.handlers.pop(self.channel, None)


class _Link:
    """The ordered stream to one peer process."""

    def __init__(self, address: str, plane: Plane) -> None:
        self.address = address
        self.plane = plane
        self.comm: Comm | None = None
        self._queue: deque[tuple[Any, ...]] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._listener: asyncio.Task[None] | None = None

    def put(self, item: tuple[Any, ...]) -> None:
        self._queue.append(item)
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())

    async def _send(self) -> None:
        try:
            if self.comm is None:
                self.comm = await self._connect()
            while self._queue:
                batch = list(self._queue)
                self._queue.clear()
                await self.comm.write(batch, serializers=SERIALIZERS, on_error="raise")
        except Exception as error:  # noqa: BLE001  # likewise, and `lost` says it by name
            self._queue.clear()
            self.plane.lost(self.address, error)
        else:
            self._sender = None

    async def _connect(self) -> Comm:
        comm: Comm = await connect(self.address, **self.plane.connection_arguments())
        comm.name = self.plane.channel
        await comm.write({"op": self.plane.channel, "source": self.plane.address, "reply": False})
        self._listener = asyncio.create_task(self._listen(comm))
        return comm

    async def _listen(self, comm: Comm) -> None:
        """Hear when the peer is gone: nothing is ever sent in this direction."""
        try:
            await comm.read()
        except OSError as error:
            self.plane.lost(self.address, error)

    def abort(self) -> None:
        """Let go of the connection; what has not been sent is lost."""
        self._queue.clear()
        current = asyncio.current_task()
        for task in (self._sender, self._listener):
            if task is not None and task is not current:
                task.cancel()
        if self.comm is not None:
            self.comm.abort()

    async def close(self) -> None:
        if (sender := self._sender) is not None:
            await asyncio.wait([sender], timeout=1.0)
            sender.cancel()
        if self._listener is not None:
            self._listener.cancel()
        if self.comm is not None:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self.comm.close(), 1.0)
            self.comm.abort()


def _array(frame: Any) -> Frame:
    """Return a frame as an array; the scheduler gets it as it came, a peer in the same process as it was."""
    if isinstance(frame, Serialize):
        frame = frame.data
    elif isinstance(frame, Serialized):
        frame = deserialize(frame.header, frame.frames)
    array: Frame = frame
    return array
