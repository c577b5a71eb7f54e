"""A run as the client sees it: open, submit, watch, collect, close."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
from distributed import Client, Future

from psbook.cluster.controller.plugin import ControllerPlugin
from psbook.cluster.failures import named
from psbook.cluster.joining.guard import Guarded, warn_unusable
from psbook.cluster.process.plugin import Node, ProcessPlugin
from psbook.cluster.processes import Processes, later
from psbook.cluster.reach import reachable
from psbook.cluster.spec import Spec
from psbook.core.routes import Routes, Segment
from psbook.errors import ClusterError, NodeFailure, ProgramError, PsbookError
from psbook.live import Status

POLL_SECONDS = 0.25
"""The controller answers the client at least this often."""

START_SECONDS = 120.0
"""Programs that have not begun by then have no thread to run in."""

HALT_SECONDS = 1.0
"""How long programs may take to end once the run is over."""

HANG_SECONDS = 10.0
"""The same after a failure, when a process may hang."""

TAKEN_BACK_SECONDS = 3.0
"""How long after an error of Dask's the controller may take to hear that the process is lost."""

LIVE_SECONDS = 2.0
"""How long those who watch a run wait for the controller."""

COLLECT_SECONDS = 60.0
"""How long a process may take to send home what it holds."""


class Session:
    """One run on a cluster.

    Parameters
    ----------
    client
        A synchronous Dask client.
    spec
        The run.
    make_server, make_program
        Make a shard, and the host of a program, in the process where they live; must be picklable.

    Raises
    ------
    ClusterError
        If the plugins cannot be set up, or programs do not start.
    NodeFailure
        If a process, or the scheduler, is lost.
    """

    def __init__(
        self,
        client: Client,
        spec: Spec,
        make_server: Callable[[str, ProcessPlugin], Node],
        make_program: Callable[..., Any],
    ) -> None:
        self.client = client
        self.spec = spec
        self.gone: set[str] = set()
        self.failed_node = ""
        """Where the run failed."""
        self.seconds = 0.0
        """Time of the run at which it ended."""
        self._plugin = ProcessPlugin(spec, make_server, make_program)
        self.news: Callable[[], list[Any]] = list
        """Returns the evaluations since the last call, for those who watch the run from elsewhere."""
        self._opened = False
        self._registered = False
        self._scheduler: Any = client.scheduler
        self._processes = Processes(client, spec.name)
        self._reached: bool | None = None
        self._tasks: dict[str, Future[Any]] = {}
        self._places: dict[str, str] = {}
        """Where each program was started last."""
        self._troubles: dict[str, tuple[BaseException, float]] = {}
        """Programs that could not be started, and since when that is known."""
        self.routes = dict(spec.routes)
        """Where each node is."""
        self.rows: list[Any] = []
        """What the controller has written down."""
        self._map = b""
        self._strangers: set[str] = set()
        self._restarted = 0
        self._restarting: list[threading.Thread] = []

    def open(self) -> None:
        """Put the controller on the scheduler and the shards into their processes."""
        try:
            self.client.register_plugin(ControllerPlugin(self.spec, self.client.id))
            self._registered = True
            self.client.register_plugin(Guarded(self._plugin, self.spec.name))
        except PsbookError:
            raise
        except Exception as error:
            raise ClusterError(
                f"the cluster did not take up psbook ({type(error).__name__}: {error}); required: tables, "
                "update functions and psbook itself importable on every worker."
            ) from error

    def hand_over(self, node: str, value: Any) -> Future[Any]:
        """Send a value to the process of a node: straight there if that can be reached from here."""
        address = self.routes[node]
        if self._reached is None:
            self._reached = self.client.sync(reachable, address, self.client.security)
        there: Future[Any] = self.client.scatter(value, workers=[address], direct=self._reached, hash=False)
        return there

    def submit(self, node: str, incarnation: int, function: Callable[..., Any], *arguments: Any) -> None:
        """Start a program as a Dask task, in the process where its node is placed, for so many times."""
        self._places[node] = self.routes[node]
        self._tasks[node] = self.client.submit(
            function,
            self.spec.name,
            node,
            incarnation,
            *arguments,
            key=f"{self.spec.name}-{node}-{incarnation}",
            workers=[self.routes[node]],
            allow_other_workers=False,
            pure=False,
            retries=0,
        )

    def watch(
        self,
        report: Callable[[Mapping[str, int]], None] = lambda clocks: None,
        every: float = math.inf,
        also: Callable[[], None] = lambda: None,
        restart: Callable[[str, int], None] = lambda node, incarnation: None,
    ) -> PsbookError | None:
        """Wait for the end of the run; return why it failed, if it did.

        `report` is called a few times a second with the clock of each program, `also` each `every` seconds,
        `restart` with each program that is to be started again.
        """
        self._opened = True
        due = time.monotonic() + every
        deadline = time.monotonic() + START_SECONDS
        while True:
            status = self._status()
            report(status["clocks"])
            self._note(status)
            if status["state"] == "ended":
                self.failed_node, self.seconds = status["node"], status["seconds"]
                trouble = status["trouble"]
                return named(*trouble) if trouble else None
            if time.monotonic() > due:
                also()
                due = time.monotonic() + every
            for node, incarnation, _ in status["restarts"][self._restarted :]:
                self._restarted += 1
                self._again(restart, node, incarnation)
            failed = self._failed_task()
            if failed is not None:
                return failed
            if status["state"] == "starting" and time.monotonic() > deadline:
                return _not_started(status["absent"])

    def _again(self, restart: Callable[[str, int], None], node: str, incarnation: int) -> None:
        """Start a program again, in a thread: its new process may be lost as well, or hang."""

        def attempt() -> None:
            try:
                if before is not None:
                    before.cancel(force=True)
                restart(node, incarnation)
            except Exception as error:  # noqa: BLE001  # told below, if the process is there all the same
                self._troubles[node] = error, time.monotonic()

        before = self._tasks.pop(node, None)
        self._troubles.pop(node, None)
        thread = threading.Thread(target=attempt, name=f"psbook-restart-{node}", daemon=True)
        self._restarting.append(thread)
        thread.start()

    def _status(self) -> dict[str, Any]:
        try:
            timeout = self.spec.lease + POLL_SECONDS
            answer = self._ask("status", timeout=timeout, wait=POLL_SECONDS, losses=self.news())
        except (OSError, TimeoutError) as error:
            raise NodeFailure(
                f"the Dask scheduler of {self.client!r} lost ({error!r}); the run and its tables are gone "
                "with it. Start the cluster and the run again."
            ) from error
        if answer is None:
            raise NodeFailure("the run was closed by somebody else; required: one session for each run.")
        status: dict[str, Any] = answer
        return status

    def live(self) -> Status | None:
        """Return what the controller knows of the run; ``None`` where there is nobody to ask."""
        plain = self._ask("live", timeout=LIVE_SECONDS) if self._opened else None
        return None if plain is None else Status.from_dict(plain)

    def _failed_task(self) -> PsbookError | None:
        """Return the error of a program that could not even begin: its task failed inside Dask."""
        safe = self.spec.layout.safety.active
        for node, task in list(self._tasks.items()):
            if safe and task.status in ("error", "cancelled", "lost") and self._is_taken_back(node):
                continue  # the controller starts it again
            if task.status == "error":
                return _raised(node, task.exception())
            if task.status in ("cancelled", "lost"):
                return NodeFailure(f"{node}'s task was {task.status} by Dask; the run cannot go on without.")
        for node, (cause, _) in list(self._troubles.items()):
            if not self._is_taken_back(node):
                return _raised(node, cause)
        return None

    def _is_taken_back(self, node: str) -> bool:
        """Whether what befell a program's task comes of the loss of its process, or may still turn out so."""
        place = self._places.get(node, "")
        if place in self.gone or place != self.routes[node]:
            return True
        _, since = self._troubles.setdefault(node, (NodeFailure("lost by Dask"), time.monotonic()))
        return time.monotonic() - since < TAKEN_BACK_SECONDS

    def stop(self, why: str) -> None:
        """End the run from outside; `watch` returns within a second."""
        self._ask("stop", why=why)

    def halt(self) -> None:
        """Give programs `HALT_SECONDS` to end."""
        tasks = list(self._tasks.items())
        waiting = [task for node, task in tasks if self._places[node] not in self.gone]
        deadline = time.monotonic() + HALT_SECONDS
        while time.monotonic() < deadline and not all(task.done() for task in waiting):
            time.sleep(0.005)

    def collect(self) -> dict[str, dict[str, Any]]:
        """Return what each process sends home, by address; processes that are lost send nothing.

        Some may be lost now: then it is asked again, until all who answer for shards by the last map have.
        """
        answers: dict[str, dict[str, Any]] = {}
        deadline = time.monotonic() + COLLECT_SECONDS
        while True:
            self._note(self._status())
            for address, home in self._gather("collect").items():
                answers[address] = later(answers.get(address), home)
            if self.failed_node or time.monotonic() > deadline or self._is_whole(answers):
                return answers
            time.sleep(POLL_SECONDS)

    def _is_whole(self, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        if not self.spec.layout.safety.active or self.last_map is None:
            return True
        there = {
            (name, piece.start, piece.stop)
            for home in answers.values() for name, node in home["nodes"].items()
            for piece in node.get("pieces", ())
        }  # fmt: skip
        return all((self.reader(s), s.start, s.stop) in there for s in self.last_map.segments)

    def reader(self, segment: Segment) -> str:
        """Return the server that answers for a shard."""
        return segment.tail if self.spec.layout.safety.scheme == "chain" else segment.head

    def drain(self) -> dict[str, dict[str, Any]]:
        """Return what each process has to send home since the last call, by address."""
        return self._gather("drain")

    def keep(
        self, sparse: Sequence[str], places: Sequence[tuple[str, int, int]]
    ) -> dict[str, dict[str, int]]:
        """Leave shards in their processes; return the bytes of each by its Dask key, by address."""
        return self._processes.keep(self.routes, sparse, places)

    def _note(self, status: Mapping[str, Any]) -> None:
        self.gone, self.routes = set(status["gone"]), status["routes"]
        self._map, self.rows = status["map"], status["rows"]
        for address in status["strangers"].keys() - self._strangers:
            self._strangers.add(address)
            warn_unusable(address, status["strangers"][address])

    @property
    def last_map(self) -> Routes | None:
        """Who held what at the end."""
        found: Routes | None = cloudpickle.loads(self._map) if self._map else None
        return found

    @property
    def _there(self) -> list[str]:
        there = [at for node, at in self.routes.items() if node.startswith("process-")]
        return [address for address in there if address not in self.gone]

    def _gather(self, action: str) -> dict[str, dict[str, Any]]:
        seconds = HANG_SECONDS if self.failed_node else COLLECT_SECONDS
        return self._processes.ask(self._there, action, self._map, seconds)

    def close(self) -> None:
        """Leave the cluster as it was; safe to call at any time."""
        self._opened = False
        if not self._registered:
            return
        try:
            self._ask("stop", why="the run was closed")
            self.halt()
            for thread in self._restarting:
                thread.join(HALT_SECONDS)
            self.client.cancel(list(self._tasks.values()), force=True)
            self._ask("close", timeout=10.0)
        except (OSError, TimeoutError):
            pass  # the scheduler is gone, and all of the run with it
        self._tasks.clear()

    def abandon(self) -> None:
        """Leave the cluster as it was, without waiting for it; `close` has nothing left to do."""
        self._opened = self._registered = False
        loop: Any = self.client.loop
        loop.add_callback(self._abandon)

    async def _abandon(self) -> None:
        controller = getattr(self._scheduler, self.spec.name)
        with contextlib.suppress(OSError):
            await controller(action="stop", why="its owner gave it up")
            await self.client.cancel(list(self._tasks.values()), asynchronous=True, force=True)
            await controller(action="close")

    def _ask(self, action: str, timeout: float = 10.0, **arguments: Any) -> Any:
        async def ask() -> Any:
            return await getattr(self._scheduler, self.spec.name)(action=action, **arguments)

        try:
            return self.client.sync(ask, callback_timeout=timeout)
        except RuntimeError as error:
            if self.client.status == "running":
                raise
            raise ConnectionError(f"the Dask client is {self.client.status}") from error


def _raised(node: str, cause: BaseException | None) -> ProgramError:
    error = ProgramError(f"{node} did not run: {type(cause).__name__}: {cause}")
    error.__cause__ = cause
    return error


def _not_started(absent: Sequence[str]) -> ClusterError:
    return ClusterError(
        f"{', '.join(absent)} did not start within {START_SECONDS:.0f} s; required: a free thread for each "
        "program at its start. Wait for other tasks of the cluster, or give its workers more threads."
    )
