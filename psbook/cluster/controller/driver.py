"""Drives the core's controller in the scheduler's process: messages in, actions out, who is lost."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from psbook.checkpoints import Checkpoints
from psbook.cluster.controller.leases import START_SECONDS, Leases
from psbook.cluster.controller.population import Population, lost_text
from psbook.cluster.controller.stuck import Standings, deadlock_text
from psbook.cluster.failures import pack
from psbook.cluster.live.vitals import Vitals
from psbook.cluster.plane import Plane
from psbook.cluster.spec import Begin, Begun, Fetch, Halt, Members, Pulse, Severed, Spec, Trouble
from psbook.core.actions import Action, Commit, End, Left, Lost, Restart, Restore, Send
from psbook.core.controller import Controller
from psbook.core.controls import CONTROLLER, Beat, Failed, Reroute, Start
from psbook.core.routes import Routes
from psbook.errors import CheckpointError
from psbook.trace import Recorder

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler

logger = logging.getLogger(__name__)


class ControllerDriver:
    """One run, from its start to its end, as its controller sees it.

    Parameters
    ----------
    spec
        The run.
    scheduler
        Of the cluster; everything here runs on its loop.
    """

    def __init__(self, spec: Spec, scheduler: Scheduler) -> None:
        self.spec = spec
        self.scheduler = scheduler
        self.safety = spec.layout.safety
        self.core = Controller(spec.layout, restores=spec.checkpoints is not None)
        self.people = Population(spec)
        self.leases = Leases()
        self.standings = Standings()
        self.recorder = Recorder(spec.level)
        self.state = "starting"
        """"starting", "running", "ended"."""
        self.trouble: Trouble | None = None
        """Why the run ended, if not well."""
        self.seconds = 0.0
        """Time of the run at which it ended."""
        self.clocks: dict[str, int] = {}
        self.restarts: list[tuple[str, int, str]] = []
        """Programs that were to be started again: node, incarnation, and where."""
        self.changed = asyncio.Event()
        """Set when somebody who watches the run should look."""
        self.zero = math.inf
        """Time 0 of the run, in seconds of the monotonic clock."""
        self.closing = False
        self.vitals = Vitals(spec, self)
        """What those who watch the run are told."""
        self._epoch = spec.layout.routes.epoch
        self._starts: list[Send] = []
        self._unaware = set(spec.processes.values())
        self._committing: set[asyncio.Task[None]] = set()
        self.plane = Plane(scheduler, spec.channel, self.people.routes, self._receive, self._broken)

    def now(self) -> float:
        """Seconds since the start signal."""
        return time.monotonic() - self.zero if math.isfinite(self.zero) else 0.0

    def tell_members(self) -> None:
        """Tell every process where everybody is."""
        for process in self.people.processes:
            self.plane.send(CONTROLLER, process, Members(self.people.routes))

    # What the plane brings

    def _receive(self, source: str, destination: str, message: Any) -> None:
        try:
            if isinstance(message, Pulse):
                self._hear(message.process)
                self.clocks.update(message.clocks)
                self.standings.note(message.standing, time.monotonic())
                self.vitals.hear(message)
            elif isinstance(message, Trouble):
                self.end(message)
            elif isinstance(message, Severed):
                if message.address not in self.scheduler.workers:
                    self.lost(message.address, f"the connection to it broke ({message.why})")
            elif isinstance(message, Begun):
                self._start_programs(message.process)
            else:
                if isinstance(message, Beat):
                    self._note_beat(message)
                self.carry_out(self.core.handle(message, self.now()))
        except Exception as error:
            logger.exception("psbook run %s: the controller failed", self.spec.run)
            detail = f"the controller raised {error!r}; this is a bug in psbook."
            self.end(Trouble("ProtocolError", CONTROLLER, detail, pack(error)))

    def _hear(self, process: str) -> None:
        """Note a sign of life; a process that was given up and wakes up hears what has become of it."""
        self.leases.hear([process], time.monotonic())
        address = self.people.routes[process]
        if address in self.people.hung:
            self.people.hung.discard(address)
            logger.warning("psbook run %s: %s at %s goes on", self.spec.run, process, address)
            self.plane.send(CONTROLLER, process, Members(self.people.routes))

    def _note_beat(self, beat: Beat) -> None:
        if self.spec.layout.rank(beat.node) is None:
            at = self.people.routes[beat.node]
            self.leases.hear_known(self.people.processes_at(at), time.monotonic())
        else:
            self.leases.begun(beat.node, beat.incarnation)

    # What the core asks for

    def carry_out(self, actions: Sequence[Action]) -> None:
        """Do what the core asks for."""
        for action in actions:
            if isinstance(action, Send):
                if isinstance(action.message, Reroute):
                    self._note_map(action.message.routes)
                if isinstance(action.message, Start) and self._unaware:
                    self._begin(action)
                elif self.people.is_there(action.to):
                    self.plane.send(CONTROLLER, action.to, action.message)
            elif isinstance(action, End):
                self.end(Trouble("NodeFailure", CONTROLLER, action.failure) if action.failure else None)
            else:
                self._manage(action)

    def _note_map(self, routes: Routes) -> None:
        """Write a map down when it is published, and not again when somebody is told once more."""
        if routes.epoch > self._epoch:
            self._epoch = routes.epoch
            self.recorder.add(self.now(), CONTROLLER, "epoch", version=routes.epoch, detail=routes.text)

    def _manage(self, action: Action) -> None:
        """Do what the core asks of the cluster, and write it down."""
        now = self.now()
        if isinstance(action, Lost):
            logger.warning("psbook run %s: %s is given up: %s", self.spec.run, action.node, action.detail)
            self.recorder.add(now, action.node, "lost", detail=action.detail)
            self.standings.forget(action.node)
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
        """Put a program on another process; the client hands it out."""
        node = self.spec.layout.node(restart.rank)
        before = self.people.routes[node]
        address = self.people.place_again(node)
        if address is None:
            self.end(Trouble("NodeFailure", node, f"{node} at {before} lost, and no process is left for it."))
            return
        self.tell_members()
        self.restarts.append((node, restart.incarnation, address))
        self.leases.starting(node, restart.incarnation, time.monotonic())
        self.recorder.add(self.now(), node, "restart", version=restart.incarnation, detail=address)
        self.changed.set()

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
            self.now(), CONTROLLER, "checkpoint", clock=commit.clock, bytes=size,
            detail=str(checkpoints.url),
        )  # fmt: skip

    # Start and end

    def _begin(self, start: Send) -> None:
        """Set the clocks of all processes before the first program starts."""
        if self.state == "starting":
            self.state = "running"
            self.changed.set()
            self.zero = time.monotonic()
            self.core.resume(0.0)  # who said hello has not been silent since
            for process in self.people.processes:
                self.plane.send(CONTROLLER, process, Begin(self.zero))
        self._starts.append(start)

    def _start_programs(self, aware: str) -> None:
        self._unaware.discard(aware)
        if not self._unaware:
            starts, self._starts = self._starts, []
            for start in starts:
                self.plane.send(CONTROLLER, start.to, start.message)

    def end(self, trouble: Trouble | None) -> None:
        """End the run, well or not; what ended it first is what it ended of."""
        if self.state == "ended":
            return
        self.state, self.trouble = "ended", trouble
        self.seconds = max(0.0, time.monotonic() - self.zero)
        self.changed.set()
        for process in self.people.processes:
            self.plane.send(CONTROLLER, process, Halt(trouble.detail if trouble else "finished"))

    # Who is lost

    def _broken(self, address: str, why: BaseException) -> None:
        self.lost(address, f"the connection to it broke ({why})")

    def lost(self, address: str, why: str) -> None:
        """A process is gone."""
        if address in self.people.gone or self.closing:
            return
        nodes = self.people.nodes_at(address)
        self.people.gone.add(address)
        if self.safety.active and self.state != "starting":
            self.give_up(address, why)
        elif nodes and self.state != "ended":
            self.end(Trouble("NodeFailure", nodes[0], lost_text(nodes, address, why)))

    def give_up(self, address: str, why: str) -> None:
        """Go on without a process, also behind the end: what it held is still to be sent home."""
        processes = self.people.processes_at(address)
        process = processes[0] if processes else ""
        self.recorder.add(self.now(), process, "fault", detail=f"{process} at {address}: {why}")
        for node in self.people.nodes_at(address):
            self.carry_out(self.core.handle(Failed(node, f"{node} at {address} lost: {why}"), self.now()))
        self.leases.forget(processes)
        for process in processes:
            if process in self._unaware:
                self._start_programs(process)

    async def watch_leases(self) -> None:
        """Look from time to time who is silent, and whether anything moves; to the end."""
        pause = (self.safety.lease if self.safety.active else self.spec.lease) / 5
        woken = time.monotonic()
        while self.safety.active or self.state != "ended":
            await asyncio.sleep(pause)
            now = time.monotonic()
            self._end_if_stuck(now)
            late, woken = now - woken - pause, now
            if late > pause:
                self.leases.put_off(now)
                self.core.resume(self.now())
            if self.safety.active and self.state != "starting":
                self._note_silence(now)
                self.carry_out(self.core.tick(self.now()))
                continue
            for process, seconds in self.leases.overdue(now, self.spec.lease):
                self.lost(self.spec.routes[process], f"no sign of life for {seconds:.1f} s")

    def _note_silence(self, now: float) -> None:
        """Give up processes of which nothing has been heard for longer than any lease lasts."""
        for process, seconds in self.leases.overdue(now, self.safety.lease):
            address = self.people.routes[process]
            if address not in self.people.silent:
                self.people.hung.add(address)
                self.give_up(address, f"no sign of life for {seconds:.1f} s")
        for node in self.leases.not_begun(now):
            if self.state == "running":
                at = self.people.routes[node]
                text = f"{node} was to start again at {at}, and has not in {START_SECONDS:g} s"
                self.end(Trouble("ClusterError", node, f"{text}; required: a free thread for it there."))

    def _end_if_stuck(self, now: float) -> None:
        if self.state != "running":
            return
        active = {self.spec.layout.programs[rank] for rank in self.core.active}
        said = self.standings.stuck(active, now, self.spec.patience)
        if said is not None:
            self.end(Trouble("Deadlock", CONTROLLER, deadlock_text(said, self.spec.patience)))
