"""Drives one server: its state machine, and the values of the shards it holds."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

from psbook.core.actions import (
    Action,
    Answer,
    Apply,
    Committed,
    CopyOut,
    Discard,
    Divide,
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
from psbook.core.controls import CONTROLLER, Install, Kept
from psbook.core.keys import span
from psbook.core.messages import Message, MessageId, Push, size
from psbook.core.routes import Segment
from psbook.core.server import Server
from psbook.errors import ProtocolError, UpdateError
from psbook.evaluation import Piece
from psbook.hosts.driver import Driver
from psbook.hosts.program import message_text
from psbook.hosts.reads import Reads
from psbook.hosts.vitals import Counts
from psbook.objective import WHOLE, KeysRead
from psbook.storage import Storage
from psbook.storage.combine import combined
from psbook.storage.shard import Block
from psbook.trace import Recorder

SnapshotTaker = Callable[[Piece], object]

Saver = Callable[[int, Segment, dict[str, Block], dict[str, Any]], tuple[Any, dict[str, Any]]]

Storages = dict[str, Storage]
"""Values of one shard, by table."""


class ServerHost:
    """One server between its state machine and its values.

    Parameters
    ----------
    server
        The server's state machine.
    make_storages
        Makes the values of a segment, as they are at the start.
    driver
        The backend.
    recorder
        Takes the rows of the trace.
    take_snapshot
        Gets the values for the evaluation; they are never changed afterwards.
    execute
        Runs what touches values, in the order given: at once, or on a thread of the server's own.
    save
        Writes a shard's part of a checkpoint; returns what the controller is to know of it.
    """

    def __init__(
        self,
        server: Server,
        make_storages: Callable[[Segment], Storages],
        driver: Driver,
        recorder: Recorder,
        take_snapshot: SnapshotTaker,
        execute: Callable[..., object] | None = None,
        save: Saver | None = None,
    ) -> None:
        self.server = server
        self.node = server.node
        self.driver = driver
        self.recorder = recorder
        self.failed = False
        self.counts = Counts()
        """What a live view shows of the server."""
        self.shards: dict[int, Storages] = {
            number: make_storages(replica.segment) for number, replica in server.replicas.items()
        }
        self._segments = {number: replica.segment for number, replica in server.replicas.items()}
        self._make_storages = make_storages
        self._take_snapshot = take_snapshot
        self.objective_reads: KeysRead = WHOLE
        """What the objective reads of the tables, if not all."""
        self._execute = execute
        self._full = recorder.wants("send")
        self._results: dict[tuple[int, int], dict[MessageId, tuple[Any, bool]]] = {}
        """What each program's open calls returned on each shard, in case the reply is lost."""
        self._reads = Reads()
        self._save = save
        self._shadows: dict[int, Storages] = {}
        self._held: dict[int, deque[tuple[int, str, Message]]] = {}
        server.explains = self._full
        for replica in server.replicas.values():
            replica.shard.explains = self._full
        self._perform: dict[type, Callable[[Any], None]] = {
            Apply: self._apply,
            Drop: self._drop,
            Answer: self._answer,
            Send: self._send,
            Invoke: self._invoke,
            Snapshot: self.keep,
            Parked: self._waiting_row,
            Unparked: self._waiting_row,
            Committed: self._committed,
            Sum: self._sum,
            Divide: self._divide,
            CopyOut: self._copy_out,
            TakeIn: self._take_in,
            Discard: self._discard,
            Serves: self._serves_row,
            Shadow: self._shadow,
            Keep: self._keep,
        }

    def start(self) -> None:
        """Say hello to the controller; keep the initial values for the evaluation."""
        self.keep_initial()
        self.hello()

    def hello(self) -> None:
        """Tell the controller that the server is there."""
        self._carry_out(self.server.hello(self.driver.now()))

    def keep_initial(self) -> None:
        """Hand the initial values over, for the evaluation at time 0."""
        if self.server.every:
            for number, replica in self.server.replicas.items():
                if replica.answers:
                    self.keep(Snapshot(0, 0, number))

    def pieces(self) -> list[Piece]:
        """Return the values of each shard that this server answers for, as they are."""
        return [
            self._piece(number, replica.shard.counted, replica.shard.updates)
            for number, replica in self.server.replicas.items()
            if replica.answers
        ]

    def piece(self, segment: Segment) -> Piece | None:
        """Return the values of a shard as they are, if this server has a copy of it with these borders."""
        replica = self.server.replicas.get(segment.shard)
        if replica is None or (replica.segment.start, replica.segment.stop) != (segment.start, segment.stop):
            return None
        return self._piece(segment.shard, replica.shard.counted, replica.shard.updates)

    def _piece(self, number: int, iterations: int, updates: int, reads: KeysRead = WHOLE) -> Piece:
        segment = self._segments[number]
        values = {
            name: storage.snapshot() if name not in reads else storage.some(reads[name])
            for name, storage in self.shards[number].items()
        }
        return Piece(segment.start, segment.stop, iterations, self.driver.now(), values, updates)

    def arrived(self, source: str, message: Message) -> None:
        """Stamp a message that has reached the server's queue."""
        now = self.driver.now()
        if hasattr(message, "received"):
            message.received = now
        nbytes = size(message)
        self.counts.bytes_in += nbytes
        if self._full:
            self.recorder.add(
                now, self.node, "receive", peer=source, message=message_text(message), bytes=nbytes,
                shard=message.segment.shard if isinstance(message, Install) else -1,
                clock=getattr(message, "clock", -1), detail=type(message).__name__,
            )  # fmt: skip

    def handle(self, source: str, message: Message) -> None:
        """Take in a message whose turn it is."""
        if not self.failed:
            self._carry_out(self.server.handle(source, message, self.driver.now()))

    def beat(self) -> None:
        """Say that the server lives, at once; send again what may be lost, behind what is being done."""
        beat, *again = self.server.beat(self.driver.now())
        self._do(beat)
        self._carry_out(again)

    def _carry_out(self, actions: list[Action]) -> None:
        if self._execute is None:
            self._do_all(actions)
        elif actions:
            self._execute(self._do_all, actions)

    def _do_all(self, actions: list[Action]) -> None:
        for action in actions:
            self._do(action)

    def _do(self, action: Action) -> None:
        if self.failed:
            return
        perform = self._perform.get(type(action))
        if perform is None:
            raise ProtocolError(f"{self.node} was asked for {type(action).__name__}")
        try:
            perform(action)
        except UpdateError as error:
            self.failed = True
            error.add_note(f"on {self.node}")
            self.driver.fail(self.node, error)

    # Values

    def _apply(self, apply: Apply) -> None:
        shards = self._shadows if apply.shadow else self.shards
        if apply.shadow and apply.shard not in shards:
            return  # the shadow was another server's, which is lost, and that checkpoint with it
        storage, pushes = shards[apply.shard][apply.table], apply.pushes
        parts = [apply.total] if apply.total is not None else [(push.keys, push.value) for push in pushes]
        if storage.table.update.needs:
            storage.apply(parts, apply.scale, mean_staleness(apply), self._read_for(storage, apply))
        else:
            storage.apply(parts, apply.scale)
        if not apply.copy and not apply.shadow:
            self.counts.took(pushes, apply.version)
        kind = "replicate" if apply.copy else "apply"
        if apply.shadow or not self.recorder.wants(kind):
            return
        now = self.driver.now()
        for push in pushes:
            self._apply_row(now, kind, push, apply)

    def _read_for(self, storage: Storage, apply: Apply) -> list[Any] | None:
        """Return what each push of an update was computed from, if the update function asks for it."""
        if "read" not in storage.table.update.needs:
            return None
        versions = {push.read_version for push in apply.pushes if push.read is not None}
        if len(versions) > 1:
            raise UpdateError(
                f"{storage.table.update!r} got one update of {len(apply.pushes)} pushes to table "
                f"{apply.table!r} that were computed from versions {sorted(versions)}; required: one version "
                "in an update, as what was read is asked for. Take a model that applies each push by itself, "
                "or drops old ones."
            )
        return [self._reads.of(push) for push in apply.pushes]

    def _apply_row(self, now: float, kind: str, push: Push, apply: Apply) -> None:
        keys = span(push.keys)
        self.recorder.add(
            now, self.node, kind, peer=self.server.layout.node(push.id.rank), table=push.table,
            shard=apply.shard, start=keys.start, stop=keys.stop, clock=push.clock, version=apply.version,
            staleness=staleness(apply, push),
            message=str(push.id), cause=str(push.read) if push.read is not None else "",
            detail="redone" if apply.redone else "",
        )  # fmt: skip

    def _drop(self, drop: Drop) -> None:
        kind = "drop copy" if drop.copy else "drop"
        for push in drop.pushes:
            keys = span(push.keys)
            self.recorder.add(
                self.driver.now(), self.node, kind, peer=self.server.layout.node(push.id.rank),
                table=push.table, shard=drop.shard, start=keys.start, stop=keys.stop, clock=push.clock,
                version=push.read_version if push.read is not None else -1,
                message=str(push.id), cause=str(push.read) if push.read is not None else "",
                detail=f"computed from a read of an older round than {drop.round}",
            )  # fmt: skip

    def _shadow(self, shadow: Shadow) -> None:
        segment = self._segments[shadow.shard]
        self._shadows[shadow.shard] = copied = self._make_storages(segment)
        for name, storage in self.shards[shadow.shard].items():
            copied[name].load(storage.export())

    def _keep(self, keep: Keep) -> None:
        """Save a shard's part of a checkpoint."""
        storages = self._shadows.pop(keep.shard, None) if keep.shadow else self.shards[keep.shard]
        segment = self._segments.get(keep.shard)
        if self._save is None or storages is None or segment is None:
            return
        blocks = {name: storage.export() for name, storage in storages.items()}
        record, meta = self._save(keep.clock, segment, blocks, keep.state)
        kept = Kept(keep.clock, segment.start, segment.stop, record, meta)
        self._transmit(CONTROLLER, kept)

    def _sum(self, action: Sum) -> None:
        """Sum each round once, for the replicas (E3)."""
        for update in action.updates:
            how = self.shards[update.shard][update.table].table.update.combine
            action.batch.value.append(combined([(push.keys, push.value) for push in update.pushes], how))

    def _divide(self, divide: Divide) -> None:
        whole = self.shards.pop(divide.shard)
        self._divide_results(divide)
        for segment in divide.segments:
            self._segments[segment.shard] = segment
            self.shards[segment.shard] = part = self._make_storages(segment)
            for name, storage in part.items():
                if storage.keys.size:
                    storage.load(whole[name].export_range(storage.keys))

    def _divide_results(self, divide: Divide) -> None:
        """Let every part know the open calls; the result is that of the part with the old number."""
        of_whole = {rank: kept for (shard, rank), kept in self._results.items() if shard == divide.shard}
        for segment in divide.segments:
            number = segment.shard
            for rank, kept in of_whole.items():
                self._results[number, rank] = {
                    id._replace(shard=number): (result, elsewhere or number != divide.shard)
                    for id, (result, elsewhere) in kept.items()
                }

    def _copy_out(self, copy: CopyOut) -> None:
        storages = self.shards[copy.install.segment.shard]
        number = copy.install.segment.shard
        results = {rank: {**kept} for (shard, rank), kept in self._results.items() if shard == number}
        blocks = {name: storage.export() for name, storage in storages.items()}
        copy.install.value = [blocks, results]
        if copy.to:
            self._transmit(copy.to, copy.install)

    def _take_in(self, take: TakeIn) -> None:
        segment = take.install.segment
        self._segments[segment.shard] = segment
        self.shards[segment.shard] = storages = self._make_storages(segment)
        blocks, results = take.install.value
        for name, block in blocks.items():
            storages[name].load(block)
        for rank, kept in results.items():
            self._results[segment.shard, rank] = kept
        self._transmit(take.to, take.done)

    def _discard(self, discard: Discard) -> None:
        self.shards.pop(discard.shard, None)
        self._held.pop(discard.shard, None)

    def keep(self, snapshot: Snapshot) -> None:
        """Hand the values over as they are, for the evaluation."""
        self._take_snapshot(
            self._piece(snapshot.shard, snapshot.iterations, snapshot.updates, self.objective_reads)
        )

    # Replies

    def _answer(self, answer: Answer) -> None:
        reply = answer.reply
        storage = self.shards[answer.shard][reply.table]
        reply.value = storage.read(reply.keys)
        if "read" in storage.table.update.needs:
            self._reads.answered(reply.id, reply.keys, reply.version, reply.value)
        if self._full:
            keys = span(reply.keys)
            row_clock = reply.row_clock
            self.recorder.add(
                self.driver.now(), self.node, "answer", peer=answer.to, table=reply.table, shard=answer.shard,
                start=keys.start, stop=keys.stop, clock=int(row_clock) if row_clock < 2**62 else -1,
                version=reply.version, message=str(reply.id),
            )  # fmt: skip
        self._reply(answer.to, reply, answer.shard, answer.until)

    def _send(self, send: Send) -> None:
        self._reply(send.to, send.message, send.shard, send.until)

    def _invoke(self, invoke: Invoke) -> None:
        call = invoke.call
        results = self._results.setdefault((invoke.shard, call.id.rank), {})
        if invoke.again:
            if call.id not in results:
                return  # the caller has it
            result, invoke.reply.elsewhere = results[call.id]
        else:
            result = self.shards[invoke.shard][call.table].call(call.function, call.arguments)
            if self.server.layout.safety.active:
                first = call.id.incarnation, call.open
                for id in [id for id in results if (id.incarnation, id.sequence) < first]:
                    del results[id]
                results[call.id] = result, False
        invoke.reply.value = result
        if invoke.to:
            self._reply(invoke.to, invoke.reply, invoke.shard, invoke.until)

    def _reply(self, to: str, message: Message, shard: int, until: int) -> None:
        """Send a message: now, or when every replica has what it tells of (E1, primary/backup)."""
        if until:
            self._held.setdefault(shard, deque()).append((until, to, message))
            return
        if hasattr(message, "sent"):
            message.sent = self.driver.now()
        self._transmit(to, message)

    def _committed(self, committed: Committed) -> None:
        held = self._held.get(committed.shard, deque())
        while held and held[0][0] <= committed.position:
            _, to, message = held.popleft()
            self._reply(to, message, committed.shard, 0)

    # The trace

    def _serves_row(self, serves: Serves) -> None:
        roles = {(True, True): "both", (True, False): "head", (False, True): "tail"}
        self.recorder.add(
            self.driver.now(), self.node, "serve", shard=serves.shard, version=serves.epoch,
            detail=roles.get((serves.head, serves.tail), ""),
        )  # fmt: skip

    def _waiting_row(self, action: Parked | Unparked) -> None:
        if not self._full:
            return
        message = action.message
        if isinstance(action, Parked):
            kind, seconds, why = "park", math.nan, action.why
        else:
            kind, seconds, why = "release", action.seconds, ""
        self.recorder.add(
            self.driver.now(), self.node, kind, peer=action.peer, table=getattr(message, "table", ""),
            shard=action.message.id.shard, clock=getattr(message, "clock", -1), message=message_text(message),
            value=seconds, detail=why,
        )  # fmt: skip

    def _transmit(self, destination: str, message: Message) -> None:
        nbytes = size(message)
        self.counts.bytes_out += nbytes
        if self._full:
            self.recorder.add(
                self.driver.now(), self.node, "send", peer=destination, message=message_text(message),
                bytes=nbytes, detail=type(message).__name__,
            )  # fmt: skip
        self.driver.transmit(self.node, destination, message)


def staleness(apply: Apply, push: Push) -> int:
    """Return how many updates the rows had had since a push's worker read them; −1 if it read none."""
    return apply.version - 1 - push.read_version if push.read is not None else -1


def mean_staleness(apply: Apply) -> float:
    """Return the mean staleness of an update's pushes; one that was computed from no read counts as 0."""
    return sum(max(staleness(apply, push), 0) for push in apply.pushes) / len(apply.pushes)
