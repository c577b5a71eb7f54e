"""A shard: who is answered when, what is applied when, and what duplicates and the dead do to it."""

import itertools
import random

import pytest

from psbook.core.actions import Answer, Parked, Send, Snapshot, Unparked
from psbook.core.consistency import ASP, BSP, SSP, BoundedDelay, Serial
from psbook.core.controls import Hello, ModelSet, Remove, SetModel
from psbook.core.keys import KeyRange
from psbook.core.layout import TableSpec
from psbook.core.messages import Clock, MessageId, Pull, Push
from psbook.core.shard import Waiting
from psbook.errors import ProtocolError
from tests.core.machines import Shard, acknowledged, answered, applied

A, B, C = 0, 1, 2


def to(shard, *clocks):
    """Bring the workers to these clocks."""
    for rank, clock in enumerate(clocks):
        while shard.clocks[rank] < clock:
            shard.clock(rank)
    return shard


def test_the_worked_example():
    """Three workers, s=1: A at clock 2, B at 1, C at 0."""
    shard = to(Shard(3, SSP(1)), 2, 1, 0)
    assert answered(shard.pull(A)) == []  # needs min >= 1
    assert answered(shard.pull(B)) == ["worker-1"]  # needs 0
    assert answered(shard.clock(C)) == ["worker-0"]  # min = 1
    shard.clock(A)  # without reading: gap 2 = s+1
    assert answered(shard.pull(A)) == []  # needs 2
    assert answered(shard.clock(B)) == []
    assert answered(shard.clock(C)) == ["worker-0"]


def test_under_the_read_gate_the_gap_is_at_most_s_plus_one_for_who_reads_each_iteration():
    shard, reading = Shard(2, SSP(2)), True
    while reading:
        reading = bool(answered(shard.pull(A)))
        if reading:
            shard.clock(A)
    assert shard.clocks == [3, 0]


def test_under_the_clock_gate_the_clock_itself_waits():
    shard = Shard(2, SSP(1, gate="clock"))
    assert acknowledged(shard.clock(A)) == ["worker-0"]
    assert acknowledged(shard.clock(A)) == []
    assert acknowledged(shard.clock(B)) == ["worker-0", "worker-1"]


def test_bounded_delay_zero_is_sequential_and_tau_may_change():
    shard = Shard(2, BoundedDelay(0))
    assert acknowledged(shard.clock(A)) == []
    actions = shard.take(SetModel(0, BoundedDelay(1), 1))
    assert acknowledged(actions) == ["worker-0"]
    assert isinstance(actions[-1].message, ModelSet)


def test_a_model_that_was_overtaken_by_a_newer_one_changes_nothing():
    shard = Shard(2, SSP(0))
    shard.take(SetModel(0, SSP(5), 2))
    (done,) = shard.take(SetModel(0, SSP(1), 1))
    assert done.message.number == 1 and shard.server.model == SSP(5)


def test_a_parked_request_says_who_waits_for_whom_and_how_long():
    shard = to(Shard(3, SSP(1)), 3, 0, 1)
    (parked,) = shard.pull(A)
    assert isinstance(parked, Parked)
    assert parked.why == "worker-0 reads at clock 3; SSP(1) makes it wait: worker-1 at clock 0"
    shard.now = 2.5
    to(shard, 3, 2, 1)
    unparked, answer = shard.clock(C)
    assert isinstance(unparked, Unparked) and unparked.seconds == 2.5
    assert answer.reply.parked == 2.5


def test_the_order_of_release_changes_no_answer():
    """A7: every permutation of the parked requests gives every worker the same reply."""
    seen = []
    for order in itertools.permutations(range(3)):
        shard = Shard(4, SSP(0))
        for rank in range(3):
            shard.push(rank)
            shard.clock(rank)
            shard.pull(rank, keys=KeyRange(rank, 8))
        shard.server.parked = [shard.server.parked[at] for at in order]
        replies = [a.reply for a in shard.clock(3) if isinstance(a, Answer)]
        seen.append(sorted((r.id, r.keys, r.row_clock, r.version, r.upto) for r in replies))
        assert len(replies) == 3
    assert all(each == seen[0] for each in seen)


