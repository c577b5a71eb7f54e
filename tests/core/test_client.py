"""A program's client: requests split along shards, replies put together, bytes in flight bounded (A14)."""

import numpy as np
import pytest

from psbook.core.actions import Complete, Deliver, Send
from psbook.core.client import Client
from psbook.core.commands import (
    DoBarrier,
    DoCall,
    DoChangeModel,
    DoClock,
    DoFinish,
    DoFlush,
    DoPull,
    DoPush,
)
from psbook.core.consistency import ASP, SSP, BoundedDelay
from psbook.core.controls import Finished, ModelChanged, Release, Start
from psbook.core.keys import KeyRange
from psbook.core.layout import TableSpec
from psbook.core.messages import (
    Ack,
    CallReply,
    Clock,
    Finish,
    PullReply,
    Push,
    size,
)
from psbook.errors import InvalidJob, ProtocolError
from tests.core.machines import layout

VALUE = np.arange(8.0)


class Bench:
    """A client, its commands numbered."""

    def __init__(self, model=None, shards=2, max_in_flight=2**28, table=None):
        tables = [table or TableSpec("w", 8)]
        self.client = Client(0, layout(2, shards, tables=tables), model or ASP(), max_in_flight)
        self.ticket = 0

    def do(self, command, *arguments):
        self.ticket += 1
        return self.take(command(self.ticket, *arguments))

    def take(self, event):
        actions = self.client.handle(event, 0.0)
        self.client.validate()
        return actions

    def acknowledge(self, sent):
        return [action for push in sent for action in self.take(Ack(push.id, 0.0))]


def messages(actions):
    return [action.message for action in actions if isinstance(action, Send)]


def completed(actions):
    return [action.ticket for action in actions if isinstance(action, Complete)]


def reply(pull, version=0):
    return PullReply(pull.id, pull.table, pull.keys, 0, version, 0.0)


def test_requests_go_to_the_shards_that_own_the_keys_with_the_rows_that_belong_to_them():
    bench = Bench()
    pushes = messages(bench.do(DoPush, "w", np.array([0, 3, 5]), np.array([10.0, 13.0, 15.0])))
    assert [(p.id.shard, p.keys.tolist(), p.value.tolist()) for p in pushes] == [
        (0, [0, 3], [10.0, 13.0]),
        (1, [5], [15.0]),
    ]
    (pull,) = messages(bench.do(DoPull, "w", KeyRange(5, 7)))
    assert (pull.id.shard, pull.keys) == (1, KeyRange(5, 7))


def test_message_numbers_rise_by_one_for_each_shard():
    bench = Bench()
    sent = [m for _ in range(3) for m in messages(bench.do(DoPush, "w", KeyRange(0, 8), VALUE))]
    sent += messages(bench.do(DoClock)) + messages(bench.do(DoPull, "w", KeyRange(0, 8)))
    for shard in (0, 1):
        assert [m.id.sequence for m in sent if m.id.shard == shard] == [1, 2, 3, 4, 5]


def test_a_pull_is_complete_when_the_last_shard_has_replied_in_any_order():
    bench = Bench()
    left, right = messages(bench.do(DoPull, "w", KeyRange(2, 7)))
    assert completed(bench.take(reply(right))) == []
    assert completed(bench.take(reply(right))) == []  # a duplicate completes nothing
    (complete,) = bench.take(reply(left))
    assert [(p.reply.id.shard, p.start, p.stop) for p in complete.result] == [(0, 0, 2), (1, 2, 5)]
    assert complete.last.id == left.id


def test_no_keys_need_no_message():
    bench = Bench()
    for command in ((DoPull, "w", KeyRange(3, 3)), (DoPush, "w", np.array([], np.int64), np.array([]))):
        actions = bench.do(*command)
        assert messages(actions) == [] and completed(actions) == [bench.ticket]


def test_a_push_names_the_read_it_was_computed_from():
    bench = Bench(shards=1)
    (pull,) = messages(bench.do(DoPull, "w", KeyRange(0, 8)))
    (complete,) = bench.take(reply(pull, version=7))
    (before,) = messages(bench.do(DoPush, "w", KeyRange(0, 8), VALUE))
    bench.client.saw(complete.result)
    (after,) = messages(bench.do(DoPush, "w", KeyRange(0, 8), VALUE))
    assert (before.read, before.read_version) == (None, -1)
    assert (after.read, after.read_version) == (pull.id, 7)


@pytest.mark.parametrize(("mean", "scale"), [(True, 0.5), (False, 1.0)])
def test_gradients_to_be_averaged_are_sent_with_one_nth(mean, scale):
    bench = Bench(SSP(1), table=TableSpec("w", 8, mean=mean))
    assert {p.scale for p in messages(bench.do(DoPush, "w", KeyRange(0, 8), VALUE))} == {scale}


def test_clocks_do_not_wait_unless_the_model_gates_them():
    assert completed(Bench(SSP(0)).do(DoClock)) == [1]
    bench = Bench(BoundedDelay(0))
    actions = bench.do(DoClock)
    assert completed(actions) == [] and {type(m) for m in messages(actions)} == {Clock}
    assert completed(bench.acknowledge(messages(actions))) == [1]


