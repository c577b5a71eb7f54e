"""The controller: start, barriers, changes of the model, the end."""

import pytest

from psbook.core.actions import End
from psbook.core.consistency import SSP
from psbook.core.controller import Controller
from psbook.core.controls import (
    Arrive,
    ChangeModel,
    Failed,
    Finished,
    Hello,
    ModelChanged,
    ModelSet,
    Release,
    SetModel,
    Start,
)
from psbook.core.layout import NOTHING_FAILS, Safety
from psbook.core.messages import Pull
from psbook.errors import ProtocolError
from tests.core.machines import layout


class Desk:
    def __init__(self, workers=2, shards=1, others=0, safety=NOTHING_FAILS):
        self.controller = Controller(layout(workers, shards, others=others, safety=safety))

    def take(self, message):
        actions = self.controller.handle(message, 0.0)
        self.controller.validate()
        return [a if isinstance(a, End) else (a.to, a.message) for a in actions]


def kinds(actions):
    return [(to, type(message)) for to, message in actions]


def test_the_run_starts_when_every_node_has_said_hello_once_or_more():
    desk = Desk()
    for node in ("worker-0", "server-0", "server-0", "worker-0"):
        assert desk.take(Hello(node)) == []
    assert kinds(desk.take(Hello("worker-1"))) == [("worker-0", Start), ("worker-1", Start)]
    assert desk.take(Hello("worker-1")) == []


def test_a_barrier_opens_when_the_last_unfinished_program_of_the_role_is_there():
    desk = Desk(3, others=1)
    assert desk.take(Arrive(0, 1)) == []
    assert desk.take(Arrive(3, 1)) and desk.take(Arrive(1, 1)) == []
    assert kinds(desk.take(Arrive(2, 1))) == [(f"worker-{r}", Release) for r in range(3)]


def test_a_barrier_does_not_wait_for_who_has_finished():
    desk = Desk(3)
    desk.take(Arrive(0, 1))
    desk.take(Arrive(2, 1))
    assert kinds(desk.take(Finished(1))) == [("worker-0", Release), ("worker-2", Release)]


def test_a_program_that_is_a_barrier_ahead_waits_for_the_next_one():
    desk = Desk(2)
    desk.take(Arrive(0, 1))
    desk.take(Arrive(1, 1))
    assert desk.take(Arrive(0, 2)) == []
    assert [message.number for _, message in desk.take(Arrive(1, 2))] == [2, 2]


def test_a_new_model_is_in_force_when_every_shard_has_it():
    desk = Desk(shards=2)
    assert kinds(desk.take(ChangeModel(1, SSP(4)))) == [("server-0", SetModel), ("server-1", SetModel)]
    assert desk.take(ModelSet(0, 1)) == [] and desk.take(ModelSet(0, 1)) == []
    told = desk.take(ModelSet(1, 1))
    assert kinds(told) == [("worker-0", ModelChanged), ("worker-1", ModelChanged)]
    assert {(m.rank, m.model, m.number) for _, m in told} == {(1, SSP(4), 1)}


def test_two_changes_at_once_are_told_apart():
    desk = Desk(shards=1)
    desk.take(ChangeModel(0, SSP(1)))
    desk.take(ChangeModel(1, SSP(2)))
    told = [message for _, message in desk.take(ModelSet(0, 2))]  # who has the second needs no first
    assert [(m.rank, m.model, m.number) for m in told] == [
        (0, SSP(1), 1), (0, SSP(1), 1), (1, SSP(2), 2), (1, SSP(2), 2),
    ]  # fmt: skip
    assert desk.take(ModelSet(0, 1)) == []


def test_the_run_ends_when_every_program_has_finished():
    desk = Desk(2)
    assert desk.take(Finished(1)) == []
    (end,) = desk.take(Finished(0))
    assert end.failure is None


@pytest.mark.parametrize("node", ["worker-1", "server-0"])
def test_where_nothing_is_to_fail_a_lost_node_ends_the_run_with_its_name(node):
    (end,) = Desk().take(Failed(node, f"{node} was lost"))
    assert end.failure == f"{node} was lost"


def test_a_lost_worker_that_is_to_leave_is_taken_off_every_shard_and_keeps_nobody_waiting():
    desk = Desk(3, shards=2, safety=Safety(lost_workers="leave"))
    desk.take(Arrive(0, 1))
    desk.take(Arrive(1, 1))
    lost, *actions = desk.controller.handle(Failed("worker-2", "worker-2 was lost"), 0.0)
    assert (lost.node, lost.detail) == ("worker-2", "worker-2 was lost")
    removed = [(a.to, a.message.shard, a.message.rank) for a in actions[:2]]
    assert removed == [("server-0", 0, 2), ("server-1", 1, 2)]
    assert actions[2].rank == 2  # its data is to be dealt out
    assert kinds((a.to, a.message) for a in actions[3:]) == [("worker-0", Release), ("worker-1", Release)]


def test_what_is_not_for_the_controller_is_refused():
    with pytest.raises(ProtocolError, match="controller got Pull"):
        Desk().take(Pull(None, "w", None, 0))


def test_validate_notices_a_barrier_that_should_be_open():
    desk = Desk(1)
    desk.controller.barriers["worker", 1] = {0}
    with pytest.raises(ProtocolError, match="everybody is there"):
        desk.controller.validate()