# BSP rounds


def test_a_bsp_round_is_applied_once_in_the_order_of_workers_before_reads_are_answered():
    shard = Shard(3, BSP())
    for rank in (C, A, B):
        assert applied(shard.push(rank)) == []
    shard.clock(A)
    shard.pull(A)
    shard.clock(C)
    actions = shard.clock(B)
    assert applied(actions) == [("w", [A, B, C], 1.0, 1)]
    assert answered(actions) == ["worker-0"]
    kinds = [type(action).__name__ for action in actions]
    assert kinds.index("Apply") < kinds.index("Answer")


def test_a_round_closes_on_distinct_workers_and_not_on_a_count_of_messages():
    shard = Shard(3, BSP())
    shard.push(A)
    shard.clock(A)
    shard.clock(B)
    again = Clock(MessageId(A, 0, "", 0, 2), 1)
    for _ in range(5):
        assert shard.take(again) == []
    assert shard.server.clocks.min == 0
    assert applied(shard.clock(C)) == [("w", [A], 1.0, 1)]


def test_two_pushes_of_one_worker_in_one_clock_are_two_messages_of_one_round():
    shard = Shard(2, BSP())
    shard.push(A)
    shard.push(A)
    shard.clock(A)
    assert applied(shard.clock(B)) == [("w", [A, A], 1.0, 1)]


def test_the_mean_divides_by_the_active_workers_of_the_round():
    """H1: those who pushed nothing count, those who had finished do not."""
    shard = Shard(4, BSP(), tables=[TableSpec("w", 8, mean=True)])
    shard.finish(3)
    shard.push(A)
    shard.clock(A)
    shard.clock(B)
    assert applied(shard.clock(C)) == [("w", [A], 1 / 3, 1)]


def test_what_a_worker_pushes_between_its_last_clock_and_its_end_is_in_the_round_it_belongs_to():
    shard = Shard(2, BSP())
    to(shard, 1, 1)
    shard.push(A)
    assert applied(shard.finish(A)) == []
    assert applied(shard.clock(B)) == [("w", [A], 1.0, 1)]


def test_a_finishing_worker_may_close_several_rounds_in_order():
    shard = Shard(2, BSP())
    for _ in range(3):
        shard.push(A)
        shard.clock(A)
    assert applied(shard.finish(B)) == [("w", [A], 1.0, v) for v in (1, 2, 3)]


def test_tables_of_a_round_have_versions_of_their_own():
    shard = Shard(2, BSP(), tables=[TableSpec("w", 8), TableSpec("v", 8)])
    shard.push(A, "w")
    shard.clock(A)
    assert applied(shard.clock(B)) == [("w", [A], 1.0, 1)]
    assert shard.server.versions == {"w": 1, "v": 0}


def test_programs_whose_clocks_do_not_count_neither_wait_nor_are_buffered():
    shard = Shard(1, BSP(), others=1)
    assert len(applied(shard.push(1))) == 1
    shard.clocks[1] = 99
    assert answered(shard.pull(1)) == ["other-0"]


# Receive window


@pytest.mark.parametrize("seed", range(20))
def test_messages_of_one_worker_in_any_order_and_twice_are_handled_once_in_order(seed):
    shard = Shard(1, ASP())
    messages = [Push(MessageId(0, 0, "w", 0, n), "w", KeyRange(0, 8), n, 0) for n in range(1, 9)]
    for message in messages:
        message.after = message.id.sequence - 1
    deliveries = messages * 2
    random.Random(seed).shuffle(deliveries)
    actions = [action for message in deliveries for action in shard.take(message)]
    assert [a.pushes[0].value for a in actions if type(a).__name__ == "Apply"] == list(range(1, 9))
    assert shard.server.versions["w"] == 8
    assert set(acknowledged(actions)) == {"worker-0"}


