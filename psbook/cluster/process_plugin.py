"""A run's part in one worker process: its shards, its programs, its end of the plane."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from dask.system import CPU_COUNT
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.protocol import to_serialize

from psbook.cluster.failures import kind_of, pack
from psbook.cluster.plane import Plane
from psbook.cluster.spec import Begin, Begun, Halt, Pulse, Spec, Standing, Trouble
from psbook.cluster.timing import RunClock, boot_id, measure_offset
from psbook.core.controls import CONTROLLER, Hello
from psbook.errors import PsbookError

if TYPE_CHECKING:
    from distributed.worker import Worker

logger = logging.getLogger(__name__)


class Node(Protocol):
    """A program or a shard of this process, as the plugin sees it; all methods return at once."""

    def receive(self, source: str, message: Any) -> None:
        """Take in a message; called on the process's loop."""

    def halt(self, why: str) -> None:
        """End as soon as may be; the run is over."""

    def progress(self) -> int | None:
        """Return the program's clock; ``None`` if this is no program."""

    def standing(self) -> Standing | None:
        """Return how a program stands; ``None`` if this is no program, or it has ended."""

    def drain(self) -> list[Any]:
        """Return what a shard has kept for the evaluation since the last call."""

    async def collect(self) -> dict[str, Any]:
        """Return what goes home at the end of the run: rows of the trace, values."""

    async def close(self) -> None:
        """Let go of threads and values."""


