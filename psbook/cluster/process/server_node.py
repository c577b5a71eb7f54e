"""A server in a worker process: its host, a thread of its own for its values, its snapshots."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from psbook.cluster.process.plugin import ProcessPlugin
from psbook.cluster.spec import Fetch, Standing
from psbook.core.actions import Action
from psbook.core.controls import CONTROLLER, Reroute
from psbook.core.messages import Message
from psbook.core.routes import Routes, Segment
from psbook.errors import CheckpointError, NodeFailure
from psbook.evaluation import Piece
from psbook.hosts.driver import Outcome
from psbook.hosts.quick import are_quick
from psbook.hosts.vitals import clocks_of, of_server
from psbook.plan import Plan
from psbook.trace import Recorder


class ServerNode:
    """Driver of a `ServerHost`, and the node that the process sees.

    Messages are taken in on the process's loop. Whatever touches values, and every reply, is done in order by
    one thread, so that a large update delays no heartbeat and an acknowledgement follows its update; what is
    over sooner than a thread wakes up is done at once, if the thread has nothing to do.
    """

    def __init__(self, name: str, process: ProcessPlugin, plan: Plan, level: str) -> None:
        self.name = name
        self._process = process
        self._plan = plan
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"psbook-{name}")
        self._given = 0
        """What the thread has been given and not ended, as far as the loop has heard."""
        self._snapshots: deque[Piece] = deque()
        self.recorder = Recorder(level)
        self.host = plan.server_host(name, self, self.recorder, self._snapshots.append, self._in_order)
        self.host.keep_initial()

    def _in_order(self, function: Callable[..., object], actions: list[Action]) -> None:
        """Do something behind all that was asked for before; on the process's loop."""
        if not self._given and are_quick(actions, self.host.shards):
            self._guarded(function, actions)
            return
        self._given += 1
        self._executor.submit(self._guarded, function, actions).add_done_callback(self._tell_done)

    def _tell_done(self, _: Future[Any]) -> None:
        """Let the loop know, behind the replies that were sent meanwhile."""
        self._process.worker.loop.add_callback(self._done)

    def _done(self) -> None:
        self._given -= 1

    def _guarded(self, function: Callable[..., object], *arguments: Any) -> None:
        try:
            function(*arguments)
        except BaseException as error:  # noqa: BLE001  # else it would lie in a future that nobody asks
            self.fail(self.name, error)

    # The driver

    has_threads = True

    def now(self) -> float:
        """Seconds since the start signal."""
        return self._process.clock.now()

    def transmit(self, source: str, destination: str, message: Message) -> None:
        """Send a message."""
        self._process.send(source, destination, message)

    def call_later(self, seconds: float, function: Callable[..., object], *arguments: Any) -> object:
        """Call `function` on the process's loop."""
        return self._process.worker.loop.call_later(seconds, function, *arguments)

    def compute(self, rank: int, function: Callable[[], Any], done: Callable[[Outcome], None]) -> None:
        """Shards do not compute; their functions run in `psbook.storage.Storage`."""
        raise AssertionError("a shard was asked to compute")

    def cut_short(self, rank: int) -> None:
        """Shards do not compute."""

    def fail(self, node: str, error: BaseException) -> None:
        """Tell the controller that an update or a server-side function raised."""
        self._process.failed(node, error)

    def ended(self, node: str) -> None:
        """Programs end, shards do not."""

    # The node

    def receive(self, source: str, message: Any) -> None:
        """Take in a message, on the process's loop."""
        if isinstance(message, Fetch):
            self._executor.submit(self._guarded, self._fetch, message.segment)
            return
        self.host.arrived(source, message)
        self.host.handle(source, message)

    def _fetch(self, segment: Segment) -> None:
        """Bring a shard back from the last checkpoint, then hold it (E5)."""
        try:
            install = self._plan.restore(segment)
        except CheckpointError as error:
            gone = NodeFailure(f"no copy of shard {segment.shard} is left, and no checkpoint: {error}")
            self.fail(self.name, gone)
            return
        self._process.worker.loop.add_callback(self.receive, CONTROLLER, install)

    def hello(self) -> None:
        """Tell the controller that the server is there."""
        self.host.hello()

    def beat(self) -> None:
        """Say that the server lives; on the process's loop."""
        self.host.beat()

    def resend(self) -> None:
        """A server sends again with each beat."""

    def halt(self, why: str) -> None:
        """Nothing to do: a shard only answers."""

    def progress(self) -> int | None:
        """No program."""
        return None

    def standing(self) -> Standing | None:
        """No program."""
        return None

    def vitals(self) -> dict[str, Any]:
        """Return what the server tells those who watch the run; on the process's loop."""
        return {**of_server(self.host, self.now()), "clocks": clocks_of(self.host)}

    def drain(self) -> list[Piece]:
        """Return the snapshots taken since the last call."""
        return [self._snapshots.popleft() for _ in range(len(self._snapshots))]

    def rows(self) -> list[Any]:
        """Return the rows of the trace since the last call."""
        return self.recorder.take()

    async def collect(self, routes: Routes | None) -> dict[str, Any]:
        """Return rows, values and the last snapshots, behind every update that was taken in."""
        if routes is not None:
            self.host.handle(CONTROLLER, Reroute(routes))
        self._given += 1
        reading = self._executor.submit(self.host.pieces)
        reading.add_done_callback(self._tell_done)
        pieces = await asyncio.wrap_future(reading)
        return {"rows": self.rows(), "pieces": pieces, "snapshots": self.drain()}

    async def close(self) -> None:
        """Let go of the thread."""
        self._executor.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class MakeServer:
    """Makes a shard in the process where it lives."""

    plan: Plan
    level: str

    def __call__(self, name: str, process: ProcessPlugin) -> ServerNode:
        """Make the shard called `name`, and say hello."""
        return ServerNode(name, process, self.plan, self.level)
