"""The plumbing without the protocol's hosts: shards that count, programs that push and pull."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

import numpy as np

from psbook.core.controls import CONTROLLER, Finished, Hello
from psbook.core.keys import KeyRange
from psbook.core.messages import (
    Ack,
    MessageId,
    Pull,
    PullReply,
    Push,
)


class Counter:
    """A shard of one table `w` that adds what is pushed."""

    def __init__(self, name, process, size):
        self.name, self.process, self.value = name, process, np.zeros(size)

    def receive(self, source, message):
        if isinstance(message, Push):
            self.value = self.value + message.value
            self.process.send(self.name, source, Ack(message.id, 0.0))
        else:
            reply = PullReply(message.id, "w", message.keys, 0, 0, 0.0, value=self.value)
            self.process.send(self.name, source, reply)

    def halt(self, why):
        pass

    def progress(self):
        return None

    def standing(self):
        return None

    def drain(self):
        return []

    def hello(self):
        self.process.send(self.name, CONTROLLER, Hello(self.name))

    def rows(self):
        return []

    async def collect(self, routes):
        return {"value": self.value, "pid": os.getpid()}

    async def close(self):
        self.value = None


@dataclass(frozen=True)
class MakeCounter:
    size: int = 4

    def __call__(self, name, process):
        return Counter(name, process, self.size)


class Stepper:
    """Pull, compute, push, so many times; keeps the order of what it receives."""

    def __init__(self, node, spec, steps, compute):
        self.node, self.steps, self.compute = node, steps, compute
        self.rank = spec.layout.programs.index(node.name)
        self.server = spec.layout.servers[self.rank % spec.layout.count]
        self.done = self.sequence = 0
        self.seen, self.why, self.torn = [], "", 0

    def start(self):
        self.node.transmit(CONTROLLER, Hello(self.node.name))

    def receive(self, source, message):
        if isinstance(message, PullReply):
            self.torn += bool(np.ptp(message.value)) if message.value.size else 0
            self.node.run_compute(self.compute, (message.value,), self.computed)
            return
        self.seen.append(message.id.sequence if isinstance(message, Ack) else "start")
        if isinstance(message, Ack):
            self.done += 1
        if self.done == self.steps:
            self.node.transmit(CONTROLLER, Finished(self.rank))
            self.node.end()
        else:
            self.node.transmit(self.server, Pull(self.next_id(), "w", KeyRange(0, 4), self.done))

    def computed(self, future):
        push = Push(self.next_id(), "w", KeyRange(0, 4), future.result(), self.done)
        self.node.transmit(self.server, push)

    def next_id(self):
        self.sequence += 1
        return MessageId(self.rank, 0, "w", 0, self.sequence)

    def halt(self, why):
        self.why = why
        self.node.end()

    def progress(self):
        return self.done

    def standing(self):
        return None

    def rows(self):
        return []

    def collect(self):
        return {"seen": self.seen, "why": self.why, "torn": self.torn, "pid": os.getpid()}


@dataclass(frozen=True)
class MakeStepper:
    """Makes a `Stepper` around its node."""

    spec: object
    steps: int = 20
    compute: object = field(default=np.ones_like)

    def __call__(self, node):
        return Stepper(node, self.spec, self.steps, self.compute)


def slowly(value):
    time.sleep(0.05)
    return np.ones_like(value)
