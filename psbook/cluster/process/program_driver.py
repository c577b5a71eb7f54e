"""Driver of a program on Dask: real time, real messages, and computing padded to a law's time."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
from distributed import get_client

from psbook.cluster.process.program_task import ProgramNode
from psbook.cluster.spec import Standing
from psbook.core.messages import Message
from psbook.data import Portion
from psbook.hosts.driver import Outcome, measure
from psbook.hosts.vitals import of_program
from psbook.laws import Draws, Law
from psbook.plan import Plan
from psbook.trace import Recorder


class ProgramDriver:
    """Driver of a `ProgramHost`, and the host that a `ProgramNode` sees; everything on the program's loop.

    Parameters
    ----------
    node
        The program's place in its process.
    plan
        The run.
    rank
        The program.
    law
        Each compute step takes at least its time; ``None``: what it takes.
    level
        Level of the trace.
    """

    def __init__(self, node: ProgramNode, plan: Plan, rank: int, law: Law | None, level: str) -> None:
        self._node = node
        self._draws = None if law is None else Draws(law, plan.seed)
        self._computed = 0
        self._busy = 0.0
        self._ready = False
        self.recorder = Recorder(level)
        self.host = plan.program_host(rank, self, self.recorder, node.incarnation)
        if node.incarnation:
            self.host.booking.until = max(0.0, self.now())

    # The driver

    has_threads = True

    def now(self) -> float:
        """Seconds since the start signal."""
        return self._node.now()

    def call_later(self, seconds: float, function: Callable[..., object], *arguments: Any) -> None:
        """Call `function` when real time has passed."""
        self._node.call_later(seconds, partial(function, *arguments))

    def transmit(self, source: str, destination: str, message: Message) -> None:
        """Send a message."""
        self._node.transmit(destination, message)

    def compute(self, rank: int, function: Callable[[], Any], done: Callable[[Outcome], None]) -> None:
        """Compute in the program's second thread; let at least the law's time pass there."""
        iteration = self._computed
        self._computed += 1
        if not self._node.over.is_set():
            self._node.wake.clear()

        def finished(future: Future[Outcome]) -> None:
            done(future.result())

        self._node.run_compute(self._timed, (rank, iteration, function), finished)

    def _timed(self, rank: int, iteration: int, function: Callable[[], Any]) -> Outcome:
        used = time.process_time()
        outcome = measure(function)
        # Of all threads of the process: XLA computes in its own. Others' work in it cannot be told apart.
        self._busy += min(outcome.seconds, time.process_time() - used)
        if self._draws is not None:
            rest = self._draws.at(rank, iteration, outcome.seconds) - outcome.seconds
            self._node.wake.wait(max(0.0, rest))
        return outcome

    def cut_short(self, rank: int) -> None:
        """End the delay that a law adds to the computation; the computation itself cannot be stopped."""
        self._node.wake.set()

    def fail(self, node: str, error: BaseException) -> None:
        """Tell the controller that the program raised."""
        self._node.failed(error)

    def ended(self, node: str) -> None:
        """The program has ended, and with it the task."""
        self._node.end()

    # The host

    def start(self) -> None:
        """Prepare and say hello."""
        self.host.start()
        self._ready = True
        if self.host.client.incarnation:
            self.beat()  # the others run, and this one may begin at once

    def receive(self, source: str, message: Message) -> None:
        """Take in a message."""
        self.host.receive(source, message)

    def halt(self, why: str) -> None:
        """End the program where it stands."""
        self.host.halt(why)

    def progress(self) -> int | None:
        """Return the program's clock."""
        return self.host.clock

    def beat(self) -> None:
        """Say that the program lives, once it is prepared; this only reads, from whatever thread."""
        if not self._ready:
            return
        for action in self.host.client.beat(self.now()):
            self.transmit(self.host.node, action.to, action.message)

    def resend(self) -> None:
        """Send again what has had no reply."""
        self.host.resend()

    def rows(self) -> list[Any]:
        """Return the rows of the trace since the last call."""
        return self.recorder.take()

    def standing(self) -> Standing | None:
        """Return how often the program was resumed, and what it waits for that only others can end."""
        host = self.host
        if host.finished:
            return None
        return Standing(host.steps, host.waits_for if host.depends_on_others else "")

    def vitals(self) -> dict[str, Any]:
        """Return what the program tells those who watch the run; this only reads, from whatever thread."""
        return of_program(self.host, self.now())

    def collect(self) -> dict[str, Any]:
        """Return rows, the program's result, and how far its time is booked."""
        host = self.host
        return {
            "rows": self.rows(),
            "result": _sendable(host.result),
            "booked": host.booking.until,
            "clock": host.clock,
            "finished": host.finished,
            "busy": self._busy,
        }


@dataclass(frozen=True)
class Unsendable:
    """Stands for a result that has no pickled form."""

    what: str
    why: str


def _sendable(result: Any) -> Any:
    try:
        cloudpickle.dumps(result)
    except Exception as error:  # noqa: BLE001  # whatever a user's class does when it is pickled
        return Unsendable(type(result).__name__, f"{type(error).__name__}: {error}")
    return result


@dataclass(frozen=True)
class MakeProgram:
    """Makes the host of a program in the process where it runs, with the data that lies there.

    `modules` are imported there first: what takes seconds shall not fall into clock 0.
    """

    plan: Plan
    law: Law | None
    level: str
    modules: tuple[str, ...] = ()

    def __call__(self, node: ProgramNode, data: Any = None) -> ProgramDriver:
        """Make the host around `node`."""
        for module in self.modules:
            importlib.import_module(module)
        rank = self.plan.layout.programs.index(node.name)
        if isinstance(data, Portion):
            data = data.at(get_client)
        shards = [None] * len(self.plan.shards)
        shards[rank] = data
        return ProgramDriver(node, replace(self.plan, shards=shards), rank, self.law, self.level)
