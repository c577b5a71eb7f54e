"""A shard: one range of the keys of every table, its clocks, versions and parked requests.

The shard decides what is applied in which order and when a request is answered. The values themselves
lie with the driver, which carries the actions out one by one. Every replica of a shard is such a machine, and
takes in the same writes in the same order.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from psbook.core.actions import (
    Action,
    Answer,
    Apply,
    Drop,
    Invoke,
    Keep,
    Parked,
    Send,
    Shadow,
    Snapshot,
    Unparked,
)
from psbook.core.clocks import Clocks
from psbook.core.collection import Collection
from psbook.core.consistency import VAP, Consistency, Rounds
from psbook.core.controls import CONTROLLER, ModelSet, Remove, Removed, SetModel
from psbook.core.keys import count, union, within
from psbook.core.layout import Layout
from psbook.core.messages import (
    Ack,
    Call,
    CallReply,
    Clock,
    EndRound,
    Finish,
    Message,
    Pull,
    PullReply,
    Push,
    Rejoin,
    Rejoined,
    RoundOver,
    Write,
)
from psbook.core.ranged_clocks import RangedVectorClock
from psbook.core.routes import Segment, key_at
from psbook.core.transit import Transit
from psbook.core.window import UNORDERED, Standing, Window
from psbook.errors import ModelError, ProtocolError

KEPT_STATES = 2
"""States of a program that are kept for a checkpoint: it may be ahead of the cut."""


@dataclass(slots=True, eq=False)
class Waiting:
    """A parked pull or clock, and since when."""

    message: Pull | Clock
    since: float


class Shard:
    """State machine of one shard.

    Parameters
    ----------
    segment
        Number and borders of the shard.
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

    def __init__(self, segment: Segment, layout: Layout, model: Consistency, every: int = 0) -> None:
        self.number = segment.shard
        self.start, self.stop = segment.start, segment.stop
        self.layout = layout
        self.model = model
        self._model_number = 0
        self.every = every
        self.clocks = Clocks(sorted(layout.clocked))
        self.versions = {table.name: 0 for table in layout.tables}
        self.parked: list[Waiting] = []
        self.rounds: dict[int, list[Push]] = {}
        """Buffered pushes by the clock they belong to."""
        self.aside: dict[int, list[Push]] = {}
        """Pushes by worker, until its clock message comes, if a clock is to be atomic (E2b)."""
        self.collection = Collection() if model.collects else None
        """Gradients that wait to be applied together, under a model of rounds."""
        self.transit = Transit() if model.normed else None
        """What of the pushes others have not read, under a model that bounds it."""
        self._readers: dict[tuple[int, str], Pull] | None = {} if model.eager else None
        """What each worker has read of each table, if it is to be sent that unasked."""
        self.explains = True
        """Whether a parked request says why it waits, which costs O(workers)."""
        self.counted = 0
        """Worker iterations counted so far."""
        self.states: dict[int, tuple[tuple[int, Any], ...]] = {}
        """Last states that each program declared, with their clocks."""
        self._pushed: dict[int, int] = {}
        self._halfway: dict[int, int] = {}
        self.restored = False
        """Whether the shard came back from a checkpoint, and lacks clocks that workers have counted."""
        self.cut = layout.safety.checkpoint_every
        """Clock of the next checkpoint; 0: none."""
        self.shadow: Shard | None = None
        """The shard as it would be if no write of the clocks from `cut` on had come yet (E7b)."""
        self._at_most_once = layout.safety.delivery == "at-most-once"
        self._acknowledges = layout.safety.active
        self._sets_aside = layout.safety.atomic or model.collects
        self._means = {table.name: table.mean for table in layout.tables}
        self._windows = {rank: Window() for rank in range(len(layout.programs))}
        self._removed: dict[int, int] = {}
        self._bind()

    def _bind(self) -> None:
        self._handlers: dict[type, Callable[[Any, float], list[Action]]] = {
            Push: self._push,
            Clock: self._clock,
            Finish: self._finish,
            Call: self._call,
            Rejoin: self._rejoin,
            EndRound: self._asked_to_end,
        }

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_handlers"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._bind()

    def handle(self, event: Message, now: float) -> list[Action]:
        """Take in a message; return what is to be done, in order."""
        kind = type(event)
        if kind is Pull:
            return self._asked(event, now)  # type: ignore[arg-type]
        handler = self._handlers.get(kind)
        if handler is None:
            return self._control(event, now)
        write: Write = event  # type: ignore[assignment]  # exactly the types that have a handler
        rank = write.id.rank
        window = self._windows.get(rank)
        if window is None or write.id.incarnation != window.incarnation:
            if kind is not Rejoin or not self._may_rejoin(write):
                return []
            window = self._windows[rank] = Window(write.id.incarnation)
        elif rank in self._removed:
            return []
        elif window.standing(write, self._at_most_once) != "new":
            return self.repeat(write)
        ready = window.accept(write)
        if self.cut:
            actions = [action for each in ready for action in self._in_cut(each, now)]
        elif len(ready) == 1 and not window.held:
            return handler(write, now)
        else:
            actions = [action for each in ready for action in self._handlers[type(each)](each, now)]
        for pull in window.released():
            actions += self._pull(pull, now)
        return actions

    def standing(self, write: Write) -> Standing:
        """Tell a new write from a repeated one, and from one that counts no more."""
        window = self._windows.get(write.id.rank)
        if window is None or type(write) is Rejoin:
            if type(write) is Rejoin and (window is None or write.id.incarnation > window.incarnation):
                return "new" if self._may_rejoin(write) else "stale"
            return "stale" if window is None else window.standing(write)
        if write.id.rank in self._removed or write.id.incarnation != window.incarnation:
            return "stale"
        return window.standing(write, self._at_most_once)

    def repeat(self, write: Write) -> list[Action]:
        """Acknowledge a duplicate again, and do nothing else."""
        if any(waiting.message.id == write.id for waiting in self.parked):
            return []
        if self._windows[write.id.rank].is_early(write):
            return []  # what it follows was lost, and has not come again; it is acknowledged behind that
        if isinstance(write, Call):
            reply = CallReply(write.id, write.table, write.received)
            return [Invoke(self.layout.node(write.id.rank), write, reply, self.number, again=True)]
        if isinstance(write, Rejoin):
            return [self._rejoined(write)]
        if isinstance(write, Clock) and not (self._acknowledges or self.model.gates_clock):
            return []
        return [self._ack(write)]

    def _may_rejoin(self, write: Write) -> bool:
        return self._removed.get(write.id.rank, -1) < write.id.incarnation

    def _in_cut(self, write: Write, now: float) -> list[Action]:
        """Handle a write, and keep the state that is to be the next checkpoint (E7b).

        The cut of clock c holds all writes of the clocks below c and none of the others. What comes early is
        kept out of it: before the first such write the shard is copied, and the copy then takes in what still
        belongs to it. So nobody waits for a checkpoint, and it is consistent under every model.
        """
        actions: list[Action] = []
        early = self._belongs_to(write) >= self.cut
        if early and self.shadow is None:
            self.shadow = self.copy()
            actions.append(Shadow(self.number))
        elif self.shadow is not None and not early:
            actions += self._to_shadow(write, now)
        actions += self._handlers[type(write)](write, now)
        return actions + self._end_cut()

    def _belongs_to(self, write: Write) -> int:
        """Return the clock that a write belongs to; programs whose clocks do not count are never early."""
        if not self.layout.counts(write.id.rank):
            return -1
        if isinstance(write, Push):
            return write.clock
        return self.clocks.reached.get(write.id.rank, 0)

    def _to_shadow(self, write: Write | Remove, now: float) -> list[Action]:
        shadow: Shard = self.shadow  # type: ignore[assignment]  # asked before
        if isinstance(write, Remove):
            actions = shadow._remove(write, now)
        else:
            actions = shadow._handlers[type(write)](write, now)
        applies = [action for action in actions if isinstance(action, Apply)]
        for apply in applies:
            apply.shadow = True
        return list(applies)

    def _end_cut(self) -> list[Action]:
        """Hand a checkpoint out when every worker has ended the clocks before it."""
        if self.clocks.min < self.cut or self.clocks.min == math.inf:
            return []
        source = self.shadow or self
        keep = Keep(self.number, self.cut, source.export(self.cut), self.shadow is not None)
        self.shadow = None
        self.cut += self.layout.safety.checkpoint_every
        return [keep]

    def _control(self, event: Message, now: float) -> list[Action]:
        if isinstance(event, Remove):
            actions = self._to_shadow(event, now) if self.shadow is not None else []
            actions += self._remove(event, now)
            return actions + self._end_cut() if self.cut else actions
        if isinstance(event, SetModel):
            done = Send(CONTROLLER, ModelSet(self.number, event.number))
            if event.number < self._model_number:
                return [done]
            self.model, self._model_number = event.model, event.number
            return [*self._end_round(now), *self._release(now), done]
        raise ProtocolError(f"shard {self.number} got {type(event).__name__}, which is not for it")

    def knows(self, entry: Message) -> bool:
        """Whether what the controller says has been heard before, so that it need not be logged again."""
        return isinstance(entry, Remove) and self._removed.get(entry.rank, -1) >= entry.incarnation

    def _remove(self, remove: Remove, now: float) -> list[Action]:
        rank = remove.rank
        window = self._windows.get(rank)
        done = Send(CONTROLLER, Removed(self.number, rank), self.number)
        if window is not None and window.incarnation > remove.incarnation:
            return [done]
        self._removed[rank] = remove.incarnation
        self._drop_unfinished(rank)
        return [*self._leave(rank, now), done]

    def _drop_unfinished(self, rank: int) -> None:
        """Forget what a lost worker pushed in a clock that it did not end, as far as it is not applied."""
        self.aside.pop(rank, None)
        for clock, pushes in self.rounds.items():
            if clock >= self.clocks.reached.get(rank, 0):
                self.rounds[clock] = [push for push in pushes if push.id.rank != rank]

    def _rejoin(self, rejoin: Rejoin, now: float) -> list[Action]:
        """Take a worker in that starts again where its last clock was, or joins at ``min`` (E2b, E8)."""
        rank = rejoin.id.rank
        is_new = self._removed.pop(rank, None) is not None or rank not in self.clocks.reached
        waiting = sum(push.id.rank == rank for pushes in self.rounds.values() for push in pushes)
        self._halfway[rank] = self._pushed.pop(rank, 0) - waiting - len(self.aside.get(rank, ()))
        self._drop_unfinished(rank)
        self.parked = [waiting for waiting in self.parked if waiting.message.id.rank != rank]
        if self._readers:
            self._readers = {place: pull for place, pull in self._readers.items() if place[0] != rank}
        if is_new and self.layout.counts(rank) and rank not in self.clocks:
            self.clocks.add(rank)
            self._windows[rank].joined = True
        return [self._rejoined(rejoin)]

    def _rejoined(self, rejoin: Rejoin) -> Send:
        rank = rejoin.id.rank
        clock = self.clocks.reached.get(rank, 0)
        joined = self._windows[rank].joined
        reply = Rejoined(rejoin.id, rejoin.received, clock, self.states.get(rank, ()), joined)
        return Send(self.layout.node(rank), reply, self.number)

    def _asked(self, pull: Pull, now: float) -> list[Action]:
        window = self._windows.get(pull.id.rank)
        if window is None or pull.id.incarnation != window.incarnation or pull.id.rank in self._removed:
            return []
        if pull.after > window.last:
            window.held.append(pull)
            return []
        if self._acknowledges and any(waiting.message.id == pull.id for waiting in self.parked):
            return []
        return self._pull(pull, now)

    def _pull(self, pull: Pull, now: float) -> list[Action]:
        if self._readers is not None and pull.id.rank in self.clocks:
            known = self._readers.get((pull.id.rank, pull.table), pull)
            self._readers[pull.id.rank, pull.table] = replace(pull, keys=union(known.keys, pull.keys))
        may = self._may(pull)
        actions: list[Action] = [self._answer(pull, 0.0)] if may else self._park(pull, now)
        if self.transit is not None and self.parked:  # others have waited for this worker to read
            actions = [*actions, *self._release(now)]
        return actions

    def _push(self, push: Push, now: float) -> list[Action]:
        rank = push.id.rank
        if self._acknowledges and (not count(push.keys) or self._is_counted(push)):
            return [self._ack(push)]
        again = self._acknowledges and self._is_redone(push)
        if self.model.buffered and self.layout.counts(rank):
            self.rounds.setdefault(push.clock, []).append(push)
            if push.clock < self.clocks.min:  # behind its round, as it may come if deliveries have no order
                return [*self._close_rounds(), self._ack(push)]
        elif self._sets_aside and self.layout.counts(rank) and not self._ended(push):
            self.aside.setdefault(rank, []).append(push)
        else:
            apply = self._apply(push.table, [push], push.scale)
            apply.redone = again
            return [apply, self._ack(push)]
        return [self._ack(push)]

    def _ended(self, push: Push) -> bool:
        """Whether the push comes behind the end of its clock, or of its worker."""
        rank = push.id.rank
        return rank not in self.clocks or push.clock < self.clocks[rank]

    def _is_counted(self, push: Push) -> bool:
        """Whether the push belongs to a clock that is counted: its worker, started again, makes it again."""
        rank = push.id.rank
        if push.after == UNORDERED or not self.layout.counts(rank):
            return False  # outside the order, a push may well come behind its clock for the first time
        return push.clock < self.clocks.reached.get(rank, 0)

    def _is_redone(self, push: Push) -> bool:
        """Whether the worker had made as many pushes in this clock before it was lost (E2b)."""
        rank = push.id.rank
        if push.after == UNORDERED or not self.layout.counts(rank):
            return False
        self._pushed[rank] = self._pushed.get(rank, 0) + 1
        if self._halfway.get(rank, 0) <= 0:
            return False
        self._halfway[rank] -= 1
        return True

    def _clock(self, clock: Clock, now: float) -> list[Action]:
        rank = clock.id.rank
        if clock.clock <= self.clocks.reached[rank]:
            return [self._ack(clock)]
        self._keep_state(clock)
        if rank not in self.clocks:  # it had finished here, and was lost before it had everywhere
            self.clocks.reached[rank] = clock.clock
            return [*self._settle(rank), self._ack(clock)]
        actions = self._settle(rank) if self.collection is None else []
        steps = clock.clock - self.clocks[rank]
        rose = self.clocks.advance(rank, clock.clock, clock.jump or self.restored)
        self._pushed.pop(rank, None)
        self._halfway.pop(rank, None)
        if self.model.timed and not clock.jump:
            self.clocks.note(rank, now)
        if not clock.jump or self.restored:
            self.counted += steps
        if rose and self.rounds:
            actions += self._close_rounds()
        if self.collection is not None and not clock.jump:
            actions += self._collect(clock, self.aside.pop(rank, ()))
            actions += self._end_round(now, rank)
        if self.every and self.counted % self.every == 0 and (self.restored or not clock.jump):
            actions.append(Snapshot(self.counted, self.updates, self.number))
        if self.parked and (rose or not self.model.min_only):
            actions += self._release(now)
        if rose and self._readers:
            actions += self._send_unasked(actions)
        if self.model.gates_clock:
            actions += [self._ack(clock)] if self._may(clock) else self._park(clock, now)
        elif self._acknowledges:
            actions.append(self._ack(clock))
        return actions

    def _settle(self, rank: int) -> list[Action]:
        """Apply, one by one, what a worker's pushes of a clock are that were kept aside."""
        return [self._apply(push.table, [push], push.scale) for push in self.aside.pop(rank, ())]

    def _collect(self, end: Clock | Finish, pushes: Sequence[Push]) -> list[Action]:
        """Take in the gradient of a clock, or drop it (A11)."""
        collection: Collection = self.collection  # type: ignore[assignment]  # asked before
        if self._of_rounds.drops and collection.is_old(end.round):
            return [Drop(pushes, collection.round, self.number)] if pushes else []
        belongs_to = end.clock - 1 if isinstance(end, Clock) else self.clocks.reached[end.id.rank]
        collection.add(end.id.rank, belongs_to, pushes)
        return []

    def _end_round(self, now: float, last: int = -1, until: int = 0) -> list[Action]:
        """Apply what is collected, if it is enough, or if the rounds before `until` are to end."""
        collection = self.collection
        if collection is None or (collection.round >= until and not self._enough(collection)):
            return []
        model, number = self._of_rounds, len(collection)
        late = [rank for rank, _ in self.clocks.items()
                if rank != last and not (model.waits and rank in collection)]  # fmt: skip
        actions = self._apply_together(collection.close(until), number)
        if model.cuts_short:
            over = RoundOver(self.number, collection.round)
            actions += [Send(self.layout.node(rank), over, self.number) for rank in late]
        return actions + self._release(now)

    @property
    def _of_rounds(self) -> Rounds:
        """The model, where gradients are collected."""
        return self.model  # type: ignore[return-value]

    def _enough(self, collection: Collection) -> bool:
        """Whether K gradients are there, or those of all who can make one; a worker that ended leaves its."""
        needed = self._of_rounds.needed(len(self.layout.clocked))
        if len(collection) < needed:
            here = len(self.clocks) + sum(rank not in self.clocks for rank in collection.ranks)
            needed = min(needed, here)
        return len(collection) >= max(1, needed)

    def _asked_to_end(self, message: EndRound, now: float) -> list[Action]:
        collection: Collection = self.collection  # type: ignore[assignment]  # else nobody asks
        holds = message.id.rank in collection
        until = max(message.round, collection.round + 1) if holds else message.round
        return [*self._end_round(now, until=until), self._ack(message)]

    def _keep_state(self, clock: Clock) -> None:
        if clock.state is not None:
            before = self.states.get(clock.id.rank, ())[1 - KEPT_STATES :]
            if self._acknowledges:  # another shard may be far behind, if messages are lost
                before = tuple(each for each in self.states.get(clock.id.rank, ()) if each[0] >= clock.known)
            self.states[clock.id.rank] = (*before, (clock.clock, clock.state))

    def _finish(self, finish: Finish, now: float) -> list[Action]:
        rank = finish.id.rank
        pushes = self.aside.pop(rank, ()) if self.collection is not None else ()
        actions = self._collect(finish, pushes) if pushes else []
        return [*actions, *self._leave(rank, now), self._ack(finish)]

    def _call(self, call: Call, now: float) -> list[Action]:
        reply = CallReply(call.id, call.table, call.received)
        return [Invoke(self.layout.node(call.id.rank), call, reply, self.number)]

    def _leave(self, rank: int, now: float) -> list[Action]:
        self.parked = [waiting for waiting in self.parked if waiting.message.id.rank != rank]
        actions = self._settle(rank)
        rose = self.clocks.remove(rank)
        actions += self._close_rounds() if rose else []
        if self.transit is not None:
            self.transit.forget(rank)
        if self._readers:
            self._readers = {place: pull for place, pull in self._readers.items() if place[0] != rank}
        actions += self._end_round(now) + self._release(now)
        if rose and self._readers:
            actions += self._send_unasked(actions)
        return actions

    def _send_unasked(self, actions: list[Action]) -> list[Action]:
        """Answer every worker anew what it has read before, but for whom an answer is among the actions."""
        fresh = {(action.to, action.reply.table) for action in actions if isinstance(action, Answer)}
        answers: list[Action] = []
        for (rank, table), pull in self._readers.items():  # type: ignore[union-attr]  # asked before
            if rank in self.clocks and (self.layout.node(rank), table) not in fresh:
                answer = self._answer(pull, 0.0)
                answer.reply.unasked = True
                answers.append(answer)
        return answers

    def _may(self, message: Pull | Clock) -> bool:
        rank = message.id.rank
        if rank not in self.clocks:
            return True
        if self.collection is not None:
            return not (self._of_rounds.waits and type(message) is Pull and rank in self.collection)
        if self.transit is not None:
            return type(message) is not Pull or self._in_transit(rank) <= self._of_values.limit(message.clock)
        ask = self.model.may_read if type(message) is Pull else self.model.may_clock
        try:
            return ask(rank, message.clock, self.clocks)
        except Exception as error:  # a model is the user's code
            raise ModelError(
                f"{type(self.model).__name__}.{ask.__name__} raised {type(error).__name__}: {error}; "
                "required: a bool, from (rank, clock, clocks)."
            ) from error

    def _in_transit(self, rank: int) -> float:
        """How much of a worker's pushes others lack that do not wait for a read themselves."""
        transit: Transit = self.transit  # type: ignore[assignment]  # asked before
        waiting = {each.message.id.rank for each in self.parked}
        return transit.of(rank, {other for other, _ in self.clocks.items() if other not in waiting})

    @property
    def _of_values(self) -> VAP:
        """The model, where values are bounded."""
        return self.model  # type: ignore[return-value]

    def _park(self, message: Pull | Clock, now: float) -> list[Action]:
        self.parked.append(Waiting(message, now))
        why = self.why(message) if self.explains else ""
        return [Parked(self.layout.node(message.id.rank), message, why)]

    def _release(self, now: float) -> list[Action]:
        actions: list[Action] = []
        still = []
        for waiting in self.parked:
            message = waiting.message
            if not self._may(message):
                still.append(waiting)
                continue
            seconds = now - waiting.since
            actions.append(Unparked(self.layout.node(message.id.rank), message, seconds))
            pull = type(message) is Pull
            actions.append(self._answer(message, seconds) if pull else self._ack(message, seconds))  # type: ignore[arg-type]
        self.parked = still
        if self.transit is not None and actions and still:  # who was answered holds nobody up any more
            actions += self._release(now)
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
            actions += self._apply_together(pushes, len(took_part))
        return actions

    def _apply_together(self, pushes: list[Push], number: int) -> list[Action]:
        """Apply pushes as one update of each table; the mean is over `number` gradients (H1)."""
        actions: list[Action] = []
        for table in self.versions:
            batch = [push for push in pushes if push.table == table]
            if batch:
                scale = 1.0 / number if self._means[table] else 1.0
                actions.append(self._apply(table, batch, scale))
        return actions

    def _apply(self, table: str, pushes: list[Push], scale: float) -> Apply:
        version = self.versions[table] + 1
        self.versions[table] = version
        if self.transit is not None:
            for push in pushes:
                if push.id.rank in self.clocks:
                    self.transit.wrote(push.id.rank, table, version, push.norm * push.scale)
        return Apply(table, pushes, scale, version, self.number)

    def _answer(self, pull: Pull, parked: float) -> Answer:
        version = self.versions[pull.table]
        reply = PullReply(pull.id, pull.table, pull.keys, self.clocks.min, version, pull.received, parked)
        reply.upto = self._windows[pull.id.rank].last
        if self.collection is not None:
            reply.round = self.collection.round
        if self.transit is not None and pull.id.rank in self.clocks:
            self.transit.read(pull.id.rank, pull.table, version)
        return Answer(self.layout.node(pull.id.rank), reply, self.number)

    def _ack(self, message: Write, parked: float = 0.0) -> Send:
        return Send(self.layout.node(message.id.rank), Ack(message.id, message.received, parked), self.number)

    # Copies and parts

    def copy(self) -> Shard:
        """Return the state that another replica needs: everything but the reads, which only the tail has.

        The messages in it are shared: nobody changes them.
        """
        shared: list[Any] = [self.layout, self.model]
        for pushes in (*self.rounds.values(), *self.aside.values()):
            shared += pushes
        shared += self.collection.pushes if self.collection is not None else []
        for window in self._windows.values():
            shared += window.early
        shared += [waiting.message for waiting in self.parked]
        twin: Shard = copy.deepcopy(self, {id(each): each for each in shared})
        twin.drop_reads()
        return twin

    # Checkpoints

    def export(self, clock: int) -> dict[str, Any]:
        """Return the state at the cut of `clock`, as numbers and texts, for a checkpoint."""
        known = RangedVectorClock(self.start, self.stop)
        for rank, window in self._windows.items():
            if window.last:
                known.set(self.start, self.stop, f"{rank}.{window.incarnation}", window.last)
        states = {rank: dict(kept).get(clock) for rank, kept in self.states.items() if rank in self.clocks}
        return {
            "clocks": dict(self.clocks.items()),
            "reached": dict(self.clocks.reached),
            "versions": dict(self.versions),
            "counted": self.counted,
            "known": known.state(),
            "states": {rank: state for rank, state in states.items() if state is not None},
        }

    def restore(self, saved: dict[str, Any], clock: int, fresh: bool) -> None:
        """Take over the state of a checkpoint.

        With `fresh`, all programs start again; else they go on, and what they sent after the checkpoint is
        lost, except what they still keep to send again.
        """
        self.clocks = Clocks([])
        for rank, at in saved["reached"].items():
            self.clocks.reached[int(rank)] = at
        for rank in saved["clocks"]:
            self.clocks.add(int(rank), clock)
        self.versions = dict(saved["versions"])
        self.counted = saved["counted"]
        self.states = {int(rank): ((clock, state),) for rank, state in saved["states"].items()}
        if self.cut:
            self.cut = clock + self.layout.safety.checkpoint_every
        if fresh:
            return
        self.restored = True
        known = RangedVectorClock.from_state(saved["known"]).at(self.start)
        for sender, last in known.items():
            rank, _, incarnation = str(sender).partition(".")
            self._windows[int(rank)] = Window(int(incarnation), last)

    def drop_reads(self) -> None:
        """Forget the reads that wait; their workers ask the new tail."""
        self.parked = [waiting for waiting in self.parked if type(waiting.message) is not Pull]
        for window in self._windows.values():
            window.held.clear()
        if self._readers:
            self._readers.clear()

    def part(self, segment: Segment) -> Shard:
        """Return a copy that is cut down to a part of the range, with the same clocks and windows (C1)."""
        part = self.copy()
        for window in part._windows.values():
            window.forget_early()
        part.number, part.start, part.stop = segment.shard, segment.start, segment.stop
        part.rounds = {clock: part._own(pushes) for clock, pushes in part.rounds.items()}
        part.aside = {rank: part._own(pushes) for rank, pushes in part.aside.items()}
        if part.collection is not None:
            part.collection.cut(part._own)
        part.parked = [
            Waiting(replace(each.message, id=each.message.id._replace(shard=segment.shard)), each.since)
            for each in part.parked
        ]
        if segment.shard != self.number:
            part.states = {}
        return part

    def _own(self, pushes: Iterable[Push]) -> list[Push]:
        """Return the pushes' parts in this shard's range."""
        sizes = {table.name: table.size for table in self.layout.tables}
        parts = []
        for push in pushes:
            size = sizes[push.table]
            part = within(push.keys, key_at(size, self.start), key_at(size, self.stop))
            if count(part.keys):
                id = push.id._replace(shard=self.number)
                parts.append(replace(push, id=id, keys=part.keys, value=push.value[part.start : part.stop]))
        return parts

    def why(self, message: Pull | Clock) -> str:
        """Say what a parked request waits for."""
        name = self.layout.node
        if self.collection is not None:
            return (
                f"{name(message.id.rank)} reads at clock {message.clock}; {self.model.label} makes it wait: "
                f"{len(self.collection)} gradients of round {self.collection.round} are there"
            )
        if self.transit is not None:
            return (
                f"{name(message.id.rank)} reads at clock {message.clock}; {self.model.label} makes it wait: "
                f"{self._in_transit(message.id.rank):g} of its updates are in transit, at most "
                f"{self._of_values.limit(message.clock):g} may be"
            )
        slowest = self.model.held_by(message.id.rank, message.clock, self.clocks)
        behind = ", ".join(name(rank) for rank in slowest[:3]) + (" …" if len(slowest) > 3 else "")
        at = " or ".join(str(clock) for clock in sorted({self.clocks[rank] for rank in slowest}))
        what = "reads" if isinstance(message, Pull) else "ends its iteration"
        return (
            f"{name(message.id.rank)} {what} at clock {message.clock}; {self.model.label} makes it wait: "
            f"{behind} at clock {at or self.clocks.min}"
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
        if self.collection is not None and self._enough(self.collection):
            raise ProtocolError(f"round {self.collection.round} is open, but all its gradients are there")
        for clock, pushes in self.rounds.items():
            if clock < self.clocks.min:
                raise ProtocolError(f"round {clock} is open, but every worker has ended it")
            if len({push.id for push in pushes}) != len(pushes):
                raise ProtocolError(f"round {clock} holds a push twice")
        if self.counted > sum(self.clocks.reached.values()):
            raise ProtocolError(f"{self.counted} iterations counted, clocks say {self.clocks.reached}")
