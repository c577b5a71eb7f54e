"""The nodes of the small world: the core's state machines, each with the least driver that does its actions.

Values are left out: a push adds its name to its keys. So a value says which updates it contains, in which
order and how often, and can be judged without the protocol's own bookkeeping.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from psbook.core.actions import (
    Action,
    Answer,
    Apply,
    Committed,
    Complete,
    CopyOut,
    Deliver,
    Discard,
    Divide,
    End,
    Part,
    Restart,
    Send,
    Sum,
    TakeIn,
)
from psbook.core.client import Client
from psbook.core.commands import Command, DoClock, DoFinish, DoPull, DoPush, DoResend
from psbook.core.controller import Controller
from psbook.core.controls import CONTROLLER, Beat, Failed, Hello, Lease, Start
from psbook.core.keys import KeyRange, Keys, span
from psbook.core.layout import Layout
from psbook.core.messages import Push
from psbook.core.routes import Segment
from psbook.core.server import Server
from psbook.explorer.scope import TABLE, Scope


class Name(NamedTuple):
    """What an update adds to each of its keys: whose it is, of which start of the worker, of which clock."""

    rank: int
    incarnation: int
    clock: int


class Bag(tuple[Name, ...]):
    """Updates whose order changes nothing."""

    __slots__ = ()


@dataclass(frozen=True)
class Read:
    """What a program saw: its clock, and for each key the updates in the order in which they were applied."""

    rank: int
    incarnation: int
    clock: int
    own: tuple[Name, ...]
    values: tuple[tuple[Name, ...], ...]


@dataclass(frozen=True)
class Clocked:
    """Call number `clock` of ``clock()`` by worker `rank` has returned."""

    rank: int
    clock: int


@dataclass
class Outcome:
    """What a node does in one step, besides changing its state."""

    sends: list[tuple[str, Any]] = field(default_factory=list)
    """Messages, with whom they go to."""
    seen: list[Read | Clocked] = field(default_factory=list)
    """What a program was told, to be judged."""
    starts: list[tuple[int, int]] = field(default_factory=list)
    """Programs to be started again: rank and incarnation."""
    rounds: list[tuple[Name, ...]] = field(default_factory=list)
    """Updates that were combined into one, in order."""


class Dead(NamedTuple):
    """What is left of a node that has crashed."""

    node: str
    incarnation: int


class Program:
    """A worker's program and its client."""

    def __init__(self, rank: int, scope: Scope, layout: Layout, incarnation: int = 0) -> None:
        self.client = Client(rank, layout, scope.model, float("inf"), incarnation)
        self.script = scope.script(rank)
        self.size = layout.tables[0].size
        self.at = 0
        """Steps of the script that have been asked for."""
        self.waits = 0
        """Ticket that the program waits for."""
        self.ticket = 0
        self.first = 0
        """Clock at which this start of the program began."""
        self.own: tuple[Name, ...] = ()
        """Its updates when it asked for what it reads."""
        self.over = False
        self.seen: dict[int, int] | None = {} if scope.replicated else None
        """Version of each shard at the last read, where a crash might turn it back."""

    @property
    def node(self) -> str:
        """Name of the node."""
        return self.client.node

    @property
    def names(self) -> tuple[Name, ...]:
        """Updates that this start of the program has pushed."""
        client = self.client
        pushed = self.script[: self.at].count("push")
        return tuple(Name(client.rank, client.incarnation, clock) for clock in range(self.first, pushed))

    @property
    def outstanding(self) -> set[tuple[int, Name]]:
        """(key, name) of every update that is not acknowledged."""
        pushes = [each for each in self.client._requests.values() if isinstance(each, Push)]
        return {
            (key, name) for push in pushes for key, name in zip(indices(push.keys), push.value, strict=True)
        }

    @property
    def acknowledged(self) -> frozenset[tuple[int, Name]]:
        """(key, name) of every update that is."""
        return frozenset((key, name) for name in self.names for key in range(self.size)) - self.outstanding

    @property
    def owed(self) -> frozenset[int]:
        """Shards that have not yet replied to something."""
        return frozenset(id.shard for id in (*self.client._requests, *self.client._pending))

    def waits_for(self) -> str:
        """Say what the program waits for."""
        step = self.script[self.at - 1] if self.at else "its start"
        return f"{self.node} (clock {self.client.clock}) waits for {step}"

    def take(self, message: Any, now: float) -> Outcome:
        """Take in a message."""
        outcome = Outcome()
        self._do(self.client.handle(message, now), outcome)
        return outcome

    def timer(self, now: float) -> Outcome:
        """Beat, and send again what has had no reply."""
        outcome = Outcome()
        self.client._overdue = set(self.client._requests)
        self._do([*self.client.beat(now), *self.client.handle(DoResend(), now)], outcome)
        return outcome

    def _do(self, actions: Sequence[Action], outcome: Outcome) -> None:
        for action in actions:
            if isinstance(action, Send):
                outcome.sends.append((action.to, action.message))
            elif isinstance(action, Deliver):
                self.first = self.client.clock
                self.at = self.script.index("finish") // (self.script.count("clock") or 1) * self.first
                self._go_on(outcome)
            elif isinstance(action, Complete) and action.ticket == self.waits:
                self._completed(action, outcome)

    def _completed(self, complete: Complete, outcome: Outcome) -> None:
        what, self.waits, client = self.script[self.at - 1], 0, self.client
        if what == "pull":
            outcome.seen.append(
                Read(client.rank, client.incarnation, client.clock, self.own, self._assemble(complete.result))
            )
            self.own = ()
        elif what == "clock":
            outcome.seen.append(Clocked(client.rank, client.clock))
        else:
            self.over = True
            return
        self._go_on(outcome)

    def _assemble(self, parts: Iterable[Part]) -> tuple[tuple[Name, ...], ...]:
        """Put the parts together, with the worker's own later updates (A2)."""
        values: dict[int, tuple[Name, ...]] = {}
        for part in parts:
            reply = part.reply
            for key, names in zip(indices(reply.keys), reply.value, strict=True):
                own = [
                    name for keys, value, _ in part.deltas
                    for each, name in zip(indices(keys), value, strict=True) if each == key
                ]  # fmt: skip
                values[key] = (*names, *own)
            if self.seen is not None:
                before = self.seen.get(reply.id.shard, 0)
                if reply.version < before:
                    raise Violated(
                        "versions only rise",
                        f"{self.node} reads version {reply.version} of shard {reply.id.shard} after {before}",
                    )
                self.seen[reply.id.shard] = reply.version
        return tuple(values[key] for key in range(self.size))

    def _go_on(self, outcome: Outcome) -> None:
        """Ask for the next steps, until one has to be waited for."""
        while not self.waits and not self.over:
            what = self.script[self.at]
            if what == "pull":
                self.own = self.names
            self.at += 1
            self.ticket += 1
            if what != "push":
                self.waits = self.ticket
            self._do(self.client.handle(self._command(what), 0.0), outcome)

    def _command(self, what: str) -> Command:
        keys = KeyRange(0, self.size)
        if what == "pull":
            return DoPull(self.ticket, TABLE, keys)
        if what == "push":
            name = Name(self.client.rank, self.client.incarnation, self.client.clock)
            return DoPush(self.ticket, TABLE, keys, (name,) * self.size)
        return DoClock(self.ticket) if what == "clock" else DoFinish(self.ticket)


