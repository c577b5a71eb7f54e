"""A program's client: splits requests along the shards, puts replies together, keeps the program's clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from psbook.core.actions import Action, Complete, CutShort, Deliver, Part, Send
from psbook.core.cache import Cache
from psbook.core.collection import NO_READ
from psbook.core.commands import (
    Command,
    DoAsk,
    DoBarrier,
    DoCall,
    DoChangeModel,
    DoClock,
    DoFinish,
    DoFlush,
    DoPull,
    DoPush,
    DoResend,
)
from psbook.core.consistency import Consistency
from psbook.core.controls import (
    CONTROLLER,
    Arrive,
    Ask,
    Beat,
    ChangeModel,
    Finished,
    Grant,
    Hello,
    ModelChanged,
    Release,
    Reroute,
    Start,
)
from psbook.core.keys import count, same, within
from psbook.core.layout import Layout
from psbook.core.messages import (
    Ack,
    Call,
    CallReply,
    Clock,
    EndRound,
    Finish,
    Message,
    MessageId,
    Pull,
    PullReply,
    Push,
    Reject,
    Rejoin,
    Rejoined,
    Reply,
    Request,
    RoundOver,
    size,
)
from psbook.core.routes import Routes, Segment
from psbook.core.window import RESYNC, UNORDERED
from psbook.errors import ProtocolError

LONGEST_PAUSE = 64
"""Looks for late replies between two of the same request, at most."""


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
    incarnation
        How often the program has been started before.

    Notes
    -----
    State grows with the operations in flight and with cached rows; a request costs O(shards it touches).
    """

    def __init__(
        self,
        rank: int,
        layout: Layout,
        model: Consistency,
        max_in_flight: float = 2**28,
        incarnation: int = 0,
    ) -> None:
        self.rank = rank
        self.layout = layout
        self.model = model
        self.max_in_flight = max_in_flight
        self.node = layout.node(rank)
        self.clocked = layout.counts(rank)
        self.clock = 0
        self.incarnation = incarnation
        self.started = False
        self.finished = False
        self.in_flight = 0
        """Bytes of unacknowledged pushes."""
        self.barriers = 0
        self._specs = {table.name: table for table in layout.tables}
        self._safety = layout.safety
        self._ordered = layout.safety.delivery == "exactly-once"
        self._home = layout.shards[rank % len(layout.shards)]
        self._sequence = dict.fromkeys(layout.shards, 0)
        self._last_write = dict.fromkeys(layout.shards, 0)
        self._last_shown = dict.fromkeys(layout.shards, 0)
        """Last write to each shard that a read must wait for."""
        self._in_rounds = layout.safety.aggregate and model.buffered and self.clocked
        self._pending: dict[MessageId, Pending] = {}
        self._requests: dict[MessageId, Request] = {}
        self._overdue: set[MessageId] = set()
        """Requests that are sent again at the next look for late replies."""
        self._pauses: dict[MessageId, tuple[int, int]] = {}
        """Looks until each request is overdue, and from then until it is again."""
        self._finishing: DoFinish | None = None
        self._flushes: list[tuple[set[MessageId], Pending]] = []
        self._barriers: dict[int, Pending] = {}
        self._asking: tuple[Ask, Pending] | None = None
        """What the program has asked a queue for; one piece at a time."""
        self._changing: deque[Pending] = deque()
        self._model_number = 0
        self._held: list[Complete] = []
        self._reads: dict[tuple[str, int], PullReply] = {}
        self._rejoining: dict[int, Rejoined | None] = {}
        self._counted: dict[int, int] = {}
        """Clock that each shard had counted when this program started again."""
        self._cache = Cache()
        self._caches = {spec.name: spec.cache or (model.eager and self.clocked) for spec in layout.tables}
        self._collects = model.collects and self.clocked
        self._rounds: dict[int, tuple[int, int]] = {}
        """By shard: clock of the last read that the program took up, and the oldest round it saw then."""
        self._rounds_over: dict[int, int] = {}
        """Round that each shard has come to, as far as this program has heard, or told it."""
        self._asked_to_end: dict[int, int] = {}
        """Clock in which each shard was last asked to end its round."""
        self._wrote_to: set[int] = set()
        """Shards that this clock's pushes went to, if they are collected."""
        self._follow(layout.routes)
        self._handlers: dict[type, Callable[[Any, float], list[Action]]] = {
            DoPull: self._pull,
            DoPush: self._push,
            DoClock: self._clock,
            DoFlush: self._flush,
            DoBarrier: self._arrive,
            DoAsk: self._ask,
            DoCall: self._call,
            DoChangeModel: self._change_model,
            DoFinish: self._finish,
            DoResend: self._resend,
            PullReply: self._pulled,
            CallReply: self._called,
            Ack: self._acknowledged,
            Start: self._start,
            Reject: self._rejected,
            Rejoined: self._rejoined,
            Reroute: self._reroute,
            Release: self._released,
            Grant: self._granted,
            ModelChanged: self._model_changed,
            RoundOver: self._round_over,
        }

    def handle(self, event: Command | Message, now: float) -> list[Action]:
        """Take in a command of the program or a message; return what is to be done, in order."""
        handler = self._handlers.get(type(event))
        if handler is None:
            raise ProtocolError(f"{self.node} got {type(event).__name__}, which is not for it")
        return handler(event, now)

    @property
    def open(self) -> int:
        """Requests that have had no reply."""
        return len(self._requests)

    def hello(self) -> list[Action]:
        """Tell the controller that this program is ready."""
        return [Send(CONTROLLER, Hello(self.node))]

    def saw(self, parts: list[Part]) -> None:
        """The program has taken up a pulled value: what it pushes from now on was computed from it."""
        for part in parts:
            self._reads[part.reply.table, part.reply.id.shard] = part.reply
        if self._collects:
            for part in parts:
                clock, read = self._rounds.get(part.reply.id.shard, (-1, NO_READ))
                oldest = part.reply.round if clock < self.clock else min(read, part.reply.round)
                self._rounds[part.reply.id.shard] = self.clock, oldest

    def _follow(self, routes: Routes) -> None:
        """Send to whom the map says."""
        self.routes = routes
        self._segments = {segment.shard: segment for segment in routes.segments}
        self._partitions = {table.name: routes.partition(table.size) for table in self.layout.tables}
        chain = self._safety.scheme == "chain"
        self._reader = {each.shard: each.tail if chain else each.head for each in routes.segments}

    def _next_id(self, table: str, shard: int) -> MessageId:
        self._sequence[shard] += 1
        return MessageId(self.rank, self.incarnation, table, shard, self._sequence[shard])

    def _write(self, write: Any, shard: int) -> Send:
        """Send a write, in the order of this program's writes to the shard."""
        write.after, write.epoch = self._last_write[shard], self._segments[shard].epoch
        self._last_write[shard] = write.id.sequence
        if not (self._in_rounds and isinstance(write, Push | Clock)):  # those go to the tail with their round
            self._last_shown[shard] = write.id.sequence
        if self._safety.active:
            self._requests[write.id] = write
        return Send(self._segments[shard].head, write)

    def _pull(self, command: DoPull, now: float) -> list[Action]:
        actions: list[Action] = []
        pending = Pending(command.ticket, now)
        caching = self._caches[command.table]
        for shard, keys, start, stop in self._partitions[command.table].split(command.keys):
            if caching:
                part = self._cache.find(command.table, shard, keys, start, stop)
                if part and self.model.may_reuse(self.clock, part.reply.row_clock):
                    pending.parts[shard] = part
                    continue
            pull = Pull(self._next_id(command.table, shard), command.table, keys, self.clock)
            pull.sent, pull.after, pull.epoch = now, self._last_shown[shard], self._segments[shard].epoch
            if caching:
                self._cache.expect(command.table, shard, pull.after)
            pending.parts[shard] = (start, stop)
            pending.missing += 1
            self._pending[pull.id] = pending
            self._requests[pull.id] = pull
            actions.append(Send(self._reader[shard], pull))
        if not pending.missing:
            actions += self._complete(pending, list(pending.parts.values()), None)
        return actions

    def _pulled(self, reply: PullReply, now: float) -> list[Action]:
        pending = self._pending.get(reply.id)
        if reply.unasked:
            self._cache.keep(reply, self._specs[reply.table].additive)
            return []
        if pending is None or not same(reply.keys, self._requests[reply.id].keys):  # type: ignore[union-attr]
            return []  # a repeated answer, or one to what was asked before the shard was cut
        del self._pending[reply.id], self._requests[reply.id]
        shard = reply.id.shard
        start, stop = pending.parts[shard]
        if self._caches[reply.table]:
            self._cache.keep(reply, self._specs[reply.table].additive)
        pending.parts[shard] = Part(start, stop, reply)
        pending.missing -= 1
        told = self._tell_those_behind(reply, pending, now) if self._collects else []
        if pending.missing:
            return told
        return told + self._complete(pending, list(pending.parts.values()), reply)

    def _tell_those_behind(self, reply: PullReply, pending: Pending, now: float) -> list[Action]:
        """Ask shards that still hold the read to end their round, now that another has ended its own.

        Each shard counts its own rounds. If messages overtake one another, they collect different gradients:
        half of the workers might then wait here, the others there, for ever.
        """
        over = self._rounds_over
        actions: list[Action] = []
        over[reply.id.shard] = max(over.get(reply.id.shard, 0), reply.round)
        if not self.clock or not self.model.waits:  # type: ignore[attr-defined]  # it is one of rounds
            return []
        workers = len(self.layout.clocked)
        if self.model.needed(workers) >= workers:  # type: ignore[attr-defined]
            return []  # a round that needs everybody's gradient gets it, and leaves nobody behind
        for shard in self._segments:
            holds = type(pending.parts.get(shard)) is tuple and self._asked_to_end.get(shard) != self.clock
            if holds or over.get(shard, 0) < reply.round:
                over[shard] = max(over.get(shard, 0), reply.round)
                self._asked_to_end[shard] = self.clock
                end_round = EndRound(self._next_id("", shard), reply.round, sent=now)
                actions.append(self._write(end_round, shard))
        return actions

    def _round_over(self, over: RoundOver, now: float) -> list[Action]:
        """End the computation if every shard that the program has read from would drop its result."""
        self._rounds_over[over.shard] = max(self._rounds_over.get(over.shard, 0), over.round)
        old = [read < self._rounds_over.get(shard, 0) for shard, (_, read) in self._rounds.items()]
        return [CutShort()] if old and all(old) else []

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
            redone = self.clock < self._counted.get(shard, 0)  # the shard has it, and takes it no more
            if self._collects:
                self._wrote_to.add(shard)
            push.norm = command.norm
            if self._caches[command.table] and not self.model.buffered and not redone:
                self._cache.wrote(push, spec.additive)
            actions.append(self._send_push(push, shard, pending))
        if not pending.missing:
            actions += self._complete(pending, None, None)
        return actions

    def _send_push(self, push: Push, shard: int, pending: Pending) -> Send:
        if self._ordered:
            send = self._write(push, shard)
        else:
            push.after, push.epoch = UNORDERED, self._segments[shard].epoch
            send = Send(self._segments[shard].head, push)
        if self._safety.delivery != "at-most-once":
            pending.missing += 1
            self._pending[push.id] = pending
            self._requests[push.id] = push
            self.in_flight += size(push)
        return send

    def _clock(self, command: DoClock, now: float) -> list[Action]:
        self.clock += 1
        pending = Pending(command.ticket, now)
        if not self.clocked:
            return self._complete(pending, self.clock, None)
        actions: list[Action] = []
        uncounted = (request.clock for request in self._requests.values() if type(request) is Clock)
        known = min(uncounted, default=self.clock) - 1
        for shard in self._segments:
            state = command.state if shard == self._home else None
            clock = Clock(self._next_id("", shard), self.clock, state, sent=now, known=known)
            if self._collects:
                clock.round = self._round_read(shard)
            if self.model.gates_clock:
                pending.missing += 1
                pending.parts[0] = self.clock
                self._pending[clock.id] = pending
            actions.append(self._write(clock, shard))
        self._wrote_to.clear()
        if not pending.missing:
            actions += self._complete(pending, self.clock, None)
        return actions

    def _round_read(self, shard: int) -> int:
        """Round of the read that the clock's pushes to a shard were computed from; none need none."""
        clock, read = self._rounds.get(shard, (-1, NO_READ))
        return read if clock == self.clock - 1 or shard in self._wrote_to else NO_READ

    def _finish(self, command: DoFinish, now: float) -> list[Action]:
        """Leave behind everything that was pushed; pushes outside the order have to be waited for."""
        if not self._ordered and any(type(request) is Push for request in self._requests.values()):
            self._finishing = command
            return []
        pending = Pending(command.ticket, now, missing=len(self._segments))
        actions: list[Action] = []
        for shard in self._segments:
            finish = Finish(self._next_id("", shard), sent=now)
            _, finish.round = self._rounds.get(shard, (-1, NO_READ))
            self._pending[finish.id] = pending
            actions.append(self._write(finish, shard))
        pending.parts[-1] = Finished(self.rank)
        return actions

    def _acknowledged(self, ack: Ack, now: float) -> list[Action]:
        pending = self._pending.pop(ack.id, None)
        actions: list[Action] = []
        request = self._requests.pop(ack.id, None)
        if type(request) is Push:
            self.in_flight -= size(request)
            actions += self._flushed(ack)
            if self._finishing is not None:
                command, self._finishing = self._finishing, None
                actions += self._finish(command, now)
        if pending is None:
            return actions
        pending.missing -= 1
        if not pending.missing:
            finished = pending.parts.get(-1)
            if finished is not None:
                self.finished = True
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
        pending = Pending(command.ticket, now, missing=len(self._segments))
        actions: list[Action] = []
        for shard in self._segments:
            id = self._next_id(command.table, shard)
            self._cache.forget(command.table, shard)  # the function may change values
            before = (each.sequence for each, request in self._requests.items()
                      if each.shard == shard and type(request) is Call)  # fmt: skip
            oldest = min(before, default=id.sequence)
            call = Call(id, command.table, command.function, command.arguments, sent=now, open=oldest)
            self._pending[id] = pending
            actions.append(self._write(call, shard))
        return actions

    def _called(self, reply: CallReply, now: float) -> list[Action]:
        pending = self._pending.pop(reply.id, None)
        if pending is None:
            return []
        self._requests.pop(reply.id, None)
        if not reply.elsewhere:
            pending.parts[reply.id.shard] = reply.value
        pending.missing -= 1
        if pending.missing:
            return []
        in_key_order = [pending.parts[shard] for shard in self._segments if shard in pending.parts]
        return self._complete(pending, in_key_order, reply)

    def _arrive(self, command: DoBarrier, now: float) -> list[Action]:
        self.barriers += 1
        self._barriers[self.barriers] = Pending(command.ticket, now)
        return [Send(CONTROLLER, Arrive(self.rank, self.barriers))]

    def _released(self, release: Release, now: float) -> list[Action]:
        pending = self._barriers.pop(release.number, None)
        return [] if pending is None else self._complete(pending, None, None)

    def _ask(self, command: DoAsk, now: float) -> list[Action]:
        ask = Ask(self.rank, command.queue, command.number)
        self._asking = ask, Pending(command.ticket, now)
        return [Send(CONTROLLER, ask)]

    def _granted(self, grant: Grant, now: float) -> list[Action]:
        if self._asking is None:
            return []
        ask, pending = self._asking
        if (grant.queue, grant.number) != (ask.queue, ask.number):
            return []
        self._asking = None
        return self._complete(pending, grant.item, None)

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

    # A program that starts again

    def _start(self, start: Start, now: float) -> list[Action]:
        """Begin; ask the shards where to begin, if this program was there before or joins (E2b, E8)."""
        if self.started or self._rejoining:
            return []
        self.barriers = start.barriers
        if not self.incarnation and self.rank < len(self.layout.programs):
            self.started = True
            return [Deliver()]
        self._rejoining = dict.fromkeys(self._segments)
        return [self._write(Rejoin(self._next_id("", shard), sent=now), shard) for shard in self._segments]

    def _rejoined(self, reply: Rejoined, now: float) -> list[Action]:
        if self._requests.pop(reply.id, None) is None:
            return []
        self._rejoining[reply.id.shard] = reply
        replies = [each for each in self._rejoining.values() if each is not None]
        if len(replies) < len(self._rejoining):
            return []
        self._counted = {each.id.shard: each.clock for each in replies}
        joined = any(each.joined for each in replies)
        self.clock = (max if joined else min)(each.clock for each in replies)
        if not joined:
            self.barriers = 0  # those behind it are part of its state
        state = {clock: state for each in replies for clock, state in each.states}.get(self.clock)
        actions: list[Action] = []
        if joined and self.clocked:
            for shard, each in self._rejoining.items():
                if each is not None and each.clock < self.clock:
                    jump = Clock(self._next_id("", shard), self.clock, jump=True, sent=now)
                    actions.append(self._write(jump, shard))
        self.started = True
        return [*actions, Deliver(state)]

    # Lost messages and a changed map

    def beat(self, now: float) -> list[Send]:
        """Say that the program lives, and what the controller may have missed."""
        waiting = self.barriers if self._barriers else 0
        asks = self._asking[0] if self._asking else None
        epoch = self.routes.epoch
        beat = Beat(self.node, self.incarnation, now, epoch, self.started, waiting, self.finished, asks)
        return [Send(CONTROLLER, beat)]

    def _resend(self, command: DoResend, now: float) -> list[Action]:
        """Send again what has had no reply since the last look, then after twice as many looks each time.

        Without that, requests that a busy server has in its queue would be put there faster than it serves.
        """
        late = [request for id, request in self._requests.items() if id in self._overdue]
        pauses: dict[MessageId, tuple[int, int]] = {}
        for id in self._requests:
            left, pause = self._pauses.get(id, (1, 1))
            if id in self._overdue:
                left = pause = min(2 * pause, LONGEST_PAUSE)
            pauses[id] = left - 1, pause
        self._pauses = pauses
        self._overdue = {id for id, (left, _) in pauses.items() if left <= 0}
        return [self._again(request) for request in late]

    def _again(self, request: Request) -> Send:
        shard = request.id.shard
        to = self._reader[shard] if type(request) is Pull else self._segments[shard].head
        return Send(to, replace(request))

    def _rejected(self, reject: Reject, now: float) -> list[Action]:
        """A server knows a newer map: ask for it. What was rejected is sent again when it comes (B4)."""
        return [*self.beat(now)] if reject.epoch > self.routes.epoch else []

    def _reroute(self, reroute: Reroute, now: float) -> list[Action]:
        """Go over to a newer map; send again what went to segments that have changed."""
        if reroute.routes.epoch <= self.routes.epoch:
            return []
        before = self._segments
        self._follow(reroute.routes)
        changed = {
            shard: [part for part in self._segments.values() if _lies_in(part, segment)]
            for shard, segment in before.items()
            if self._segments[shard].epoch != segment.epoch
        }
        for shard, parts in changed.items():
            for part in parts:
                self._inherit(shard, part.shard)
        catching_up = self._resynchronise(now)
        affected = [request for request in self._requests.values() if request.id.shard in changed]
        actions: list[Action] = []
        for request in affected:
            actions += [self._again(each) for each in self._cut(request, changed[request.id.shard])]
        return actions + catching_up

    def _inherit(self, shard: int, part: int) -> None:
        """Number messages to a part of a shard on from those to the whole (C1)."""
        for table in self._specs:
            self._cache.forget(table, shard)
            read = self._reads.get((table, shard))
            if read is not None:
                self._reads[table, part] = read
        self._sequence[part] = self._sequence[shard]
        self._last_write[part] = self._last_write[shard]
        self._last_shown[part] = self._last_shown[shard]
        self._rounds_over[part] = self._rounds_over.get(shard, 0)
        if shard in self._rounds:
            self._rounds[part] = self._rounds[shard]
        self._counted[part] = self._counted.get(shard, 0)

    def _cut(self, request: Request, parts: list[Segment]) -> list[Request]:
        """Return a request's parts for the segments that its shard has become, under the same number."""
        if len(parts) == 1:
            request.epoch = parts[0].epoch
            return [request]
        del self._requests[request.id]
        pending = self._pending.pop(request.id, None)
        place = pending.parts.pop(request.id.shard, None) if pending is not None else None
        found = [self._piece(request, part, pending, place) for part in parts]
        pieces = [piece for piece in found if piece is not None]
        for piece in pieces:
            self._requests[piece.id] = piece
            if pending is not None:
                self._pending[piece.id] = pending
        if pending is not None:
            pending.missing += len(pieces) - 1
        if isinstance(request, Push):
            self.in_flight += sum(map(size, pieces)) - size(request)
            for waiting, _ in self._flushes:
                if request.id in waiting:
                    waiting.remove(request.id)
                    waiting.update(piece.id for piece in pieces)
        if isinstance(request, Rejoin):
            self._rejoining.pop(request.id.shard)
            self._rejoining.update((piece.id.shard, None) for piece in pieces)
        return pieces

    def _piece(self, request: Request, part: Segment, pending: Pending | None, place: Any) -> Request | None:
        """Return a request's part for one segment; a write without keys there still has its number (C2)."""
        piece = replace(request, id=request.id._replace(shard=part.shard), epoch=part.epoch)
        if not isinstance(piece, Pull | Push):
            return piece
        owned = part.keys(self._specs[piece.table].size)
        cut = within(piece.keys, owned.start, owned.stop)
        piece.keys = cut.keys
        if isinstance(piece, Push):
            piece.value = piece.value[cut.start : cut.stop]
            return piece
        if not count(cut.keys):
            return None
        if pending is not None and place is not None:
            pending.parts[part.shard] = (place[0] + cut.start, place[0] + cut.stop)
        return piece

    def _resynchronise(self, now: float) -> list[Action]:
        """Tell a shard that came back from a checkpoint where this program is (semantics.md E5).

        What it does not know and was acknowledged before is lost; what was not is sent again, and then the
        clock, which may have been.
        """
        clocks: list[Action] = []
        for shard, segment in self._segments.items():
            if not segment.restored or segment.epoch != self.routes.epoch:
                continue
            of_shard = [request for request in self._requests.values() if request.id.shard == shard]
            writes = [each for each in of_shard if type(each) is not Pull and each.after != UNORDERED]
            if writes:
                writes[0].after = RESYNC
            else:
                self._last_write[shard] = RESYNC
            if self.clocked and not self.finished:
                clock = Clock(self._next_id("", shard), self.clock, jump=True, sent=now)
                clocks.append(self._write(clock, shard))
            for request in of_shard:
                if type(request) is Pull:
                    request.after = self._last_write[shard]
        return clocks

    def validate(self) -> None:
        """Raise `ProtocolError` unless the state keeps every invariant of the protocol."""
        pushes = [request for request in self._requests.values() if type(request) is Push]
        if self.in_flight != sum(map(size, pushes)):
            raise ProtocolError(f"{self.node}: {self.in_flight} bytes in flight, requests say otherwise")
        alone = {id for id in self._requests if id.table} - self._pending.keys()
        if alone:
            raise ProtocolError(f"{self.node}: requests {alone} in flight belong to no operation")
        if any(pending.missing < 1 for pending in self._pending.values()):
            raise ProtocolError(f"{self.node}: a pending operation waits for nothing")


def _lies_in(part: Segment, whole: Segment) -> bool:
    return whole.start <= part.start and part.stop <= whole.stop
