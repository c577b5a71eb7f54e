"""The way to one peer process: a queue until it is known how to get there, then a stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from psbook.cluster.plane.framing import Item


class Stream(Protocol):
    """An open way to a peer: a `Wire`, or a stream of Dask's comms."""

    def put(self, item: Item) -> None:
        """Queue a message."""

    def flush(self) -> None:
        """Send what is queued, as far as the other side takes it."""

    def abort(self) -> None:
        """Let go; what has not been sent is lost."""

    async def close(self) -> None:
        """Send what is queued, and close."""


Open: TypeAlias = Callable[["Link"], Awaitable[Stream]]


class Link:
    """Messages to one peer, in order; everything happens on one loop.

    Parameters
    ----------
    open_stream
        Finds out how to get there; gets the link, whose end the stream is to tell.
    failed
        Called with the link and what that raised, if it did.
    """

    def __init__(self, open_stream: Open, failed: Callable[[Link, BaseException], object]) -> None:
        self.stream: Stream | None = None
        self._waiting: deque[Item] = deque()
        self._open = open_stream
        self._failed = failed
        self._opening: asyncio.Task[None] | None = None

    def put(self, item: Item) -> None:
        """Queue a message."""
        if self.stream is not None:
            self.stream.put(item)
            return
        self._waiting.append(item)
        if self._opening is None:
            self._opening = asyncio.create_task(self._connect())

    async def open(self) -> None:
        """Find the way, before there is anything to send."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._connect())
        await asyncio.wait([self._opening])

    def flush(self) -> None:
        """Send what is queued, if the way is known."""
        if self.stream is not None:
            self.stream.flush()

    async def _connect(self) -> None:
        try:
            stream = await self._open(self)
        except Exception as error:  # noqa: BLE001  # a task that raises would end unheard; this names it
            self._waiting.clear()
            self._failed(self, error)
            return
        while self._waiting:
            stream.put(self._waiting.popleft())
        self.stream = stream
        stream.flush()

    def abort(self) -> None:
        """Let go; what has not been sent is lost."""
        self._waiting.clear()
        if self._opening is not None and self._opening is not asyncio.current_task():
            self._opening.cancel()
        if self.stream is not None:
            self.stream.abort()

    async def close(self) -> None:
        """Send what is queued, and close."""
        if self._opening is not None:
            await asyncio.wait([self._opening], timeout=1.0)
            self._opening.cancel()
        if self.stream is not None:
            await self.stream.close()
