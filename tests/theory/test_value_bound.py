"""VAP: at every read, what others lack of the reader's own updates is within the bound, by the trace."""

import math

import numpy as np
import pytest

import psbook as ps
from tests.theory.programs import ends, loop_job, nothing, number, run_loop

EXP = ps.Exponential(1.0)


def pushing(iterations, sizes):
    """Worker r pushes sizes[r] · (1, −½) to two keys in each iteration."""

    async def train(worker):
        for _ in range(iterations):
            await worker.pull("w")
            await worker.compute(nothing)
            worker.push("w", np.array([1.0, -0.5], np.float32) * sizes[worker.rank])
            await worker.clock()

    return train


def run_sizes(model, sizes, iterations, *, law=EXP, **options):
    simulator = ps.Simulator(workers=len(sizes), compute=law, **options)
    return ps.Job(pushing(iterations, sizes), tables={"w": ps.Table(2)}).run(simulator, model)


def in_transit(run, sizes):
    """(clock of the read, what of the reader's own pushes others lack) at each answer, by brute force.

    Others count if they have read before, have not ended, and are not parked at a read.
    """
    rows = run.trace.of("answer", "apply", "park", "receive")
    workers, last = len(sizes), max(run.trace.of("clock")["clock"])
    for _, events in rows.groupby("node", sort=True):
        wrote = [[] for _ in range(workers)]
        seen, parked, ended, asked = {}, set(), set(), {}
        for at, row in enumerate(events.itertuples()):
            worker = number(row.peer) if row.peer.startswith("worker") else -1
            if row.kind == "receive" and row.detail == "Pull":
                asked[row.message] = row.clock
            elif row.kind == "receive" and row.detail == "Finish":
                ended.add(worker)
            elif row.kind == "apply":
                wrote[worker].append(at)
            elif row.kind == "park":
                parked.add(worker)
            elif row.kind == "answer":
                parked.discard(worker)
                awake = [seen[q] for q in seen if q not in parked | ended | {worker}]
                lacks = sum(at > min(awake, default=math.inf) for at in wrote[worker])
                yield asked[row.message], lacks * sizes[worker]
                seen[worker] = at
    assert last > 0


@pytest.mark.parametrize("decay", [True, False])
def test_no_read_is_answered_while_more_than_the_bound_is_in_transit(decay):
    sizes, bound = [0.25, 0.5, 1.0, 0.125], 4.0
    options = {"network": ps.Network(latency=0.05), "law": EXP.slow({3: 2.5}), "seed": 3}
    run = run_sizes(ps.VAP(bound, decay=decay), sizes, 40, trace="full", **options)
    found = list(in_transit(run, sizes))
    assert len(found) == 4 * 40
    assert all(lacks <= bound / (math.sqrt(clock + 1) if decay else 1) + 1e-9 for clock, lacks in found)
    assert max(lacks for _, lacks in found) > 1.0  # not vacuous: more than the largest push was in transit
    free = run_sizes(ps.ASP(), sizes, 40, trace="full", **options)
    assert max(lacks for _, lacks in in_transit(free, sizes)) > bound  # without a bound, more would be
    assert run.check().ok


def test_a_loose_bound_is_asp_and_a_tight_one_lets_one_push_at_a_time_be_unseen():
    loose, asp = (run_loop(model, EXP, 5, 40, seed=2) for model in (ps.VAP(math.inf), ps.ASP()))
    np.testing.assert_array_equal(ends(loose), ends(asp))
    # Nothing may be in transit: a worker that has pushed waits until all others have read or are at a read.
    # Everybody then begins when the last has ended: a barrier.
    tight, bsp = (run_loop(model, EXP, 5, 40, seed=2) for model in (ps.VAP(1e-9), ps.BSP()))
    np.testing.assert_allclose(ends(tight), ends(bsp), rtol=1e-12)


def test_larger_updates_wait_longer():
    seconds = [run_sizes(ps.VAP(4.0), [size] * 4, 40).seconds for size in (0.0, 0.25, 1.0, 8.0)]
    assert seconds == sorted(seconds) and seconds[0] < seconds[-1]


def test_the_bound_is_on_the_size_and_not_on_the_count():
    """The fast worker is held if its updates are large, and not if they are small, however many."""
    law = ps.Constant(1.0).slow({1: 3.0, 2: 3.0})
    run = run_sizes(ps.VAP(2.0, decay=False), [0.001, 1.0, 1.0], 20, law=law)
    # Worker 0 is three times as fast, and never held: all its updates together are below the bound.
    np.testing.assert_allclose(ends(run)[0], np.arange(1.0, 21.0))
    # With updates of 1, the second that others have not read is one too many; they read at 3, 6, 9 …
    run = run_sizes(ps.VAP(1.0, decay=False), [1.0, 0.001, 0.001], 20, law=law)
    at = np.arange(20)
    np.testing.assert_allclose(ends(run)[0], 3 * (at // 2) + 1 + at % 2)


def test_who_has_ended_or_never_reads_holds_nobody_up():
    run = run_loop(ps.VAP(0.5), EXP, 4, [2, 30, 30, 30])
    assert [len(each) for each in ends(run)] == [2, 30, 30, 30]

    async def train(worker):
        for _ in range(10):
            if worker.rank:
                await worker.pull("w")
            await worker.compute(nothing)
            worker.push("w", np.ones(2, np.float32))
            await worker.clock()

    run = ps.Job(train, tables={"w": ps.Table(2)}).run(ps.Simulator(workers=3, compute=EXP), ps.VAP(0.5))
    assert run.tables["w"].tolist() == [30.0, 30.0]


def test_it_is_refused_on_several_servers_and_where_nodes_may_be_lost():
    job = loop_job(3, keys=2)
    with pytest.raises(ps.PsbookError, match=r"VAP\(1\) on 2 servers; required: servers=1"):
        job.run(ps.Simulator(workers=2, servers=2), ps.VAP(1.0))
    with pytest.raises(ps.PsbookError, match=r"VAP\(1\) where nodes may be lost; required: safety=None"):
        job.run(ps.Simulator(workers=2, safety=ps.Safety()), ps.VAP(1.0))
