"""A shard that collects gradients: what it applies, drops, says and keeps, message by message."""

import pytest

from psbook.core.actions import Drop, Send
from psbook.core.consistency import BackupWorkers, KAsync, KBatchAsync, KBatchSync, KSync
from psbook.core.controls import ModelSet, SetModel
from psbook.core.layout import TableSpec
from psbook.core.messages import Clock, EndRound, RoundOver
from psbook.core.routes import POSITIONS, Segment
from tests.core.machines import WHOLE, Shard, answered, applied

A, B, C, D = 0, 1, 2, 3


class Collecting(Shard):
    """Workers say which round they have read, as their clients would."""

    def __init__(self, workers, model, **options):
        super().__init__(workers, model, **options)
        self.read = [0] * workers

    def pull(self, rank, table="w", keys=WHOLE):
        actions = super().pull(rank, table, keys)
        self.took(actions)
        return actions

    def took(self, actions):
        for action in actions:
            if hasattr(action, "reply"):
                self.read[int(action.to[-1])] = action.reply.round

    def clock(self, rank):
        self.clocks[rank] += 1
        actions = self.write(Clock(self.id(rank, ""), self.clocks[rank], round=self.read[rank]))
        self.took(actions)
        return actions

    def gradient(self, rank, table="w"):
        self.push(rank, table)
        return self.clock(rank)


def dropped(actions):
    return [push.id.rank for action in actions if isinstance(action, Drop) for push in action.pushes]


def told(actions):
    return [a.to for a in actions if isinstance(a, Send) and isinstance(a.message, RoundOver)]


def test_k_sync_collects_two_answers_them_drops_the_third_and_tells_it():
    shard = Collecting(3, KSync(2))
    assert applied(shard.gradient(C)) == []
    assert answered(shard.pull(C)) == []
    actions = shard.gradient(A)
    assert applied(actions) == [("w", [A, C], 1.0, 1)]
    assert answered(actions) == ["worker-2"]
    assert told(actions) == ["worker-1"]
    actions = shard.gradient(B)
    assert dropped(actions) == [B] and applied(actions) == []
    assert answered(shard.pull(B)) == ["worker-1"]  # it begins the next round
    assert answered(shard.pull(A)) == ["worker-0"]


def test_backup_workers_tell_nobody():
    shard = Collecting(3, BackupWorkers(1))
    shard.gradient(C)
    actions = shard.gradient(A)
    assert applied(actions) == [("w", [A, C], 1.0, 1)] and told(actions) == []
    assert dropped(shard.gradient(B)) == [B]


def test_k_async_keeps_old_gradients_and_lets_who_is_not_in_the_round_go_on():
    shard = Collecting(3, KAsync(2))
    shard.gradient(A)
    assert answered(shard.pull(A)) == []
    assert answered(shard.gradient(B)) == ["worker-0"]
    shard.pull(B)
    assert applied(shard.gradient(C)) == []
    assert answered(shard.pull(C)) == []
    actions = shard.gradient(A)
    assert applied(actions) == [("w", [A, C], 1.0, 2)] and dropped(actions) == []


def test_k_batch_models_count_a_worker_twice_and_hold_nobody():
    for model in (KBatchSync(3), KBatchAsync(3)):
        shard = Collecting(3, model)
        for _ in range(2):
            shard.gradient(B)
            assert answered(shard.pull(B)) == ["worker-1"]
        actions = shard.gradient(A)
        assert applied(actions) == [("w", [A, B, B], 1.0, 1)]
        late = shard.gradient(C)
        assert dropped(late) == ([C] if model.drops else [])
        assert told(actions) == (["worker-1", "worker-2"] if model.cuts_short else [])


def test_the_mean_is_over_the_gradients_of_the_update_also_over_empty_ones():
    shard = Collecting(4, KSync(3), tables=(TableSpec("w", 8, mean=True), TableSpec("v", 8)))
    shard.gradient(A)
    shard.gradient(B, "v")
    actions = shard.clock(C)
    assert applied(actions) == [("w", [A], 1 / 3, 1), ("v", [B], 1.0, 1)]


def test_several_pushes_of_a_clock_are_one_gradient():
    shard = Collecting(2, KBatchAsync(2))
    for _ in range(3):
        shard.push(B)
    assert applied(shard.clock(B)) == []
    assert applied(shard.gradient(A)) == [("w", [A, B, B, B], 1.0, 1)]


def test_who_ends_leaves_its_gradient_and_is_not_waited_for():
    shard = Collecting(3, KAsync(3))
    shard.gradient(A)
    assert applied(shard.finish(A)) == []
    shard.gradient(B)
    assert applied(shard.gradient(C)) == [("w", [A, B, C], 1.0, 1)]
    shard.pull(B)
    shard.gradient(B)
    assert answered(shard.pull(B)) == []
    actions = shard.finish(C)  # nobody else can add to the round
    assert applied(actions) == [("w", [B], 1.0, 2)]
    assert answered(actions) == ["worker-1"]


def test_what_was_pushed_behind_the_last_clock_is_a_gradient_too():
    shard = Collecting(2, KBatchAsync(2))
    shard.gradient(A)
    shard.push(B)
    assert applied(shard.finish(B)) == [("w", [A, B], 1.0, 1)]


def test_a_shard_that_is_behind_ends_its_round_with_what_it_has():
    shard = Collecting(4, KSync(3))
    shard.gradient(A)
    shard.pull(A)
    actions = shard.write(EndRound(shard.id(A, ""), round=1))
    assert applied(actions) == [("w", [A], 1.0, 1)]
    assert answered(actions) == ["worker-0"]
    assert dropped(shard.gradient(B)) == [B]
    assert applied(shard.write(EndRound(shard.id(A, ""), round=1))) == []  # it is there
    shard.write(EndRound(shard.id(B, ""), round=5))
    assert shard.server.collection.round == 5


def test_a_smaller_k_ends_the_round():
    shard = Collecting(4, KAsync(3))
    for rank in (A, B):
        shard.gradient(rank)
    shard.pull(A)
    actions = shard.take(SetModel(0, KAsync(2), 1))
    assert applied(actions) == [("w", [A, B], 1.0, 1)]
    assert answered(actions) == ["worker-0"]
    assert isinstance(actions[-1].message, ModelSet)


def test_a_copy_has_the_open_round_and_goes_its_own_way():
    shard = Collecting(3, KSync(2))
    shard.gradient(A)
    twin = shard.server.copy()
    shard.gradient(B)
    assert shard.server.collection.round == 1 and len(shard.server.collection) == 0
    assert twin.collection.round == 0 and A in twin.collection and len(twin.collection) == 1
    assert [push.id.rank for push in twin.collection.pushes] == [A]


@pytest.mark.parametrize(("start", "stop", "keys"), [(0, 1, [0, 1, 2, 3]), (1, 2, [4, 5, 6, 7])])
def test_a_part_of_a_shard_has_its_part_of_the_open_round(start, stop, keys):
    half = POSITIONS // 2
    shard = Collecting(3, KSync(3))
    shard.push(A)
    shard.server.aside[A][0].value = list(range(8))
    shard.clock(A)
    part = shard.server.part(Segment(7, start * half, stop * half, ("server-1",)))
    assert [push.value for push in part.collection.pushes] == [keys]
    assert A in part.collection and len(part.collection) == 1
