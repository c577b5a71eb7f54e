"""A world of real state machines whose messages are delivered in any order, some of them twice.

Values are sets of push names: a push of worker 2 adds its name to the keys it covers. So every read says
exactly which pushes it contains, and how often, and can be judged without the protocol's own bookkeeping.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from psbook.core.actions import (
    Answer,
    Apply,
    Complete,
    Deliver,
    End,
    Invoke,
    Parked,
    Send,
    Snapshot,
    Unparked,
)
from psbook.core.client import Client
from psbook.core.commands import DoBarrier, DoCall, DoChangeModel, DoClock, DoFinish, DoFlush, DoPull, DoPush
from psbook.core.controller import Controller
from psbook.core.controls import CONTROLLER, Hello
from psbook.core.keys import KeyRange, count
from psbook.core.server import Server


class Name(NamedTuple):
    """A push: who, the how-manieth, of which clock."""

    rank: int
    number: int
    clock: int


class Step(NamedTuple):
    """One operation of a program; `wait` for it, or go on at once."""

    what: str
    wait: bool = True
    table: str = ""
    keys: object = None
    model: object = None


@dataclass
class Read:
    """What a program saw: its clock and own pushes when it asked, and a Counter of names for each key."""

    rank: int
    clock: int
    table: str
    keys: list
    own: int
    values: list


@dataclass
class Program:
    client: Client
    steps: list
    at: int = 0
    ticket: int = 0
    waits: int | None = None
    started: bool = False
    over: bool = False
    pushes: int = 0
    asked: dict = field(default_factory=dict)


def indices(keys):
    return list(range(keys.start, keys.stop)) if isinstance(keys, KeyRange) else keys.tolist()


class World:
    """Programs, shards, a controller, and a bag of messages under way.

    `random` (a `random.Random`) picks the next message, and whether it stays in the bag to come again.
    """

    def __init__(self, layout, model, scripts, random, duplicates=0.2, max_in_flight=2**28):
        self.layout, self.model, self.random, self.duplicates = layout, model, random, duplicates
        self.servers = [Server(node, layout, model, every=1) for node in layout.servers]
        self.programs = [
            Program(Client(rank, layout, model, max_in_flight), steps) for rank, steps in enumerate(scripts)
        ]
        self.controller = Controller(layout)
        self.bag = []
        self.state = [defaultdict(Counter) for _ in layout.shards]
        self.names = []
        self.reads = []
        self.ended = False
        self.parked = 0

    def run(self, most=100_000):
        for server in self.servers:
            self.bag.append((server.node, CONTROLLER, Hello(server.node)))
        for program in self.programs:
            self.perform(program, program.client.hello())
        for _ in range(most):
            if not self.bag:
                return
            self.deliver(self.random.randrange(len(self.bag)))
            self.validate()
        raise AssertionError("the run does not end")

    def deliver(self, at):
        source, destination, message = self.bag[at]
        reliable = CONTROLLER in (source, destination)
        if reliable or self.random.random() >= self.duplicates:
            self.bag[at] = self.bag[-1]
            self.bag.pop()
        if destination == CONTROLLER:
            self.control(self.controller.handle(message, 0.0))
        elif destination.startswith("server-"):
            shard = int(destination.removeprefix("server-"))
            self.serve(shard, self.servers[shard].handle(source, message, 0.0))
        else:
            program = self.programs[self.layout.programs.index(destination)]
            self.perform(program, program.client.handle(message, 0.0))

    def validate(self):
        for machine in (*self.servers, self.controller, *(p.client for p in self.programs)):
            machine.validate()

    # Drivers

    def control(self, actions):
        for action in actions:
            if isinstance(action, Send):
                self.bag.append((CONTROLLER, action.to, action.message))
            else:
                assert isinstance(action, End)
                self.ended = True

    def serve(self, shard, actions):
        node = f"server-{shard}"
        for action in actions:
            if isinstance(action, Send):
                self.bag.append((node, action.to, action.message))
            elif isinstance(action, Answer):
                reply = action.reply
                reply.value = np.empty(count(reply.keys), object)
                reply.value[:] = [Counter(self.state[shard][reply.table, k]) for k in indices(reply.keys)]
                self.bag.append((node, action.to, reply))
            elif isinstance(action, Apply):
                for push in action.pushes:
                    for key, name in zip(indices(push.keys), push.value, strict=True):
                        self.state[shard][push.table, key][name] += 1
            elif isinstance(action, Invoke):
                action.reply.value = shard
                self.bag.append((node, action.to, action.reply))
            else:
                assert isinstance(action, Parked | Unparked | Snapshot)
                self.parked += isinstance(action, Parked)

    def perform(self, program, actions):
        for action in actions:
            if isinstance(action, Send):
                self.bag.append((program.client.node, action.to, action.message))
            elif isinstance(action, Deliver):
                assert not program.started
                program.started = True
                self.go_on(program)
            else:
                assert isinstance(action, Complete)
                self.complete(program, action)

    def complete(self, program, complete):
        asked = program.asked.pop(complete.ticket)  # a KeyError: completed twice
        if isinstance(asked, Read):
            asked.values = self.assemble(asked, complete.result)
            self.reads.append(asked)
        if program.waits == complete.ticket:
            program.waits = None
            if isinstance(asked, Read):  # what the bound on bytes in flight promises (A14)
                assert program.client.in_flight <= program.client.max_in_flight
        self.go_on(program)

    def assemble(self, read, parts):
        rows = [None] * len(read.keys)
        for part in parts:
            held = dict(zip(indices(part.reply.keys), part.reply.value, strict=True))
            for keys, value, _ in part.deltas:
                for key, name in zip(indices(keys), value, strict=True):
                    if key in held:
                        held[key] = held[key] + Counter([name])
            for at in range(part.start, part.stop):
                rows[at] = held[read.keys[at]]
        return rows

    # Programs

    def go_on(self, program):
        while program.waits is None and not program.over:
            if program.at == len(program.steps):
                if program.asked:
                    return  # nothing is left unawaited
                program.over = True
                self.issue(program, Step("finish"))
                return
            step = program.steps[program.at]
            program.at += 1
            self.issue(program, step)

    def issue(self, program, step):
        program.ticket += 1
        ticket, client = program.ticket, program.client
        program.asked[ticket] = step
        if step.wait:
            program.waits = ticket
        self.perform(program, client.handle(self.command(program, step, ticket), 0.0))

    def command(self, program, step, ticket):
        client = program.client
        if step.what == "pull":
            keys = indices(step.keys)
            program.asked[ticket] = Read(client.rank, client.clock, step.table, keys, program.pushes, [])
            return DoPull(ticket, step.table, step.keys)
        if step.what == "push":
            name = Name(client.rank, program.pushes, client.clock)
            program.pushes += 1
            self.names.append((name, step.table, frozenset(indices(step.keys))))
            value = np.empty(count(step.keys), object)
            value[:] = [name] * count(step.keys)
            return DoPush(ticket, step.table, step.keys, value)
        if step.what == "call":
            return DoCall(ticket, step.table, len, ())
        if step.what == "model":
            return DoChangeModel(ticket, step.model)
        plain = {"clock": DoClock, "flush": DoFlush, "barrier": DoBarrier, "finish": DoFinish}
        return plain[step.what](ticket)

    # What an independent model says

    def pushes_to(self, table, shard):
        """Names of the pushes that touch a shard's part of a table."""
        (size,) = (spec.size for spec in self.layout.tables if spec.name == table)
        owned = set(range(*self.layout.routes.segments[shard].keys(size)))
        return [name for name, of, keys in self.names if of == table and keys & owned]
