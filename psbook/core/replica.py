"""One server's copy of a shard, and its place among the others (semantics.md E1-E4).

All replicas of a shard take in the same entries in the same order: the writes of the programs, and what the
controller has to say to the shard. Entry n of the log is handled by the head first, and then by the others.

*Chain* (van Renesse and Schneider 2004): each replica forwards an entry to the next one; the last, the tail,
acknowledges writes and answers reads. What it shows, everybody has. *Primary/backup*: the head forwards to
all others at once; it answers itself, each reply when all others have every entry that it may show. One that
takes over brings the others to its own state first: the old head may have sent them what it has not got.

An entry is *stable* when every replica has it. Each replica keeps those that are not, to send them again: to
the same replica when a message was lost, or to another when the chain has changed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any, Literal

from psbook.core.actions import (
    Action,
    Answer,
    Apply,
    Committed,
    CopyOut,
    Drop,
    Invoke,
    Keep,
    Parked,
    Send,
    Serves,
    Shadow,
    Snapshot,
    Sum,
    TakeIn,
    Unparked,
)
from psbook.core.controls import CONTROLLER, Forward, Frozen, Install, Removed, Stable
from psbook.core.messages import Batch, Clock, Pull, Push, Write
from psbook.core.routes import Segment
from psbook.core.shard import Shard
from psbook.core.window import UNORDERED
from psbook.errors import ProtocolError

Role = Literal["head", "tail"]


class Replica:
    """A copy of a shard on server `node`.

    Parameters
    ----------
    shard
        The state machine.
    node
        The server.
    segment
        Borders and chain.
    position
        Entries of the log that the copy contains.

    Notes
    -----
    State is that of the shard and of the entries that are not stable yet. Forwarding costs O(1) an entry.
    """

    def __init__(self, shard: Shard, node: str, segment: Segment, position: int = 0) -> None:
        self.shard = shard
        self.node = node
        self.segment = segment
        self.epoch = segment.epoch
        """Epoch of the chain; entries of another one are not taken."""
        self.position = position
        self.stable = position
        self.log: deque[tuple[int, Any]] = deque()
        """Entries that are not stable, with their positions."""
        self.guests: dict[str, int] = {}
        """Servers that take a copy, and the position up to which they have it, once they have it."""
        self.frozen: set[Role] = set()
        self._has: dict[str, int] = {}
        self._early: dict[int, Any] = {}
        self._behind_head = True
        """Whether the log continues that of the head; else a copy of the head's state comes first."""
        self._batch: list[Any] = []
        self._sent_before = position
        safety = shard.layout.safety
        self._parallel = safety.scheme == "primary-backup"
        self._aggregates = safety.aggregate and shard.model.buffered
        self._place()

    def _place(self) -> None:
        chain, node = self.segment.chain, self.node
        at = chain.index(node) if node in chain else len(chain)
        self.is_head = at == 0
        if self._parallel:
            self.answers = self.is_head
            self._below = chain[1:] if self.is_head else ()
            self._above = "" if self.is_head else chain[0]
        else:
            self.answers = at == len(chain) - 1
            self._below = chain[at + 1 : at + 2]
            self._above = chain[at - 1] if at else ""
        self._alone = not self._below and not self._above
        self._has = {below: self._has.get(below, self.stable) for below in self._below}

    @property
    def number(self) -> int:
        """The shard's number."""
        return self.segment.shard

    # Requests of programs

    def write(self, write: Write, now: float) -> list[Action] | None:
        """Take a write in as the head; ``None`` if this replica is not for it."""
        if not self.is_head or self.frozen or write.epoch != self.segment.epoch:
            return None
        if self._alone and not self.guests:
            self.position += 1
            self.stable = self.position
            return self.shard.handle(write, now)
        standing = self.shard.standing(write)
        if standing == "new":
            return self._enter(write, now)
        return [] if standing == "stale" or self._hangs_on(write) else self.shard.repeat(write)

    def _hangs_on(self, write: Write) -> bool:
        """Whether some replica may lack a write, or one that it follows; it will be acknowledged by it.

        The write may have come too early: then it is in every log, but handled only with the one it follows.
        """
        entries = [*(entry for _, entry in self.log), *self._batch]
        for entry in list(entries):
            if isinstance(entry, Batch):
                entries += entry.entries
            if isinstance(entry, Install):
                return True
        rank, _, _, _, sequence = write.id
        ordered = [entry for entry in entries if getattr(entry, "after", 0) != UNORDERED]
        ids = [id for entry in ordered if (id := _id(entry)) is not None]
        return any(id.rank == rank and id.sequence <= sequence for id in ids)

    def read(self, pull: Pull, now: float) -> list[Action] | None:
        """Answer or park a read; ``None`` if this replica is not for it."""
        if not self.answers or "tail" in self.frozen or pull.epoch != self.segment.epoch:
            return None
        actions = self.shard.handle(pull, now)  # what waits for the end of a round shows in no read
        return actions if self._alone else self._let_out(actions, self.position)

    def control(self, entry: Any, now: float) -> list[Action]:
        """Take in, as the head, what the controller says to the shard; all of it may come twice."""
        if not self.is_head or self.frozen:
            return []
        if not self.shard.knows(entry):
            return self._enter(entry, now)
        all_know = self.stable == self.position and not self._batch
        return [Send(CONTROLLER, Removed(self.number, entry.rank))] if all_know else []

    # The log

    def _enter(self, entry: Any, now: float) -> list[Action]:
        """Handle a new entry as the head, and pass it on: at once, or with the round it belongs to (E3)."""
        if not self._aggregates or not (self._below or self.guests):
            return self._take(entry, now)
        before = self.shard.clocks.min
        actions = self.shard.handle(entry, now)
        self._batch.append(entry)
        sums = [action for action in actions if isinstance(action, Apply)]
        ends = not isinstance(entry, Push | Clock) or self.shard.clocks.min > before  # also an empty round
        ends = ends or not any(self.shard.rounds.values())  # there is no sum to wait for
        ends = ends or any(_came_early(action, entry) for action in actions)
        actions = self._let_out(actions, self.position + 1)
        return actions + (self._close_batch(sums) if sums or ends else [])

    def _close_batch(self, sums: list[Apply]) -> list[Action]:
        """Pass on what was held back: each round's sum in the place of its pushes."""
        summed = {push for apply in sums for push in apply.pushes}
        batch = Batch(tuple(_stripped(entry) if entry in summed else entry for entry in self._batch))
        self._batch.clear()
        self.position += 1
        return [Sum(sums, batch), *self._pass_on(batch), *self._settle()]

    def _take(self, entry: Any, now: float) -> list[Action]:
        """Handle the next entry, and pass it on."""
        self.position += 1
        if isinstance(entry, Batch):
            actions = [action for each in entry.entries for action in self.shard.handle(each, now)]
            applies = [action for action in actions if isinstance(action, Apply)]
            for apply, total in zip(applies, entry.value, strict=False):
                apply.total = total
        else:
            actions = self.shard.handle(entry, now)
        return [*self._let_out(actions, self.position), *self._pass_on(entry), *self._settle()]

    def _pass_on(self, entry: Any) -> list[Action]:
        below = (*self._below, *self.guests)
        if below:
            self.log.append((self.position, entry))
        forward = Forward(self.number, self.epoch, self.position, entry)
        return [Send(to, forward) for to in below]

    def _let_out(self, actions: list[Action], until: int) -> list[Action]:
        """Keep of a shard's actions what is this replica's to do; `until` is the entry that they show."""
        if not self.answers:
            return [silent for action in actions if (silent := _silently(action)) is not None]
        if self._parallel and self._below and until > self.stable:
            for action in actions:
                if isinstance(action, Send | Answer | Invoke):
                    action.until = until
        return actions

    def forwarded(self, source: str, forward: Forward, now: float) -> list[Action]:
        """Take in an entry of the replica above; one of another epoch comes again."""
        if forward.epoch != self.epoch:
            return []
        actions: list[Action] = []
        if isinstance(forward.entry, Install) and not self._behind_head:
            actions = self._follow(source, forward.entry)
        elif forward.position <= self.position and self._behind_head:
            return [Send(source, Stable(self.number, self.epoch, self.stable))]
        else:
            self._early[forward.position] = forward.entry
        if not self._behind_head:
            return []
        while self.position + 1 in self._early:
            actions += self._take(self._early.pop(self.position + 1), now)
        return actions

    def _follow(self, head: str, install: Install) -> list[Action]:
        """Take over the state of a new head, in the place of what the old one has sent."""
        explains = self.shard.explains
        self.shard = install.state.copy()
        self.shard.explains = explains
        self.position = self.stable = install.position
        self._behind_head = True
        return [TakeIn(install, head, Stable(self.number, self.epoch, self.position))]

    def stabilized(self, source: str, stable: Stable) -> list[Action]:
        """Note how far the replica below, or a guest, has the log."""
        if stable.epoch != self.epoch:
            return []
        if source in self.guests:
            self.guests[source] = max(self.guests[source], stable.position)
        elif source in self._has:
            self._has[source] = max(self._has[source], stable.position)
        else:
            return []
        return self._settle()

    def _settle(self) -> list[Action]:
        """Forget what has become stable, and say so to the replica above."""
        stable = min((self.position, *self._has.values(), *self.guests.values()))
        if stable <= self.stable:
            return []
        self.stable = stable
        while self.log and self.log[0][0] <= stable:
            self.log.popleft()
        actions: list[Action] = []
        if self._above:
            actions.append(Send(self._above, Stable(self.number, self.epoch, stable)))
        if self._parallel and self.answers:
            actions.append(Committed(self.number, stable))
        return actions + self._drained()

    def resend(self) -> list[Action]:
        """Send entries again that were not stable at the last call either."""
        actions: list[Action] = []
        for below, has in (*self._has.items(), *self.guests.items()):
            actions += [
                Send(below, Forward(self.number, self.epoch, position, entry))
                for position, entry in self.log
                if has < position <= self._sent_before
            ]
        self._sent_before = self.position
        return actions

    # Changes of the chain

    def freeze(self, role: Role, epoch: int) -> list[Action]:
        """Take nothing more in that role; say so when all that was taken is stable."""
        mine = self.is_head if role == "head" else self.segment.tail == self.node
        if epoch != self.epoch or not mine:
            return []
        actions = self._close_batch([]) if self._batch else []
        self.frozen.add(role)
        return actions + self._drained()

    def _drained(self) -> list[Action]:
        if self.stable < self.position:
            return []
        return [Send(CONTROLLER, Frozen(self.number, self.epoch, role)) for role in sorted(self.frozen)]

    def adopt(self, segment: Segment) -> list[Action]:
        """Go over to the segment's next epoch; what is not stable goes to whoever is below now."""
        if segment.epoch <= self.epoch:
            return []
        actions: list[Action] = self._close_batch([]) if self._batch else []
        new_head = self._parallel and segment.head != self.segment.head
        self.segment, self.epoch = segment, segment.epoch
        self.frozen.clear()
        self.guests.clear()
        self._early.clear()
        self._has.clear()
        self._place()
        if not self.answers:
            self.shard.drop_reads()
        for position, entry in self.log:
            forward = Forward(self.number, self.epoch, position, entry)
            actions += [Send(below, forward) for below in self._below]
        if new_head:
            self._behind_head = self.is_head
            actions += self._take_over() if self._below else []
        return [self.serves(), *actions, *self._settle()]

    def _take_over(self) -> list[Action]:
        """Bring the others to this replica's state: a copy of it is the next entry of the log."""
        self.position += 1
        install = Install(self.segment, self.position, self.shard.copy())
        return [CopyOut("", install), *self._pass_on(install)]

    def serves(self) -> Serves:
        """Say which roles the server has for the shard."""
        return Serves(self.number, self.epoch, self.is_head, self.answers)

    def lend(self, to: str) -> list[Action]:
        """Send a copy to a server, and from now on every entry; it becomes a replica with the next epoch."""
        actions: list[Action] = self._close_batch([]) if self._batch else []
        self.guests.setdefault(to, self.position)  # it may get an older copy, sent at an earlier request
        return [*actions, CopyOut(to, Install(self.segment, self.position, self.shard.copy()))]

    def part(self, segment: Segment) -> Replica:
        """Return a replica of a part of the range; the chain stood still, so all replicas cut alike."""
        cut = replace(segment, chain=self.segment.chain, epoch=self.epoch)
        return Replica(self.shard.part(segment), self.node, cut, self.position)

    def validate(self) -> None:
        """Raise `ProtocolError` unless the state keeps every invariant of the protocol."""
        self.shard.validate()
        if not self.stable <= self.position:
            raise ProtocolError(f"shard {self.number}: stable {self.stable} > position {self.position}")
        held = [position for position, _ in self.log]
        if held and held != list(range(self.stable + 1, self.position + 1)):
            raise ProtocolError(
                f"shard {self.number}: log {held}; required: {self.stable + 1}-{self.position}"
            )


def _id(entry: Any) -> Any:
    return getattr(entry, "id", None)


def _came_early(action: Action, entry: Any) -> bool:
    """Whether an action is of another request than the entry, which had come before it."""
    return isinstance(action, Invoke) or (isinstance(action, Send) and _id(action.message) != _id(entry))


def _stripped(push: Push) -> Push:
    """Return a push without its value, which is in the sum of its round."""
    return replace(push, value=None)


def _silently(action: Action) -> Action | None:
    """Return what a replica that answers nobody does of an action."""
    if isinstance(action, Drop) or (isinstance(action, Apply) and not action.shadow):
        action.copy = True
        return action
    if isinstance(action, Invoke):
        action.to = ""
        return action
    if isinstance(action, Send | Answer | Snapshot | Parked | Unparked | Apply | Shadow | Keep):
        return None
    return action
