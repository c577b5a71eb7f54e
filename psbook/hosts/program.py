"""Drives one program: its coroutine, its client, its mailbox, its booked time."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from psbook.core.actions import Action, Complete, CutShort, Deliver, Part, Send
from psbook.core.client import Client
from psbook.core.commands import Command, DoClock, DoFinish, DoResend
from psbook.core.messages import Message, Parcel, size
from psbook.errors import ForeignAwaitable, NotAwaited, ProgramError, ProtocolError, PsbookError
from psbook.hosts.booking import Booking
from psbook.hosts.driver import Driver, Outcome
from psbook.hosts.mailbox import Mailbox, Wanted
from psbook.hosts.supply import Supply
from psbook.operation import Operation
from psbook.trace import Recorder

if TYPE_CHECKING:
    from psbook.worker import Worker

MUST_AWAIT = ("clock", "flush", "compute", "barrier", "change_model", "sleep", "receive")
"""Operations that mean nothing unless they are awaited before the next clock."""

AT_LAST = ("pull",)
"""Operations that may go on during the next iterations, but mean nothing unless they are awaited at all."""


class ProgramHost:
    """One program between its coroutine and its client; every method runs on one thread.

    Parameters
    ----------
    client
        The program's state machine.
    program
        ``async def`` function of one `Worker`.
    driver
        The backend.
    recorder
        Takes the rows of the trace.
    prepare
        Called before clock 0, to compile kernels where they will run.
    """

    def __init__(
        self,
        client: Client,
        program: Callable[[Worker], Coroutine[Any, Any, Any]],
        make_worker: Callable[[ProgramHost], Worker],
        driver: Driver,
        recorder: Recorder,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        self.client = client
        self.node = client.node
        self.driver = driver
        self.recorder = recorder
        self.booking = Booking(recorder, self.node)
        self.result: Any = None
        self.finished = False
        self.steps = 0
        """How often the coroutine was resumed: while it stands still, the program makes no progress."""
        self.saved: Any = None
        """What the program declared as its state before it was lost; ``None`` at its first start."""
        self.supply = Supply()
        """What the program has still to work through."""
        self.leaving = False
        """Whether the program is to end at its next clock."""
        self._program = program
        self._make_worker = make_worker
        self._prepare = prepare
        self._coroutine: Coroutine[Any, Any, Any] | None = None
        self._between = False
        self._operations: dict[int, Operation[Any]] = {}
        self._ticket = 0
        self._unchecked: list[tuple[Operation[Any], int]] = []
        self._waiting: Operation[Any] | None = None
        self._since = 0.0
        self._mailbox = Mailbox()
        self._parcels = 0
        self._full = recorder.wants("send")

    @property
    def clock(self) -> int:
        """Number of ``clock()`` calls the program has made."""
        return self.client.clock

    @property
    def waits_for(self) -> str:
        """What the program waits for, in words; empty if it does not."""
        return "" if self._waiting is None else self._waiting.label

    @property
    def waiting(self) -> tuple[str, str, float]:
        """Kind and label of the operation that the program waits for, and since when; empty if none."""
        operation = self._waiting
        return ("", "", self._since) if operation is None else (operation.kind, operation.label, self._since)

    @property
    def depends_on_others(self) -> bool:
        """Whether only another node can end what the program waits for."""
        return self._waiting is not None and self._waiting.kind not in ("compute", "sleeping")

    def start(self) -> None:
        """Prepare, then say hello to the controller: clock 0 begins when everybody has."""
        try:
            if self._prepare is not None:
                self._prepare()
        except Exception as error:  # noqa: BLE001  # a kernel that raises ends the run as it would in the program
            self._fail(error)
            return
        self._perform(self.client.hello())

    def receive(self, source: str, message: Message) -> None:
        """Take in a message."""
        now = self.driver.now()
        if self._full:
            self._row(now, "receive", source, message)
        if isinstance(message, Parcel):
            message.received = now
            self._mailbox.put(message)
        else:
            self._perform(self.client.handle(message, now))

    # What the worker handle asks for

    def submit(self, make: Callable[[int], Command], operation: Operation[Any]) -> None:
        """Begin an operation through the client."""
        self._ticket += 1
        self._between = self._between and not operation.label.startswith("worker.push")
        self._operations[self._ticket] = operation
        self._note(operation)
        self._perform(self.client.handle(make(self._ticket), self.driver.now()))

    def beat(self) -> None:
        """Say that the program lives."""
        self._perform(self.client.beat(self.driver.now()))

    def resend(self) -> None:
        """Send again what has had no reply."""
        self._perform(self.client.handle(DoResend(), self.driver.now()))

    def end_iteration(self, operation: Operation[Any], state: Any = None) -> None:
        """``clock()``: check what was forgotten, then tell the shards."""
        self._check_awaited()
        now = self.driver.now()
        self.booking.book("compute", now, self.clock, "program")
        self.submit(lambda ticket: DoClock(ticket, state), operation)
        self._between = True
        self.recorder.add(now, self.node, "clock", clock=self.clock)

    def compute(self, function: Callable[[], Any], operation: Operation[Any]) -> None:
        """Begin a computation."""
        self._note(operation)

        def done(outcome: Outcome) -> None:
            operation.compiling = outcome.compiling
            operation.resolve(outcome.result, outcome.error)

        self.driver.compute(self.client.rank, function, done)

    def sleep(self, seconds: float, operation: Operation[Any]) -> None:
        """Begin to let time pass."""
        self._note(operation)
        self.driver.call_later(seconds, operation.resolve)

    def send(self, destination: int, tag: str, value: Any) -> None:
        """Send a value to another program."""
        self._parcels += 1
        parcel = Parcel(self.client.rank, destination, tag, value, self._parcels, self.driver.now())
        self._transmit(self.client.layout.programs[destination], parcel)

    def wait_for_parcel(self, wanted: Wanted) -> None:
        """Begin to receive."""
        self._note(wanted.operation)
        self._mailbox.ask(wanted)

    def report(self, name: str, value: float) -> None:
        """Record a number by name."""
        now = self.driver.now()
        self.recorder.add(now, self.node, "report", clock=self.clock, value=float(value), detail=name)

    def took(self, parts: list[Part]) -> None:
        """The program has taken up a pulled value."""
        self.client.saw(parts)

    @property
    def joined(self) -> bool:
        """Whether the program was not there at the start."""
        return self.client.rank >= len(self.client.layout.programs)

    # The coroutine

    def _restart(self, state: Any) -> None:
        """Go on where the program was when it last ended an iteration, if it had before it was lost."""
        if state is not None:
            self.saved = state
        if self.saved is not None:
            taken, given, adopted = (self.saved[name] for name in ("taken", "given", "adopted"))
            asked = self.saved.get("asked", (0, 0))
            self.supply = Supply(taken, given, adopted, self.supply.adopted, tuple(asked))
            self.client.barriers = self.saved["barriers"]

    def _begin(self) -> None:
        self.booking.book(
            "idle", self.driver.now(), self.clock, "recovering" if self.client.incarnation else "starting"
        )
        try:
            coroutine = self._program(self._make_worker(self))
        except Exception as error:  # noqa: BLE001  # whatever a program raises reaches the caller of the run
            self._fail(error)
            return
        if not inspect.iscoroutine(coroutine):
            self._fail(TypeError(f"the program returned {type(coroutine).__name__}, not a coroutine"))
            return
        self._coroutine = coroutine
        self._step()

    def _step(self) -> None:
        """Run the program until it waits for something that is not there yet."""
        coroutine = self._coroutine
        if coroutine is None:
            return
        self.steps += 1
        try:
            while True:
                operation = coroutine.send(None)
                if not isinstance(operation, Operation):
                    raise self._foreign(f"a {type(operation).__name__}")
                if not operation.done:
                    break
        except StopIteration as stop:
            self._returned(stop.value)
            return
        except Exception as error:  # noqa: BLE001  # whatever a program raises reaches the caller of the run
            self._fail(self._foreign("something of asyncio") if _wants_asyncio(error) else error, error)
            return
        if self.leaving and self._between:
            self._leave()
            return
        self._waiting, self._since = operation, self.driver.now()
        operation.watch(self._woken)

    def _foreign(self, awaited: str) -> ForeignAwaitable:
        self.halt()
        return ForeignAwaitable(
            f"{self.node} awaited {awaited}; required: psbook's awaitables only (worker.pull, "
            "worker.compute, worker.sleep, ps.gather …), which mean the same on every backend."
        )

    def _woken(self, operation: Operation[Any]) -> None:
        if operation is not self._waiting:
            return
        self._waiting = None
        self.booking.waited(operation, self._since, self.driver.now(), self.clock)
        self._step()

    def _leave(self) -> None:
        """End the program between two iterations; what it has not worked through is for others."""
        coroutine, self._coroutine = self._coroutine, None
        if coroutine is not None:
            with contextlib.suppress(Exception):
                coroutine.close()
        self._finish_program()

    def _returned(self, result: Any) -> None:
        self.result = result
        self._coroutine = None
        try:
            self._check_awaited((*MUST_AWAIT, *AT_LAST))
        except NotAwaited as error:
            self._fail(error)
            return
        self._finish_program()

    def _finish_program(self) -> None:
        finish: Operation[Any] = Operation("the end of the program", "reply")
        finish.watch(self._left)
        self._waiting, self._since = finish, self.driver.now()
        self.submit(DoFinish, finish)

    def _left(self, operation: Operation[Any]) -> None:
        now = self.driver.now()
        self._waiting = None
        self.booking.waited(operation, self._since, now, self.clock)
        self.finished = True
        self.recorder.add(now, self.node, "finish", clock=self.clock)
        self.driver.ended(self.node)

    def halt(self, why: str = "stopped") -> None:
        """End the program where it stands; what its ``finally`` clauses raise is not heard any more."""
        coroutine, self._coroutine, self._waiting = self._coroutine, None, None
        if coroutine is not None:
            with contextlib.suppress(Exception):
                coroutine.close()

    def close(self, end: float, detail: str = "") -> None:
        """Book the time up to the end of the run."""
        self.booking.book("idle", end, self.clock, "finished early" if self.finished else detail or "stopped")

    def _fail(self, error: BaseException, cause: BaseException | None = None) -> None:
        self._coroutine = None
        where = f"{self.node}, clock {self.clock}"
        if isinstance(error, PsbookError):
            if cause is not None and cause is not error:
                error.__cause__ = cause
            error.add_note(f"in {where}")
            self.driver.fail(self.node, error)
            return
        wrapped = ProgramError(f"the program of {where} raised {type(error).__name__}: {error}")
        wrapped.__cause__ = error
        self.driver.fail(self.node, wrapped)

    # Operations

    def _note(self, operation: Operation[Any]) -> None:
        unchecked = self._unchecked
        while unchecked and unchecked[-1][0].awaited:
            unchecked.pop()  # and with it its value, which may be large
        if not operation.label.startswith("worker.push"):
            unchecked.append((operation, self.clock))

    def _check_awaited(self, kinds: tuple[str, ...] = MUST_AWAIT) -> None:
        dropped = [(operation, clock) for operation, clock in self._unchecked if not operation.awaited]
        for operation, clock in dropped:
            if operation.label.partition("(")[0].removeprefix("worker.") in kinds:
                raise NotAwaited(
                    f"{self.node} never awaited {operation.label}, begun at clock {clock}; required: "
                    f"`await {operation.label}`."
                )
        self._unchecked = dropped

    # Actions of the client

    def _perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            kind = type(action)
            if kind is Send:
                self._transmit(action.to, action.message)  # type: ignore[union-attr]
            elif kind is Complete:
                self._completed(action)  # type: ignore[arg-type]
            elif kind is Deliver:
                self._restart(action.state)  # type: ignore[union-attr]
                self._begin()
            elif kind is CutShort:
                self.driver.cut_short(self.client.rank)
            else:
                raise ProtocolError(f"{self.node} was asked for {kind.__name__}")

    def _completed(self, complete: Complete) -> None:
        operation = self._operations.pop(complete.ticket)
        operation.last, operation.asked = complete.last, complete.asked
        operation.resolve(complete.result)

    def _transmit(self, destination: str, message: Message) -> None:
        if self._full:
            self._row(self.driver.now(), "send", destination, message)
        self.driver.transmit(self.node, destination, message)

    def _row(self, now: float, kind: str, peer: str, message: Message) -> None:
        self.recorder.add(
            now, self.node, kind, peer=peer, message=message_text(message), bytes=size(message),
            clock=getattr(message, "clock", -1), detail=type(message).__name__,
        )  # fmt: skip


def _wants_asyncio(error: Exception) -> bool:
    """Whether a program awaited something of asyncio where no event loop of asyncio runs."""
    return isinstance(error, RuntimeError) and str(error) == "no running event loop"


def message_text(message: Message) -> str:
    """Id of a message as text; empty for those of the controller.

    >>> message_text(Parcel(0, 2, "ring", None, 7))
    'p0>2/ring#7'
    """
    if isinstance(message, Parcel):
        return f"p{message.source}>{message.destination}/{message.tag}#{message.sequence}"
    return str(getattr(message, "id", ""))