class ServerNode:
    """A server and the values of its shards: the names applied to each key."""

    def __init__(self, node: str, scope: Scope, layout: Layout, incarnation: int = 0) -> None:
        self.server = Server(node, layout, scope.model, incarnation=incarnation)
        self.ordered = scope.replicated
        self.size = layout.tables[0].size
        self.values: dict[int, dict[int, tuple[Name, ...]]] = {
            shard: self._empty(replica.segment) for shard, replica in self.server.replicas.items()
        }
        self.held: dict[int, list[tuple[int, str, Any]]] = {}
        """Replies that wait until the other replicas have what they show (primary/backup)."""

    @property
    def node(self) -> str:
        """Name of the node."""
        return self.server.node

    def _empty(self, segment: Segment) -> dict[int, tuple[Name, ...]]:
        return dict.fromkeys(indices(segment.keys(self.size)), ())

    def take(self, source: str, message: Any, now: float) -> Outcome:
        """Take in a message."""
        return self._do(self.server.handle(source, message, now))

    def timer(self, now: float) -> Outcome:
        """Beat, and send entries again that are not stable."""
        for replica in self.server.replicas.values():
            replica._sent_before = replica.position
        return self._do(self.server.beat(now))

    def renew(self, sent: float) -> Outcome:
        """Hear that the controller has heard the beat of `sent`."""
        return self._do(self.server.handle(CONTROLLER, Lease(sent), sent))

    def _do(self, actions: Iterable[Action]) -> Outcome:
        outcome = Outcome()
        for action in actions:
            self._perform(action, outcome)
        if not self.ordered:  # nobody will ever ask how long the log has become
            for replica in self.server.replicas.values():
                replica.position = replica.stable = replica._sent_before = 0
        return outcome

    def _perform(self, action: Action, outcome: Outcome) -> None:
        if isinstance(action, Send):
            self._reply(action.to, action.message, action.shard, action.until, outcome)
        elif isinstance(action, Answer):
            held = self.values[action.shard]
            action.reply.value = tuple(held[key] for key in indices(action.reply.keys))
            self._reply(action.to, action.reply, action.shard, action.until, outcome)
        elif isinstance(action, Apply):
            self._apply(action, outcome)
        elif isinstance(action, Committed):
            waiting = self.held.pop(action.shard, [])
            outcome.sends += [(to, message) for until, to, message in waiting if until <= action.position]
            late = [each for each in waiting if each[0] > action.position]
            if late:
                self.held[action.shard] = late
        elif isinstance(action, Sum):
            for update in action.updates:
                action.batch.value.append(list(self._named(update.pushes)))
        else:
            self._move(action, outcome)

    def _move(self, action: Action, outcome: Outcome) -> None:
        """Copy, cut or forget the values of a shard."""
        if isinstance(action, CopyOut):
            action.install.value = dict(self.values[action.install.segment.shard])
            outcome.sends += [(action.to, action.install)] if action.to else []
        elif isinstance(action, TakeIn):
            self.values[action.install.segment.shard] = dict(action.install.value)
            outcome.sends.append((action.to, action.done))
        elif isinstance(action, Divide):
            whole = self.values.pop(action.shard)
            for segment in action.segments:
                self.values[segment.shard] = {key: whole[key] for key in self._empty(segment)}
        elif isinstance(action, Discard):
            self.values.pop(action.shard, None)
            self.held.pop(action.shard, None)

    def _reply(self, to: str, message: Any, shard: int, until: int, outcome: Outcome) -> None:
        if until:
            self.held.setdefault(shard, []).append((until, to, message))
        else:
            outcome.sends.append((to, message))

    def _apply(self, apply: Apply, outcome: Outcome) -> None:
        named = apply.total if apply.total is not None else list(self._named(apply.pushes))
        values = self.values[apply.shard]
        for key, name in named:
            values[key] = (*values[key], name) if self.ordered else Bag(sorted((*values[key], name)))
        if len(apply.pushes) > 1:
            first = named[0][0]
            outcome.rounds.append(tuple(name for key, name in named if key == first))

    @staticmethod
    def _named(pushes: Iterable[Push]) -> Iterator[tuple[int, Name]]:
        for push in pushes:
            yield from zip(indices(push.keys), push.value, strict=True)