class ProcessPlugin(WorkerPlugin):
    """Carries messages between the nodes of this process and those of others, and says that it lives.

    Parameters
    ----------
    spec
        The run.
    make_server
        Makes the shard of a name; called in the process where it lives, once.
    make_program
        Makes the host of a program around its node, from its data; called by the program's task.

    Notes
    -----
    Everything here runs on the Dask worker's event loop and never blocks it.
    """

    def __init__(
        self,
        spec: Spec,
        make_server: Callable[[str, ProcessPlugin], Node],
        make_program: Callable[..., Any],
    ) -> None:
        self.spec = spec
        self.name = spec.name
        self.make_program = make_program
        self._make_server = make_server

    async def setup(self, worker: Worker) -> None:
        """Open the plane, make the shards, say hello; called by Dask when the plugin is registered."""
        self.worker = worker
        self.nodes: dict[str, Node] = {}
        self.halted = ""
        self.process = self.spec.processes.get(worker.address, "")
        self._beats: asyncio.Task[None] | None = None
        self._plane: Plane | None = None
        if not self.process:
            return  # no part of this run, only of the cluster
        _limit_xla(self.spec, worker)
        self._plane = Plane(worker, self.spec.channel, self.spec.routes, self._receive, self._broken)
        worker.handlers[self.name] = self._control
        await self._hello()
        for node in self.spec.nodes_of(worker.address):
            if node in self.spec.layout.servers:
                self.nodes[node] = await asyncio.to_thread(self._make_server, node, self)
                self.send(node, CONTROLLER, Hello(node))
        self._beats = asyncio.create_task(self._beat())

    async def _hello(self) -> None:
        controller = getattr(self.worker.scheduler, self.name)
        answer = await controller(action="hello", address=self.worker.address, process=self.process)
        self.clock = RunClock()
        self.offset_error = 0.0
        if answer["boot"] != boot_id():
            offset, self.offset_error = await measure_offset(lambda: controller(action="ping"))
            self.clock.offset = offset
        if answer["state"] == "ended":
            self.halted = "the run had ended before this process joined it"

    # For the nodes of this process

    def send(self, source: str, destination: str, message: object) -> None:
        """Send a message of one of our nodes; from any thread."""
        if self._plane is not None:
            self._plane.send(source, destination, message)

    def trouble(self, kind: str, node: str, detail: str, error: BaseException | None = None) -> None:
        """Tell the controller that the run has failed; from any thread."""
        self.send(node, CONTROLLER, Trouble(kind, node, detail, pack(error) if error else b""))

    def failed(self, node: str, error: BaseException) -> None:
        """Tell the controller that something raised: a psbook error as it is, another as a bug in psbook."""
        if isinstance(error, PsbookError):
            kind, detail, cause = kind_of(error)
            self.trouble(kind, node, detail, cause)
            return
        logger.error("psbook run %s: %s failed", self.spec.run, node, exc_info=error)
        self.trouble("ProtocolError", node, f"{node} raised {error!r}; this is a bug in psbook.", error)

    def join(self, name: str, node: Node) -> None:
        """Let a program take part; on the process's loop."""
        self.nodes[name] = node
        if self.halted:
            node.halt(self.halted)

    # Messages

    def _receive(self, source: str, destination: str, message: Any) -> None:
        try:
            if destination == self.process:
                self._for_process(message)
            else:
                self.nodes[destination].receive(source, message)
        except Exception as error:  # noqa: BLE001  # a handler that raises would take the Dask worker down
            self.failed(destination, error)

    def _for_process(self, message: Any) -> None:
        if isinstance(message, Begin):
            self.clock.zero = message.zero
            self.send(self.process, CONTROLLER, Begun(self.process))
        elif isinstance(message, Halt):
            self._halt(message.why)

    def _halt(self, why: str) -> None:
        self.halted = why
        for node in self.nodes.values():
            node.halt(why)

    def _broken(self, address: str, why: BaseException) -> None:
        nodes = ", ".join(self.spec.nodes_of(address))
        if not nodes:
            # The controller has gone, or has given us up while we were hung: nobody else will tidy up here.
            if self.name in self.worker.plugins:
                self._leaving = asyncio.create_task(self.worker.plugin_remove(name=self.name))
            return
        detail = f"{nodes} at {address} lost: the connection from {self.worker.address} broke ({why})."
        self.trouble("NodeFailure", self.process, detail)

    async def _beat(self) -> None:
        while not self.halted:
            clocks = {name: node.progress() for name, node in self.nodes.items()}
            programs = {name: clock for name, clock in clocks.items() if clock is not None}
            found = {name: node.standing() for name, node in self.nodes.items()}
            standing = {name: each for name, each in found.items() if each is not None}
            self.send(self.process, CONTROLLER, Pulse(self.process, programs, standing))
            await asyncio.sleep(min(0.25, self.spec.lease / 5))

    # The client's requests

    async def _control(self, action: str) -> Any:
        requests: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
            "collect": self._collect,
            "drain": self._drain,
        }
        return await requests[action]()

    async def _collect(self) -> Any:
        home = {name: await node.collect() for name, node in self.nodes.items()}
        clock = {"offset": self.clock.offset, "error": self.offset_error}
        return to_serialize({"nodes": home, "clock": clock})

    async def _drain(self) -> Any:
        shards = {name: node for name, node in self.nodes.items() if name in self.spec.layout.servers}
        return to_serialize([taken for node in shards.values() for taken in node.drain()])

    async def teardown(self, worker: Worker) -> None:
        """Close everything of the run; called by Dask when the plugin is removed or the worker closes."""
        self._halt(self.halted or "the worker process closes")
        if self._beats is not None:
            self._beats.cancel()
        for node in self.nodes.values():
            with contextlib.suppress(Exception):
                await node.close()
        self.nodes.clear()
        if self._plane is not None:
            await self._plane.close()
        worker.handlers.pop(self.name, None)


def _limit_xla(spec: Spec, worker: Worker) -> None:
    """Give XLA this process's share of the machine; it reads the number when JAX first computes."""
    if worker.address.startswith("inproc"):
        return  # the user's own process
    host = worker.address.rsplit(":", 1)[0]
    neighbours = sum(address.rsplit(":", 1)[0] == host for address in spec.processes)
    os.environ.setdefault("NPROC", str(max(1, CPU_COUNT // max(1, neighbours))))
