"""Random schedules, and how they are shrunk."""

from itertools import groupby, pairwise
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from psbook.errors import InvalidJob
from psbook.simulator.faults import (
    Crash,
    Faults,
    Loss,
)
from tests.simulator.fault_strategies import NAMES, NODES, schedules

COUNTS = {
    "crashes": 2,
    "pauses": 1,
    "slow": 2,
    "losses": 1,
    "bursts": 2,
    "duplicates": 1,
    "reorders": 2,
    "delays": 1,
    "partitions": 2,
}


@given(st.integers(0, 2**64 - 1), st.floats(1e-3, 1e6))
def test_random_schedules(seed, end):
    schedule = Faults.random(seed, NODES, end, **COUNTS)
    assert schedule == Faults.random(seed, NODES, end, **COUNTS)
    assert len(schedule) == sum(COUNTS.values()) and schedule.seed == seed
    assert eval(repr(schedule), dict(NAMES)) == schedule
    assert schedule.quiet_after <= end
    assert [fault.at for fault in schedule] == sorted(fault.at for fault in schedule)
    assert all(fault.end - fault.at <= end / 4 for fault in schedule)
    schedule.check(NODES)


def test_random_schedules_differ_by_seed_and_share_the_rest():
    one, other = (Faults.random(seed, NODES, 10, crashes=3) for seed in (1, 2))
    assert list(one) != list(other)
    more = Faults.random(1, NODES, 10, crashes=4, pauses=3, losses=2)
    assert set(one) < set(more)


def test_random_crashes_at_a_rate():
    nodes = [f"worker-{i}" for i in range(40)]
    schedule = Faults.random(3, nodes, end=1000, crashes=0, pauses=0, rate=0.05, restart=5.0)
    # While up for 1/rate on average, then down for 5 s: a renewal process.
    cycles, deviation = 1000 / 25, np.sqrt(20.0**2 * 1000 / 25**3)
    error = stats.norm.ppf(0.9995) * deviation / np.sqrt(len(nodes))
    assert abs(len(schedule) / len(nodes) - cycles) < error + 1  # a cycle at most from beginning with one up
    for _, mine in groupby(sorted(schedule, key=lambda f: (f.node, f.at)), key=lambda f: f.node):
        mine = list(mine)
        assert all(a.end < b.at for a, b in pairwise(mine))
    gone = Faults.random(3, nodes, end=1000, crashes=0, pauses=0, rate=0.05)
    assert len(gone) == len(nodes) and all(fault.restart is None for fault in gone)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"nodes": []},
        {"nodes": ["a", "a"]},
        {"nodes": ["worker-*"]},
        {"nodes": [3]},
        {"end": 0},
        {"end": inf},
        {"crashes": -1},
        {"losses": 0.5},
        {"pauses": True},
        {"longest": 0},
        {"rate": -1},
        {"rate": nan},
        {"rate": 1, "restart": 0},
        {"nodes": ["a"], "partitions": 1},
    ],
    ids=repr,
)
def test_wrong_requests_for_random_schedules(wrong):
    with pytest.raises(InvalidJob, match="required"):
        Faults.random(**{"seed": 0, "nodes": NODES, "end": 10.0} | wrong)


@given(schedules)
def test_simpler_schedules_are_smaller(schedule):
    def size(schedule):
        lengths = (getattr(f, "seconds", None) or getattr(f, "restart", None) or 0.0 for f in schedule)
        return (
            len(schedule),
            sum(len(list(fault.names())) for fault in schedule),
            sum(min(s, 1e9) for s in lengths),
        )

    found = list(schedule.simpler())
    assert found[: len(schedule)] == [schedule.without(i) for i in range(len(schedule))]
    assert all(size(other) < size(schedule) and other.seed == schedule.seed for other in found)


def test_without():
    schedule = Faults(Crash("a", 1), Crash("b", 1), Crash("c", 1), seed=5)
    assert schedule.without(1) == Faults(Crash("a", 1), Crash("c", 1), seed=5)
    assert schedule.without(-1) == Faults(Crash("a", 1), Crash("b", 1), seed=5)
    with pytest.raises(IndexError):
        schedule.without(3)


def test_shrinking_finds_the_cause():
    def fails(schedule):
        """Server 0 is away for more than a second while a message is lost."""
        crashes = [f for f in schedule if isinstance(f, Crash) and f.node == "server-0"]
        return any(f.restart > 1 for f in crashes) and any(isinstance(f, Loss) for f in schedule)

    schedule = Faults.random(
        8, ["server-0", "worker-0"], end=100, crashes=4, pauses=4, losses=3, partitions=2
    )
    assert fails(schedule)
    while smaller := next(filter(fails, schedule.simpler()), None):
        schedule = smaller
    crash, loss = sorted(schedule, key=repr)
    assert crash.node == "server-0" and 1 < crash.restart <= 2.1 and loss.seconds <= 2e-6
