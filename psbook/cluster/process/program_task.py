"""A program as a long-running Dask task: a thread with its own event loop, and one more to compute in."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from distributed import get_worker, secede

from psbook.cluster.process.plugin import ProcessPlugin
from psbook.cluster.spec import Standing
from psbook.core.controls import CONTROLLER
from psbook.errors import ClusterError

UNWIND_SECONDS = 0.5
"""How long a thread of a program may take to end when its run is over."""


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

    def standing(self) -> Standing | None:
        """Return how the program stands."""

    def vitals(self) -> dict[str, Any]:
        """Return what the program tells those who watch the run."""

    def collect(self) -> dict[str, Any]:
        """Return what goes home."""

    def rows(self) -> list[Any]:
        """Return the rows of the trace since the last call."""

    def beat(self) -> None:
        """Say that the program lives; from the process's loop."""

    def resend(self) -> None:
        """Send again what has had no reply."""


class ProgramNode:
    """A program's place in its process, and what its host needs of the world: time, messages, computing.

    Parameters
    ----------
    name
        The program's node.
    process
        The run's plugin in this process.
    incarnation
        How often the program was started before.
    data
        The program's shard of the data, if it has one.
    """

    def __init__(self, name: str, process: ProcessPlugin, incarnation: int, *data: Any) -> None:
        self.name = name
        self.over = threading.Event()
        """Set when nothing of the program matters any more."""
        self.wake = threading.Event()
        """Set when a delay that lengthens a computation is to end at once."""
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._uncaught)
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.current_thread()
        self._executor = ThreadPoolExecutor(
            1, f"psbook-{name}", lambda: self._computing.append(_this_thread())
        )
        self._computing: list[threading.Thread] = []
        self.incarnation = incarnation
        """How often the program was started before."""
        self._plane = process.program_plane(name, self._take, process.broken)
        self.host: Host = process.make_program(self, *data)

    async def run(self) -> None:
        """Drive the program to its end."""
        self._process.worker.loop.add_callback(self._process.join, self.name, self)
        if not self.incarnation:  # one that starts again has no time for servers that may be gone
            await self._plane.connect(self._process.spec.layout.servers)
        self._loop.call_soon(self.host.start)
        try:
            await self._ended
        finally:
            self._executor.shutdown(wait=False, cancel_futures=True)
            await self._plane.close()

    # What the host asks for, on the program's loop

    def now(self) -> float:
        """Return the time of the run, in seconds."""
        return self._process.clock.now()

    def call_later(self, seconds: float, function: Callable[[], object]) -> None:
        """Call `function` after real time has passed."""
        self._loop.call_later(seconds, function)

    def transmit(self, destination: str, message: Any) -> None:
        """Send a message: to the controller from any thread, to others on the program's loop."""
        if destination == CONTROLLER:
            self._process.send(self.name, destination, message)
        else:
            self._plane.send(destination, message)

    def _take(self, source: str, message: Any) -> None:
        """Take in what came over the program's own connections."""
        try:
            self.host.receive(source, message)
        except Exception as error:  # noqa: BLE001  # else it would end the connection, and say nothing
            self.failed(error)

    def run_compute(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], done: Callable[[Future[Any]], object]
    ) -> None:
        """Compute beside the loop, so that replies are taken in meanwhile."""
        future: Future[Any] = self._executor.submit(function, *arguments)
        future.add_done_callback(lambda f: None if f.cancelled() else self._call(done, f))

    def failed(self, error: BaseException) -> None:
        """Tell the controller that the program raised."""
        self._process.failed(self.name, error)

    def end(self) -> None:
        """End the task."""
        self.over.set()
        self.wake.set()
        if not self._ended.done():
            self._ended.set_result(None)

    # What the process asks for, on its loop

    def receive(self, source: str, message: Any) -> None:
        """Hand a message to the host."""
        self._call(self.host.receive, source, message)

    def halt(self, why: str) -> None:
        """End the program as soon as its loop is free."""
        self.over.set()
        self.wake.set()
        self._call(self._halt, why)

    def progress(self) -> int | None:
        """Return the program's clock."""
        return self.host.progress()

    def standing(self) -> Standing | None:
        """Return how the program stands."""
        return self.host.standing()

    def vitals(self) -> dict[str, Any]:
        """Return what the program tells those who watch the run."""
        return self.host.vitals()

    def hello(self) -> None:
        """A program says hello when it is ready."""

    def beat(self) -> None:
        """Say that the program lives: it may be busy, its process is not."""
        self.host.beat()

    def resend(self) -> None:
        """Let the program send again what has had no reply."""
        self._call(self.host.resend)

    def drain(self) -> list[Any]:
        """Programs keep nothing for the evaluation."""
        return []

    def rows(self) -> list[Any]:
        """Return the rows of the trace since the last call."""
        return self.host.rows()

    async def collect(self, routes: Any = None) -> dict[str, Any]:
        """Return what goes home."""
        await self._unwind()
        return self.host.collect()

    async def close(self) -> None:
        """End, also if the host does not."""
        self._call(self.end)
        await self._unwind()

    async def _unwind(self) -> None:
        """Make threads that are deep in Python code raise; wait a little for them."""
        threads = [*self._computing, *([] if self._ended.done() else [self._thread])]
        for thread in threads:
            _raise_in(thread)
        deadline = time.monotonic() + UNWIND_SECONDS
        while any(t.is_alive() for t in threads) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # threads tell nobody when they end

    def _halt(self, why: str) -> None:
        try:
            self.host.halt(why)
        finally:
            self.end()

    def _call(self, function: Callable[..., object], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the program has ended
            self._loop.call_soon_threadsafe(function, *arguments)

    def _uncaught(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What a callback raised would only be logged otherwise, and the run would wait for ever."""
        if not self.over.is_set():
            self.failed(context.get("exception") or RuntimeError(context["message"]))


class Unwound(BaseException):
    """Raised in a thread of a program that did not end when its run was over."""


def _this_thread() -> threading.Thread:
    return threading.current_thread()


def _raise_in(thread: threading.Thread) -> None:
    if thread.is_alive() and thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(Unwound))


def run_program(run: str, name: str, incarnation: int, *held: Any) -> None:
    """Run a program to its end; the Dask task.

    Parameters
    ----------
    run
        Name of the run's plugin.
    name
        The program's node.
    incarnation
        How often it was started before.
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
    try:
        asyncio.run(_main(name, process, incarnation, [each.data for each in held]))
    except Unwound:
        pass
    except BaseException as error:  # noqa: BLE001  # SystemExit in a task would take the Dask worker down
        process.failed(name, error)


async def _main(name: str, process: ProcessPlugin, incarnation: int, data: list[Any]) -> None:
    await ProgramNode(name, process, incarnation, *data).run()
