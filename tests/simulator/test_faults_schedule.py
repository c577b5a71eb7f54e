"""Schedules: written and read back, added, checked against the nodes of a run, and asked."""

import json
import pickle
from dataclasses import FrozenInstanceError
from math import inf

import pytest
from hypothesis import given

from psbook.errors import InvalidJob
from psbook.laws import Constant, Empirical, Exponential, Gamma, Law, Pareto, Recorded, Uniform
from psbook.simulator.faults import (
    Crash,
    Delay,
    Faults,
    Loss,
    Partition,
    Pause,
    Rack,
    SlowLink,
    SlowNode,
)
from tests.simulator.fault_strategies import NAMES, NODES, schedules


@given(schedules)
def test_repr_and_dict_round_trip(schedule):
    assert eval(repr(schedule), dict(NAMES)) == schedule
    text = json.dumps(schedule.to_dict(), allow_nan=False)
    assert Faults.from_dict(json.loads(text)) == schedule
    assert pickle.loads(pickle.dumps(schedule)) == schedule


LAWS = [
    Exponential(0.1) + Gamma(1.0, 2.0) * Constant(2.0),
    Pareto(1.0, 3.0).common(Uniform(1.0, 2.0)),
    Empirical([[1.0, 2.0], [3.0]], replay="bootstrap"),
    Constant(1.0).rotating(5.0, 2).delayed(0, 1, 2.0).swapped([1, 0]),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.label)
def test_laws_round_trip_and_can_be_drawn(law):
    schedule = Faults(Delay(law))
    again = Faults.from_dict(json.loads(json.dumps(schedule.to_dict())))
    assert again == schedule
    one, other = schedule.links(0), again.links(0)
    assert [one.fates("a", "b", 0.0) for _ in range(99)] == [other.fates("a", "b", 0.0) for _ in range(99)]


def test_a_recorded_law_round_trips(tmp_path):
    path = tmp_path / "times.csv"
    path.write_text("s\n0.5\n0.25\n")
    schedule = Faults(Delay(Recorded(path)))
    again = Faults.from_dict(json.loads(json.dumps(schedule.to_dict())))
    links = again.links(0)
    assert {links.fates("a", "b", 0.0) for _ in range(9)} == {(0.5,), (0.25,)}


class Own(Law):
    mean, label = 1.0, "own"


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"faults": {}},
        {"faults": [3]},
        {"faults": [{}]},
        {"faults": [{"kind": "Crush"}]},
        {"faults": [{"kind": "Exponential", "mean": 1}]},
        {"faults": [{"kind": "Crash"}]},
        {"faults": [{"kind": "Crash", "node": "a", "at": 1, "when": 2}]},
        {"faults": [{"kind": "Crash", "node": "a", "at": -1}]},
        {"faults": [{"kind": "Delay", "delay": {"kind": "Loss", "probability": 1}}]},
        {"faults": [{"kind": "Delay", "delay": {"kind": "Exponential", "median": 1}}]},
        {"faults": [], "seed": "0"},
    ],
)
def test_other_dictionaries_are_refused(data):
    with pytest.raises(InvalidJob, match="required"):
        Faults.from_dict(data)


def test_rubbish_in_schedules_is_refused():
    for wrong in (lambda: Faults("Crash"), lambda: Faults(Faults()), lambda: Faults(seed=-1)):
        with pytest.raises(InvalidJob, match="required"):
            wrong()
    for seed in (-1, 2**64, 0.5, "0", True, None):
        with pytest.raises(InvalidJob, match="seed"):
            Faults().links(seed)
    with pytest.raises(InvalidJob, match="plain form"):
        Faults(Delay(Own())).to_dict()
    with pytest.raises(TypeError):
        Faults() + 3
    with pytest.raises(FrozenInstanceError):
        Faults().seed = 3


def test_sums():
    crash, loss = Crash("server-0", at=1), Loss(0.1)
    assert Faults(crash, seed=3) + Faults(loss) == Faults(crash, seed=3) + loss == Faults(crash, loss, seed=3)
    assert list(Faults(crash) + loss) == [crash, loss] and (Faults(crash) + loss)[1] is loss
    assert not Faults() and len(Faults(crash, loss)) == 2


def test_a_long_schedule_is_written_one_fault_a_line():
    schedule = Faults(*[Crash("server-0", at=i) for i in range(9)], seed=4)
    assert repr(schedule).splitlines()[1] == "    Crash('server-0', at=0.0),"
    assert eval(repr(schedule), dict(NAMES)) == schedule
    assert schedule.label == "9 Crash" and Faults().label == "no faults"


@pytest.mark.parametrize(
    "fault",
    [
        Crash("server-2", at=1),
        Rack(["server-0", "server-2"], at=1),
        Pause("shard-*", at=1, seconds=1),
        SlowNode("server-2", 2),
        SlowLink("server-0", "server-2", 1),
        SlowLink("server-2", "server-0", 1),
        Loss(0.1, links=[("server-0", "worker-*"), ("server-0", "server-2")]),
        Partition("server-0", "server-2", at=1, seconds=1),
        Partition("server-*", ["worker-0", "server-1"], at=1, seconds=1),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_unknown_nodes_are_refused_with_those_there_are(fault):
    with pytest.raises(InvalidJob, match=r"worker-0, worker-1, server-0|no node of a_nodes"):
        Faults(Crash("controller", at=1), fault).check(NODES)


@given(schedules)
def test_known_nodes_pass(schedule):
    schedule.check(iter(NODES))


def test_a_near_miss_is_named():
    with pytest.raises(InvalidJob, match="did you mean 'server-1'"):
        Faults(Crash("sever-1", at=1)).check(NODES)


def test_slowdowns_multiply_in_their_windows():
    schedule = Faults(SlowNode("worker-*", 2, at=1, seconds=3), SlowNode("worker-1", 3, at=2), Loss(0.1))
    times = (0.0, 1.0, 2.0, 3.9, 4.0)
    assert [schedule.slowdown("worker-0", t) for t in times] == [1, 2, 2, 2, 1]
    assert [schedule.slowdown("worker-1", t) for t in times] == [1, 2, 6, 6, 3]
    assert [schedule.slowdown("server-0", t) for t in times] == [1] * 5
    assert Faults().slowdown("worker-0", 0.0) == 1.0


@pytest.mark.parametrize(
    ("schedule", "after", "touches"),
    [
        (Faults(), 0.0, False),
        (Faults(Crash("a", at=3)), 3.0, False),
        (Faults(Crash("a", at=3, restart=2), Pause("a", at=1, seconds=1)), 5.0, False),
        (Faults(SlowNode("a", 2, at=3)), inf, False),
        (Faults(Loss(0.1), Crash("a", at=3)), inf, True),
        (Faults(Loss(0.1, seconds=7), Rack(["a"], at=3)), 7.0, True),
        (Faults(Partition("a", "b", at=1, seconds=2)), 3.0, True),
    ],
)
def test_quiet_after(schedule, after, touches):
    assert schedule.quiet_after == after
    assert schedule.touches_messages is touches
