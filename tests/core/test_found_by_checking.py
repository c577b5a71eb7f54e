"""What the checker found on traces of runs that looked right; each in the fewest messages."""

import pytest

from psbook.core.actions import Apply, Send
from psbook.core.consistency import ASP, BSP, SSP
from psbook.core.layout import Safety
from psbook.core.messages import Clock, Finish, MessageId, Push
from psbook.core.ring import POSITIONS
from psbook.core.routes import Segment
from psbook.core.shard import Shard
from psbook.core.window import UNORDERED
from tests.core.machines import WHOLE, acknowledged, applied, layout


def shard_of(model, **safety):
    laid_out = layout(2, safety=Safety(**safety))
    return Shard(laid_out.routes.segments[0], laid_out, model)


def clock(rank, number, count, after):
    return Clock(MessageId(rank, 0, "", 0, number), count, after=after)


def push(rank, number, count):
    return Push(MessageId(rank, 0, "w", 0, number), "w", WHOLE, ("value",) * 8, count, after=UNORDERED)


def test_a_clock_that_waits_when_its_shard_is_cut_is_acknowledged_by_each_part_for_itself():
    """Else the part's answer counts for the whole, and the worker passes a gate that it should wait at."""
    whole = shard_of(SSP(0, gate="clock"))
    assert acknowledged(whole.handle(clock(0, 1, 1, after=0), 0.0)) == []
    half = POSITIONS // 2
    for number, (start, stop) in {0: (0, half), 7: (half, POSITIONS)}.items():
        part = whole.part(Segment(number, start, stop, ("server-0",), 1))
        assert [waiting.message.id.shard for waiting in part.parked] == [number]
        released = part.handle(Clock(MessageId(1, 0, "", number, 1), 1), 0.0)
        sent = [action.message.id for action in released if isinstance(action, Send)]
        assert [(id.rank, id.shard) for id in sent] == [(0, number), (1, number)]
    assert [waiting.message.id.shard for waiting in whole.parked] == [0]


@pytest.mark.parametrize("ends", [False, True])
def test_a_push_that_comes_behind_its_round_is_an_update_of_its_own(ends):
    """At-least-once: it was sent again when the clock behind it had long come; nothing else may ever come."""
    shard = shard_of(BSP(), delivery="at-least-once")
    assert applied(shard.handle(push(0, 1, 0), 0.0)) == []
    for rank in (0, 1):
        last = shard.handle(clock(rank, 2, 1, after=0), 0.0)
    assert applied(last) == [("w", [0], 1.0, 1)]
    if ends:
        for rank in (0, 1):
            shard.handle(Finish(MessageId(rank, 0, "", 0, 3), after=2), 0.0)
    actions = shard.handle(push(1, 1, 0), 0.0)
    assert applied(actions) == [("w", [1], 1.0, 2)]
    assert acknowledged(actions) == ["worker-1"]
    shard.validate()


@pytest.mark.parametrize("ends", [False, True])
def test_a_push_that_comes_behind_its_atomic_clock_is_not_kept_aside(ends):
    shard = shard_of(ASP(), delivery="at-least-once", atomic=True)
    last = Finish(MessageId(0, 0, "", 0, 2), after=0) if ends else clock(0, 2, 1, after=0)
    shard.handle(last, 0.0)
    (apply, _) = shard.handle(push(0, 1, 0), 0.0)
    assert isinstance(apply, Apply)
    assert shard.handle(push(1, 1, 0), 0.0)[:-1] == []
