"""Replay: the order that a trace recorded gives the run's parameters again, bit by bit."""

import numpy as np
import pytest

import psbook as ps
from psbook.errors import DataError, InvalidJob, Unsupported
from psbook.simulator.replay import replay
from tests.compiled.comparing import JOBS, leaves, square

MODELS = [ps.BSP(), ps.SSP(1), ps.ASP(), ps.BoundedDelay(1), ps.KSync(2), ps.KAsync(2), ps.KBatchAsync(2)]


def assert_replays(job, run):
    for name, value in replay(job, run.trace).items():
        np.testing.assert_array_equal(leaves(value), leaves(run.tables[name]))


@pytest.mark.parametrize("name", ["plain", "uneven", "server-side Adam, two tables", "network", "local SGD"])
def test_a_simulated_run(name):
    for model in MODELS if name == "plain" else MODELS[:3]:
        run = JOBS[name].run(ps.Simulator(workers=3, servers=2, compute=ps.Exponential(0.1), seed=4), model)
        assert_replays(JOBS[name], run)


def test_shards_that_take_updates_in_different_orders():
    """Each shard has latencies of its own; no order is that of all."""
    links = {("worker-0", "server-1"): 0.3, ("worker-1", "server-0"): 0.2, ("server-1", "worker-2"): 0.15}
    cluster = ps.Simulator(workers=3, servers=2, compute=ps.Exponential(0.1), network=ps.Network(links=links))
    for model in (ps.KSync(2), ps.KBatchSync(2)):  # one shard drops what another takes
        run = JOBS["plain"].run(cluster, model)
        dropped = run.trace.of("drop").groupby(["peer", "clock"])["shard"].nunique()
        assert (dropped == 1).any()
        assert_replays(JOBS["plain"], run)
    run = JOBS["plain"].run(cluster, ps.ASP())
    orders = [part["peer"].tolist() for _, part in run.trace.of("apply").groupby("shard")]
    assert orders[0] != orders[1]
    assert_replays(JOBS["plain"], run)


def test_a_run_that_lost_a_server_and_messages():
    faults = ps.Faults(
        ps.Crash("server-0", at=0.35), ps.Loss(0.05), ps.Duplicate(0.05), ps.Reorder(0.1, 0.05)
    )
    cluster = ps.Simulator(
        workers=3, servers=3, compute=ps.Exponential(0.1), network=ps.Network(latency=0.01), faults=faults,
        safety=ps.Safety(replicas=2, lease=0.2), seed=2,
    )  # fmt: skip
    for model in (ps.BSP(), ps.SSP(1), ps.ASP()):
        run = JOBS["plain"].run(cluster, model)
        assert len(run.trace.of("fault"))
        assert_replays(JOBS["plain"], run)


def test_a_compiled_run():
    job = JOBS["plain"]
    run = job.run(ps.Simulator(workers=3, compute=ps.Exponential(0.1), trace="iterations"), ps.SSP(1))
    assert run.meta["engine"] == "compiled"
    np.testing.assert_allclose(replay(job, run.trace)["w"], run.tables["w"], rtol=1e-5)


def test_another_rate_makes_other_numbers_of_the_same_order():
    job = square(ps.SGD(0.05))
    run = job.run(ps.Simulator(workers=3, compute=ps.Exponential(0.1)), ps.ASP())
    assert not np.array_equal(replay(job.with_rate(0.1), run.trace)["w"], run.tables["w"])


def test_what_a_trace_does_not_tell_is_refused():
    job = JOBS["plain"]
    run = job.run(
        ps.Simulator(workers=3, compute=ps.Exponential(0.1), trace="off", engine="messages"), ps.ASP()
    )
    with pytest.raises(DataError, match="iterations"):
        replay(job, run.trace)
    run = job.run(ps.Simulator(workers=3, compute=ps.Exponential(0.1)), ps.ASP())
    first = run.trace.of("apply").index[3]
    with pytest.raises(DataError, match="not in the trace"):
        replay(job, ps.Trace(run.trace.frame.drop(index=first), run.trace.meta))

    async def program(worker):
        pass

    with pytest.raises(Unsupported, match="coroutine"):
        replay(ps.Job(program, tables=job.tables), run.trace)
    faults = ps.Faults(ps.Crash("worker-1", at=0.3, restart=0.2))
    safety = ps.Safety(lease=0.2)
    cluster = ps.Simulator(workers=3, compute=ps.Exponential(0.1), faults=faults, safety=safety)
    with pytest.raises(Unsupported, match="worker-1"):
        replay(job, job.run(cluster, ps.ASP()).trace)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        (lambda job: job.with_batches(size=2), "batches of 2"),
        (lambda job: job.with_batches(iterations=2), "iterations; required: the job that ran"),
        (lambda job: ps.Job(ps.Loop(print, "v"), tables={"v": ps.Table(3)}, data=np.zeros(9)), "tables v"),
    ],
)
def test_the_trace_of_another_job_is_refused(changed, text):
    job = JOBS["plain"]
    run = job.run(ps.Simulator(workers=3, compute=ps.Exponential(0.1)), ps.ASP())
    with pytest.raises(DataError, match=text):
        replay(changed(job), run.trace)


def test_what_is_no_trace_is_refused_by_name():
    with pytest.raises(InvalidJob, match=r"required: a ps\.Job and"):
        replay(JOBS["plain"], None)
