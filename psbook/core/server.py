"""A shard: one key range of every table, its clocks, versions and parked requests.

The shard decides what is applied in which order and when a request is answered. The values themselves
lie with the driver, which carries the actions out one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from psbook.core.actions import Action, Answer, Apply, Invoke, Parked, Send, Snapshot, Unparked
from psbook.core.clocks import Clocks
from psbook.core.consistency import Consistency
from psbook.core.messages import (
    CONTROLLER,
    Ack,
    Call,
    CallReply,
    Clock,
    Finish,
    Layout,
    Message,
    ModelSet,
    Pull,
    PullReply,
    Push,
    Remove,
    Request,
    SetModel,
)
from psbook.core.window import Window
from psbook.errors import ModelError, ProtocolError


@dataclass(slots=True, eq=False)
class Waiting:
    """A parked pull or clock, and since when."""

    message: Pull | Clock
    since: float


class Server:
    """State machine of one shard.

    Parameters
    ----------
    shard
        Index of the shard.
    layout
        Who takes part.
    model
        Consistency model.
    every
        Keep a snapshot each time this many worker iterations have been counted; 0: never.

    Notes
    -----
    State grows with workers + tables + parked and buffered requests, O(1) each; handling a message costs
    O(1), plus O(parked) when a clock may release somebody.
    """

    def __init__(self, shard: int, layout: Layout, model: Consistency, every: int = 0) -> None:
        self.shard = shard
        self.layout = layout
        self.model = model
        self._model_number = 0
        self.every = every
        self.clocks = Clocks(sorted(layout.clocked))
        self.versions = {table.name: 0 for table in layout.tables}
        self.parked: list[Waiting] = []
        self.rounds: dict[int, list[Push]] = {}
        """Buffered pushes by the clock they belong to."""
        self.explains = True
        """Whether a parked request says why it waits, which costs O(workers)."""
        self.counted = 0
        """Worker iterations counted so far."""
        self._means = {table.name: table.mean for table in layout.tables}
        self._windows = [Window() for _ in layout.programs]
        self._handled = [0] * len(layout.programs)
        self._removed: set[int] = set()
        self._handlers: dict[type, Callable[[Any, float], list[Action]]] = {
            Pull: self._pull,
            Push: self._push,
            Clock: self._clock,
            Finish: self._finish,
            Call: self._call,
        }

    def handle(self, event: Message, now: float) -> list[Action]:
        """Take in a message; return what is to be done, in order."""
        handler = self._handlers.get(type(event))
        if handler is None:
            return self._control(event, now)
        request: Request = event  # type: ignore[assignment]  # exactly the types that have a handler
        rank = request.id.rank
        if rank in self._removed:
            return []
        window = self._windows[rank]
        if request.id.sequence == window.expected:
            ready = window.accept(request)
            if len(ready) == 1:
                self._handled[rank] = request.id.sequence
                return handler(request, now)
            return [action for each in ready for action in self._in_turn(each, now)]
        if window.is_duplicate(request):
            return self._repeat(request)
        window.accept(request)
        return []

    def _in_turn(self, request: Request, now: float) -> list[Action]:
        self._handled[request.id.rank] = request.id.sequence
        return self._handlers[type(request)](request, now)

    def _control(self, event: Message, now: float) -> list[Action]:
        if isinstance(event, Remove):
            self._removed.add(event.rank)
            return self._leave(event.rank, now)
        if isinstance(event, SetModel):
            done = Send(CONTROLLER, ModelSet(self.shard, event.number))
            if event.number < self._model_number:
                return [done]
            self.model, self._model_number = event.model, event.number
            return [*self._release(now), done]
        raise ProtocolError(
            f"{self.layout.server(self.shard)} got {type(event).__name__}, which is not for it"
        )

    def _repeat(self, request: Request) -> list[Action]:
        """Acknowledge a duplicate again, and do nothing else."""
        if isinstance(request, Push | Finish):
            return [self._ack(request)]
        return []

    def _pull(self, pull: Pull, now: float) -> list[Action]:
        if self._may(pull):
            return [self._answer(pull, 0.0)]
        return self._park(pull, now)

    def _push(self, push: Push, now: float) -> list[Action]:
        if self.model.buffered and push.id.rank in self.layout.clocked:
            self.rounds.setdefault(push.clock, []).append(push)
            return [self._ack(push)]
        return [self._apply(push.table, [push], push.scale), self._ack(push)]

    def _clock(self, clock: Clock, now: float) -> list[Action]:
        rose = self.clocks.advance(clock.id.rank, clock.clock)
        self.counted += 1
        actions = self._close_rounds() if rose and self.rounds else []
        if self.every and self.counted % self.every == 0:
            actions.append(Snapshot(self.counted, self.updates))
        if self.parked and (rose or not self.model.min_only):
            actions += self._release(now)
        if self.model.gates_clock:
            actions += [self._ack(clock)] if self._may(clock) else self._park(clock, now)
        return actions

    def _finish(self, finish: Finish, now: float) -> list[Action]:
        return [*self._leave(finish.id.rank, now), self._ack(finish)]

    def _call(self, call: Call, now: float) -> list[Action]:
        reply = CallReply(call.id, call.table, call.received)
        return [Invoke(self.layout.programs[call.id.rank], call, reply)]

    def _leave(self, rank: int, now: float) -> list[Action]:
        self.parked = [waiting for waiting in self.parked if waiting.message.id.rank != rank]
        rose = self.clocks.remove(rank)
        actions = self._close_rounds() if rose else []
        return actions + self._release(now)

    def _may(self, message: Pull | Clock) -> bool:
        rank = message.id.rank
        if rank not in self.clocks:
            return True
        ask = self.model.may_read if type(message) is Pull else self.model.may_clock
        try:
            return ask(rank, message.clock, self.clocks)
        except Exception as error:  # a model is the user's code
            raise ModelError(
                f"{type(self.model).__name__}.{ask.__name__} raised {type(error).__name__}: {error}; "
                "required: a bool, from (rank, clock, clocks)."
            ) from error

    def _park(self, message: Pull | Clock, now: float) -> list[Action]:
        self.parked.append(Waiting(message, now))
        why = self.why(message) if self.explains else ""
        return [Parked(self.layout.programs[message.id.rank], message, why)]

    def _release(self, now: float) -> list[Action]:
        actions: list[Action] = []
        still = []
        for waiting in self.parked:
            message = waiting.message
            if not self._may(message):
                still.append(waiting)
                continue
            seconds = now - waiting.since
            actions.append(Unparked(self.layout.programs[message.id.rank], message, seconds))
            pull = type(message) is Pull
            actions.append(self._answer(message, seconds) if pull else self._ack(message, seconds))  # type: ignore[arg-type]
        self.parked = still
        return actions

    def _close_rounds(self) -> list[Action]:
        """Apply every round that all workers have ended, summed in order of worker id (A4, A9)."""
        actions: list[Action] = []
        for clock in sorted(self.rounds):
            if clock >= self.clocks.min:
                break
            pushes = sorted(self.rounds.pop(clock), key=lambda push: push.id)
            took_part = {rank for rank, reached in self.clocks.reached.items() if reached > clock}
            took_part.update(push.id.rank for push in pushes)
            for table in self.versions:
                batch = [push for push in pushes if push.table == table]
                if batch:
                    scale = 1.0 / len(took_part) if self._means[table] else 1.0
                    actions.append(self._apply(table, batch, scale))
        return actions

    def _apply(self, table: str, pushes: list[Push], scale: float) -> Apply:
        version = self.versions[table] + 1
        self.versions[table] = version
        return Apply(table, pushes, scale, version)

    def _answer(self, pull: Pull, parked: float) -> Answer:
        version = self.versions[pull.table]
        reply = PullReply(pull.id, pull.table, pull.keys, self.clocks.min, version, pull.received, parked)
        reply.upto = self._handled[pull.id.rank]
        return Answer(self.layout.programs[pull.id.rank], reply)

    def _ack(self, message: Push | Clock | Finish, parked: float = 0.0) -> Send:
        return Send(self.layout.programs[message.id.rank], Ack(message.id, message.received, parked))

    def why(self, message: Pull | Clock) -> str:
        """Say what a parked request waits for."""
        name = self.layout.programs
        slowest = [rank for rank in self.clocks.slowest() if rank != message.id.rank]
        behind = ", ".join(name[rank] for rank in slowest[:3]) + (" …" if len(slowest) > 3 else "")
        what = "reads" if isinstance(message, Pull) else "ends its iteration"
        return (
            f"{name[message.id.rank]} {what} at clock {message.clock}; {self.model.label} makes it wait: "
            f"{behind} at clock {self.clocks.min}"
        )

    @property
    def updates(self) -> int:
        """Updates applied so far, over all tables; a round of BSP is one."""
        return sum(self.versions.values())

    def validate(self) -> None:
        """Raise `ProtocolError` unless the state keeps every invariant of the protocol."""
        self.clocks.validate()
        for waiting in self.parked:
            if self._may(waiting.message):
                raise ProtocolError(f"{waiting.message.id} is parked, but may be answered")
            if waiting.message.id.rank in self._removed:
                raise ProtocolError(f"{waiting.message.id} is parked, but its worker was removed")
        for clock, pushes in self.rounds.items():
            if clock < self.clocks.min:
                raise ProtocolError(f"round {clock} is open, but every worker has ended it")
            if len({push.id for push in pushes}) != len(pushes):
                raise ProtocolError(f"round {clock} holds a push twice")
        if self.counted != sum(self.clocks.reached.values()):
            raise ProtocolError(f"{self.counted} iterations counted, clocks say {self.clocks.reached}")
