"""Where a program's time goes: five kinds, each measured, none by subtraction (semantics.md H3)."""

from __future__ import annotations

from psbook.core.messages import Reply
from psbook.operation import Operation
from psbook.trace import Recorder


class Booking:
    """Books every moment of a program as compute, network, blocked, queued or idle, without gap or overlap.

    Parameters
    ----------
    recorder
        Takes the spans.
    node
        The program.
    """

    def __init__(self, recorder: Recorder, node: str) -> None:
        self.recorder = recorder
        self.node = node
        self._kept = recorder.wants("compute")
        self.until = 0.0
        """Everything before is booked."""

    def waited(self, operation: Operation[object], since: float, now: float, clock: int) -> None:
        """Book a wait for `operation` that began at `since` and ends `now`."""
        self.book("compute", since, clock, "program")
        if operation.last is not None:
            self.reply(operation.last, operation.asked, now, clock)
        elif operation.kind == "compute":
            self.book("idle", min(now, since + operation.compiling), clock, "compiling")
            self.book("compute", now, clock)
        elif operation.kind == "reply":
            self.book("network", now, clock)
        else:
            self.book("idle", now, clock, operation.kind)

    def reply(self, reply: Reply, asked: float, now: float, clock: int) -> None:
        """Book a wait for a reply by the stamps it carries: on the way, queued, parked, on the way back."""
        self.book("network", min(now, reply.received), clock)
        self.book("queued", min(now, reply.sent - reply.parked), clock)
        self.book("blocked", min(now, reply.sent), clock)
        self.book("network", now, clock)

    def book(self, kind: str, until: float, clock: int, detail: str = "") -> None:
        """Book the time up to `until`; nothing if that is booked already."""
        if until > self.until:
            if self._kept:
                self.recorder.add(
                    self.until, self.node, kind, duration=until - self.until, clock=clock, detail=detail
                )
            self.until = until