class ControllerNode:
    """The controller, and whether it has ended the run."""

    node = CONTROLLER

    def __init__(self, layout: Layout) -> None:
        self.controller = Controller(layout)
        self.ended = False
        self.failure = ""
        """Why it has ended, if not by itself."""

    def take(self, message: Any, now: float) -> Outcome:
        """Take in a message."""
        return self._do(self.controller.handle(message, now))

    def timer(self, now: float) -> Outcome:
        """Look who is silent; say again what may have been lost."""
        return self._do(self.controller.tick(now))

    def notice(self, node: str, now: float) -> Outcome:
        """Learn that a node is lost."""
        return self._do(self.controller.handle(Failed(node, f"{node} has crashed"), now))

    def hear(self, node: str, now: float) -> Outcome:
        """Hear a program, which has no lease."""
        self.controller.heard[node] = now
        return Outcome()

    def beat(self, beat: Beat, now: float) -> Outcome:
        """Hear a server in time; its lease is renewed by the driver."""
        outcome = self._do(self.controller.handle(beat, now))
        outcome.sends = [(to, message) for to, message in outcome.sends if not isinstance(message, Lease)]
        return outcome

    def begin(self, nodes: Sequence[str]) -> list[tuple[str, Start]]:
        """Hear that everybody is there; return whom to tell."""
        sends = [send for node in nodes for send in self._do(self.controller.handle(Hello(node), 0.0)).sends]
        return [(to, message) for to, message in sends if isinstance(message, Start)]

    def _do(self, actions: Iterable[Action]) -> Outcome:
        outcome = Outcome()
        for action in actions:
            if isinstance(action, Send):
                outcome.sends.append((action.to, action.message))
            elif isinstance(action, Restart):
                outcome.starts.append((action.rank, action.incarnation))
            elif isinstance(action, End):
                self.ended, self.failure = True, action.failure or ""
        return outcome


class Violated(Exception):
    """A property does not hold."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name, self.why = name, why


def indices(keys: Keys) -> list[int]:
    """Return keys as a list."""
    return list(range(*span(keys))) if isinstance(keys, KeyRange) else keys.tolist()