def test_flush_waits_for_the_pushes_before_it_and_not_for_later_ones():
    bench = Bench(shards=1)
    first = messages(bench.do(DoPush, "w", KeyRange(0, 8), VALUE))
    assert completed(bench.do(DoFlush)) == []
    bench.do(DoPush, "w", KeyRange(0, 8), VALUE)
    assert sorted(completed(bench.acknowledge(first))) == [1, 2]
    assert completed(Bench().do(DoFlush)) == [1]


def test_a_call_goes_to_every_shard_and_its_results_come_in_the_order_of_shards():
    bench = Bench()
    calls = messages(bench.do(DoCall, "w", len, (1,)))
    assert [(c.id.shard, c.arguments) for c in calls] == [(0, (1,)), (1, (1,))]
    bench.take(CallReply(calls[1].id, "w", 0.0, "right"))
    (complete,) = bench.take(CallReply(calls[0].id, "w", 0.0, "left"))
    assert complete.result == ["left", "right"]


def test_the_end_goes_to_every_shard_and_then_to_the_controller():
    bench = Bench()
    ends = messages(bench.do(DoFinish))
    assert [type(m) for m in ends] == [Finish, Finish]
    assert bench.take(Ack(ends[0].id, 0.0)) == []
    actions = bench.take(Ack(ends[1].id, 0.0))
    assert [type(m) for m in messages(actions)] == [Finished] and completed(actions) == [1]


# Bytes in flight


def test_above_the_bound_the_next_operation_waits_until_enough_is_acknowledged():
    bench = Bench(shards=1, max_in_flight=250)
    pushes = [m for _ in range(2) for m in messages(bench.do(DoPush, "w", KeyRange(0, 8), VALUE))]
    assert bench.client.in_flight == 2 * size(pushes[0]) == 256
    clock = bench.do(DoClock)
    assert len(messages(clock)) == 1 and completed(clock) == []
    actions = bench.acknowledge(pushes[:1])
    assert completed(actions) == [1, 3]
    assert isinstance(actions[-1].last, Ack)  # the wait is booked by an acknowledgement: network
    assert completed(bench.do(DoClock)) == [4]


def test_the_bound_keeps_what_is_under_way_below_itself_plus_one_iteration():
    bench = Bench(shards=1, max_in_flight=500)
    unacknowledged, waiting, most = [], False, 0
    for _ in range(200):
        if waiting:
            waiting = not completed(bench.take(Ack(unacknowledged.pop(0).id, 0.0)))[1:]
            continue
        unacknowledged += messages(bench.do(DoPush, "w", KeyRange(0, 8), VALUE))
        most = max(most, bench.client.in_flight)
        waiting = not completed(bench.do(DoClock))
    assert 500 < most <= 500 + size(unacknowledged[0])


def test_bytes_in_flight_are_those_of_unacknowledged_pushes():
    bench = Bench()
    pushes = messages(bench.do(DoPush, "w", KeyRange(0, 8), VALUE))
    assert bench.client.in_flight == sum(map(size, pushes)) == 2 * (48 + 16 + 32)
    bench.acknowledge(pushes)
    assert bench.client.in_flight == 0
    bench.acknowledge(pushes)  # again: nothing below nothing
    assert bench.client.in_flight == 0


# The controller


def test_a_program_says_hello_and_starts_when_told():
    bench = Bench()
    (hello,) = messages(bench.client.hello())
    assert hello.node == "worker-0"
    (deliver,) = bench.take(Start())
    assert isinstance(deliver, Deliver)


def test_a_barrier_opens_by_its_own_number_only():
    bench = Bench()
    bench.do(DoBarrier)
    assert completed(bench.take(Release(1))) == [1]
    bench.do(DoBarrier)
    assert completed(bench.take(Release(1))) == []
    assert completed(bench.take(Release(2))) == [2]


def test_a_change_of_model_is_complete_when_it_is_this_programs_own():
    bench = Bench(SSP(0))
    bench.do(DoChangeModel, SSP(3))
    assert completed(bench.take(ModelChanged(1, SSP(7), 1))) == [] and bench.client.model == SSP(7)
    assert completed(bench.take(ModelChanged(0, SSP(3), 2))) == [1] and bench.client.model == SSP(3)


def test_an_older_model_does_not_replace_a_newer_one():
    bench = Bench(SSP(0))
    bench.take(ModelChanged(1, SSP(7), 2))
    bench.take(ModelChanged(1, SSP(1), 1))
    assert bench.client.model == SSP(7)


def test_another_kind_of_model_is_refused_where_the_program_asks():
    with pytest.raises(InvalidJob, match=r"ASP\(\) cannot follow SSP\(0\)"):
        Bench(SSP(0)).do(DoChangeModel, ASP())


def test_what_is_not_for_a_client_is_refused():
    with pytest.raises(ProtocolError, match="worker-0 got Push"):
        Bench().take(Push(None, "w", KeyRange(0, 1), None, 0))


def test_validate_notices_bytes_that_are_not_accounted_for():
    bench = Bench()
    bench.client.in_flight = 1
    with pytest.raises(ProtocolError, match="bytes in flight"):
        bench.client.validate()
