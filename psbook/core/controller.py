"""The controller: who is there, who has finished, who waits at a barrier, which model is in force."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psbook.core.actions import Action, Commit, End, Left, Lost, Orphaned, Restart, Restore, Send
from psbook.core.consistency import Consistency
from psbook.core.controls import (
    Arrive,
    Ask,
    Beat,
    ChangeModel,
    Failed,
    Finished,
    Frozen,
    Grant,
    Hello,
    Installed,
    Kept,
    Lease,
    ModelChanged,
    ModelSet,
    Release,
    Remove,
    Removed,
    Reroute,
    SetModel,
    Start,
)
from psbook.core.layout import Layout
from psbook.core.membership import MARGIN, Membership
from psbook.core.messages import Message
from psbook.core.queues import Queue
from psbook.core.ring import POSITIONS
from psbook.errors import ProtocolError


class Controller:
    """State machine of the controller.

    It starts the run when every node has said hello, lets barriers go, spreads a change of the model, and
    ends the run when every program has finished, or when what is lost cannot be made good. It is all the
    state that a new controller needs to go on (`resume`).

    Parameters
    ----------
    layout
        Who takes part.
    restores : bool
        Whether the driver can bring a shard back of which no copy is left.

    Notes
    -----
    State grows with nodes and segments; a message costs O(programs + segments) at most.
    """

    def __init__(self, layout: Layout, restores: bool = False) -> None:
        self.layout = layout
        self.restores = restores
        self.absent = {*layout.programs, *layout.servers}
        self.active = set(range(len(layout.programs)))
        self.barriers: dict[tuple[str, int], set[int]] = {}
        self.queues: dict[str, Queue] = {}
        """Work that is handed out piece by piece."""
        self.membership = Membership(layout)
        self.heard: dict[str, float] = {}
        """When each node that may be lost was last heard of."""
        self.incarnations: dict[str, int] = {}
        self.removed: dict[int, int] = {}
        """Workers that were declared dead, with their incarnations."""
        self._looked = 0.0
        """When it last looked who is silent."""
        self._left: dict[int, set[int]] = {}
        """By removed worker, the shards that know."""
        self._ranks = {node: rank for rank, node in enumerate(layout.programs)}
        self._parts: dict[int, dict[int, Kept]] = {}
        self._published = layout.routes.epoch
        self._opened: dict[str, int] = {}
        self._changes: list[ChangeModel] = []
        self._unchanged: dict[int, set[int]] = {}
        self._bind()

    def _bind(self) -> None:
        self._handlers: dict[type, Callable[[Any, float], list[Action]]] = {
            Hello: self._hello,
            Arrive: self._arrive,
            Ask: self._ask,
            Finished: self._finished,
            Failed: self._failed,
            ChangeModel: self._change_model,
            ModelSet: self._model_set,
            Beat: self._beat,
            Kept: self._kept,
            Removed: self._was_removed,
            Installed: self._installed,
            Frozen: lambda done, now: self._moved(self.membership.frozen(done)),
        }

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_handlers"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._bind()

    def handle(self, event: Message, now: float) -> list[Action]:
        """Take in a message; return what is to be done."""
        handler = self._handlers.get(type(event))
        if handler is None:
            raise ProtocolError(f"the controller got {type(event).__name__}, which is not for it")
        return handler(event, now)

    @property
    def started(self) -> bool:
        """Whether clock 0 has begun."""
        return not self.absent

    def _hello(self, hello: Hello, now: float) -> list[Action]:
        self.heard[hello.node] = now
        if hello.node in self.absent:
            self.absent.discard(hello.node)
            return [] if self.absent else [Send(node, Start()) for node in self.layout.programs]
        return []

    def _arrive(self, arrive: Arrive, now: float) -> list[Action]:
        role = self.layout.role(arrive.rank)
        if arrive.number <= self._opened.get(role, 0):
            return [Send(self.layout.node(arrive.rank), Release(arrive.number))]
        self.barriers.setdefault((role, arrive.number), set()).add(arrive.rank)
        return self._open_barriers()

    def _open_barriers(self) -> list[Action]:
        actions: list[Action] = []
        for place in sorted(self.barriers):
            role, number = place
            if {rank for rank in self.active if self.layout.role(rank) == role} <= self.barriers[place]:
                there = sorted(self.barriers.pop(place))
                self._opened[role] = number
                actions += [Send(self.layout.node(rank), Release(number)) for rank in there]
        return actions

    def _ask(self, ask: Ask, now: float) -> list[Action]:
        """Hand out a piece of work, or say again which it was."""
        if ask.rank not in self.active:
            return []
        item = self.queues.setdefault(ask.queue, Queue()).ask(ask.rank, ask.number)
        return [Send(self.layout.node(ask.rank), Grant(ask.queue, ask.number, item))]

    def _give_back(self, rank: int) -> None:
        for queue in self.queues.values():
            queue.give_back(rank)

    def _finished(self, finished: Finished, now: float) -> list[Action]:
        if finished.rank not in self.active:
            return []
        self.active.discard(finished.rank)
        self._give_back(finished.rank)
        return [*self._open_barriers(), *self._end()]

    def _end(self) -> list[Action]:
        """End the run when every program has, and no shard waits for one that was removed."""
        shards = {segment.shard for segment in self.membership.routes.segments}
        return [End()] if not self.active and all(shards <= self._left[rank] for rank in self.removed) else []

    def _was_removed(self, removed: Removed, now: float) -> list[Action]:
        if removed.rank not in self.removed:
            return []
        self._left[removed.rank].add(removed.shard)
        return self._end()

    # Life and death

    def _beat(self, beat: Beat, now: float) -> list[Action]:
        """Hear that a node lives: renew its lease, and tell it what it may have missed."""
        node = beat.node
        known = self.incarnations.get(node, 0)
        if beat.incarnation < known:
            return []
        actions: list[Action] = []
        if beat.incarnation > known:
            self.incarnations[node] = beat.incarnation
            if node not in self._ranks:
                actions += self._lose([node], f"{node} was started again, and has lost what it held", now)
            elif self.removed.pop(self._ranks[node], None) is not None:
                self.active.add(self._ranks[node])
        if node in self.membership.departed:
            return []
        if node not in self._ranks and node not in self.membership.servers:
            actions += self._join(node)
        self.heard[node] = now
        actions += self._hello(Hello(node), now) if node in self.absent else []
        if beat.epoch < self.membership.routes.epoch:
            actions.append(Send(node, Reroute(self.membership.routes)))
        if node in self._ranks:
            return actions + self._of_program(beat, now)
        return [*actions, Send(node, Lease(beat.sent, self.membership.since.get(node, 0)))]

    def _of_program(self, beat: Beat, now: float) -> list[Action]:
        rank = self._ranks[beat.node]
        actions: list[Action] = []
        if not beat.started and self.started:
            actions.append(Send(beat.node, Start(self._opened.get(self.layout.role(rank), 0))))
        if beat.barrier:
            actions += self._arrive(Arrive(rank, beat.barrier), now)
        if beat.asks is not None:
            actions += self._ask(beat.asks, now)
        return actions + (self._finished(Finished(rank), now) if beat.finished else [])

    def _join(self, server: str) -> list[Action]:
        self.membership.joined(server)
        return self._moved(self.membership.orders())

    def add_program(self, rank: int, now: float) -> None:
        """A worker joins; it is heard of from now on."""
        self._ranks[self.layout.node(rank)] = rank
        self.active.add(rank)
        self.heard[self.layout.node(rank)] = now

    def leave(self, server: str) -> list[Action]:
        """Let a server go as soon as others hold what it holds."""
        self.membership.leave(server)
        return self._moved([])

    def tick(self, now: float) -> list[Action]:
        """Look who has not been heard of for too long; say again what may have been lost.

        A controller that has hung itself must not take that for the silence of the others.
        """
        if now - self._looked > self.layout.safety.lease / 2:
            self.resume(now)
        self._looked = now
        late = [
            node for node, at in self.heard.items()
            if now - at > MARGIN * self.layout.safety.lease and self._counts(node)
        ]  # fmt: skip
        actions: list[Action] = []
        if late:
            since = min(self.heard[node] for node in late)
            names = ", ".join(sorted(late))
            actions += self._lose(sorted(late), f"{names}: no sign of life since {since:g} s", now)
        actions += [*self._restorations(), *self.membership.orders()]
        for rank, incarnation in self.removed.items():
            actions += self._everywhere(lambda shard, r=rank, i=incarnation: Remove(shard, r, i))  # type: ignore[misc]
        return actions + self._spread_model()

    def _counts(self, node: str) -> bool:
        rank = self._ranks.get(node)
        return rank in self.active if rank is not None else node in self.membership.servers

    def resume(self, now: float) -> None:
        """Go on after a restart: nobody has been silent longer than the controller was deaf."""
        self.heard = dict.fromkeys(self.heard, now)

    def _failed(self, failed: Failed, now: float) -> list[Action]:
        if not self._counts(failed.node):
            return []
        if not self.layout.safety.active:
            return [End(failed.detail)]
        return self._lose([failed.node], failed.detail, now)

    def _lose(self, nodes: list[str], detail: str, now: float) -> list[Action]:
        """Go on without nodes: their shards elsewhere, their programs as the run's safety says."""
        actions: list[Action] = []
        for node in nodes:
            self.heard.pop(node, None)
            actions.append(Lost(node, detail))
        servers = [node for node in nodes if node not in self._ranks]
        if servers:
            self.membership.failed(servers)
            for segment in self.membership.lost:
                if not self.restores:
                    gone = f"{detail}. No copy of shard {segment.shard} is left"
                    return [*actions, End(f"{gone}; required: replicas, or a checkpoint.")]
            actions += [*self._restorations(), *self._moved([])]
        for node in nodes:
            if node in self._ranks:
                actions += self._lose_program(self._ranks[node], now)
        return actions

    def _lose_program(self, rank: int, now: float) -> list[Action]:
        node = self.layout.node(rank)
        incarnation = self.incarnations.get(node, 0)
        if self.layout.safety.lost_workers == "restart" or not self.layout.counts(rank):
            return [Restart(rank, incarnation + 1)]
        self.active.discard(rank)
        self._give_back(rank)
        self.removed[rank], self._left[rank] = incarnation, set()
        actions = self._everywhere(lambda shard: Remove(shard, rank, incarnation))
        actions += [Orphaned(rank), *self._open_barriers()]
        if self.active or len(self.removed) < len(self._ranks):
            return actions
        return [*actions, End(f"{node} was the last program, and is lost; none has ended.")]

    def _restorations(self) -> list[Action]:
        """Ask for every shard that is lost, on the server that holds least."""
        if not self.membership.servers:
            return []
        return [Restore(segment, self.membership.emptiest()) for segment in self.membership.lost]

    def _installed(self, done: Installed, now: float) -> list[Action]:
        current = done.since == self.membership.since.get(done.node, 0)
        if current and any(segment.shard == done.shard for segment in self.membership.lost):
            self.membership.restored(done.shard, done.node)
            return self._moved([])
        return self._moved(self.membership.installed(done))

    def _moved(self, orders: list[Action]) -> list[Action]:
        """Plan on; send the map to everybody if it has changed."""
        membership = self.membership
        actions = [*orders, *membership.plan()]
        if membership.routes.epoch > self._published:
            self._published = membership.routes.epoch
            programs = [self.layout.node(rank) for rank in sorted(self.active)]
            everybody = [*sorted(membership.servers), *programs]
            actions = [*(Send(node, Reroute(membership.routes)) for node in everybody), *actions]
        return [*actions, *(Left(node) for node in membership.let_go())]

    def _everywhere(self, message: Callable[[int], Message]) -> list[Action]:
        """Say something to the head of every shard."""
        segments = self.membership.routes.segments
        return [Send(segment.head, message(segment.shard)) for segment in segments]

    # Checkpoints

    def _kept(self, kept: Kept, now: float) -> list[Action]:
        """Make a checkpoint of the parts of one clock when they hold the whole key space."""
        parts = self._parts.setdefault(kept.clock, {})
        parts[kept.start] = kept
        if sum(part.stop - part.start for part in parts.values()) < POSITIONS:
            return []
        self._parts = {clock: later for clock, later in self._parts.items() if clock > kept.clock}
        ordered = [parts[start] for start in sorted(parts)]
        meta = {**kept.meta, "clock": kept.clock}
        return [Commit(kept.clock, [part.record for part in ordered], meta)]

    # The model

    def _change_model(self, change: ChangeModel, now: float) -> list[Action]:
        self._changes.append(change)
        number = len(self._changes)
        self._unchanged[number] = {segment.shard for segment in self.membership.routes.segments}
        return self._everywhere(lambda shard: SetModel(shard, change.model, number))

    def _spread_model(self) -> list[Action]:
        """Say again which model is in force, as long as a shard has not said that it knows."""
        if not any(self._unchanged.values()):
            return []
        number = len(self._changes)
        model: Consistency = self._changes[-1].model
        return self._everywhere(lambda shard: SetModel(shard, model, number))

    def _model_set(self, done: ModelSet, now: float) -> list[Action]:
        actions: list[Action] = []
        for number in range(1, done.number + 1):
            waiting = self._unchanged[number]
            if done.shard not in waiting:
                continue
            waiting.discard(done.shard)
            if not waiting:
                change = self._changes[number - 1]
                changed = ModelChanged(change.rank, change.model, number)
                actions += [Send(node, changed) for node in self._ranks]
        return actions

    def validate(self) -> None:
        """Raise `ProtocolError` unless the state keeps every invariant of the protocol."""
        for (role, number), there in self.barriers.items():
            waiting_for = {rank for rank in self.active if self.layout.role(rank) == role} - there
            if not waiting_for:
                raise ProtocolError(f"barrier {number} of {role} is closed, but everybody is there")
