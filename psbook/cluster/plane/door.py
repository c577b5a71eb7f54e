"""Where a process listens for its peers, and how one gets in: a port, a secret, Dask's own certificates.

Peers ask for the door over Dask's RPC. So whoever may speak to the Dask worker may come in, and nobody else:
the first message on a connection carries the door's secret, and what comes before it is bounded and dropped.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import dask
from distributed.comm import get_address_host

from psbook.cluster.plane.framing import Item, Limits
from psbook.cluster.plane.wire import Deliver, Gone, Wire
from psbook.errors import ClusterError, Malformed

logger = logging.getLogger(__name__)

STRANGERS = Limits(head=1024, body=0)
"""What is taken in from somebody who has not shown the secret."""

MOST_STRANGERS = 64
"""Connections that have not shown it yet, at most: each holds a buffer."""

SHOW_SECONDS = 5.0
"""How long a stranger may take to show it."""

DIAL_SECONDS = 3.0
"""A port that does not answer by then cannot be reached."""


@dataclass(frozen=True, slots=True)
class Entrance:
    """How to get in: what a process tells a peer that asks over Dask's RPC."""

    host: str
    port: int
    secret: bytes
    tls: bool


def ports() -> list[int]:
    """Return the ports that the configuration allows, in the order in which they are tried.

    It is Dask's: ``psbook.data-port``, or ``DASK_PSBOOK__DATA_PORT`` in the environment of the workers; a
    number, a range such as ``"8800:8900"`` (the end is included), or nothing for any free port.

    Raises
    ------
    ClusterError
        If it is neither.

    Examples
    --------
    >>> with dask.config.set({"psbook.data-port": "8800:8802"}):
    ...     ports()
    [8800, 8801, 8802]
    >>> ports()
    [0]
    """
    given = dask.config.get("psbook.data-port", None)
    if given in (None, ""):
        return [0]
    first, _, last = str(given).partition(":")
    try:
        allowed = list(range(int(first), int(last or first) + 1))
    except ValueError:
        allowed = []
    if not allowed or not 0 <= allowed[0] <= allowed[-1] < 2**16:
        raise ClusterError(
            f"psbook.data-port is {given!r}; required: a port, or a range such as '8800:8900', of numbers "
            "below 65536, or nothing."
        )
    return allowed


def is_wanted() -> bool:
    """Whether the configuration lets processes open ports: ``psbook.data-plane`` is "sockets" or "comms".

    Raises
    ------
    ClusterError
        If it is something else.
    """
    given = dask.config.get("psbook.data-plane", "sockets")
    if given not in ("sockets", "comms"):
        raise ClusterError(f"psbook.data-plane is {given!r}; required: 'sockets' or 'comms'.")
    return bool(given == "sockets")


class Door:
    """A listening port of one process, for one run.

    Parameters
    ----------
    welcome
        Called with each connection that has shown the secret; ``wire.peer`` says who it is.
    deliver, gone, after
        As for `Wire`, of connections that have been let in.
    """

    def __init__(
        self, welcome: Callable[[Wire], object], deliver: Deliver, gone: Gone, after: Callable[[], None]
    ) -> None:
        self.entrance: Entrance | None = None
        self.wires: set[Wire] = set()
        self._strangers: dict[Wire, asyncio.TimerHandle] = {}
        self._welcome, self._deliver, self._gone, self._after = welcome, deliver, gone, after
        self._server: asyncio.Server | None = None

    async def open(self, address: str, context: ssl.SSLContext | None, allowed: Iterable[int]) -> None:
        """Listen at the host of a Dask address, on the first free one of some ports.

        Raises
        ------
        OSError
            If none is free.
        """
        loop = asyncio.get_running_loop()
        host = get_address_host(address)
        why: OSError | None = None
        for port in allowed:
            try:
                shaking = None if context is None else SHOW_SECONDS
                self._server = await loop.create_server(
                    self._stranger, host, port, ssl=context, ssl_handshake_timeout=shaking
                )
            except OSError as error:
                why = error
                continue
            port = self._server.sockets[0].getsockname()[1]
            self.entrance = Entrance(host, port, secrets.token_bytes(16), context is not None)
            return
        raise why or OSError(f"no port of {list(allowed)} for {host}")

    def _stranger(self) -> Wire:
        return _Visitor(self._came, self._shown, self._left, STRANGERS, self._after)

    def _came(self, wire: Wire) -> None:
        """Give a visitor some time; under TLS it has shown a certificate by now."""
        if len(self._strangers) >= MOST_STRANGERS or self.entrance is None:
            wire.abort()
            return
        loop = asyncio.get_running_loop()
        self._strangers[wire] = loop.call_later(SHOW_SECONDS, wire.abort)

    def _shown(self, wire: Wire, item: Item) -> None:
        """Take the first message of a connection: it must be the secret."""
        peer, home, secret, _ = item
        timer = self._strangers.get(wire)
        if self.entrance is None or timer is None or not hmac.compare_digest(secret, self.entrance.secret):
            raise Malformed("a connection began without the door's secret.")
        del self._strangers[wire]
        timer.cancel()
        self.wires.add(wire)
        wire.admit(peer, home, self._deliver)
        self._welcome(wire)

    def _left(self, wire: Wire, why: BaseException | None) -> None:
        timer = self._strangers.pop(wire, None)
        if timer is not None:
            timer.cancel()
        if wire not in self.wires:
            logger.warning("psbook: a stranger at the data port was turned away: %s", why or "it left")
            return
        self.wires.discard(wire)
        self._gone(wire, why)

    async def close(self) -> None:
        """Let nobody in any more, and let go of who is."""
        self.entrance = None
        if self._server is not None:
            self._server.close()
        await asyncio.gather(*(wire.close() for wire in list(self.wires)))
        for wire in (*self.wires, *self._strangers):
            wire.abort()


class _Visitor(Wire):
    """A connection from outside; its time begins when it is made, which under TLS a handshake precedes."""

    def __init__(self, came: Callable[[Wire], object], *arguments: Any) -> None:
        super().__init__(*arguments)
        self._came = came

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take up the connection."""
        super().connection_made(transport)
        self._came(self)


async def dial(
    entrance: Entrance,
    name: str,
    home: str,
    context: ssl.SSLContext | None,
    deliver: Deliver,
    gone: Gone,
    after: Callable[[], None] = lambda: None,
) -> Wire:
    """Connect to a peer's door as `name`, of the process at `home`.

    Raises
    ------
    OSError, TimeoutError
        If it cannot be reached, or TLS fails.
    """
    loop = asyncio.get_running_loop()
    making = loop.create_connection(
        lambda: Wire(deliver, gone, after=after), entrance.host, entrance.port,
        ssl=context if entrance.tls else None,
    )  # fmt: skip
    _, wire = await asyncio.wait_for(making, DIAL_SECONDS)
    wire.put((name, home, entrance.secret, []))
    wire.flush()
    return wire
