"""What a read must contain and may contain, by the numbered lines of the semantics (A)."""

import numpy as np
import pytest

import psbook as ps
from tests.conformance.scenarios import MODELS, dawdle, gaps, label, reads, run_tally

EQUAL, UNEVEN = [6, 6, 6], [7, 2, 0, 5]


@pytest.mark.parametrize("lengths", [EQUAL, UNEVEN], ids=["equal", "uneven"])
@pytest.mark.parametrize("s", [0, 1, 3])
@pytest.mark.parametrize("gate", ["read", "clock"])
def test_ssp_returns_every_update_of_clocks_up_to_c_minus_s_minus_1(cluster, s, gate, lengths):
    """A1, A3, and A8 with uneven lengths; nobody is ahead by more than s+1."""
    run = run_tally(cluster, ps.SSP(s, gate=gate), lengths, servers=2)
    for _, clock, counts in reads(run):
        due = np.minimum(lengths, max(0, clock - s))
        assert (counts >= due).all()
        if lengths is EQUAL:
            assert (counts <= clock + s + 1).all()
    if lengths is EQUAL:
        assert max(gaps(run)) <= s + 1


@pytest.mark.parametrize("model", [ps.SSP(0), ps.SSP(2), ps.SSP(2, gate="clock"), ps.ASP()], ids=label)
@pytest.mark.parametrize("cache", [False, True])
def test_a_worker_reads_its_own_writes(cluster, model, cache):
    """A2: own updates are there, each exactly once, also in what comes from the cache."""
    run = run_tally(cluster, model, EQUAL, servers=2, cache=cache)
    for rank, clock, counts in reads(run):
        assert counts[rank] == clock


@pytest.mark.parametrize("update", [ps.Momentum(0.5, 0.0), ps.SGD(0.5)], ids=["not additive", "additive"])
@pytest.mark.parametrize("cache", [False, True])
def test_own_writes_are_read_several_times_within_a_clock(cluster, update, cache):
    async def program(worker):
        seen = []
        for _ in range(4):
            for _ in range(3):
                worker.push("w", np.full(1, -2.0), [worker.rank])
                seen.append(float((await worker.pull("w", [worker.rank]))[0]))
            await worker.clock()
        return seen

    tables = {"w": ps.Table(2, update=update, cache=cache)}
    run = ps.Job(program, tables=tables, aggregate="sum").run(cluster(workers=2), ps.SSP(3))
    assert all(seen == [float(i + 1) for i in range(12)] for seen in run.results.values())


@pytest.mark.parametrize("s", [0, 1, 3])
def test_a_cached_copy_is_as_fresh_as_a_read_must_be(cluster, s):
    """A6."""
    run = run_tally(cluster, ps.SSP(s), EQUAL, servers=2, cache=True)
    assert all((counts >= clock - s).all() for _, clock, counts in reads(run))


def test_a_cache_saves_pulls_as_long_as_the_model_allows(cluster):
    """s+1 clocks are served by one reply at least, none under ASP."""
    pulls = {}
    for model in (ps.SSP(0), ps.SSP(4), ps.ASP()):
        trace = run_tally(cluster, model, [10, 10], cache=True).trace
        pulls[model] = len(trace.of("answer"))
    assert pulls[ps.SSP(0)] == pulls[ps.ASP()] == 20
    assert 4 <= pulls[ps.SSP(4)] < 20


@pytest.mark.parametrize("lengths", [EQUAL, UNEVEN], ids=["equal", "uneven"])
@pytest.mark.parametrize("cache", [False, True])
def test_bsp_returns_all_earlier_rounds_and_nothing_else(cluster, lengths, cache):
    """A4: no newer update, not even the worker's own."""
    run = run_tally(cluster, ps.BSP(), lengths, servers=2, cache=cache)
    for _, clock, counts in reads(run):
        np.testing.assert_array_equal(counts, np.minimum(lengths, clock))


@pytest.mark.parametrize("lengths", [EQUAL, UNEVEN], ids=["equal", "uneven"])
@pytest.mark.parametrize("tau", [0, 1, 3])
def test_bounded_delay_starts_an_iteration_when_all_before_t_minus_tau_have_finished(cluster, tau, lengths):
    """A10."""
    run = run_tally(cluster, ps.BoundedDelay(tau), lengths, servers=2)
    for _, clock, counts in reads(run):
        assert (counts >= np.minimum(lengths, max(0, clock - tau))).all()
    if lengths is EQUAL:
        assert max(gaps(run)) <= tau + 1


