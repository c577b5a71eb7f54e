"""The world as one transition system: all that can happen in a state, and what it leads to."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from psbook.core.controls import CONTROLLER, Beat
from psbook.explorer.canonical import Renaming
from psbook.explorer.interning import Channels, Effect, LocalSteps
from psbook.explorer.nodes import ControllerNode, Dead, Program, ServerNode, Violated
from psbook.explorer.properties import ENDS, check_seen, check_world, why_stuck
from psbook.explorer.reduction import is_dead, may_come_first
from psbook.explorer.scope import Scope
from psbook.explorer.views import ControllerView, ProgramView, ServerView, View

State: TypeAlias = tuple[int, ...]
"""Numbers: of each node's state, of each channel's content; then what has gone wrong, and the time."""

KINDS = ("crashes", "restarts", "losses", "duplicates", "timers", "seconds")


class Step(NamedTuple):
    """One thing that can happen: `kind`, then a node or channel by its index, and one more number.

    Kinds: deliver, lose, copy (a message of a channel, at a position); crash, crash-lossy, notice, restart,
    timer (a node); second (all servers are heard but one).
    """

    kind: str
    at: int = -1
    position: int = 0


class Following(NamedTuple):
    """A step, the state that it leads to, and what it violates."""

    step: Step
    state: State
    violated: Violated | None


class System:
    """All behaviours of a scope.

    Parameters
    ----------
    scope
        Who takes part and what may go wrong.
    symmetric
        Take states that differ in the names of equal workers for one.
    reduced
        Take messages first where that loses nothing (see `reduction`).
    """

    def __init__(self, scope: Scope, symmetric: bool = True, reduced: bool = True) -> None:
        self.scope = scope
        self.layout = layout = scope.layout()
        self.programs = list(layout.programs)
        self.servers = list(layout.servers)
        self.nodes = [*self.programs, *self.servers, CONTROLLER]
        self._index = {node: at for at, node in enumerate(self.nodes)}
        self._controller = self._index[CONTROLLER]
        self.pairs = self._pairs()
        self._channel = {pair: len(self.nodes) + at for at, pair in enumerate(self.pairs)}
        self._into = [
            [self._channel[p] for p in self.pairs if p[1] == node] for node in range(len(self.nodes))
        ]
        self._out = [
            [self._channel[p] for p in self.pairs if p[0] == node] for node in range(len(self.nodes))
        ]
        self._spent = len(self.nodes) + len(self.pairs)
        self.renamings = self._renamings() if symmetric else [Renaming(tuple(range(scope.workers)))]
        self.local = LocalSteps(scope, self.renamings)
        self.channels = Channels(self.local.messages, scope.ordered)
        self._sources = [self._sources_of(renaming) for renaming in self.renamings]
        self._reduced = reduced
        self._mortal = frozenset(scope.nodes if scope.crashes else ())
        self._dead_ones: dict[tuple[int, int], bool] = {}
        self._judged: dict[tuple[int, ...], Violated | None] = {}
        self._active = layout.safety.active

    def _pairs(self) -> list[tuple[int, int]]:
        """Channels: between programs and servers, among servers, and with the controller."""
        workers = len(self.programs)
        return [
            (one, other)
            for one, other in itertools.permutations(range(len(self.nodes)), 2)
            if not (one < workers and other < workers)
        ]

    # Equal workers

    def _renamings(self) -> list[Renaming]:
        """Return the ways to swap workers that nothing tells apart; the order of their numbers may.

        A round of BSP is summed in that order, and a model that looks at more than ``min`` may ask for it.
        """
        scope = self.scope
        if scope.model.buffered or not scope.model.min_only:
            return [Renaming(tuple(range(scope.workers)))]

        def kind(rank: int) -> tuple[int, bool]:
            return scope.clocks(rank), f"worker-{rank}" in scope.crash_of

        ranks = range(scope.workers)
        orders = itertools.permutations(ranks)
        return [Renaming(order) for order in orders if all(kind(a) == kind(order[a]) for a in ranks)]

    def _sources_of(self, renaming: Renaming) -> list[int]:
        """Return, for each place of a renamed state, where in the state its number comes from."""
        new = [*renaming.order, *range(len(self.programs), len(self.nodes))]
        sources = [0] * len(self.nodes)
        for old, at in enumerate(new):
            sources[at] = old
        old_of = {at: old for old, at in enumerate(new)}
        sources += [self._channel[old_of[a], old_of[b]] for a, b in self.pairs]
        return sources

    def key(self, state: State) -> State:
        """Return what is the same for all states that differ in the names of equal workers only."""
        if len(self.renamings) == 1:
            return state
        return min(self.renamed(state, number) for number in range(len(self.renamings)))

    def renamed(self, state: State, number: int) -> State:
        """Return the state under renaming `number`, in numbers that only serve to be compared."""
        nodes, spent = len(self.nodes), self._spent
        locals_, channels = self.local.states.renamed[number], self.channels.renamed[number]
        sources = self._sources[number]
        return (
            *[locals_[state[at]] for at in sources[:nodes]],
            *[channels[state[at]] for at in sources[nodes:]],
            *state[spent:],
        )

    # States

    def initial(self) -> State:
        """Return the state in which all nodes are ready and the programs have asked for their first steps."""
        scope, layout = self.scope, self.layout
        state = [0] * (self._spent + len(KINDS))
        controller = ControllerNode(layout)
        for node in self.servers:
            server = ServerNode(node, scope, layout)
            server.server.hello(0.0)
            state[self._index[node]] = self.local.state(server)
        starts = dict(controller.begin(self.nodes[:-1]))
        state[self._controller] = self.local.state(controller)
        for rank, node in enumerate(self.programs):
            program = Program(rank, scope, layout)
            outcome = program.take(starts[node], 0.0)
            self._change(state, self._index[node], self.local.done(program, outcome))
        return tuple(state)

    def view(self, state: State, node: str) -> View:
        """Return what the properties see of a node."""
        return self.local.views[state[self._index[node]]]

    def _program(self, state: State, node: str) -> ProgramView:
        return self.view(state, node)  # type: ignore[return-value]  # by the node's name

    def _server(self, state: State, node: str) -> ServerView:
        return self.view(state, node)  # type: ignore[return-value]  # by the node's name

    def controller(self, state: State) -> ControllerView:
        """Return what the properties see of the controller."""
        return self.local.views[state[self._controller]]  # type: ignore[return-value]  # it is its state

    def ended(self, state: State) -> bool:
        """Whether the controller has ended the run."""
        return self.controller(state).ended

    def now(self, state: State) -> int:
        """Seconds since the start."""
        return state[-1]

    def under_way(self, state: State) -> int:
        """Messages under way."""
        return sum(len(self.channels.contents[each]) for each in state[len(self.nodes) : self._spent])

    def _may(self, state: State, kind: str) -> bool:
        return state[self._spent + KINDS.index(kind)] < int(getattr(self.scope, kind))

    # Steps

    def steps(self, state: State) -> list[Step]:
        """Return all that can happen, always in the same order."""
        if self.ended(state):
            return []
        deliveries = self._deliveries(state)
        if self._reduced:
            dead = self._dead(state, deliveries)
            if dead is not None:
                return [dead]
            if not self.scope.faulty and self.scope.ordered:
                return self._first(state, deliveries) or deliveries
        if not self._active:
            return deliveries
        steps = [*deliveries, *self._notices(state)]
        quiet = not steps
        if self.scope.faulty:
            steps += self._faults(state, deliveries)
        if quiet or self._may(state, "timers"):
            alive = [at for at in range(len(self.nodes)) if self._alive(state, at)]
            steps += [Step("timer", at) for at in alive]
        return steps

    def _alive(self, state: State, at: int) -> bool:
        return at == self._controller or self.local.views[state[at]].alive  # type: ignore[union-attr]

    def _deliveries(self, state: State) -> list[Step]:
        steps = []
        contents = self.channels.contents
        at = len(self.nodes)
        for pair in self.pairs:
            if state[at] and self._alive(state, pair[1]):
                content = contents[state[at]]
                if self.scope.ordered:
                    steps.append(Step("deliver", at))
                else:
                    steps += [
                        Step("deliver", at, place) for place in map(content.index, dict.fromkeys(content))
                    ]
            at += 1
        return steps

    def _dead(self, state: State, deliveries: list[Step]) -> Step | None:
        """Return the delivery of a message that changes nothing, now or later."""
        mortal = self._may(state, "crashes")
        for step in deliveries:
            source, destination = self.pairs[step.at - len(self.nodes)]
            node = self.nodes[destination]
            if mortal and node in self._mortal:
                continue
            number = self.channels.contents[state[step.at]][step.position]
            effect = self.local.take(state[destination], self.nodes[source], number, state[-1])
            if effect == Effect(state[destination]) and self._is_dead(number, state[destination]):
                return step
        return None

    def _is_dead(self, number: int, receiver: int) -> bool:
        known = self._dead_ones.get((number, receiver))
        if known is None:
            message = self.local.messages.thaw(number)
            known = self._dead_ones[number, receiver] = is_dead(message, self.local.views[receiver])
        return known

    def _first(self, state: State, deliveries: list[Step]) -> list[Step]:
        """Return deliveries to one worker that may be taken first (`may_come_first`)."""
        by_worker: dict[int, list[Step]] = {}
        for step in deliveries:
            receiver = self.pairs[step.at - len(self.nodes)][1]
            if receiver < len(self.programs):
                by_worker.setdefault(receiver, []).append(step)
        segments = self.layout.routes.segments
        chain = self.scope.scheme == "chain"
        for worker, mine in by_worker.items():
            program = self._program(state, self.nodes[worker])
            owing = {(each.tail if chain else each.head) for each in segments if each.shard in program.owed}
            senders = {self.nodes[self.pairs[step.at - len(self.nodes)][0]] for step in mine}
            if may_come_first(program, owing, senders):
                return mine
        return []

    def _notices(self, state: State) -> list[Step]:
        if not self.scope.crashes:
            return []
        counted = self.controller(state).counted
        return [
            Step("notice", at) for at, node in enumerate(self.nodes[:-1])
            if node in counted and not self._alive(state, at)
        ]  # fmt: skip

    def _faults(self, state: State, deliveries: list[Step]) -> list[Step]:
        steps = []
        if self._may(state, "crashes"):
            mortal = [self._index[node] for node in self.scope.nodes if self._alive(state, self._index[node])]
            steps += [Step(kind, at) for at in mortal for kind in ("crash", "crash-lossy")]
        if self._may(state, "restarts"):
            servers = [self._index[node] for node in self.servers]
            steps += [Step("restart", at) for at in servers if not self._alive(state, at)]
        if self._may(state, "losses"):
            steps += [Step("lose", step.at, step.position) for step in deliveries]
        if self._may(state, "duplicates"):
            steps += [Step("copy", step.at, step.position) for step in deliveries]
        if self._may(state, "seconds"):
            counted = self.controller(state).counted
            heard = [at for at, node in enumerate(self.nodes) if node in self.servers and node in counted]
            steps += [Step("second", at) for at in (-1, *heard)]
        if self.now(state):
            late = self.local.effect(state[self._controller], "timer", self.now(state))
            if late.state != state[self._controller]:
                steps.append(Step("timer", self._controller))
        return steps

    def follow(self, state: State) -> Iterator[Following]:
        """Do each step that is possible."""
        for step in self.steps(state):
            yield self.do(state, step)

    def do(self, state: State, step: Step) -> Following:
        """Do one step."""
        new = list(state)
        if step.kind == "deliver":
            source, destination = self.pairs[step.at - len(self.nodes)]
            message = self.channels.contents[state[step.at]][step.position]
            new[step.at] = self.channels.without(state[step.at], step.position)
            effect = self.local.take(state[destination], self.nodes[source], message, state[-1])
            return self._judge(step, new, [(destination, effect)])
        return self._judge(step, new, getattr(self, "_do_" + step.kind.replace("-", "_"))(new, step))

    def _spend(self, new: list[int], kind: str) -> None:
        new[self._spent + KINDS.index(kind)] += 1

    def _do_lose(self, new: list[int], step: Step) -> list[tuple[int, Effect]]:
        self._spend(new, "losses")
        new[step.at] = self.channels.without(new[step.at], step.position)
        return []

    def _do_copy(self, new: list[int], step: Step) -> list[tuple[int, Effect]]:
        self._spend(new, "duplicates")
        new[step.at] = self.channels.after(new[step.at], self.channels.contents[new[step.at]][step.position])
        return []

    def _do_crash(self, new: list[int], step: Step, lossy: bool = False) -> list[tuple[int, Effect]]:
        """A node is gone; what it had sent still arrives, what was sent to it waits for its next start."""
        self._spend(new, "crashes")
        if lossy or step.at >= len(self.programs) or self.scope.lost_workers == "leave":
            for channel in self._into[step.at]:
                new[channel] = 0
        return [(step.at, Effect(self._remains(new, step.at)))]

    def _do_crash_lossy(self, new: list[int], step: Step) -> list[tuple[int, Effect]]:
        """A node is gone with all that it had sent."""
        for channel in self._out[step.at]:
            new[channel] = 0
        return self._do_crash(new, step, lossy=True)

    def _remains(self, state: list[int], at: int) -> int:
        node = self.local.states.thaw(state[at])
        incarnation = node.client.incarnation if isinstance(node, Program) else node.server.incarnation
        return self.local.state(Dead(self.nodes[at], incarnation))

    def _do_notice(self, new: list[int], step: Step) -> list[tuple[int, Effect]]:
        controller = self._controller
        return [(controller, self.local.effect(new[controller], "notice", self.nodes[step.at], new[-1]))]

    def _do_restart(self, new: list[int], step: Step) -> list[tuple[int, Effect]]:
        self._spend(new, "restarts")
        dead: Dead = self.local.states.thaw(new[step.at])
        node = ServerNode(dead.node, self.scope, self.layout, dead.incarnation + 1)
        outcome = node.timer(new[-1])
        return [(step.at, self.local.done(node, outcome))]

    def _start_program(self, rank: int, incarnation: int) -> Effect:
        node = Program(rank, self.scope, self.layout, incarnation)
        return self.local.done(node, node.timer(0.0))

    def _do_timer(self, new: list[int], step: Step) -> list[tuple[int, Effect]]:
        late = step.at == self._controller and new[-1]
        if self._deliveries(tuple(new)) and not late:
            self._spend(new, "timers")
        return [(step.at, self.local.effect(new[step.at], "timer", new[-1]))]

    def _do_second(self, new: list[int], step: Step) -> list[tuple[int, Effect]]:
        """Time passes; every node that lives is heard, and servers that are have their leases renewed."""
        self._spend(new, "seconds")
        now, state = new[-1], tuple(new)
        counted = self.controller(state).counted
        effects: list[tuple[int, Effect]] = []
        controller = state[self._controller]
        for at, node in enumerate(self.nodes[:-1]):
            if not self._alive(state, at) or at == step.at:
                continue
            if at < len(self.programs):
                heard = self.local.effect(controller, "hear", node, now)
            elif node in counted:
                epoch = self.local.states.thaw(state[at]).server.routes.epoch
                beat = Beat(node, self._server(state, node).incarnation, now, epoch)
                heard = self._heard(controller, beat)
                effects.append((at, self.local.effect(state[at], "renew", now)))
            else:
                effects.append((at, self.local.effect(state[at], "timer", now)))
                continue
            controller = heard.state
            effects.append((self._controller, heard))
        return effects

    def _heard(self, controller: int, beat: Beat) -> Effect:
        node: ControllerNode = self.local.states.thaw(controller)
        return self.local.done(node, node.beat(beat, beat.sent))

    def _change(self, new: list[int], at: int, effect: Effect) -> None:
        """Carry out what a step of a node comes to."""
        new[at] = effect.state
        for to, message in effect.sends:
            destination = self._index[to]
            if new[destination] and not self._alive(tuple(new), destination):
                continue
            channel = self._channel[at, destination]
            new[channel] = self.channels.after(new[channel], message)
        for rank, incarnation in effect.starts:
            self._change(new, rank, self._start_program(rank, incarnation))

    # Judging

    def _judge(self, step: Step, new: list[int], effects: list[tuple[int, Effect]]) -> Following:
        violated = None
        for at, effect in effects:
            self._change(new, at, effect)
            violated = violated or effect.violated
        state = tuple(new)
        if violated is None:
            violated = self._judge_seen(state, effects) or self.judge(state)
        return Following(step, state, violated)

    def _judge_seen(self, state: State, effects: list[tuple[int, Effect]]) -> Violated | None:
        seen = [each for _, effect in effects for each in effect.seen]
        if seen:
            programs = [self._program(state, node) for node in self.programs]
            try:
                for each in seen:
                    check_seen(each, programs, self.scope)
            except Violated as violated:
                return violated
        return None

    def judge(self, state: State) -> Violated | None:
        """Judge the nodes of a state together; each combination once."""
        key = (*state[: len(self.nodes)], state[-1])
        if key not in self._judged:
            self._judged[key] = self._judge_together(state)
        return self._judged[key]

    def _judge_together(self, state: State) -> Violated | None:
        programs = [self._program(state, node) for node in self.programs]
        servers = [self._server(state, node) for node in self.servers]
        try:
            check_world(programs, servers, self.controller(state), state[-1], self.scope)
        except Violated as violated:
            return violated
        return None

    def stuck(self, state: State) -> Violated:
        """Return why a run cannot go on from a state to its end."""
        programs = [self._program(state, node) for node in self.programs]
        servers = [self._server(state, node) for node in self.servers]
        return Violated(ENDS, f"{why_stuck(programs, servers)}; nothing can change that any more")
