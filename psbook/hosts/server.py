"""Drives one shard: its state machine and the values of its tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from psbook.core.actions import Action, Answer, Apply, Invoke, Parked, Send, Snapshot, Unparked
from psbook.core.keys import Keys, span
from psbook.core.messages import CONTROLLER, Hello, Message, Push, size
from psbook.core.server import Server
from psbook.errors import ProtocolError, UpdateError
from psbook.hosts.driver import Driver
from psbook.hosts.program import message_text
from psbook.storage import Storage
from psbook.trace import Recorder

SnapshotTaker = Callable[[int, int, float, dict[str, tuple[Keys, Any]], int], object]
"""Called with shard, worker iterations, time, {table: (keys, values)} and the shard's updates so far."""


class ServerHost:
    """One shard between its state machine and its values.

    Parameters
    ----------
    server
        The shard's state machine.
    storages
        Values of each table.
    driver
        The backend.
    recorder
        Takes the rows of the trace.
    take_snapshot
        Gets the values for the evaluation; they are never changed afterwards.
    execute
        Runs what touches values, in the order given: at once, or on a thread of the shard's own.
    """

    def __init__(
        self,
        server: Server,
        storages: Mapping[str, Storage],
        driver: Driver,
        recorder: Recorder,
        take_snapshot: SnapshotTaker,
        execute: Callable[..., object] | None = None,
    ) -> None:
        self.server = server
        self.storages = storages
        self.node = server.layout.server(server.shard)
        self.driver = driver
        self.recorder = recorder
        self.failed = False
        self._take_snapshot = take_snapshot
        self._execute = execute
        self._full = recorder.wants("send")
        server.explains = self._full
        self._perform: dict[type, Callable[[Any], None]] = {
            Apply: self._apply,
            Answer: self._answer,
            Send: self._send,
            Invoke: self._invoke,
            Snapshot: self.keep,
            Parked: self._waiting_row,
            Unparked: self._waiting_row,
        }

    def start(self) -> None:
        """Say hello to the controller; keep the initial values for the evaluation."""
        self.keep_initial()
        self._transmit(CONTROLLER, Hello(self.node))

    def keep_initial(self) -> None:
        """Hand the initial values over, for the evaluation at time 0."""
        if self.server.every:
            self.keep(Snapshot(0, 0))

    def values(self) -> tuple[dict[str, tuple[Keys, Any]], int]:
        """Return the values of each table, and the worker iterations counted."""
        return {name: storage.snapshot() for name, storage in self.storages.items()}, self.server.counted

    def arrived(self, source: str, message: Message) -> None:
        """Stamp a message that has reached the shard's queue."""
        now = self.driver.now()
        if hasattr(message, "received"):
            message.received = now
        if self._full:
            self.recorder.add(
                now, self.node, "receive", peer=source, message=message_text(message), bytes=size(message),
                clock=getattr(message, "clock", -1), detail=type(message).__name__,
            )  # fmt: skip

    def handle(self, message: Message) -> None:
        """Take in a message whose turn it is."""
        if self.failed:
            return
        actions = self.server.handle(message, self.driver.now())
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

    def _apply(self, apply: Apply) -> None:
        pushes = apply.pushes
        self.storages[apply.table].apply([(push.keys, push.value) for push in pushes], apply.scale)
        if not self.recorder.wants("apply"):
            return
        now = self.driver.now()
        for push in pushes:
            self._apply_row(now, push, apply.version)

    def _apply_row(self, now: float, push: Push, version: int) -> None:
        keys = span(push.keys)
        self.recorder.add(
            now, self.node, "apply", peer=self.server.layout.programs[push.id.rank], table=push.table,
            start=keys.start, stop=keys.stop, clock=push.clock, version=version,
            staleness=version - 1 - push.read_version if push.read is not None else -1,
            message=str(push.id), cause=str(push.read) if push.read is not None else "",
        )  # fmt: skip

    def _answer(self, answer: Answer) -> None:
        reply = answer.reply
        reply.value = self.storages[reply.table].read(reply.keys)
        if self._full:
            keys = span(reply.keys)
            row_clock = reply.row_clock
            self.recorder.add(
                self.driver.now(), self.node, "answer", peer=answer.to, table=reply.table, start=keys.start,
                stop=keys.stop, clock=int(row_clock) if row_clock < 2**62 else -1, version=reply.version,
                message=str(reply.id),
            )  # fmt: skip
        reply.sent = self.driver.now()
        self._transmit(answer.to, reply)

    def _send(self, send: Send) -> None:
        if hasattr(send.message, "sent"):
            send.message.sent = self.driver.now()
        self._transmit(send.to, send.message)

    def _invoke(self, invoke: Invoke) -> None:
        call = invoke.call
        invoke.reply.value = self.storages[call.table].call(call.function, call.arguments)
        invoke.reply.sent = self.driver.now()
        self._transmit(invoke.to, invoke.reply)

    def keep(self, snapshot: Snapshot) -> None:
        """Hand the values over as they are, for the evaluation."""
        values = {name: storage.snapshot() for name, storage in self.storages.items()}
        self._take_snapshot(
            self.server.shard,
            snapshot.iterations,
            self.driver.now(),
            values,
            snapshot.updates,
        )

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
            clock=getattr(message, "clock", -1), message=message_text(message), value=seconds, detail=why,
        )  # fmt: skip

    def _transmit(self, destination: str, message: Message) -> None:
        if self._full:
            self.recorder.add(
                self.driver.now(), self.node, "send", peer=destination, message=message_text(message),
                bytes=size(message), detail=type(message).__name__,
            )  # fmt: skip
        self.driver.transmit(self.node, destination, message)
