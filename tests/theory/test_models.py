"""What the consistency models promise a program, beyond the plain loop: A3, A8, A12."""

import numpy as np
import pytest

import psbook as ps
from psbook.trace import statistics
from tests.theory.programs import ONE, ends, nothing, run_loop


def writers(iterations):
    """Push and clock, never read."""

    async def train(worker):
        for _ in range(iterations):
            await worker.compute(nothing)
            worker.push("w", ONE)
            await worker.clock()

    return ps.Job(train, tables={"w": ps.Table(1)})


SLOW = ps.Constant(1.0).slow({0: 10.0})


def gap(run):
    frame = statistics.clock_gap(run.trace)
    return int((frame["max"] - frame["min"]).max())


def test_who_never_reads_has_no_bound_when_reads_wait():
    """A3: push and clock do not wait for others under gate="read"."""
    run = writers(40).run(ps.Simulator(workers=3, compute=SLOW), ps.SSP(1))
    np.testing.assert_allclose(ends(run)[1], np.arange(1, 41), rtol=1e-12)
    assert gap(run) >= 35


@pytest.mark.parametrize("s", [0, 1, 4])
def test_who_never_reads_has_one_when_clocks_wait(s):
    """A3: max − min ≤ s+1, and it is reached, because a call counts before it returns."""
    run = writers(40).run(ps.Simulator(workers=3, compute=SLOW), ps.SSP(s, gate="clock"))
    assert gap(run) == s + 1


@pytest.mark.parametrize("gate", ["read", "clock"])
@pytest.mark.parametrize("s", [0, 1, 4])
def test_readers_are_at_most_s_plus_1_ahead_with_either_gate(s, gate):
    run = run_loop(ps.SSP(s, gate=gate), ps.Exponential(1.0).slow({0: 5.0}), 5, 40)
    assert gap(run) == s + 1


def meeting(clocks):
    """Each worker pushes once, ends `clocks` clocks, and reads: what does it see of the others?"""

    async def train(worker):
        await worker.compute(nothing)
        worker.push("w", ONE)
        for _ in range(clocks):
            await worker.clock()
        return float((await worker.pull("w"))[0])

    return ps.Job(train, tables={"w": ps.Table(1)})


@pytest.mark.parametrize("s", [0, 1, 3])
def test_a_global_barrier_costs_s_plus_1_clocks(s):
    """A12: a read sees every update of clock 0 after s+1 clocks; after s clocks it need not."""
    cluster = ps.Simulator(workers=4, compute=SLOW)
    certain = meeting(s + 1).run(cluster, ps.SSP(s)).results
    assert list(certain.values()) == [4.0] * 4
    assert min(meeting(s).run(cluster, ps.SSP(s)).results.values()) < 4.0


def test_a_bsp_barrier_costs_one_clock():
    assert list(meeting(1).run(ps.Simulator(workers=4, compute=SLOW), ps.BSP()).results.values()) == [4.0] * 4


@pytest.mark.parametrize(
    "model", [ps.BSP(), ps.SSP(0), ps.SSP(2, gate="clock"), ps.BoundedDelay(1), ps.Serial()]
)
def test_uneven_work_hangs_nobody_and_loses_nothing(model):
    """A8."""
    counts = [0, 3, 11, 7]
    run = run_loop(model, ps.Exponential(1.0), 4, counts, servers=2)
    assert [len(each) for each in ends(run)] == counts
    np.testing.assert_array_equal(run.tables["w"], np.full(2, sum(counts), np.float32))


def test_a_serial_run_takes_the_sum_of_all_times():
    """A0: it speeds up nothing."""
    law = ps.Exponential(1.0)
    run = run_loop(ps.Serial(), law, 3, 20, seed=6)
    order = law.matrix(3, 20, 6).T.ravel()
    np.testing.assert_allclose(np.array(ends(run)).T.ravel(), np.cumsum(order), rtol=1e-12)
