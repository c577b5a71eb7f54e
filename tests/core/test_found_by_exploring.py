"""Histories that the explorer found to break the core, each the shortest of its scope, and now harmless."""

import pytest

from psbook.core.actions import Apply, Send
from psbook.core.consistency import ASP, BSP
from psbook.core.controls import Remove
from psbook.core.layout import Safety
from psbook.core.messages import Ack, Clock, MessageId, Push
from psbook.core.routes import cut
from psbook.core.server import Server
from psbook.core.window import Window
from tests.core.machines import WHOLE, acknowledged, applied, layout


def server(replicas=0, node="server-0", count=1, model=ASP(), **safety):
    laid_out = layout(2, count, safety=Safety(replicas=replicas, lease=1e9, **safety))
    return Server(node, laid_out, model)


def push(number, after, rank=0):
    return Push(MessageId(rank, 0, "w", 0, number), "w", WHOLE, ("name",) * WHOLE.size, 0, after=after)


def clock(number, after, rank=0):
    return Clock(MessageId(rank, 0, "", 0, number), 1, after=after)


def test_what_came_too_early_is_not_acknowledged_when_it_comes_again():
    """The push is lost; the clock behind it comes, and comes again: it must not be acknowledged unhandled.

    Else the worker takes its iteration for counted, finishes, and the run ends without the push.
    """
    machine = server()
    machine.hello(0.0)
    for _ in range(2):
        assert acknowledged(machine.handle("worker-0", clock(2, after=1), 0.0)) == []
    actions = machine.handle("worker-0", push(1, after=0), 0.0)
    assert [action.message.id.sequence for action in actions if isinstance(action, Send)] == [1, 2]
    assert acknowledged(machine.handle("worker-0", clock(2, after=1), 0.0)) == ["worker-0"]


def test_what_waited_for_a_lost_write_is_not_acknowledged_before_that_is_on_every_replica():
    """The clock came too early, and is in every log; it is handled with the push, which the tail has not got."""
    head, tail = server(1, count=2), server(1, "server-1", count=2)
    for each in (head, tail):
        each.hello(0.0)

    def pass_on(actions):
        (forward,) = [action.message for action in actions if action.to == "server-1"]
        return tail.handle("server-0", forward, 0.0)

    (stable,) = pass_on(head.handle("worker-0", clock(2, after=1), 0.0))
    head.handle("server-1", stable.message, 0.0)
    late = [action for action in head.handle("worker-0", push(1, after=0), 0.0) if isinstance(action, Send)]
    assert acknowledged(head.handle("worker-0", clock(2, after=1), 0.0)) == []
    assert acknowledged(pass_on(late)) == ["worker-0", "worker-0"]
