"""Short ways to make state machines, and to hand them messages."""

from psbook.core.actions import Answer, Apply, Send
from psbook.core.keys import KeyRange
from psbook.core.layout import NOTHING_FAILS, Layout, TableSpec
from psbook.core.messages import (
    Ack,
    Clock,
    Finish,
    MessageId,
    Pull,
    Push,
)
from psbook.core.shard import Shard as Machine

WHOLE = KeyRange(0, 8)
W = (TableSpec("w", WHOLE.stop),)


def layout(workers, shards=1, *, others=0, tables=W, safety=NOTHING_FAILS):
    """`workers` clocked programs, then `others` of a second role."""
    programs = [f"worker-{i}" for i in range(workers)] + [f"other-{i}" for i in range(others)]
    roles = ["worker"] * workers + ["other"] * others
    return Layout(tuple(programs), tuple(roles), frozenset(range(workers)), shards, tuple(tables), safety)


class Shard:
    """A shard whose workers' messages are numbered for them."""

    def __init__(self, workers, model, *, others=0, tables=W, every=0):
        laid_out = layout(workers, others=others, tables=tables)
        self.server = Machine(laid_out.routes.segments[0], laid_out, model, every)
        self.sequence = [0] * (workers + others)
        self.written = [0] * (workers + others)
        self.clocks = [0] * (workers + others)
        self.now = 0.0

    def take(self, message):
        actions = self.server.handle(message, self.now)
        self.server.validate()
        return actions

    def write(self, message):
        """Take a write in, numbered behind the one before."""
        rank = message.id.rank
        message.after, self.written[rank] = self.written[rank], message.id.sequence
        return self.take(message)

    def id(self, rank, table="w"):
        self.sequence[rank] += 1
        return MessageId(rank, 0, table, 0, self.sequence[rank])

    def pull(self, rank, table="w", keys=WHOLE):
        return self.take(Pull(self.id(rank, table), table, keys, self.clocks[rank], self.written[rank]))

    def push(self, rank, table="w", keys=WHOLE, scale=1.0):
        return self.write(Push(self.id(rank, table), table, keys, None, self.clocks[rank], scale))

    def clock(self, rank):
        self.clocks[rank] += 1
        return self.write(Clock(self.id(rank, ""), self.clocks[rank]))

    def finish(self, rank):
        return self.write(Finish(self.id(rank, "")))


def answered(actions):
    """Names of the programs whose pulls are answered, in order."""
    return [action.to for action in actions if isinstance(action, Answer)]


def acknowledged(actions):
    return [a.to for a in actions if isinstance(a, Send) and isinstance(a.message, Ack)]


def applied(actions):
    """(table, clocks' pushes by rank, scale, version) of each update."""
    return [
        (a.table, [push.id.rank for push in a.pushes], a.scale, a.version)
        for a in actions
        if isinstance(a, Apply)
    ]
