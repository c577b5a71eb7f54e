"""A program's client: splits requests along the shards, puts replies together, keeps the program's clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from psbook.core.actions import Action, Complete, Deliver, Part, Send
from psbook.core.cache import Cache
from psbook.core.commands import (
    Command,
    DoBarrier,
    DoCall,
    DoChangeModel,
    DoClock,
    DoFinish,
    DoFlush,
    DoPull,
    DoPush,
)
from psbook.core.consistency import Consistency
from psbook.core.keys import RangePartition
from psbook.core.messages import (
    CONTROLLER,
    Ack,
    Arrive,
    Call,
    CallReply,
    ChangeModel,
    Clock,
    Finish,
    Finished,
    Hello,
    Layout,
    Message,
    MessageId,
    ModelChanged,
    Pull,
    PullReply,
    Push,
    Release,
    Reply,
    Start,
    size,
)
from psbook.errors import ProtocolError


@dataclass(slots=True, eq=False)
class Pending:
    """An operation of the program that still waits for `missing` replies."""

    ticket: int
    asked: float
    missing: int = 0
    parts: dict[int, Any] = field(default_factory=dict)


class Client:
    """State machine of one program's side of the protocol.

    Parameters
    ----------
    rank
        Number of the program over all roles.
    layout
        Who takes part.
    model
        Consistency model.
    max_in_flight
        Bytes of unacknowledged pushes above which the program's next operation waits (A14).

    Notes
    -----
    State grows with the operations in flight and with cached rows; a request costs O(shards it touches).
    """

    def __init__(self, rank: int, layout: Layout, model: Consistency, max_in_flight: float = 2**28) -> None:
        self.rank = rank
        self.layout = layout
        self.model = model
        self.max_in_flight = max_in_flight
        self.node = layout.programs[rank]
        self.clocked = rank in layout.clocked
        self.clock = 0
        self.incarnation = 0
        self.in_flight = 0
        """Bytes of unacknowledged pushes."""
        self.barriers = 0
        self._specs = {table.name: table for table in layout.tables}
        self._partitions = {table.name: RangePartition(table.size, layout.shards) for table in layout.tables}
        self._sequence = [0] * layout.shards
        self._pending: dict[MessageId, Pending] = {}
        self._requests: dict[MessageId, Pull | Push] = {}
        self._flushes: list[tuple[set[MessageId], Pending]] = []
        self._barriers: dict[int, Pending] = {}
        self._changing: deque[Pending] = deque()
        self._model_number = 0
        self._held: list[Complete] = []
        self._reads: dict[tuple[str, int], PullReply] = {}
        self._cache = Cache()
        self._handlers: dict[type, Callable[[Any, float], list[Action]]] = {
            DoPull: self._pull,
            DoPush: self._push,
            DoClock: self._clock,
            DoFlush: self._flush,
            DoBarrier: self._arrive,
            DoCall: self._call,
            DoChangeModel: self._change_model,
            DoFinish: self._finish,
            PullReply: self._pulled,
            CallReply: self._called,
            Ack: self._acknowledged,
            Start: lambda event, now: [Deliver()],
            Release: self._released,
            ModelChanged: self._model_changed,
        }

    def handle(self, event: Command | Message, now: float) -> list[Action]:
        """Take in a command of the program or a message; return what is to be done, in order."""
        handler = self._handlers.get(type(event))
        if handler is None:
            raise ProtocolError(f"{self.node} got {type(event).__name__}, which is not for it")
        return handler(event, now)

    def hello(self) -> list[Action]:
        """Tell the controller that this program is ready."""
        return [Send(CONTROLLER, Hello(self.node))]

    def saw(self, parts: list[Part]) -> None:
        """The program has taken up a pulled value: what it pushes from now on was computed from it."""
        for part in parts:
            self._reads[part.reply.table, part.reply.id.shard] = part.reply

    def _next_id(self, table: str, shard: int) -> MessageId:
        self._sequence[shard] += 1
        return MessageId(self.rank, self.incarnation, table, shard, self._sequence[shard])

    def _pull(self, command: DoPull, now: float) -> list[Action]:
        actions: list[Action] = []
        pending = Pending(command.ticket, now)
        caching = self._specs[command.table].cache
        for shard, keys, start, stop in self._partitions[command.table].split(command.keys):
            if caching:
                part = self._cache.find(command.table, shard, keys, start, stop)
                if part and self.model.may_reuse(self.clock, part.reply.row_clock):
                    pending.parts[shard] = part
                    continue
            pull = Pull(self._next_id(command.table, shard), command.table, keys, self.clock, now)
            if caching:
                self._cache.expect(command.table, shard, pull.id.sequence)
            pending.parts[shard] = (start, stop)
            pending.missing += 1
            self._pending[pull.id] = pending
            self._requests[pull.id] = pull
            actions.append(Send(self.layout.server(shard), pull))
        if not pending.missing:
            actions += self._complete(pending, list(pending.parts.values()), None)
        return actions

    def _pulled(self, reply: PullReply, now: float) -> list[Action]:
        pending = self._pending.pop(reply.id, None)
        if pending is None:
            return []
        del self._requests[reply.id]
        shard = reply.id.shard
        start, stop = pending.parts[shard]
        if self._specs[reply.table].cache:
            self._cache.keep(reply, self._specs[reply.table].additive)
        pending.parts[shard] = Part(start, stop, reply)
        pending.missing -= 1
        return [] if pending.missing else self._complete(pending, list(pending.parts.values()), reply)

    def _push(self, command: DoPush, now: float) -> list[Action]:
        actions: list[Action] = []
        pending = Pending(command.ticket, now)
        spec = self._specs[command.table]
        scale = self.model.push_scale(len(self.layout.clocked)) if spec.mean and self.clocked else 1.0
        for shard, keys, start, stop in self._partitions[command.table].split(command.keys):
            value = command.value[start:stop]
            read = self._reads.get((command.table, shard))
            push = Push(self._next_id(command.table, shard), command.table, keys, value, self.clock, scale)
            push.sent = now
            if read is not None:
                push.read, push.read_version = read.id, read.version
            pending.missing += 1
            self._pending[push.id] = pending
            self._requests[push.id] = push
            self.in_flight += size(push)
            if spec.cache and not self.model.buffered:
                self._cache.wrote(push, spec.additive)
            actions.append(Send(self.layout.server(shard), push))
        if not pending.missing:
            actions += self._complete(pending, None, None)
        return actions

    def _clock(self, command: DoClock, now: float) -> list[Action]:
        self.clock += 1
        pending = Pending(command.ticket, now)
        if not self.clocked:
            return self._complete(pending, self.clock, None)
        actions: list[Action] = []
        for shard in range(self.layout.shards):
            clock = Clock(self._next_id("", shard), self.clock, now)
            if self.model.gates_clock:
                pending.missing += 1
                pending.parts[0] = self.clock
                self._pending[clock.id] = pending
            actions.append(Send(self.layout.server(shard), clock))
        if not pending.missing:
            actions += self._complete(pending, self.clock, None)
        return actions

    def _finish(self, command: DoFinish, now: float) -> list[Action]:
        pending = Pending(command.ticket, now, missing=self.layout.shards)
        actions: list[Action] = []
        for shard in range(self.layout.shards):
            finish = Finish(self._next_id("", shard), now)
            self._pending[finish.id] = pending
            actions.append(Send(self.layout.server(shard), finish))
        pending.parts[-1] = Finished(self.rank)
        return actions

    def _acknowledged(self, ack: Ack, now: float) -> list[Action]:
        pending = self._pending.pop(ack.id, None)
        if pending is None:
            return []
        actions: list[Action] = []
        push = self._requests.pop(ack.id, None)
        if push is not None:
            self.in_flight -= size(push)
            actions += self._flushed(ack)
        pending.missing -= 1
        if not pending.missing:
            finished = pending.parts.get(-1)
            if finished is not None:
                actions.append(Send(CONTROLLER, finished))
            actions += self._complete(pending, pending.parts.get(0), ack)
        return actions + self._let_go(ack)

    def _flush(self, command: DoFlush, now: float) -> list[Action]:
        waiting = {id for id, request in self._requests.items() if type(request) is Push}
        pending = Pending(command.ticket, now)
        if not waiting:
            return self._complete(pending, None, None)
        self._flushes.append((waiting, pending))
        return []

    def _flushed(self, ack: Ack) -> list[Action]:
        done: list[Action] = []
        for waiting, pending in self._flushes:
            waiting.discard(ack.id)
            if not waiting:
                done += self._complete(pending, None, ack)
        self._flushes = [(waiting, pending) for waiting, pending in self._flushes if waiting]
        return done

    def _call(self, command: DoCall, now: float) -> list[Action]:
        pending = Pending(command.ticket, now, missing=self.layout.shards)
        actions: list[Action] = []
        for shard in range(self.layout.shards):
            id = self._next_id(command.table, shard)
            self._cache.forget(command.table, shard)  # the function may change values
            call = Call(id, command.table, command.function, command.arguments, now)
            self._pending[id] = pending
            actions.append(Send(self.layout.server(shard), call))
        return actions

    def _called(self, reply: CallReply, now: float) -> list[Action]:
        pending = self._pending.pop(reply.id, None)
        if pending is None:
            return []
        pending.parts[reply.id.shard] = reply.value
        pending.missing -= 1
        if pending.missing:
            return []
        return self._complete(pending, [pending.parts[shard] for shard in sorted(pending.parts)], reply)

    def _arrive(self, command: DoBarrier, now: float) -> list[Action]:
        self.barriers += 1
        self._barriers[self.barriers] = Pending(command.ticket, now)
        return [Send(CONTROLLER, Arrive(self.rank, self.barriers))]

    def _released(self, release: Release, now: float) -> list[Action]:
        pending = self._barriers.pop(release.number, None)
        return [] if pending is None else self._complete(pending, None, None)

    def _change_model(self, command: DoChangeModel, now: float) -> list[Action]:
        self.model.check_change(command.model)
        self._changing.append(Pending(command.ticket, now))
        return [Send(CONTROLLER, ChangeModel(self.rank, command.model))]

    def _model_changed(self, changed: ModelChanged, now: float) -> list[Action]:
        if changed.number > self._model_number:
            self.model, self._model_number = changed.model, changed.number
        if changed.rank != self.rank or not self._changing:
            return []
        return self._complete(self._changing.popleft(), None, None)

    def _complete(self, pending: Pending, result: Any, last: Reply | None) -> list[Action]:
        complete = Complete(pending.ticket, result, last, pending.asked)
        if self.in_flight > self.max_in_flight and not isinstance(last, Ack):
            self._held.append(complete)
            return []
        return [complete]

    def _let_go(self, ack: Ack) -> list[Action]:
        if not self._held or self.in_flight > self.max_in_flight:
            return []
        for complete in self._held:
            complete.last = ack
        held, self._held = self._held, []
        return list(held)

    def validate(self) -> None:
        """Raise `ProtocolError` unless the state keeps every invariant of the protocol."""
        pushes = [request for request in self._requests.values() if type(request) is Push]
        if self.in_flight != sum(map(size, pushes)):
            raise ProtocolError(f"{self.node}: {self.in_flight} bytes in flight, requests say otherwise")
        if not self._requests.keys() <= self._pending.keys():
            raise ProtocolError(f"{self.node}: a request in flight belongs to no operation")
        if any(pending.missing < 1 for pending in self._pending.values()):
            raise ProtocolError(f"{self.node}: a pending operation waits for nothing")
