"""One simulated run: the driver of the hosts in simulated time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from psbook.assembly import whole
from psbook.core.actions import End, Send, Snapshot
from psbook.core.controller import Controller
from psbook.core.messages import CONTROLLER, Call, Clock, Hello, Message, Pull, Push, Start, size
from psbook.errors import Deadlock, PsbookError, Stopped
from psbook.evaluation import Evaluator
from psbook.hosts.driver import Outcome, attempt, measure
from psbook.hosts.server import ServerHost
from psbook.job import Progress
from psbook.laws import Draws, Law, generator
from psbook.plan import Plan
from psbook.run import Run
from psbook.simulator.engine import EventQueue
from psbook.simulator.network import Network
from psbook.trace import Recorder, Trace
from psbook.versions import versions

SERVED = (Pull, Push, Call)
"""Requests that take service time; clocks and control messages only keep their place in the queue."""

BEFORE_CLOCK_0 = (Hello, Start)
"""Messages that cost no time: clock 0 begins, for all at once, when everybody is ready."""


class Simulation:
    """Driver of every host of a run, in one event queue.

    At equal times messages go before computations, and computations in the order of the workers, so that ties
    are settled by (worker, iteration).
    """

    def __init__(
        self,
        plan: Plan,
        compute: Law,
        network: Network | None,
        service: Law | None,
        level: str,
        path: str | os.PathLike[str] | None,
        placement: str,
        progress: Progress,
        stop: threading.Event | None = None,
    ) -> None:
        self.plan = plan
        self.queue = EventQueue()
        self.recorder = Recorder(level, path)
        self._compute = Draws(compute, plan.seed)
        self._measured = compute.measured
        self._computed = [0] * len(plan.layout.programs)
        self._network = network
        self._service = None if service is None else Draws(service, service_seed(plan.seed))
        self._progress = progress
        self._stop = stop
        self._over = False
        self._error: BaseException | None = None
        layout = plan.layout
        self._evaluator = (
            None if plan.job.evaluate is None
            else Evaluator(plan.job.evaluate, plan.job.tables, layout.shards, self.recorder)
        )  # fmt: skip
        self.controller = Controller(layout)
        self.programs = [plan.program_host(rank, self, self.recorder) for rank in range(len(layout.programs))]
        self.servers = [
            plan.server_host(shard, self, self.recorder, self._snapshot) for shard in range(layout.shards)
        ]
        self._receivers: dict[str, Callable[[str, Message], object]] = {
            **{host.node: host.receive for host in self.programs},
            **{host.node: self._receiver(host) for host in self.servers},
            CONTROLLER: self._control,
        }
        self._meta = plan.meta(
            backend="simulator",
            time_unit="simulated s",
            compute_label=compute.label,
            network_label="no network cost" if network is None else network.label,
            service_label="" if service is None else service.label,
            placement=placement,
            engine="messages",
            trace_level=level,
            versions=versions(),
        )

    def run(self) -> Run:
        """Run to the end; raise what ended it early, with the trace so far as its ``trace``."""
        for server in self.servers:
            server.start()
        for program in self.programs:
            program.start()
        try:
            self.queue.run(stop=self._ask_to_stop)
            if self._error is None and not self._over:
                self._error = self._why_stuck()
            if self._error is None:
                self._last_evaluation()
        except PsbookError as error:
            self._error = error
        trace = self._close()
        if self._error is not None:
            if isinstance(self._error, PsbookError):
                self._error.trace = trace
            raise self._error
        tables = {
            name: whole(table, [server.storages[name].snapshot() for server in self.servers])
            for name, table in self.plan.job.tables.items()
        }
        return Run(tables, {host.node: host.result for host in self.programs}, trace)

    def _ask_to_stop(self) -> bool:
        if self._stop is not None and self._stop.is_set() and not self._over:
            self._over = True
            self._error = Stopped(
                "the run was stopped from outside; its trace so far is the error's `trace`."
            )
        return self._over

    def _end(self) -> float:
        """Return when the last program ended; the controller hears of it later, if messages take time."""
        return self.queue.now if self._error else max(host.booking.until for host in self.programs)

    def _close(self) -> Trace:
        end = self._end()
        for host in self.programs:
            host.halt()
            host.close(end)
        return self.recorder.trace({**self._meta, "end": end})

    def _last_evaluation(self) -> None:
        evaluator, counted = self._evaluator, self.servers[0].server.counted
        updates = [server.server.updates for server in self.servers]
        if evaluator is not None and not evaluator.covers(counted, updates):
            for server in self.servers:
                server.keep(Snapshot(counted, server.server.updates))

    def _why_stuck(self) -> Deadlock:
        waiting = [f"{host.node} (clock {host.clock}) waits for {host.waits_for}" for host in self.programs
                   if host.waits_for]  # fmt: skip
        parked = [server.server.why(each.message) for server in self.servers for each in server.server.parked]
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
        receive = self._receivers[destination]
        network = self._network
        if network is None or type(message) in BEFORE_CLOCK_0:
            self.queue.at(self.queue.now, receive, source, message)
            return
        if network.unlimited:
            self.queue.at(network.depart(self.queue.now, source, destination, 0), receive, source, message)
            return
        nbytes = size(message)
        head = network.depart(self.queue.now, source, destination, nbytes)
        self.queue.at(head, self._land, source, destination, message, nbytes)

    def _land(self, source: str, destination: str, message: Message, nbytes: int) -> None:
        network: Network = self._network  # type: ignore[assignment]  # else there is no landing
        arrival = network.land(self.queue.now, source, destination, nbytes)
        self.queue.at(arrival, self._receivers[destination], source, message)

    def compute(self, rank: int, function: Callable[[], Any], done: Callable[[Outcome], None]) -> None:
        """Compute at once; the law says how much simulated time that takes."""
        outcome = measure(function) if self._measured else attempt(function)
        outcome.compiling = 0.0
        iteration = self._computed[rank]
        self._computed[rank] += 1
        seconds = self._compute.at(rank, iteration, outcome.seconds)
        self.queue.after(seconds, done, outcome, priority=1 + rank)

    def fail(self, node: str, error: BaseException) -> None:
        """End the run with the error of a program or of a shard."""
        if self._error is None:
            self._error = error
            self.recorder.add(self.queue.now, node, "failure", detail=str(error))
        self._over = True

    def ended(self, node: str) -> None:
        """Nothing to do: the controller knows."""

    # Servers and the controller

    def _receiver(self, host: ServerHost) -> Callable[[str, Message], object]:
        """Return what takes a shard's messages in: at once, or one after the other with service times."""
        if self._service is None:
            return lambda source, message: self._serve(host, source, message)
        draws, shard = self._service, host.server.shard
        free = 0.0

        def receive(source: str, message: Message) -> None:
            nonlocal free
            host.arrived(source, message)
            served = type(message) in SERVED
            if free < self.queue.now:
                if not served:
                    self._handle(host, message)
                    return
                free = self.queue.now
            if served:
                free += draws.next(shard)
            self.queue.at(free, self._handle, host, message)

        return receive

    def _serve(self, host: ServerHost, source: str, message: Message) -> None:
        host.arrived(source, message)
        self._handle(host, message)

    def _handle(self, host: ServerHost, message: Message) -> None:
        host.handle(message)
        if type(message) is Clock and host.server.shard == 0:
            latest = self._evaluator.latest if self._evaluator else None
            self._progress(host.server.counted, latest[1] if latest else None)

    def _control(self, source: str, message: Message) -> None:
        for action in self.controller.handle(message, self.queue.now):
            if isinstance(action, Send):
                self.transmit(CONTROLLER, action.to, action.message)
            elif isinstance(action, End):
                self._over = True

    def _snapshot(self, shard: int, iterations: int, time: float, values: Any, updates: int) -> None:
        if self._evaluator is not None:
            time = min(time, self._end()) if self._over else time
            self._evaluator.take(shard, iterations, time, values, updates)


def service_seed(seed: int) -> int:
    """Seed of the service times: drawn apart, so that shard k has not the luck of worker k."""
    return int(generator(seed, "service").integers(2**63))
