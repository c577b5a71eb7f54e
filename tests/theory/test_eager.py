"""ESSP: SSP's bound, fresher reads, no round trips."""

import numpy as np
import pytest

import psbook as ps
from tests.theory.programs import ends, max_plus, nothing, number, run_loop

EXP = ps.Exponential(1.0)


def counting(iterations):
    """Worker r adds one to key r in each iteration; returns what it read, and when it had it."""

    async def train(worker):
        seen = []
        one = np.ones(1, np.float32)
        for _ in range(iterations):
            asked = worker.now
            counts = np.asarray(await worker.pull("w"))
            seen.append((asked, worker.now, counts.copy()))
            await worker.compute(nothing)
            worker.push("w", one, [worker.rank])
            await worker.clock()
        return seen

    return train


def count(model, workers, iterations, *, cache=True, update=None, **cluster):
    table = ps.Table(workers, cache=cache, **({} if update is None else {"update": update}))
    simulator = ps.Simulator(**{"workers": workers, "compute": EXP, **cluster})
    return ps.Job(counting(iterations), tables={"w": table}).run(simulator, model)


def missing(run):
    """Updates of others' clocks before the reader's own that each read lacks: reader, clock, largest, sum."""
    for name, seen in run.results.items():
        rank = number(name)
        for clock, (_, _, counts) in enumerate(seen):
            others = np.delete(counts, rank)
            assert counts[rank] == clock  # one's own are all in, each once
            yield clock, np.maximum(0, clock - others).max(), clock - others.mean()


@pytest.mark.parametrize("s", [0, 1, 3])
def test_without_delays_the_path_is_that_of_ssp(s):
    run = run_loop(ps.ESSP(s), EXP, 6, 50, seed=2, servers=3)
    np.testing.assert_allclose(ends(run), max_plus(EXP.matrix(6, 50, 2), s), rtol=1e-12)


@pytest.mark.parametrize("s", [0, 2])
@pytest.mark.parametrize("servers", [1, 3])
def test_no_read_is_older_than_ssp_allows(s, servers):
    network = ps.Network(bandwidth=2000.0, latency=0.1)
    run = count(ps.ESSP(s), 5, 40, servers=servers, network=network, seed=1)
    most = [behind for _, behind, _ in missing(run)]
    assert max(most) <= s
    assert max(most) == s  # and so the bound was met


def test_reads_are_fresher_than_from_the_cache_of_ssp():
    """Workers nearly in step: SSP(4) uses a copy until it is 4 clocks old, ESSP's is one clock old."""
    age, stale = {}, {}
    for model in (ps.SSP(4), ps.ESSP(4)):
        run = count(model, 5, 60, compute=ps.LogNormal(1.0, 0.1), network=ps.Network(latency=0.01), seed=3)
        age[model.label] = np.mean([mean for _, _, mean in missing(run)])
        stale[model.label] = run.trace.of("apply")["staleness"].mean()
    assert age["SSP(4)"] > 1.5 > age["ESSP(4)"]
    assert stale["SSP(4)"] > stale["ESSP(4)"] + 4


def test_a_read_that_need_not_wait_takes_no_time():
    """With a latency of 0.25 an SSP(3) read without a cache costs 0.5 each; most of ESSP's none."""
    network = ps.Network(latency=0.25)
    run = count(ps.ESSP(3), 4, 30, network=network, seed=5)
    waits = [done - asked for seen in run.results.values() for asked, done, _ in seen]
    assert sum(wait == 0.0 for wait in waits) > 0.5 * len(waits)
    run = count(ps.SSP(3), 4, 30, cache=False, network=network, seed=5)
    waits = [done - asked for seen in run.results.values() for asked, done, _ in seen]
    assert min(waits) == pytest.approx(0.5)


def test_tables_are_cached_whatever_they_say_and_rows_of_several_reads_come_together():
    """Worker 0 reads its two halves in turn: after the first two reads both come unasked, in one answer."""

    async def train(worker):
        for clock in range(20):
            part = slice(0, 3) if clock % 2 else slice(3, 6)
            await worker.pull("w", part)
            await worker.compute(nothing)
            worker.push("w", np.ones(6, np.float32))
            await worker.clock()

    job = ps.Job(train, tables={"w": ps.Table(6)})
    run = job.run(ps.Simulator(workers=2, compute=ps.Constant(1.0)), ps.ESSP(1))
    pulls = run.trace.of("send")
    asked = pulls[(pulls["detail"] == "Pull") & (pulls["node"] == "worker-0")]
    assert len(asked) <= 4
    answers = run.trace.of("answer")
    whole = answers[(answers["peer"] == "worker-0") & (answers["start"] == 0) & (answers["stop"] == 6)]
    assert len(whole) >= 15
    assert run.check().ok


def test_rules_that_cannot_be_repeated_by_the_worker_wait_for_their_own_answer():
    """A server-side Adam is not additive: a worker's own update drops its copy, and the sums are right."""
    run = count(ps.ESSP(2), 3, 20, update=ps.Adam(0.1), seed=1)
    assert run.check().ok and np.isfinite(run.tables["w"]).all()


def test_it_runs_with_copies_that_take_over_and_lost_messages():
    faults = ps.Faults(ps.Crash("server-1", at=4.0), ps.Loss(0.1))
    safety = ps.Safety(replicas=1, lease=1.0, resend=0.1)
    run = count(ps.ESSP(2), 4, 25, servers=2, safety=safety, faults=faults, seed=2)
    assert run.tables["w"].tolist() == [25.0] * 4
    assert max(behind for _, behind, _ in missing(run)) <= 2
    assert run.check().ok
