"""A program as a long-running Dask task: a thread with its own event loop, and one more to compute in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from distributed import get_worker, secede

from psbook.cluster.process_plugin import ProcessPlugin
from psbook.errors import ClusterError


class Host(Protocol):
    """What drives a program's coroutine; all methods are called on the program's own loop."""

    def start(self) -> None:
        """Say hello."""

    def receive(self, source: str, message: Any) -> None:
        """Take in a message."""

    def halt(self, why: str) -> None:
        """End the program now."""

    def progress(self) -> int | None:
        """Return the program's clock."""

    def collect(self) -> dict[str, Any]:
        """Return what goes home."""


class ProgramNode:
    """A program's place in its process, and what its host needs of the world: time, messages, computing.

    Parameters
    ----------
    name
        The program's node.
    process
        The run's plugin in this process.
    """

    def __init__(self, name: str, process: ProcessPlugin, make_host: Callable[[ProgramNode], Host]) -> None:
        self.name = name
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"psbook-{name}")
        self.host = make_host(self)

    async def run(self) -> None:
        """Drive the program to its end."""
        self._process.worker.loop.add_callback(self._process.join, self.name, self)
        self.host.start()
        try:
            await self._ended
        finally:
            self._executor.shutdown(wait=False, cancel_futures=True)

    # What the host asks for, on the program's loop

    def now(self) -> float:
        """Return the time of the run, in seconds."""
        return self._process.clock.now()

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        """Call `function` after real time has passed."""
        self._loop.call_later(seconds, function)

    def transmit(self, destination: str, message: Any) -> None:
        """Send a message."""
        self._process.send(self.name, destination, message)

    def run_compute(self, function: Callable[..., Any], arguments: tuple[Any, ...], done: Any) -> None:
        """Compute beside the loop, so that replies are taken in meanwhile."""
        future: Future[Any] = self._executor.submit(function, *arguments)
        future.add_done_callback(lambda f: self._call(done, f))

    def trouble(self, kind: str, detail: str, error: BaseException | None) -> None:
        """Tell the controller that the program raised."""
        self._process.trouble(kind, self.name, detail, error)

    def end(self) -> None:
        """End the task."""
        if not self._ended.done():
            self._ended.set_result(None)

    # What the process asks for, on its loop

    def receive(self, source: str, message: Any) -> None:
        """Hand a message to the host."""
        self._call(lambda: self.host.receive(source, message))

    def halt(self, why: str) -> None:
        """End the program as soon as its loop is free."""
        self._call(lambda: self.host.halt(why))

    def progress(self) -> int | None:
        """Return the program's clock."""
        return self.host.progress()

    async def collect(self) -> dict[str, Any]:
        """Return what goes home."""
        return self.host.collect()

    async def close(self) -> None:
        """End, also if the host does not."""
        self._call(self.end)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the program has ended
            self._loop.call_soon_threadsafe(function, *arguments)


def run_program(run: str, name: str, make_host: Callable[..., Host], *held: Any) -> None:
    """Run a program to its end; the Dask task.

    Parameters
    ----------
    run
        Name of the run's plugin.
    name
        The program's node.
    make_host
        Makes the host around the node.
    held
        At most one object whose ``data`` is the program's shard of the data.

    Raises
    ------
    ClusterError
        If the process has no plugin of the run: the run is over.
    """
    process = get_worker().plugins.get(run)
    if not isinstance(process, ProcessPlugin):
        raise ClusterError(
            f"{name} was started in a process without {run}; required: the run's plugin there."
        )
    secede()
    data = [each.data for each in held]
    asyncio.run(_main(name, process, lambda node: make_host(node, *data)))


async def _main(name: str, process: ProcessPlugin, make_host: Callable[[ProgramNode], Host]) -> None:
    await ProgramNode(name, process, make_host).run()