@pytest.mark.parametrize("lengths", [EQUAL, UNEVEN], ids=["equal", "uneven"])
def test_serial_returns_exactly_what_came_before_in_order_of_clock_and_rank(cluster, lengths):
    """A0."""
    run = run_tally(cluster, ps.Serial(), lengths)
    for rank, clock, counts in reads(run):
        before = clock + (np.arange(len(lengths)) < rank)
        np.testing.assert_array_equal(counts, np.minimum(lengths, before))


@pytest.mark.parametrize("model", MODELS, ids=label)
def test_uneven_data_and_a_worker_without_any_hang_nothing(cluster, model):
    run = run_tally(cluster, model, [0, 9, 1, 4])
    assert run.tables["w"].tolist() == [0.0, 9.0, 1.0, 4.0]


def rushing(worker_reads):
    async def program(worker):
        for _ in range(12):
            if worker.rank or worker_reads:
                await worker.pull("w")
                await dawdle(worker)
            worker.push("w", np.ones(2))
            await worker.clock()

    return program


@pytest.mark.parametrize("model", [ps.BSP(), ps.SSP(1), ps.ASP()], ids=label)
def test_a_worker_that_never_reads_is_not_held(cluster, model):
    """A3: under the read gate such a program has no bound; all that it pushed arrives."""
    run = ps.Job(rushing(False), tables={"w": ps.Table(2)}).run(cluster(workers=2), model)
    assert run.tables["w"].tolist() == [24.0, 24.0]
    spans = run.trace.of("blocked")
    assert spans[spans["node"] == "worker-0"]["duration"].sum() == 0


def test_a_worker_that_never_reads_is_held_by_the_clock_gate(cluster):
    run = ps.Job(rushing(False), tables={"w": ps.Table(2)}).run(cluster(workers=2), ps.SSP(1, gate="clock"))
    assert max(gaps(run)) <= 2
    spans = run.trace.of("blocked")
    assert spans[spans["node"] == "worker-0"]["duration"].sum() > 0


@pytest.mark.parametrize("s", [0, 2])
def test_a_global_barrier_costs_s_plus_1_clocks(cluster, s):
    """A12: what everybody pushed before is there after s+1 clocks."""

    async def program(worker):
        await dawdle(worker)
        worker.push("w", np.ones(1))
        for _ in range(s + 1):
            await worker.clock()
        return float((await worker.pull("w"))[0])

    run = ps.Job(program, tables={"w": ps.Table(1)}).run(cluster(workers=3), ps.SSP(s))
    assert set(run.results.values()) == {3.0}


@pytest.mark.parametrize("s", [0, 1, 2])
def test_updates_missed_against_the_serial_order_stay_within_the_bound(cluster, s):
    """A13 (Ho et al. 2013): a read misses at most s(P−1) updates of earlier clocks."""
    run = run_tally(cluster, ps.SSP(s), EQUAL)
    workers = len(EQUAL)
    for rank, clock, counts in reads(run):
        others = np.arange(workers) != rank
        assert np.maximum(clock - counts, 0)[others].sum() <= s * (workers - 1)
        assert np.maximum(counts - clock, 0)[others].sum() <= (s + 1) * (workers - 1)


def test_tau_may_change_during_the_run(cluster):
    """A10: from the moment the change is complete the new τ binds who asked for it."""

    async def program(worker):
        seen = []
        for iteration in range(8):
            if iteration == 4 and worker.rank == 0:
                await worker.change_model(ps.BoundedDelay(0))
            seen.append(np.asarray(await worker.pull("w")))
            await dawdle(worker, 0.002 * (1 + 3 * worker.rank))
            worker.push("w", np.ones(1), [worker.rank])
            await worker.clock()
        return seen

    run = ps.Job(program, tables={"w": ps.Table(3)}).run(cluster(workers=3, servers=2), ps.BoundedDelay(5))
    for rank, clock, counts in reads(run):
        delay = 0 if rank == 0 and clock > 4 else 5
        assert (counts >= clock - delay).all()
    assert run.tables["w"].tolist() == [8.0] * 3


def test_tau_may_be_raised_to_let_everybody_go(cluster):
    async def program(worker):
        if worker.rank == 0:
            await worker.sleep(0.05)
            await worker.change_model(ps.BoundedDelay(100))
            await worker.receive()
        for _ in range(10):
            await worker.clock()
        if worker.rank == 1:
            worker.send(0, "done")

    run = ps.Job(program, tables={"w": ps.Table(1)}).run(cluster(workers=2), ps.BoundedDelay(0))
    assert run.results == {"worker-0": None, "worker-1": None}
