"""Who is where: the plane of a process, and the plane of a program that has a loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeAlias

from distributed.core import Server
from distributed.security import Security

from psbook.cluster.codec import decode, encode, register
from psbook.cluster.plane import door
from psbook.cluster.plane.comms import CommDoor, open_stream
from psbook.cluster.plane.door import Door, Entrance, dial
from psbook.cluster.plane.framing import Item, checked
from psbook.cluster.plane.link import Link, Stream
from psbook.cluster.plane.wire import Wire
from psbook.core.controls import CONTROLLER
from psbook.errors import Malformed

logger = logging.getLogger(__name__)

Receive: TypeAlias = Callable[[str, str, Any], None]
"""Takes a message off the plane: ``receive(source, destination, message)``; it never raises."""

Broken: TypeAlias = Callable[[str, BaseException], None]
"""Hears that the stream to or from an address broke: ``broken(address, why)``."""

register(Entrance)


class _Links:
    """Links to peers by address, on one loop; what was put into them in a turn goes out at its end."""

    def __init__(self) -> None:
        self.links: dict[str, Link] = {}
        self._dirty: set[Link | Stream] = set()
        self._flushing = False

    def put(self, way: Link | Stream, item: Item) -> None:
        way.put(item)
        self._dirty.add(way)
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        self._flushing = False
        dirty, self._dirty = self._dirty, set()
        for way in dirty:
            way.flush()

    def drop(self, address: str, link: Link) -> bool:
        """Let go of a link; whether it still was the one to this address."""
        if self.links.get(address) is not link:
            return False
        del self.links[address]
        link.abort()
        return True

    async def close(self) -> None:
        self.flush()
        links, self.links = list(self.links.values()), {}
        await asyncio.gather(*(link.close() for link in links))


class Plane:
    """The streams of one process, on the loop of its Dask worker or scheduler.

    Parameters
    ----------
    server
        The Dask worker or scheduler in whose process this is.
    channel
        Name of the run's handlers; the same in all processes.
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
        self.ways: dict[str, str] = {}
        """How each peer is reached, in words."""
        self._server = server
        self._security: Security = server.security  # type: ignore[attr-defined]  # workers and schedulers have it
        self._receive = receive
        self._broken = broken
        self.loop: asyncio.AbstractEventLoop = server.loop.asyncio_loop  # type: ignore[attr-defined]
        self._thread = threading.get_ident()
        self._out = _Links()
        self._direct: dict[str, Wire] = {}
        """Connections of programs elsewhere, by node: answers go back where the question came from."""
        self._door: Door | None = None
        self._shut = "the scheduler opens no port"
        """Why there is no door."""
        self._dials = False
        self._comm_door = CommDoor(server, channel, self._came, self._report)

    async def open(self) -> None:
        """Open a door for peers, if the configuration and the kind of the worker's address allow it."""
        self._server.handlers[self._port_handler] = self._tell_entrance
        scheme, _, _ = self.address.partition("://")
        if not door.is_wanted():
            self._shut = "psbook.data-plane is 'comms'"
        elif scheme not in ("tcp", "tls"):
            self._shut = f"its Dask worker listens at {scheme}://"
        else:
            await self._open_door(scheme == "tls")

    async def _open_door(self, tls: bool) -> None:
        self._dials = True
        context = self._security.get_listen_args("worker")["ssl_context"] if tls else None
        opening = Door(self._welcome, self._came_by_wire, self._left, self._out.flush)
        try:
            await opening.open(self.address, context, door.ports())
        except OSError as error:
            self._shut = f"its port could not be opened: {error}"
            logger.warning("psbook: %s has no data port: %s", self.address, self._shut)
            return
        self._door = opening

    def _welcome(self, wire: Wire) -> None:
        if "://" not in wire.peer:
            self._direct[wire.peer] = wire

    @property
    def _port_handler(self) -> str:
        return f"{self.channel}-port"

    async def _tell_entrance(self) -> Any:
        """Tell a peer how to get in; the Dask handler."""
        return encode(self._door.entrance if self._door else self._shut)[0]

    # Out

    def send(self, source: str, destination: str, message: object) -> None:
        """Send a message; from any thread, in order for each thread."""
        address = self.routes[destination]
        if address == self.address:
            self._post(self._receive, source, destination, message)
            return
        self.send_item(address, checked((source, destination, *encode(message))))

    def send_item(self, address: str, item: Item) -> None:
        """Send an encoded message to a process; from any thread."""
        if threading.get_ident() == self._thread:
            self._put(address, item)
        else:
            self._post(self._put, address, item)

    def _post(self, function: Callable[..., None], *arguments: Any) -> None:
        # The loop is closed only when the whole process goes, and then nobody waits for the message.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(function, *arguments)

    def _put(self, address: str, item: Item) -> None:
        if self.closed:
            return
        direct = self._direct.get(item[1])
        if direct is not None and direct.home == address:
            self._out.put(direct, item)
            return
        link = self._out.links.get(address)
        if link is None:
            link = Link(partial(self._open_way, address), partial(self._lost, address))
            self._out.links[address] = link
        self._out.put(link, item)

    async def _open_way(self, address: str, link: Link) -> Stream:
        entrance = await self.entrance(address)
        if entrance is not None:

            def gone(_: Wire, why: BaseException | None) -> None:
                self._lost(address, link, why)

            try:
                return await dial(
                    entrance, self.address, self.address, self.context, self._came_by_wire, gone
                )
            except (OSError, TimeoutError) as error:
                self._goes_by_comms(address, f"its port {entrance.port} cannot be reached: {error!r}")
        return await open_stream(self._server, self.channel, address, partial(self._lost, address, link))

    async def entrance(self, address: str) -> Entrance | None:
        """Ask a peer for its door; ``None``: there is no way through one."""
        if address == self.routes[CONTROLLER]:
            self.ways[address] = "Dask's comms: the scheduler opens no port"
            return None
        if not self._dials:
            self.ways[address] = f"Dask's comms: {self._shut}"
            return None
        answer = decode(await getattr(self._server.rpc(address), self._port_handler)())
        if isinstance(answer, Entrance):
            self.ways[address] = f"{'tls' if answer.tls else 'tcp'} port {answer.port}"
            return answer
        self._goes_by_comms(address, f"there, {answer}")
        return None

    def _goes_by_comms(self, address: str, why: str) -> None:
        self.ways[address] = f"Dask's comms: {why}"
        logger.warning("psbook: %s to %s goes by Dask's comms: %s", self.address, address, why)

    @property
    def context(self) -> Any:
        """Dask's own TLS context for connections to workers; ``None`` without TLS."""
        return self._security.get_connection_args("worker").get("ssl_context")

    # In

    def _came_by_wire(self, wire: Wire, item: Item) -> None:
        self._came(wire.peer, item)

    def _came(self, _: str, item: Item) -> None:
        source, destination, header, frames = item
        self._receive(source, destination, opened(header, frames))

    # Ends

    def _lost(self, address: str, link: Link, why: BaseException | None) -> None:
        """Report that the stream of a link broke, once; the next message begins a new one."""
        if self._out.drop(address, link):
            self._report(address, why)

    def _report(self, address: str, why: BaseException | None) -> None:
        if not self.closed:
            why = why or ConnectionResetError("the other side closed it")
            logger.info("psbook: a stream between %s and %s broke: %r", self.address, address, why)
            self._broken(address, why)

    def _left(self, wire: Wire, why: BaseException | None) -> None:
        """A peer's connection ended: a program's may, a process's means that it is gone."""
        if self._direct.get(wire.peer) is wire:
            del self._direct[wire.peer]
        if "://" in wire.peer:
            self._report(wire.peer, why)
        elif why is not None:
            logger.warning("psbook: the connection of %s broke: %r", wire.peer, why)

    async def close(self) -> None:
        """Send what is queued, then end every stream and the handlers."""
        closing = self._out.close()
        self.closed = True
        await closing
        self._comm_door.close()
        self._server.handlers.pop(self._port_handler, None)
        if self._door is not None:
            await self._door.close()


