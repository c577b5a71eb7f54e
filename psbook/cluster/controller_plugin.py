"""The controller of a run, in the scheduler's process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

import cloudpickle  # type: ignore[import-untyped]
from distributed.diagnostics.plugin import SchedulerPlugin

from psbook.checkpoints import Checkpoints
from psbook.cluster.failures import pack
from psbook.cluster.plane import Plane
from psbook.cluster.spec import (
    Begin,
    Begun,
    Fetch,
    Halt,
    Members,
    Pulse,
    Severed,
    Spec,
    Standing,
    Trouble,
    nodes_of,
)
from psbook.cluster.timing import boot_id
from psbook.core.actions import Action, Commit, End, Left, Lost, Restart, Restore, Send
from psbook.core.controller import Controller
from psbook.core.controls import CONTROLLER, Beat, Failed, Reroute, Start
from psbook.core.membership import MARGIN
from psbook.core.routes import Routes
from psbook.errors import CheckpointError
from psbook.trace import Recorder

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, WorkerState

logger = logging.getLogger(__name__)

START_SECONDS = 120.0
"""A program that is started again, and has not begun by then, has no thread to run in."""


class ControllerPlugin(SchedulerPlugin):
    """Holds the core's controller, hears of lost processes, and answers the client.

    Parameters
    ----------
    spec
        The run.
    client
        Id of the Dask client that runs it: when it disconnects, the run is over.
    """

    idempotent = True

    def __init__(self, spec: Spec, client: str) -> None:
        self.spec = spec
        self.client = client
        self.name = spec.name

    async def start(self, scheduler: Scheduler) -> None:
        """Open the plane and the control handler; called by Dask when the plugin is registered."""
        self.scheduler = scheduler
        self.safety = self.spec.layout.safety
        self.core = Controller(self.spec.layout, restores=self.spec.checkpoints is not None)
        self.routes = dict(self.spec.routes)
        self.recorder = Recorder(self.spec.level)
        self._epoch = self.spec.layout.routes.epoch
        self.restarts: list[tuple[str, int, str]] = []
        """Programs that were to be started again: node, incarnation, and where."""
        self._leaving: set[str] = set()
        self._leaves: dict[str, asyncio.Task[None]] = {}
        self._closing = False
        self._newcomers = 0
        self._committing: set[asyncio.Task[None]] = set()
        self.state = "starting"
        self.trouble: Trouble | None = None
        self.clocks: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._beats: dict[str, float] = {}
        self._gone: set[str] = set()
        self._hung: set[str] = set()
        """Processes that give no sign of life, but may wake up."""
        self._starting: dict[str, tuple[int, float]] = {}
        """Programs that are started again: incarnation, and since when."""
        self._standing: dict[str, tuple[Standing, float]] = {}
        self._zero = math.inf
        self._starts: list[Send] = []
        self._unaware = set(self.spec.processes.values())
        self._seconds = 0.0
        self._control_actions: dict[str, Callable[..., Coroutine[Any, Any, Any]]] = {
            "ping": self._ping,
            "hello": self._hello,
            "status": self._status,
            "stop": self._stop,
            "close": self._close_run,
            "leave": self._leave,
        }
        self.plane = Plane(scheduler, self.spec.channel, self.routes, self._receive, self._broken)
        scheduler.handlers[self.name] = self._control
        self._timers: list[asyncio.Task[None]] = [asyncio.create_task(self._watch_leases())]

    # What processes and the client ask for

    async def _control(self, action: str, **arguments: Any) -> Any:
        return await self._control_actions[action](**arguments)

    async def _ping(self) -> float:
        return time.monotonic()

    async def _hello(self, address: str, process: str) -> dict[str, Any]:
        if not process and self.state != "ended":
            process = self._newcomer(address)
        if process:
            self._beats[process] = time.monotonic()
        logger.info("psbook run %s: %s at %s says hello", self.spec.run, process, address)
        running = math.isfinite(self._zero)
        return {
            "boot": boot_id(),
            "state": self.state,
            "process": process,
            "routes": self.routes,
            "zero": self._zero if running else None,
        }

    def _newcomer(self, address: str) -> str:
        """Name a process that was not there at the start, and the server that it is to be."""
        self._newcomers += 1
        process = f"process-{len(self.spec.processes) + self._newcomers - 1}"
        self.routes[process] = address
        self.routes[f"server-{self.spec.layout.count + self._newcomers - 1}"] = address
        self._tell_members()
        return process

    def _tell_members(self) -> None:
        for process in self._processes():
            self.plane.send(CONTROLLER, process, Members(self.routes))

    def _processes(self) -> list[str]:
        """Return the processes that are there, hung or not."""
        names = [node for node in self.routes if node.startswith("process-")]
        return [name for name in names if self.routes[name] not in self._gone]

    @property
    def _silent(self) -> set[str]:
        """Processes from which nothing is to be expected now."""
        return self._gone | self._hung

    async def _leave(self, address: str) -> None:
        """Let a process go when others hold what it holds; it may ask, or Dask, or both."""
        if address not in self._leaves:
            self._leaving.add(address)
            self._leaves[address] = asyncio.create_task(self._hand_on(address))
        await asyncio.shield(self._leaves[address])

    async def _hand_on(self, address: str) -> None:
        """Let others take over what a process holds; its programs go on elsewhere at once."""
        nodes = nodes_of(self.routes, address)
        servers = {node for node in nodes if self.spec.layout.rank(node) is None}
        if self.state != "running":
            return
        for node in sorted(servers):
            self._carry_out(self.core.leave(node))
        for node in nodes:
            if node not in servers:
                self._carry_out(self.core.handle(Failed(node, f"{node}: its process leaves"), self._now()))
        while self.state == "running" and servers & self.core.membership.servers:  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # the core tells nobody
        self._gone.add(address)
        for process in self._processes_at(address):
            self._beats.pop(process, None)

    def _now(self) -> float:
        """Seconds since the start signal."""
        return time.monotonic() - self._zero if math.isfinite(self._zero) else 0.0

    async def _status(self, wait: float) -> dict[str, Any]:
        """Answer when the state changes, or after `wait` seconds."""
        if self.state != "ended":
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait)
        self._changed.clear()
        why = self.trouble
        return {
            "state": self.state,
            "clocks": self.clocks,
            "trouble": why and (why.kind, why.detail, why.error),
            "node": why.node if why else "",
            "seconds": self._seconds,
            "gone": list(self._silent),
            "absent": sorted(self.core.absent),
            "restarts": self.restarts,
            "routes": self.routes,
            "map": cloudpickle.dumps(self.core.membership.routes) if self.state == "ended" else b"",
            "rows": self.recorder.rows() if self.state == "ended" else [],
        }

    async def _stop(self, why: str) -> None:
        self._end(Trouble("Stopped", CONTROLLER, why))

    async def _close_run(self) -> None:
        """Take everything of the run off the cluster; processes that hang are not waited for."""
        self._end(None)
        self._closing = True
        for timer in (*self._timers, *self._leaves.values()):
            timer.cancel()
        self.scheduler.worker_plugins.pop(self.name, None)
        live = [address for address in self.scheduler.workers if address not in self._silent]
        remove = {"op": "plugin-remove", "name": self.name}
        removing = self.scheduler.broadcast(msg=remove, workers=live, on_error="ignore")
        try:
            await asyncio.wait_for(removing, 5.0)
        except TimeoutError:
            logger.warning("psbook run %s: not every process let go of its shards in 5 s", self.spec.run)
        await self.plane.close()
        self.scheduler.handlers.pop(self.name, None)
        self.scheduler.plugins.pop(self.name, None)

    # What the plane brings

    def _receive(self, source: str, destination: str, message: Any) -> None:
        try:
            if isinstance(message, Pulse):
                self._hear(message.process)
                self.clocks.update(message.clocks)
                self._note_standing(message.standing)
            elif isinstance(message, Trouble):
                self._end(message)
            elif isinstance(message, Severed):
                if message.address not in self.scheduler.workers:
                    self._lost(message.address, f"the connection to it broke ({message.why})")
            elif isinstance(message, Begun):
                self._start_programs(message.process)
            else:
                if isinstance(message, Beat):
                    self._note_beat(message)
                self._carry_out(self.core.handle(message, self._now()))
        except Exception as error:
            logger.exception("psbook run %s: the controller failed", self.spec.run)
            detail = f"the controller raised {error!r}; this is a bug in psbook."
            self._end(Trouble("ProtocolError", CONTROLLER, detail, pack(error)))

    def _hear(self, process: str) -> None:
        """Note a sign of life; a process that was given up and wakes up hears what has become of it."""
        self._beats[process] = time.monotonic()
        address = self.routes[process]
        if address in self._hung:
            self._hung.discard(address)
            logger.warning("psbook run %s: %s at %s goes on", self.spec.run, process, address)
            self.plane.send(CONTROLLER, process, Members(self.routes))

    def _note_beat(self, beat: Beat) -> None:
        if self.spec.layout.rank(beat.node) is None:
            at = self.routes[beat.node]
            self._beats.update((name, time.monotonic()) for name in self._beats if self.routes[name] == at)
        elif beat.incarnation >= self._starting.get(beat.node, (math.inf, 0.0))[0]:
            del self._starting[beat.node]

    def _carry_out(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                if isinstance(action.message, Reroute):
                    self._note_map(action.message.routes)
                if isinstance(action.message, Start) and self._unaware:
                    self._begin(action)
                elif action.to in self.routes and self.routes[action.to] not in self._gone:
                    self.plane.send(CONTROLLER, action.to, action.message)
            elif isinstance(action, End):
                self._end(Trouble("NodeFailure", CONTROLLER, action.failure) if action.failure else None)
            else:
                self._manage(action)

    def _note_map(self, routes: Routes) -> None:
        """Write a map down when it is published, and not again when somebody is told once more."""
        if routes.epoch > self._epoch:
            self._epoch = routes.epoch
            self.recorder.add(self._now(), CONTROLLER, "epoch", version=routes.epoch, detail=routes.text)

    def _manage(self, action: Action) -> None:
        """Do what the core asks of the cluster, and write it down."""
        now = self._now()
        if isinstance(action, Lost):
            logger.warning("psbook run %s: %s is given up: %s", self.spec.run, action.node, action.detail)
            self.recorder.add(now, action.node, "lost", detail=action.detail)
            self._standing.pop(action.node, None)
        elif isinstance(action, Left):
            self.recorder.add(now, action.node, "lost", detail="left; others hold what it held")
        elif isinstance(action, Restart):
            self._restart(action)
        elif isinstance(action, Restore):
            self.plane.send(CONTROLLER, action.to, Fetch(action.segment))
        elif isinstance(action, Commit):
            task = asyncio.create_task(asyncio.to_thread(self._commit, action))
            self._committing.add(task)
            task.add_done_callback(self._committing.discard)

    def _restart(self, restart: Restart) -> None:
        """Put a program on a process that is there, where fewest are; the client hands it out."""
        node = self.spec.layout.node(restart.rank)
        before = self.routes[node]
        there = [self.routes[name] for name in self._processes()]
        places = [at for at in there if at not in self._leaving | self._hung and at != before]
        if not places:
            self._end(
                Trouble("NodeFailure", node, f"{node} at {before} lost, and no process is left for it.")
            )
            return
        programs = [self.routes[program] for program in self.spec.layout.programs]
        address = min(places, key=lambda place: (programs.count(place), there.index(place)))
        self.routes[node] = address
        self._tell_members()
        self.restarts.append((node, restart.incarnation, address))
        self._starting[node] = restart.incarnation, time.monotonic()
        self.recorder.add(self._now(), node, "restart", version=restart.incarnation, detail=address)
        self._changed.set()

    def _commit(self, commit: Commit) -> None:
        """Make a checkpoint of what the servers have written; in a thread, it may take a while."""
        checkpoints: Checkpoints = self.spec.checkpoints  # type: ignore[assignment]  # else nothing is kept
        try:
            checkpoints.store().commit(commit.clock, commit.records, commit.meta)
        except CheckpointError as error:
            trouble = Trouble("CheckpointError", CONTROLLER, str(error), pack(error))
            self.plane.send(CONTROLLER, CONTROLLER, trouble)
            return
        size = sum(record.bytes for record in commit.records)
        self.recorder.add(
            self._now(), CONTROLLER, "checkpoint", clock=commit.clock, bytes=size,
            detail=str(checkpoints.url),
        )  # fmt: skip

    def _begin(self, start: Send) -> None:
        """Set the clocks of all processes before the first program starts."""
        if self.state == "starting":
            self.state = "running"
            self._changed.set()
            self._zero = time.monotonic()
            self.core.resume(0.0)  # who said hello has not been silent since
            for process in self._processes():
                self.plane.send(CONTROLLER, process, Begin(self._zero))
        self._starts.append(start)

    def _start_programs(self, aware: str) -> None:
        self._unaware.discard(aware)
        if not self._unaware:
            starts, self._starts = self._starts, []
            for start in starts:
                self.plane.send(CONTROLLER, start.to, start.message)

    def _end(self, trouble: Trouble | None) -> None:
        if self.state == "ended":
            return
        self.state, self.trouble = "ended", trouble
        self._seconds = max(0.0, time.monotonic() - self._zero)
        self._changed.set()
        for process in self._processes():
            self.plane.send(CONTROLLER, process, Halt(trouble.detail if trouble else "finished"))

    # Who is lost

    def remove_worker(self, scheduler: Scheduler, worker: str, *, stimulus_id: str, **_: Any) -> None:
        """Dask lost a worker, or lets it go; of one that it retires we hear while the process still lives."""
        if self.safety.active and self.state == "running" and stimulus_id.startswith("retire-workers"):
            self._timers.append(asyncio.create_task(self._leave(worker)))
        elif worker not in self._leaving:
            self._lost(worker, "its process left the Dask cluster")

    def valid_workers_downscaling(
        self, scheduler: Scheduler, workers: list[WorkerState]
    ) -> list[WorkerState]:
        """Keep adaptive scaling from processes that cannot hand over what they hold."""
        if self.safety.active:
            return workers
        return [each for each in workers if not nodes_of(self.routes, each.address)]

    def remove_client(self, scheduler: Scheduler, client: str) -> None:
        """Nobody waits for the run any more."""
        if client == self.client:
            asyncio.create_task(self._close_run())  # noqa: RUF006  # ends itself, nothing may cancel it

    async def close(self) -> None:
        """The scheduler closes."""
        for timer in (*self._timers, *self._leaves.values()):
            timer.cancel()

    def _broken(self, address: str, why: BaseException) -> None:
        self._lost(address, f"the connection to it broke ({why})")

    def _lost(self, address: str, why: str) -> None:
        if address in self._gone or self._closing:
            return
        nodes = nodes_of(self.routes, address)
        self._gone.add(address)
        if self.safety.active and self.state != "starting":
            self._give_up(address, why)
            return
        if not nodes or self.state == "ended":
            return
        self._end(
            Trouble(
                "NodeFailure",
                nodes[0],
                f"{', '.join(nodes)} at {address} lost: {why}. The run cannot go on without "
                f"{'them' if len(nodes) > 1 else 'it'}; start it again, on the workers that are left.",
            )
        )

    def _give_up(self, address: str, why: str) -> None:
        """Go on without a process, also behind the end: what it held is still to be sent home."""
        process = next((name for name in self._processes_at(address)), "")
        self.recorder.add(self._now(), process, "fault", detail=f"{process} at {address}: {why}")
        for node in nodes_of(self.routes, address):
            failed = Failed(node, f"{node} at {address} lost: {why}")
            self._carry_out(self.core.handle(failed, self._now()))
        for process in self._processes_at(address):
            self._beats.pop(process, None)
            if process in self._unaware:
                self._start_programs(process)

    def _processes_at(self, address: str) -> list[str]:
        return [name for name, at in self.routes.items() if at == address and name.startswith("process-")]

    def _note_silence(self, now: float) -> None:
        """Give up processes of which nothing has been heard for longer than any lease lasts."""
        for process, beat in list(self._beats.items()):
            address = self.routes[process]
            if now - beat > MARGIN * self.safety.lease and address not in self._silent:
                self._hung.add(address)
                self._give_up(address, f"no sign of life for {now - beat:.1f} s")
        for node, (_, since) in self._starting.items():
            if now - since > START_SECONDS and self.state == "running":
                text = f"{node} was to start again at {self.routes[node]}, and has not in {START_SECONDS:g} s"
                self._end(Trouble("ClusterError", node, f"{text}; required: a free thread for it there."))

    # Who waits for whom

    def _note_standing(self, standing: dict[str, Standing]) -> None:
        now = time.monotonic()
        for program, stands in standing.items():
            if stands != self._standing.get(program, (None, 0.0))[0]:
                self._standing[program] = stands, now

    def _end_if_stuck(self, now: float) -> None:
        """End a run whose unfinished programs have all waited for others, unmoved, for the run's patience."""
        active = {self.spec.layout.programs[rank] for rank in self.core.active}
        if self.state != "running" or not active <= self._standing.keys():
            return
        waits = {program: self._standing[program] for program in sorted(active)}
        if all(stands.waits_for and now - since > self.spec.patience for stands, since in waits.values()):
            said = "; ".join(
                f"{program} waits for {stands.waits_for}" for program, (stands, _) in waits.items()
            )
            self._end(
                Trouble(
                    "Deadlock",
                    CONTROLLER,
                    f"nothing has moved for {self.spec.patience:g} s: {said}. Required: every program clocks "
                    "or ends, every receive has its send, every barrier its peers.",
                )
            )

    async def _watch_leases(self) -> None:
        pause = (self.safety.lease if self.safety.active else self.spec.lease) / 5
        woken = time.monotonic()
        while self.safety.active or self.state != "ended":
            await asyncio.sleep(pause)
            now = time.monotonic()
            self._end_if_stuck(now)
            late, woken = now - woken - pause, now
            if late > pause:
                # This loop itself stood still, and the beats of that time are not read yet.
                self._beats = dict.fromkeys(self._beats, now)
                self.core.resume(self._now())
            if self.safety.active and self.state != "starting":
                self._note_silence(now)
                self._carry_out(self.core.tick(self._now()))
                continue
            for process, beat in list(self._beats.items()):
                if now - beat > MARGIN * self.spec.lease:
                    self._lost(self.spec.routes[process], f"no sign of life for {now - beat:.1f} s")
