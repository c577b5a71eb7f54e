"""Every planted bug is found, by the property that it breaks; without it the same scope passes."""

import numpy as np
import pytest

import psbook as ps
from psbook import bugs
from psbook.core.consistency import ASP, BSP, SSP
from psbook.explorer import PROPERTIES, Scope, explore

PUSH_ONLY = {"workers": 1, "iterations": 1, "reads": False}

SCOPES = {
    bugs.GATE_OFF_BY_ONE: Scope(SSP(0)),
    bugs.ROUND_BY_COUNT: Scope(BSP(), reads=False),
    bugs.CLOCK_TWICE: Scope(SSP(0), losses=1),
    bugs.ACK_BEFORE_REPLICATION: Scope(ASP(), iterations=1, replicas=1, servers=2),
    bugs.WINDOWS_NOT_COPIED: Scope(
        ASP(), replicas=1, servers=3, crashes=1, crash_of=("server-1",), **PUSH_ONLY
    ),
    bugs.STALE_ROUTE: Scope(
        ASP(), scheme="primary-backup", replicas=2, servers=3, crashes=1, crash_of=("server-0",), **PUSH_ONLY
    ),
    bugs.TWO_PRIMARIES: Scope(ASP(), replicas=1, servers=2, seconds=3, **PUSH_ONLY),
    bugs.GIVEN_UP_TOO_EARLY: Scope(ASP(), replicas=1, servers=2, seconds=3, **PUSH_ONLY),
    bugs.RETRY_TWICE: Scope(ASP(), workers=1, iterations=1, duplicates=1, ordered=False),
    bugs.FINISHED_IN_MIN: Scope(SSP(0), iterations=(1, 3)),
    bugs.ORDER_OF_SUM: Scope(BSP()),
}
"""Where the explorer finds each."""

SLOW_WITHOUT = {bugs.TWO_PRIMARIES, bugs.GIVEN_UP_TOO_EARLY, bugs.WINDOWS_NOT_COPIED}


def names(bug):
    return bug.name


@pytest.mark.parametrize("bug", SCOPES, ids=names)
def test_the_explorer_finds_it_by_the_property_that_it_breaks(bug):
    assert bug.breaks in PROPERTIES
    with bug.planted():
        explored = explore(SCOPES[bug], most=200_000)
        assert explored.violation is not None and not explored.exhausted
        assert explored.violation.property == bug.breaks
        assert explored.violation.replay().violated.why == explored.violation.why
    again = explore(SCOPES[bug], most=2 * explored.states)
    assert again.violation is None, "found without the bug, too"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("bug", SLOW_WITHOUT, ids=names)
def test_without_it_the_whole_scope_passes(bug):
    explored = explore(SCOPES[bug], most=5_000_000)
    assert explored.exhausted, str(explored)


def test_every_bug_is_hunted_and_says_where_it_comes_from():
    assert set(bugs.ALL) == {*SCOPES, bugs.ADAGRAD_FORGETS}
    assert len({bug.name for bug in bugs.ALL}) == len(bugs.ALL) >= 11
    for bug in bugs.ALL:
        assert bug.what and bug.real_system and bug.source and bug.name in str(bug)


@pytest.mark.parametrize("bug", bugs.ALL, ids=names)
def test_it_is_gone_behind_the_block_whatever_happens_in_it(bug):
    right = vars(bug.owner)[bug.method]

    def fail():
        assert vars(bug.owner)[bug.method] is bug.wrong is not right
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), bug.planted():
        fail()
    assert vars(bug.owner)[bug.method] is right


# On the simulator: what only values show


def adagrad_run(steps=4):
    async def program(worker):
        for _ in range(steps):
            worker.push("w", np.ones(1, np.float64))
            await worker.clock()

    job = ps.Job(program, tables={"w": ps.Table(1, update=ps.Adagrad(1.0), dtype="float64")})
    return float(job.run(ps.Simulator(workers=1, servers=1), ps.SSP(0)).tables["w"][0])


def test_adagrad_without_its_history_takes_steps_of_equal_length():
    """Gradient 1 each time: the k-th step has length 1/√k (Duchi et al. 2011)."""
    expected = -sum(1 / np.sqrt(k) for k in range(1, 5))
    assert adagrad_run() == pytest.approx(expected)
    with bugs.ADAGRAD_FORGETS.planted():
        assert adagrad_run() == pytest.approx(-4.0)


def rounded_sum(slow):
    """Three gradients whose float32 sum depends on the order, one of them from the slow worker."""

    async def program(worker):
        await worker.compute(lambda: None)
        worker.push("w", np.array([(1e8, 1.0, -1e8)[worker.rank]], np.float32))
        await worker.clock()

    job = ps.Job(program, tables={"w": ps.Table(1)})
    compute = ps.Constant(1.0).slow({slow: 3.0})
    return float(job.run(ps.Simulator(workers=3, servers=1, compute=compute), ps.BSP()).tables["w"][0])


def test_a_sum_in_order_of_arrival_depends_on_who_is_slow():
    in_order = float(np.float32(1e8) + np.float32(1.0) - np.float32(1e8))
    assert [rounded_sum(slow) for slow in range(3)] == [in_order] * 3
    with bugs.ORDER_OF_SUM.planted():
        assert len({rounded_sum(slow) for slow in range(3)}) > 1


def ssp_run():
    async def program(worker):
        for _ in range(4):
            await worker.pull("w")
            await worker.compute(lambda: None)
            worker.push("w", np.ones(1, np.float32))
            await worker.clock()

    job = ps.Job(program, tables={"w": ps.Table(1)})
    compute = ps.Constant(1.0).slow({1: 3.0})
    return job.run(ps.Simulator(workers=2, servers=1, compute=compute), ps.SSP(0))


def test_the_checks_of_a_run_find_a_gate_that_is_off_by_one():
    def false(run):
        return [row for row in run.check() if row.verdict == "false"]

    assert not false(ssp_run())
    with bugs.GATE_OFF_BY_ONE.planted():
        wrong = ssp_run()
    assert false(wrong)