class ProgramPlane:
    """A program's own connections, on its own loop: no other thread between its requests and the servers.

    Parameters
    ----------
    node
        The program.
    process
        The plane of its process; carries what cannot go directly.
    receive
        Called on this loop with sender and message.
    broken
        As for `Plane`; called on this loop.
    """

    def __init__(
        self, node: str, process: Plane, receive: Callable[[str, Any], None], broken: Broken
    ) -> None:
        self.node = node
        self._process = process
        self._receive = receive
        self._broken = broken
        self._out = _Links()
        self._closed = False

    def send(self, destination: str, message: object) -> None:
        """Send a message, on this loop."""
        address = self._process.routes[destination]
        if address == self._process.address or self._closed:
            self._process.send(self.node, destination, message)
            return
        self._out.put(self._link(address), checked((self.node, destination, *encode(message))))

    async def connect(self, nodes: Iterable[str]) -> None:
        """Connect to the processes of some nodes, so that this takes no time of the run."""
        addresses = {self._process.routes[node] for node in nodes} - {self._process.address}
        await asyncio.gather(*(self._link(address).open() for address in sorted(addresses)))

    def _link(self, address: str) -> Link:
        link = self._out.links.get(address)
        if link is None:
            link = Link(partial(self._open_way, address), partial(self._lost, address))
            self._out.links[address] = link
        return link

    async def _open_way(self, address: str, link: Link) -> Stream:
        process = self._process
        asking = asyncio.run_coroutine_threadsafe(process.entrance(address), process.loop)
        entrance = await asyncio.wrap_future(asking)
        if entrance is not None:

            def gone(_: Wire, why: BaseException | None) -> None:
                self._lost(address, link, why)

            with contextlib.suppress(OSError, TimeoutError):  # the process tries the same, and says why
                return await dial(entrance, self.node, process.address, process.context, self._came, gone)
        return _Through(process, address)

    def _came(self, wire: Wire, item: Item) -> None:
        source, _, header, frames = item
        self._receive(source, opened(header, frames))

    def _lost(self, address: str, link: Link, why: BaseException | None) -> None:
        if self._out.drop(address, link) and not self._closed:
            self._broken(address, why or ConnectionResetError("the other side closed it"))

    async def close(self) -> None:
        """Send what is queued, then end every connection."""
        self._closed = True
        await self._out.close()


class _Through:
    """A way through the plane of the process."""

    def __init__(self, plane: Plane, address: str) -> None:
        self._plane, self._address = plane, address

    def put(self, item: Item) -> None:
        self._plane.send_item(self._address, item)

    def flush(self) -> None:
        pass

    def abort(self) -> None:
        pass

    async def close(self) -> None:
        pass


def opened(header: bytes, frames: Any) -> Any:
    """Return the message of a header and its frames.

    Raises
    ------
    Malformed
        If they are none.
    """
    try:
        return decode(header, frames)
    except Exception as error:
        raise Malformed(f"a frame holds no message of this psbook ({error!r})") from error
