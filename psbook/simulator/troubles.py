"""What goes wrong in a simulated run: carries a fault schedule out, starts what is to be started again."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING

from psbook.core.actions import Action, End, Left, Lost, Orphaned, Restart, Restore
from psbook.core.controls import CONTROLLER, Beat, Reroute
from psbook.core.layout import Layout
from psbook.core.messages import Message, Parcel
from psbook.errors import CheckpointError, InvalidJob, NodeFailure
from psbook.hosts.program import ProgramHost
from psbook.hosts.server import ServerHost
from psbook.simulator.faults import Event, Faults
from psbook.simulator.process import Process

if TYPE_CHECKING:
    from psbook.simulator.simulation import Simulation

BEATS_A_LEASE = 4
"""So often a node says that it lives in the time of a lease."""

PATIENCE = 20.0
"""Leases without a step of any program, and without a reply, after which the run is taken for stuck."""


class Troubles:
    """The processes of a run, the faults that befall them, and the beats by which the loss of one is noticed.

    Parameters
    ----------
    simulation
        The run.
    faults
        What goes wrong.
    """

    def __init__(self, simulation: Simulation, faults: Faults) -> None:
        self.simulation = simulation
        self.faults = faults
        plan = simulation.plan
        layout, safety = plan.layout, plan.layout.safety
        self.nodes = [*layout.programs, *layout.servers, CONTROLLER]
        faults.check(self.nodes)
        _check_newcomers(faults, layout)
        self.links = faults.links(plan.seed)
        self.processes = {node: Process(simulation, node) for node in self.nodes}
        self._beat = safety.lease / BEATS_A_LEASE
        self._resend = safety.resend
        events = faults.events([*self.nodes, *faults.newcomers])
        self._saves = any(event.node == CONTROLLER and event.kind == "crash" for event in events)
        self._pending = {event.node: 0 for event in events}
        for event in events:
            self._pending[event.node] += event.kind in ("restart", "resume", "join", "leave")
            simulation.queue.at(event.time, self._happen, event)
        self._controller = simulation.controller
        self._updates: dict[int, int] = {}
        """Updates that each shard had when a server was lost that held it."""
        self._restoring: set[int] = set()
        self._steps = (-1, -1)
        self._moved_at = 0.0

    def begin(self) -> None:
        """Let every node beat from now on."""
        for node in self.nodes:
            self._let_beat(node)

    def _let_beat(self, node: str) -> None:
        process, simulation = self.processes[node], self.simulation
        simulation.receivers[node] = process.deliver
        if node == CONTROLLER:
            process.receive = simulation.control
            process.every(self._beat, self._tick)
            return
        host = simulation.host(node)
        process.receive = simulation.receiver(host)
        if isinstance(host, ServerHost):
            process.every(min(self._beat, self._resend), host.beat)
        else:
            process.every(self._beat, host.beat)
            process.every(self._resend, host.resend)

    # Messages

    def carry(self, source: str, destination: str, message: Message) -> None:
        """Carry a message as often, and as late, as its fate is."""
        simulation = self.simulation
        fates = self.links.fates(source, destination, simulation.queue.now)
        if not fates and type(message) is Parcel:  # channels are connections, which send again
            simulation.queue.after(self._resend, self.carry, source, destination, message)
        for number, delay in enumerate(fates):
            each = message if not number else copy.copy(message)
            if delay:
                simulation.queue.after(delay, simulation.carry, source, destination, each)
            else:
                simulation.carry(source, destination, each)

    def slowdown(self, node: str) -> float:
        """How many times as long a computation takes that begins now."""
        return self.faults.slowdown(node, self.simulation.queue.now)

    # Faults

    def _happen(self, event: Event) -> None:
        simulation = self.simulation
        detail = f"{event.kind}: {event.fault.sentence}"
        simulation.recorder.add(simulation.queue.now, event.node, "fault", detail=detail)
        if event.kind not in ("crash", "pause"):
            self._pending[event.node] -= 1
        if event.kind == "join":
            self._join(event.node)
            return
        process = self.processes[event.node]
        if event.kind == "leave":
            self._leave(event.node)
        elif event.kind == "crash":
            self._end(event.node)
        elif event.kind == "restart":
            if not process.alive:
                self._start(event.node, process.incarnation + 1)
        elif event.kind == "pause":
            process.pause()
        else:
            process.resume()

    def _join(self, node: str) -> None:
        """A node that was not there at the start takes part from now on."""
        simulation = self.simulation
        rank = simulation.plan.layout.rank(node)
        self.nodes.append(node)
        self.processes[node] = process = Process(simulation, node)
        host = simulation.make_host(node, process)
        if rank is not None:
            simulation.controller.add_program(rank, simulation.queue.now)
            workers = [
                each for each in simulation.programs if simulation.plan.layout.counts(each.client.rank)
            ]
            for other in workers:
                if other is not host and not other.finished:
                    host.supply.adopt(other.supply.give(1 / len(workers)))  # type: ignore[union-attr]
        self._let_beat(node)
        host.start()

    def _leave(self, node: str) -> None:
        """A node is to leave in good order."""
        simulation, host = self.simulation, self.simulation.host(node)
        if isinstance(host, ProgramHost):
            host.leaving = True
        else:
            simulation.carry_out(simulation.controller.leave(node))

    def ended(self, node: str) -> None:
        """A program has ended; if it was told to leave, others get what it has left."""
        host = self.simulation.host(node)
        if isinstance(host, ProgramHost) and host.leaving:
            self.simulation.deal(host.supply.left(host.clock), node)

    def _end(self, node: str) -> None:
        process, simulation = self.processes[node], self.simulation
        process.crash()
        host = None if node == CONTROLLER else simulation.host(node)
        if isinstance(host, ProgramHost):
            simulation.drop(host.client.rank)
            host.halt()
            host.close(simulation.queue.now, "lost")
        elif host is not None:
            for number, replica in host.server.replicas.items():
                self._updates[number] = max(self._updates.get(number, 0), replica.shard.updates)

    def _start(self, node: str, incarnation: int) -> None:
        """Put an empty process in the place of a dead one."""
        simulation = self.simulation
        simulation.recorder.add(simulation.queue.now, node, "restart", version=incarnation)
        self.processes[node] = process = Process(simulation, node, incarnation)
        if node == CONTROLLER:
            simulation.controller = copy.deepcopy(self._controller)
            simulation.controller.resume(simulation.queue.now)
            self._let_beat(node)
            return
        host = simulation.make_host(node, process, incarnation)
        self._let_beat(node)
        host.start()

    # The controller

    def save(self, message: Message, actions: list[Action]) -> None:
        """Persist the controller's state, if an event has changed it; beats do not."""
        if self._saves and (not isinstance(message, Beat) or len(actions) > 1):
            self._controller = copy.deepcopy(self.simulation.controller)

    def _tick(self) -> None:
        simulation = self.simulation
        simulation.carry_out(simulation.controller.tick(simulation.queue.now))
        self._watch()

    def carry_out(self, action: Action) -> None:
        """Do what the controller asks of the cluster."""
        simulation = self.simulation
        if isinstance(action, Lost):
            simulation.recorder.add(simulation.queue.now, action.node, "lost", detail=action.detail)
        elif isinstance(action, Left):
            simulation.recorder.add(
                simulation.queue.now, action.node, "lost", detail="left; others hold what it held"
            )
            self.processes[action.node].crash()
        elif isinstance(action, Restart):
            node = simulation.plan.layout.node(action.rank)
            if not self._pending.get(node, 0):
                self._end(node)
                self._start(node, action.incarnation)
        elif isinstance(action, Orphaned):
            self._deal_out(action.rank)
        elif isinstance(action, Restore):
            self._restore(action)
        elif isinstance(action, End) and action.failure:
            simulation.fail(CONTROLLER, NodeFailure(action.failure))

    def _deal_out(self, rank: int) -> None:
        """Give others what a lost worker has not worked through, by the clocks that all shards counted."""
        simulation = self.simulation
        node = simulation.plan.layout.node(rank)
        self._end(node)
        shards = [
            replica.shard for host in simulation.servers if self.processes[host.node].alive
            for replica in host.server.replicas.values() if replica.answers
        ]  # fmt: skip
        counted = min((shard.clocks.reached.get(rank, 0) for shard in shards), default=0)
        host = simulation.host(node)
        if isinstance(host, ProgramHost):
            simulation.deal(host.supply.left(counted), node)

    def _restore(self, restore: Restore) -> None:
        """Bring a shard back of which only a checkpoint is left, and say how much is lost (E5)."""
        simulation, segment = self.simulation, restore.segment
        try:
            install = simulation.plan.restore(segment)
        except CheckpointError as error:
            lost = NodeFailure(f"no copy of shard {segment.shard} is left, and no checkpoint: {error}")
            simulation.fail(CONTROLLER, lost)
            return
        if segment.shard not in self._restoring:
            self._restoring.add(segment.shard)
            updates = self._updates.get(segment.shard, 0) - install.state.updates
            simulation.recorder.add(
                simulation.queue.now, segment.tail, "lost", shard=segment.shard, value=updates,
                detail=f"shard {segment.shard} goes back to a checkpoint: {updates} updates are lost",
            )  # fmt: skip
        simulation.transmit(CONTROLLER, restore.to, install)

    def settle(self) -> None:
        """Let every server that lives take up the last map, whose message may still be under way."""
        routes = self.simulation.controller.membership.routes
        for node, host in self.simulation.hosts.items():
            if isinstance(host, ServerHost) and self.processes[node].alive:
                host.handle(CONTROLLER, Reroute(routes))

    def _watch(self) -> None:
        """End a run whose programs all wait for others, with nothing to come that could help them."""
        simulation = self.simulation
        programs = [
            host for host in simulation.programs if self.processes[host.node].alive and not host.finished
        ]
        steps = sum(host.steps for host in programs), sum(host.client.open for host in programs)
        busy = any(not host.depends_on_others for host in programs)
        coming = any(self._pending.values())
        if steps != self._steps or busy or coming:
            self._steps, self._moved_at = steps, simulation.queue.now
        elif simulation.queue.now - self._moved_at > PATIENCE * simulation.plan.layout.safety.lease:
            simulation.fail(CONTROLLER, simulation.why_stuck())


def _check_newcomers(faults: Faults, layout: Layout) -> None:
    """Raise `InvalidJob` unless every node that joins has a name of its own that the run can give."""
    workers = len(layout.programs)
    for node in faults.newcomers:
        rank = layout.rank(node)
        if rank == workers:
            workers += 1
        elif rank is not None or node in layout.servers or not re.fullmatch(r"server-\d+", node):
            raise InvalidJob(
                f"Join({node!r}); required: a new server such as 'server-{layout.count}', or the next "
                f"worker, '{layout.roles[0]}-{workers}'."
            )
