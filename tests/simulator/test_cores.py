"""Cores that workers share: closed forms of processor sharing, and what it leaves alone."""

import dataclasses

import numpy as np
import pytest

import psbook as ps
from psbook.errors import InvalidJob, Unsupported
from psbook.simulator.cores import Cores, Hosts
from psbook.simulator.engine import EventQueue
from tests.compiled.comparing import JOBS

JOB = JOBS["plain"]


def seconds(workers, cores, model=None, **options):
    cluster = ps.Simulator(workers=workers, compute=0.1, hosts=ps.Hosts(cores, **options), trace="iterations")
    return JOB.run(cluster, model or ps.ASP()).seconds


@pytest.mark.parametrize(("workers", "cores"), [(1, 1), (2, 1), (3, 2), (4, 1), (4, 4), (3, 0.5)])
def test_workers_that_are_always_busy_take_as_many_times_as_long_as_they_are_too_many(workers, cores):
    assert seconds(workers, cores) == pytest.approx(7 * 0.1 * max(1, workers / cores), rel=1e-12)


def test_what_needs_no_core_passes_beside():
    assert seconds(4, 1, busy=0.0) == pytest.approx(0.7)
    assert seconds(4, 1, busy=0.25) == pytest.approx(0.7)  # four quarters fill one core
    assert seconds(4, 1, busy=0.5) == pytest.approx(1.4)  # four halves take two
    assert seconds(4, 1, count=2) == pytest.approx(1.4)  # two on each host


def test_with_a_core_for_each_nothing_changes():
    for model in (ps.BSP(), ps.SSP(1), ps.ASP(), ps.KSync(2)):
        alone = ps.Simulator(workers=3, compute=ps.Exponential(0.1), trace="iterations", engine="messages")
        shared = dataclasses.replace(alone, hosts=ps.Hosts(3))
        one, other = JOB.run(alone, model), JOB.run(shared, model)
        columns = ["node", "kind", "clock", "version", "staleness", "message"]
        assert (one.trace.frame[columns] == other.trace.frame[columns]).all(axis=None)
        np.testing.assert_allclose(other.trace.frame["time"], one.trace.frame["time"], atol=1e-12)


def open_queue(law, rate, count=30_000):
    """Mean time in the system of Poisson arrivals to one shared core."""
    queue, hosts = EventQueue(), Hosts(cores=1)
    cores, rng = Cores(queue, hosts), np.random.default_rng(3)
    arrivals, work = np.cumsum(rng.exponential(1 / rate, count)), law(rng, count)
    spent = np.zeros(count)

    def leave(number):
        spent[number] = queue.now - arrivals[number]

    for number, at in enumerate(arrivals):
        queue.at(at, lambda n=number: cores.begin(n, work[n], lambda: leave(n)))
    queue.run()
    return spent, work


def test_open_queue_is_insensitive_to_the_law_of_work():
    """M/G/1-PS: the mean time in the system is E[S]/(1 − ρ), whatever the law (Kleinrock 1967)."""
    for law in (lambda rng, n: rng.exponential(1.0, n), lambda rng, n: rng.choice([0.2, 1.8], n)):
        spent, work = open_queue(law, rate=0.6)
        assert spent.mean() == pytest.approx(1 / (1 - 0.6), rel=0.05)
        small = work < 0.5  # and it is in proportion to the work: x/(1 − ρ)
        assert spent[small].mean() == pytest.approx(work[small].mean() / 0.4, rel=0.08)


def test_closed_loop_with_thinking():
    """Machine repairman with processor sharing: mean-value analysis as for exponential FCFS."""
    think, work, n = 1.0, 0.5, 3

    async def train(worker):
        for _ in range(3000):
            await worker.sleep(worker.rng.exponential(think))
            await worker.compute(int)
            await worker.clock()

    job = ps.Job(train, tables={"w": ps.Table(1)})
    cluster = ps.Simulator(workers=n, compute=ps.Exponential(work), hosts=ps.Hosts(1), trace="iterations")
    run = job.run(cluster, ps.ASP())
    queued = 0.0
    for population in range(1, n + 1):
        response = work * (1 + queued)
        rate = population / (think + response)
        queued = rate * response
    assert run.summary["iterations_per_s"] == pytest.approx(rate, rel=0.03)


def test_a_worker_that_dies_frees_its_core():
    faults = ps.Faults(ps.Crash("worker-1", at=0.05))
    safety = ps.Safety(lease=10.0, lost_workers="leave")

    async def train(worker):
        await worker.compute(int)
        return worker.now

    job = ps.Job(train, tables={"w": ps.Table(1)})
    cluster = ps.Simulator(workers=2, compute=0.1, hosts=ps.Hosts(1), faults=faults, safety=safety)
    # Half of the core for 0.05 s, then all of it for the other 0.075 s of work.
    assert job.run(cluster, ps.ASP()).results["worker-0"] == pytest.approx(0.125)


def test_cut_short_and_told():
    run = JOB.run(ps.Simulator(workers=3, compute=ps.Exponential(0.1), hosts=ps.Hosts(1)), ps.KBatchSync(2))
    assert run.check()
    assert set(run.meta["hosts"].values()) == {"host-0"} and run.meta["cores"] == {"host-0": 1}
    run = JOB.run(ps.Simulator(workers=3, compute=0.1, hosts=ps.Hosts(1)), ps.BSP())
    assert run.meta["busy_seconds"] == pytest.approx(dict.fromkeys(run.meta["workers"], 0.7))


def test_refused_by_name():
    cluster = ps.Simulator(workers=2, hosts=ps.Hosts(1), trace="iterations", engine="compiled")
    with pytest.raises(Unsupported, match="share the cores of their hosts"):
        JOB.run(cluster, ps.BSP())
    for wrong in ({"cores": 0}, {"cores": 1, "count": 0}, {"cores": 1, "busy": 2}):
        with pytest.raises(InvalidJob, match="required"):
            ps.Hosts(**wrong)
    with pytest.raises(InvalidJob, match="Hosts"):
        ps.Simulator(hosts=2)
