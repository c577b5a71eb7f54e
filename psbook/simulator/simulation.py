"""One simulated run: the driver of the hosts in simulated time."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from psbook.checkpoints import Checkpoints
from psbook.core.actions import Action, Commit, End, Send
from psbook.core.controller import Controller
from psbook.core.controls import CONTROLLER, Hello, Reroute, Start
from psbook.core.messages import (
    Clock,
    Message,
    size,
)
from psbook.core.routes import Routes, Segment
from psbook.errors import Deadlock, NodeFailure, PsbookError, Stopped
from psbook.evaluation import Evaluator, Piece, whole_tables
from psbook.hosts.driver import Driver, Outcome, attempt, measure
from psbook.hosts.program import ProgramHost
from psbook.hosts.server import ServerHost
from psbook.job import Progress
from psbook.laws import Draws, Law
from psbook.plan import Plan
from psbook.run import Run
from psbook.simulator.cores import Cores, Hosts
from psbook.simulator.engine import EventQueue
from psbook.simulator.faults import Faults
from psbook.simulator.live import Watched
from psbook.simulator.network import Network
from psbook.simulator.service import Service
from psbook.simulator.troubles import Troubles
from psbook.stopping import STOPPED
from psbook.trace import Recorder, Trace
from psbook.versions import versions

Receiver = Callable[[str, Message], object]

BEFORE_CLOCK_0 = (Hello, Start)
"""Messages that cost no time: clock 0 begins, for all at once, when everybody is ready."""


class Simulation:
    """Driver of every host of a run, in one event queue.

    At equal times messages go before computations, and computations in the order of the workers, so that ties
    are settled by (worker, iteration).
    """

    has_threads = False

    def __init__(
        self,
        plan: Plan,
        compute: Law,
        network: Network | None,
        service: Service,
        level: str,
        path: str | os.PathLike[str] | None,
        placement: str,
        progress: Progress,
        stop: threading.Event | None = None,
        faults: Faults | None = None,
        why: str = "",
        shared: Hosts | None = None,
    ) -> None:
        self.plan = plan
        self.queue = EventQueue()
        self.recorder = Recorder(level, path)
        self._compute = Draws(compute, plan.seed)
        self._measured = compute.measured
        self._computed: Counter[int] = Counter()
        self._cuts_short = getattr(plan.model, "cuts_short", False)
        self._under_way: dict[int, tuple[Any, ...]] = {}
        self._shared = shared
        self.cores = [] if shared is None else [Cores(self.queue, shared) for _ in range(shared.count)]
        self._network = network
        self._service = service
        self._progress = progress
        self._stop = stop
        self._over = False
        self._error: BaseException | None = None
        layout = plan.layout
        self._evaluator = (
            None if plan.job.evaluate is None
            else Evaluator(plan.job.evaluate, plan.job.tables, self.recorder)
        )  # fmt: skip
        self._epoch = layout.routes.epoch
        self.controller = Controller(layout, restores=plan.checkpoints is not None)
        self._troubles = Troubles(self, faults or Faults()) if layout.safety.active else None
        self.hosts: dict[str, ProgramHost | ServerHost] = {}
        self.receivers: dict[str, Receiver] = {CONTROLLER: self.control}
        """What takes a node's messages in."""
        for node in (*layout.programs, *layout.servers):
            if self._troubles is None:
                self.receivers[node] = self.receiver(self.make_host(node, self))
            else:
                self.make_host(node, self._troubles.processes[node])
        losses = None if self._evaluator is None else self._evaluator.losses
        self.watched = Watched(self, losses, self._troubles)
        """Answers those who watch the run."""
        self._meta = plan.meta(
            backend="simulator",
            time_unit="simulated s",
            compute_label=compute.label + (f", {shared.label}" if shared else ""),
            network_label="no network cost" if network is None else network.label,
            service_label=service.label,
            placement=placement,
            engine="messages",
            engine_why=why,
            trace_level=level,
            versions=versions(),
        )

    def run(self) -> Run:
        """Run to the end; raise what ended it early, with trace and tables as they were by then."""
        if self._troubles is not None:
            self._troubles.begin()
        for server in self.servers:
            server.start()
        for program in self.programs:
            program.start()
        pieces: list[Piece] = []
        try:
            self.queue.run(stop=self._ask_to_stop)
            if self._error is None and not self._over:
                self._error = self.why_stuck()
            if self._error is None:
                pieces = self._pieces()
                self._last_evaluation(pieces)
        except PsbookError as error:
            self._error = error
        trace = self._close()
        self.watched.end(trace.end, self._error)
        if self._error is not None:
            if isinstance(self._error, PsbookError):
                self._error.trace = trace
                self._error.tables = self._learned()
            raise self._error
        return Run(self._whole(pieces), {host.node: host.result for host in self.programs}, trace)

    @property
    def programs(self) -> list[ProgramHost]:
        """The programs' hosts, by rank."""
        return [host for host in self.hosts.values() if isinstance(host, ProgramHost)]

    @property
    def servers(self) -> list[ServerHost]:
        """The servers' hosts."""
        return [host for host in self.hosts.values() if isinstance(host, ServerHost)]

    def host(self, node: str) -> ProgramHost | ServerHost:
        """Return the host of a node."""
        return self.hosts[node]

    def make_host(self, node: str, process: Driver, incarnation: int = 0) -> ProgramHost | ServerHost:
        """Make the host of a node, at first or when it is started again."""
        plan = self.plan
        host: ProgramHost | ServerHost
        rank = plan.layout.rank(node)
        if rank is not None:
            host = plan.program_host(rank, process, self.recorder, incarnation)
            host.booking.until = self.queue.now
            before = self.hosts.get(node)
            if isinstance(before, ProgramHost):
                before.booking.book("idle", self.queue.now, before.clock, "lost")
                host.supply.adopt(before.supply.adopted)
        else:
            host = plan.server_host(node, process, self.recorder, self._snapshot, incarnation=incarnation)
        self.hosts[node] = host
        return host

    def _pieces(self) -> list[Piece]:
        """Return the final values, of whoever answers for each shard, or of another that lives."""
        if self._troubles is not None:
            self._troubles.settle()
        return [self._last(segment) for segment in self.controller.membership.routes.segments]

    def _whole(self, pieces: list[Piece]) -> dict[str, Any]:
        return whole_tables(self.plan.job.tables, pieces)

    def _learned(self) -> dict[str, Any] | None:
        """Return the values after a run that failed; ``None`` if a part of them is lost."""
        try:
            return self._whole(self._pieces())
        except PsbookError:
            return None

    def _last(self, segment: Segment) -> Piece:
        chain = self.plan.layout.safety.scheme == "chain"
        for node in reversed(segment.chain) if chain else segment.chain:
            host = self.hosts[node]
            lives = self._troubles is None or self._troubles.processes[node].alive
            piece = host.piece(segment) if lives and isinstance(host, ServerHost) else None
            if piece is not None:
                return piece
        raise NodeFailure(
            f"all programs have ended, but no server that lives has a copy of shard {segment.shard}; "
            "required: replicas, or a checkpoint."
        )

    def _ask_to_stop(self) -> bool:
        if self.watched.wanted:
            self.watched.between(self.queue.now, self.queue.peek())
        if self._stop is not None and self._stop.is_set() and not self._over:
            self._over = True
            self._error = Stopped(STOPPED)
        return self._over

    def _members(self) -> dict[str, Any]:
        """Who has taken part, those who joined included."""
        counts = self.plan.layout.counts
        return {
            "programs": [host.node for host in self.programs],
            "workers": [host.node for host in self.programs if counts(host.client.rank)],
            "servers": [host.node for host in self.servers],
        }

    def _end(self) -> float:
        """Return when the last program ended; the controller hears of it later, if messages take time."""
        return self.queue.now if self._error else max(host.booking.until for host in self.programs)

    def _close(self) -> Trace:
        end = self._end()
        for host in self.programs:
            host.halt()
            host.close(end)
        return self.recorder.trace({**self._meta, **self._members(), **self._of_hosts(), "end": end})

    def _of_hosts(self) -> dict[str, Any]:
        """Say whose cores were shared, and how many seconds of core each program asked for."""
        if self._shared is None:
            return {}
        hosts = {host.node: self._shared.host(host.client.rank) for host in self.programs}
        return {
            "hosts": hosts,
            "cores": dict.fromkeys(hosts.values(), self._shared.cores),
            "busy_seconds": {
                host.node: sum(cores.seconds.get(host.client.rank, 0.0) for cores in self.cores)
                for host in self.programs
            },
        }

    def _last_evaluation(self, pieces: list[Piece]) -> None:
        if self._evaluator is not None and not self._evaluator.covers(pieces):
            end = self._end()
            self._evaluator.finish([piece._replace(time=min(end, piece.time)) for piece in pieces])

    def why_stuck(self) -> Deadlock:
        """Say who waits for what, when nothing can happen any more."""
        waiting = [f"{host.node} (clock {host.clock}) waits for {host.waits_for}" for host in self.programs
                   if host.waits_for]  # fmt: skip
        shards = [replica.shard for host in self.servers for replica in host.server.replicas.values()]
        parked = [shard.why(each.message) for shard in shards for each in shard.parked]
        return Deadlock(
            f"nothing can happen any more at {self.queue.now:g} simulated s: {'; '.join(waiting)}. "
            + (f"Held by the consistency model: {'; '.join(dict.fromkeys(parked))}. " if parked else "")
            + "Required: every program clocks or ends, every receive has its send, every barrier its peers."
        )

    # The driver

    def now(self) -> float:
        """Simulated seconds."""
        return self.queue.now

    def call_later(self, seconds: float, function: Callable[..., object], *arguments: Any) -> object:
        """Call `function` when simulated time has passed."""
        return self.queue.after(seconds, function, *arguments)

    def transmit(self, source: str, destination: str, message: Message) -> None:
        """Carry a message through the network."""
        if self._troubles is not None and type(message) not in BEFORE_CLOCK_0:
            self._troubles.carry(source, destination, message)
        else:
            self.carry(source, destination, message)

    def carry(self, source: str, destination: str, message: Message) -> None:
        """Carry a message, which nothing befalls on its way."""
        receive = self.receivers[destination]
        network = self._network
        if network is None or type(message) in BEFORE_CLOCK_0:
            self.queue.at(self.queue.now, receive, source, message)
            return
        if network.unlimited:
            self.queue.at(network.depart(self.queue.now, source, destination, 0), receive, source, message)
            return
        nbytes = size(message)
        head = network.depart(self.queue.now, source, destination, nbytes)
        self.queue.at(head, self._land, source, destination, message, nbytes, receive)

    def _land(self, source: str, destination: str, message: Message, nbytes: int, receive: Receiver) -> None:
        network: Network = self._network  # type: ignore[assignment]  # else there is no landing
        arrival = network.land(self.queue.now, source, destination, nbytes)
        self.queue.at(arrival, receive, source, message)

    def compute(self, rank: int, function: Callable[[], Any], done: Callable[[Outcome], None]) -> None:
        """Compute at once; the law says how much simulated time that takes."""
        outcome = measure(function) if self._measured else attempt(function)
        outcome.compiling = 0.0
        iteration = self._computed[rank]
        self._computed[rank] += 1
        seconds = self._compute.at(rank, iteration, outcome.seconds)
        if self._troubles is not None:
            seconds *= self._troubles.slowdown(self.plan.layout.node(rank))
        if self.cores:
            cores = self.cores[rank % len(self.cores)]
            computation = cores.begin(rank, seconds, partial(done, outcome))
            cancel: Callable[[], bool] = partial(cores.cancel, computation)
        else:
            event = self.queue.after(seconds, done, outcome, priority=1 + rank)
            cancel = partial(self.queue.cancel, event)
        if self._cuts_short:
            self._under_way[rank] = cancel, done, outcome

    def cut_short(self, rank: int) -> None:
        """End the last computation of a program that is not over, now."""
        cancel, done, outcome = self._under_way.get(rank, (None, None, None))
        if cancel is not None and cancel():
            self.queue.after(0.0, done, outcome, priority=1 + rank)

    def drop(self, rank: int) -> None:
        """Free the cores of a program that has died."""
        for cores in self.cores:
            cores.drop(rank)

    def fail(self, node: str, error: BaseException) -> None:
        """End the run with the error of a program or of a shard."""
        if self._error is None:
            self._error = error
            self.recorder.add(self.queue.now, node, "failure", detail=str(error))
        self._over = True

    def ended(self, node: str) -> None:
        """A program has ended; the controller knows."""
        if self._troubles is not None:
            self._troubles.ended(node)

    # Servers and the controller

    def receiver(self, host: ProgramHost | ServerHost) -> Callable[[str, Message], object]:
        """Return what takes a node's messages in: at once, or one after the other with service times."""
        if isinstance(host, ProgramHost):
            return host.receive
        if not self._service:
            return lambda source, message: self._serve(host, source, message)
        service, number = self._service, int(host.node.rpartition("-")[2])
        later: Callable[..., object] = self._handle
        if self._troubles is not None:  # a process that dies or hangs does so with what is in its queue
            later = partial(self._troubles.processes[host.node].do, self._handle)
        free = 0.0

        def receive(source: str, message: Message) -> None:
            nonlocal free
            host.arrived(source, message)
            role = service.takes(message)
            if free < self.queue.now:
                if role is None:
                    self._handle(host, source, message)
                    return
                free = self.queue.now
            if role is not None:
                free += service.seconds(role, number)
            self.queue.at(free, later, host, source, message)

        return receive

    def _serve(self, host: ServerHost, source: str, message: Message) -> None:
        host.arrived(source, message)
        self._handle(host, source, message)

    def _handle(self, host: ServerHost, source: str, message: Message) -> None:
        if self._troubles is not None and self.hosts[host.node] is not host:
            return  # its process has died while the message was in its queue
        host.handle(source, message)
        if type(message) is Clock and message.id.shard == 0:
            latest = self._evaluator.latest if self._evaluator else None
            replica = host.server.replicas.get(0)
            if replica is not None:
                self._progress(replica.shard.counted, latest[1] if latest else None)

    def control(self, source: str, message: Message) -> None:
        """Hand a message to the controller."""
        actions = self.controller.handle(message, self.queue.now)
        if self._troubles is not None:
            self._troubles.save(message, actions)
        self.carry_out(actions)

    def carry_out(self, actions: list[Action]) -> None:
        """Do what the controller asks for."""
        for action in actions:
            if isinstance(action, Send):
                if isinstance(action.message, Reroute):
                    self._note_map(action.message.routes)
                self.transmit(CONTROLLER, action.to, action.message)
            elif isinstance(action, End) and not action.failure:
                self._over = True
            elif isinstance(action, Commit):
                self._commit(action)
            elif self._troubles is not None:
                self._troubles.carry_out(action)
            elif isinstance(action, End):
                self.fail(CONTROLLER, NodeFailure(action.failure or ""))

    def _note_map(self, routes: Routes) -> None:
        """Write a map down when it is published, and not again when somebody is told once more."""
        if routes.epoch > self._epoch:
            self._epoch = routes.epoch
            self.recorder.add(self.queue.now, CONTROLLER, "epoch", version=routes.epoch, detail=routes.text)

    def _commit(self, commit: Commit) -> None:
        """Make a checkpoint of the parts that the servers have written."""
        checkpoints: Checkpoints = self.plan.checkpoints  # type: ignore[assignment]  # else nothing is kept
        checkpoints.store().commit(commit.clock, commit.records, commit.meta)
        written = sum(record.bytes for record in commit.records)
        self.recorder.add(
            self.queue.now, CONTROLLER, "checkpoint", clock=commit.clock, bytes=written,
            detail=str(checkpoints.url),
        )  # fmt: skip

    def deal(self, batches: list[Any], giver: str) -> None:
        """Deal the batches that a worker has left out among the others, one by one."""
        alive = self._troubles.processes if self._troubles is not None else {}
        others = [
            host for host in self.programs
            if host.node != giver and not host.finished and alive[host.node].alive
            and self.plan.layout.counts(host.client.rank)
        ]  # fmt: skip
        for index, host in enumerate(others):
            host.supply.adopt(batches[index :: len(others)])
        if batches and not others:
            self.recorder.add(
                self.queue.now, giver, "lost", value=len(batches),
                detail=f"{len(batches)} batches of {giver} are left undone: every other worker has finished",
            )  # fmt: skip

    def _snapshot(self, piece: Piece) -> None:
        if self._evaluator is not None:
            time = min(piece.time, self._end()) if self._over else piece.time
            self._evaluator.take(piece._replace(time=time))