def test_a_duplicate_push_is_acknowledged_again_and_a_duplicate_pull_is_answered_again():
    shard = Shard(1, ASP())
    push = Push(MessageId(0, 0, "w", 0, 1), "w", KeyRange(0, 8), None, 0)
    pull = Pull(MessageId(0, 0, "w", 0, 2), "w", KeyRange(0, 8), 0, after=1)
    shard.take(push)
    shard.take(pull)
    (again,) = shard.take(push)
    assert isinstance(again, Send) and again.message.id == push.id
    assert shard.take(pull)[0].reply.version == 1  # a read changes nothing, and its reply may have been lost


def test_a_read_waits_for_the_write_that_it_follows():
    shard = Shard(1, ASP())
    early = Pull(MessageId(0, 0, "w", 0, 2), "w", KeyRange(0, 8), 0, after=1)
    assert shard.take(early) == []
    actions = shard.take(Push(MessageId(0, 0, "w", 0, 1), "w", KeyRange(0, 8), None, 0))
    assert answered(actions) == ["worker-0"]


def test_a_clock_counts_only_behind_the_pushes_that_were_sent_before_it():
    shard = Shard(2, SSP(0))
    shard.clock(B)
    shard.pull(B)
    push, clock = shard.id(A), shard.id(A, "")
    assert shard.take(Clock(clock, 1, after=push.sequence)) == []
    actions = shard.take(Push(push, "w", KeyRange(0, 8), None, 0))
    kinds = [type(action).__name__ for action in actions if not isinstance(action, Send)]
    assert kinds == ["Apply", "Unparked", "Answer"]


# Finished and removed


@pytest.mark.parametrize("model", [BSP(), SSP(0), SSP(2), BoundedDelay(1), Serial()], ids=lambda m: m.label)
def test_a_finished_worker_keeps_nobody_waiting(model):
    shard = Shard(2, model)
    for _ in range(6):
        shard.pull(A)
        shard.clock(A)
    assert shard.server.parked
    shard.finish(B)
    assert not shard.server.parked and not shard.server.rounds


def test_a_removed_worker_leaves_min_and_is_no_longer_listened_to():
    shard = Shard(2, SSP(0))
    shard.clock(A)
    shard.pull(A)
    assert answered(shard.take(Remove(0, B))) == ["worker-0"]
    assert shard.push(B) == [] and shard.server.versions["w"] == 0


def test_a_removed_workers_own_parked_request_is_dropped():
    shard = Shard(2, SSP(0))
    shard.clock(A)
    shard.pull(A)
    assert answered(shard.take(Remove(0, A))) == [] and shard.server.parked == []


def test_snapshots_are_kept_every_so_many_iterations_behind_the_round():
    shard = Shard(2, BSP(), every=2)
    shard.push(A)
    assert not any(isinstance(a, Snapshot) for a in shard.clock(A))
    actions = shard.clock(B)
    kinds = [type(action).__name__ for action in actions]
    assert kinds.index("Apply") < kinds.index("Snapshot")
    assert [a.iterations for a in actions if isinstance(a, Snapshot)] == [2]


def test_a_version_counts_updates_and_a_reply_carries_it():
    shard = Shard(1, ASP())
    for _ in range(3):
        shard.push(A)
    (answer,) = shard.pull(A)
    assert (answer.reply.version, answer.reply.row_clock) == (3, 0)


# Mistakes


def test_what_is_not_for_a_shard_is_refused():
    with pytest.raises(ProtocolError, match="shard 0 got Hello"):
        Shard(1, ASP()).take(Hello("x"))


def test_validate_notices_a_request_that_is_parked_though_it_may_go():
    shard = Shard(1, ASP())
    shard.server.parked.append(Waiting(Pull(shard.id(0), "w", KeyRange(0, 8), 0), 0.0))
    with pytest.raises(ProtocolError, match="may be answered"):
        shard.server.validate()


def test_validate_notices_a_push_that_is_in_a_round_twice():
    shard = Shard(2, BSP())
    shard.push(A)
    shard.server.rounds[0] *= 2
    with pytest.raises(ProtocolError, match="twice"):
        shard.server.validate()


def test_validate_notices_a_round_that_should_have_closed():
    shard = Shard(1, BSP())
    shard.clock(A)
    shard.server.rounds[0] = []
    with pytest.raises(ProtocolError, match="round 0 is open"):
        shard.server.validate()
