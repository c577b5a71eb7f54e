"""A run's part in one worker process: its shards, its programs, its end of the plane."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

import cloudpickle  # type: ignore[import-untyped]
from dask.system import CPU_COUNT
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.protocol import to_serialize

from psbook.cluster.failures import kind_of, pack
from psbook.cluster.kept.keeping import put
from psbook.cluster.live.vitals import gather
from psbook.cluster.plane import Plane, ProgramPlane
from psbook.cluster.process import allocation, interpreter, shares
from psbook.cluster.process.shield import shield, unshield
from psbook.cluster.spec import (
    Begin,
    Begun,
    Halt,
    Members,
    Pulse,
    Severed,
    Spec,
    Standing,
    Trouble,
    nodes_of,
)
from psbook.cluster.timing import RunClock, boot_id, measure_offset
from psbook.core.controls import CONTROLLER
from psbook.core.routes import Routes
from psbook.errors import ProtocolError, PsbookError
from psbook.evaluation import Piece

if TYPE_CHECKING:
    from distributed.worker import Worker

logger = logging.getLogger(__name__)

HELLO_SECONDS = 10.0
"""How long a process that joins later waits for the controller; a run that is over answers nobody."""

LEAVE_SECONDS = 10.0
"""How long a process that closes waits for others to take over what it holds."""


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

    def hello(self) -> None:
        """Tell the controller that a server is there."""

    def beat(self) -> None:
        """Say that the node lives."""

    def resend(self) -> None:
        """Send again what has had no reply."""

    def drain(self) -> list[Any]:
        """Return what a server has kept for the evaluation since the last call."""

    def rows(self) -> list[Any]:
        """Return the rows of the trace since the last call."""

    async def collect(self, routes: Routes | None) -> dict[str, Any]:
        """Return what goes home at the end of the run: rows of the trace, values by the last map."""

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
        self._sent_home: set[str] = set()
        self._given_up: list[Node] = []
        self._last: dict[str, list[Piece]] = {}
        """Values as they were sent home last, by server."""
        self.halted = ""
        self.routes = dict(self.spec.routes)
        self.safety = self.spec.layout.safety
        self.process = self.spec.processes.get(worker.address, "")
        self._tasks: list[asyncio.Task[None]] = []
        self._plane: Plane | None = None
        if not self.process and not self.safety.active:
            return  # no part of this run, only of the cluster
        shares.limit(worker.address, self.spec.processes)
        shield(self.name)
        allocation.hold()
        interpreter.hold()
        self._plane = Plane(worker, self.spec.channel, self.routes, self._receive, self._broken)
        worker.handlers[self.name] = self._control
        await self._plane.open()
        if not await self._is_welcome():
            return
        for node in nodes_of(self.routes, worker.address):
            if self.spec.layout.rank(node) is None:
                self.nodes[node] = await asyncio.to_thread(self._make_server, node, self)
                self.nodes[node].hello()
        self._tasks = [asyncio.create_task(self._pulse())]
        if self.safety.active:
            self._tasks += [
                asyncio.create_task(self._every(self.safety.lease / 5, "beat")),
                asyncio.create_task(self._every(self.safety.resend, "resend")),
            ]

    async def _is_welcome(self) -> bool:
        """Say hello; take no part if the run has ended before this process joined the cluster."""
        if self.process:
            await self._hello()
            return True
        try:
            await asyncio.wait_for(self._hello(), HELLO_SECONDS)
        except Exception as error:  # noqa: BLE001  # a process that does not start would cost the cluster more
            logger.info("psbook run %s: nobody answers %s: %r", self.spec.run, self.worker.address, error)
            self.halted = "the run was over"
            self._leaving = asyncio.create_task(self._remove())
        return not self.halted

    async def _hello(self) -> None:
        controller = getattr(self.worker.scheduler, self.name)
        answer = await controller(action="hello", address=self.worker.address, process=self.process)
        self.process = answer["process"]
        self.routes.update(answer["routes"])
        self.clock = RunClock()
        if answer["zero"] is not None:
            self.clock.zero = answer["zero"]
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

    def program_plane(
        self, node: str, receive: Callable[[str, Any], None], broken: Callable[[str, BaseException], None]
    ) -> ProgramPlane:
        """Return connections of its own for a program of this process; on the program's loop."""
        if self._plane is None:
            raise ProtocolError(f"{node} runs in {self.worker.address}, which takes no part in its run")
        return ProgramPlane(node, self._plane, receive, broken)

    def broken(self, address: str, why: BaseException) -> None:
        """Hear from a program that its connection broke; from any thread."""
        self.worker.loop.add_callback(self._broken, address, why)

    def join(self, name: str, node: Node) -> None:
        """Let a program take part; on the process's loop."""
        self.nodes[name] = node
        if self.halted:
            node.halt(self.halted)
        self._let_go_of_strangers()

    # Messages

    def _receive(self, source: str, destination: str, message: Any) -> None:
        try:
            if destination == self.process:
                self._for_process(message)
            elif destination in self.nodes:
                self.nodes[destination].receive(source, message)
            elif not self.safety.active:
                raise ProtocolError(f"{self.process} got {type(message).__name__} for {destination}")
        except Exception as error:  # noqa: BLE001  # a handler that raises would take the Dask worker down
            self.failed(destination, error)

    def _for_process(self, message: Any) -> None:
        if isinstance(message, Begin):
            self.clock.zero = message.zero
            self.send(self.process, CONTROLLER, Begun(self.process))
        elif isinstance(message, Halt):
            self._halt(message.why)
        elif isinstance(message, Members):
            self._follow(message)

    def _follow(self, members: Members) -> None:
        """Take up where everybody is; end a program that was given up here and runs elsewhere."""
        self.routes.update(members.routes)
        self._let_go_of_strangers()

    def _let_go_of_strangers(self) -> None:
        for name in list(self.nodes):
            if self.routes[name] != self.worker.address:
                self._sent_home.discard(name)
                node = self.nodes.pop(name)
                self._given_up.append(node)
                node.halt("it was given up, and goes on elsewhere")

    def _halt(self, why: str) -> None:
        self.halted = why
        for node in self.nodes.values():
            node.halt(why)

    def _broken(self, address: str, why: BaseException) -> None:
        nodes = ", ".join(nodes_of(self.routes, address))
        if address != self.routes[CONTROLLER] and self.safety.active:
            if not self.halted:
                self.send(self.process, CONTROLLER, Severed(address, repr(why)))
            return
        if not nodes:
            # The controller has gone, or has given us up while we were hung: nobody else will tidy up here.
            self._halt("the controller has gone, or has given this process up")
            self._leaving = asyncio.create_task(self._remove())
            return
        detail = f"{nodes} at {address} lost: the connection from {self.worker.address} broke ({why})."
        self.trouble("NodeFailure", self.process, detail)

    async def _remove(self) -> None:
        """Take this plugin off the worker; nobody else will."""
        if self.name in self.worker.plugins:
            await self.worker.plugin_remove(name=self.name)

    async def _every(self, seconds: float, what: str) -> None:
        """Let every node beat, or send again, from time to time, until the run is closed."""
        while True:
            await asyncio.sleep(seconds)
            for name, node in list(self.nodes.items()):
                try:
                    getattr(node, what)()
                except Exception as error:  # noqa: BLE001  # a task that raises would end unheard
                    self.failed(name, error)

    async def _pulse(self) -> None:
        pause = min(0.25, (self.safety.lease if self.safety.active else self.spec.lease) / 5)
        while self.safety.active or not self.halted:
            clocks = {name: node.progress() for name, node in self.nodes.items()}
            programs = {name: clock for name, clock in clocks.items() if clock is not None}
            found = {name: node.standing() for name, node in self.nodes.items()}
            standing = {name: each for name, each in found.items() if each is not None}
            self.send(self.process, CONTROLLER, Pulse(self.process, programs, standing, gather(self.nodes)))
            await asyncio.sleep(pause)

    # The client's requests

    async def _control(self, action: str, routes: Any = None, **arguments: Any) -> Any:
        requests: dict[str, Callable[..., Coroutine[Any, Any, Any]]] = {
            "collect": self._collect,
            "drain": self._drain,
            "keep": self._keep,
        }
        return await requests[action](routes, **arguments)

    async def _collect(self, routes: Any) -> Any:
        last = None if routes is None else cloudpickle.loads(routes)
        home = {name: await node.collect(last) for name, node in list(self.nodes.items())}
        if self.spec.keep:
            self._last = {name: each["pieces"] for name, each in home.items() if "pieces" in each}
        clock = {"offset": self.clock.offset, "error": self.offset_error}
        ways = dict(self._plane.ways) if self._plane is not None else {}
        host = {"name": boot_id(), "cores": CPU_COUNT}
        share = shares.held()
        answer = {"nodes": home, "clock": clock, "plane": ways, "host": host, "share": share}
        return to_serialize(answer)

    async def _keep(self, routes: Any, sparse: Any, places: Any) -> dict[str, int]:
        """Leave shards here that shall outlive the run; return the bytes of each by its Dask key."""
        return put(self.worker, self.spec.keep, sparse, places, self._last)

    async def _drain(self, routes: Any) -> Any:
        """Send home what would be lost with this process: snapshots, rows, results of programs that ended."""
        nodes = list(self.nodes.items())
        streams = self.safety.active or self.spec.streams
        ended = {name: await node.collect(None) for name, node in nodes if self._has_ended(name, node)}
        self._sent_home |= ended.keys()
        home = {
            "snapshots": [taken for _, node in nodes for taken in node.drain()],
            "rows": [row for _, node in nodes for row in node.rows()] if streams else [],
            "ended": ended,
        }
        return to_serialize(home)

    def _has_ended(self, name: str, node: Node) -> bool:
        program = self.spec.layout.rank(name) is not None
        return self.safety.active and program and node.standing() is None and name not in self._sent_home

    async def teardown(self, worker: Worker) -> None:
        """Close everything of the run; called by Dask when the plugin is removed or the worker closes."""
        if self.safety.active and not self.halted and self.process:
            with contextlib.suppress(Exception):  # whoever does not let us go has given us up
                controller = getattr(worker.scheduler, self.name)
                await asyncio.wait_for(controller(action="leave", address=worker.address), LEAVE_SECONDS)
                rows = [row for node in self.nodes.values() for row in node.rows()]
                await asyncio.wait_for(controller(action="keep", rows=rows), LEAVE_SECONDS)
        self._halt(self.halted or "the worker process closes")
        for task in self._tasks:
            task.cancel()
        for node in (*self.nodes.values(), *self._given_up):
            with contextlib.suppress(Exception):
                await node.close()
        self.nodes.clear()
        unshield(self.name)
        if self._plane is not None:
            await self._plane.close()
            allocation.release()
            interpreter.release()
        worker.handlers.pop(self.name, None)
