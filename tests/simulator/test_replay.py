"""Replay: the order that a trace recorded gives the run's parameters again, bit by bit."""

import numpy as np
import pytest

import psbook as ps
from psbook.errors import DataError, InvalidJob, NodeFailure, Unsupported
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


def assert_whole(job, run):
    """Parameters bit for bit; clocks and versions exactly."""
    again = replay(job, run.trace)
    assert not again.cut
    for name, value in again.items():
        np.testing.assert_array_equal(leaves(value), leaves(run.tables[name]))
    applied = run.trace.of("apply")
    last = applied.groupby(["table", "shard"])["version"].max()
    assert {(t, s): v for t, shards in again.versions.items() for s, v in shards.items()} == last.to_dict()
    ended = run.trace.of("clock").groupby("node")["clock"].max().to_dict()
    assert again.clocks == ended
    return again


@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize("model", [ps.BSP(), ps.SSP(1), ps.ASP()], ids=lambda model: model.label)
def test_a_worker_that_died_and_was_started_again(model, atomic):
    """Its pushes of the clock in which it died may count twice, from two reads; both are made again."""
    twice = 0
    for at in np.linspace(0.11, 0.6, 12):
        links = {("worker-1", "server-1"): 0.05, ("server-0", "worker-1"): 0.02}
        cluster = ps.Simulator(
            workers=3, servers=2, compute=ps.Exponential(0.1), network=ps.Network(latency=0.01, links=links),
            faults=ps.Faults(ps.Crash("worker-1", at=float(at), restart=0.1), ps.Loss(0.2)),
            safety=ps.Safety(lease=0.2, resend=0.05, atomic=atomic), seed=3,
        )  # fmt: skip
        run = JOBS["plain"].run(cluster, model)
        assert "worker-1" in run.trace.of("restart")["node"].to_numpy()
        assert_whole(JOBS["plain"], run)
        applied = run.trace.of("apply")
        lives = applied["message"].str.split("/").str[0].groupby([applied["peer"], applied["clock"]])
        twice += int((lives.nunique() > 1).sum())
    assert model == ps.BSP() or twice  # else the interesting case was never met


@pytest.mark.parametrize("scheme", ["chain", "primary-backup"])
def test_workers_and_servers_that_die_in_one_run(scheme):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        faults = ps.Faults(
            ps.Crash("server-0", at=float(rng.uniform(0.1, 0.5)), restart=0.2),
            ps.Crash("worker-2", at=float(rng.uniform(0.1, 0.5)), restart=0.2),
            ps.Loss(0.05), ps.Duplicate(0.05),
        )  # fmt: skip
        cluster = ps.Simulator(
            workers=3, servers=3, compute=ps.Exponential(0.1), network=ps.Network(latency=0.01),
            faults=faults, safety=ps.Safety(replicas=1, lease=0.2, resend=0.05, scheme=scheme), seed=seed,
        )  # fmt: skip
        for model in (ps.BSP(), ps.SSP(1)):
            assert_whole(JOBS["plain"], JOBS["plain"].run(cluster, model))


def test_a_cut_is_the_state_of_that_time():
    """The loss of the tables at a cut is the one that was evaluated there."""
    job = JOBS["plain"]
    for model in (ps.BSP(), ps.SSP(1), ps.ASP()):
        run = job.run(ps.Simulator(workers=3, compute=ps.Exponential(0.1), seed=2), model)
        for _, row in run.history.iloc[1:-1].iterrows():
            again = replay(job, run.trace, until=float(row["time_s"]))
            assert again.versions["w"][0] == row["updates"]
            assert job.evaluate(again["w"]) == pytest.approx(row["loss"], rel=1e-6)
            assert f"{row['time_s']:g} s" in again.cut
            clocks = run.trace.of("clock")
            done = clocks[clocks["time"] <= row["time_s"]].groupby("node")["clock"].max()
            assert again.clock == min(done.get(name, 0) for name in run.meta["workers"])


def test_up_to_the_loss_of_a_worker_whose_data_went_to_others():
    cluster = ps.Simulator(
        workers=3, compute=ps.Exponential(0.1), faults=ps.Faults(ps.Crash("worker-1", at=0.3)),
        safety=ps.Safety(lease=0.2, lost_workers="leave"), seed=1,
    )  # fmt: skip
    job = JOBS["plain"]
    run = job.run(cluster, ps.ASP())
    with pytest.raises(Unsupported, match=r"worker-1 was lost.*until='possible'"):
        replay(job, run.trace)
    lost = float(run.trace.of("lost")["time"].iloc[0])
    possible, at = replay(job, run.trace, until="possible"), replay(job, run.trace, until="lost")
    assert f"{lost:g} s: worker-1 was lost" in possible.cut and "worker-1 was lost" in at.cut
    assert at.seconds == 0.3 < possible.seconds < lost
    for again in (possible, at):
        before = run.trace.of("apply")
        assert again.versions["w"][0] == (before["time"] <= again.seconds).sum()
    with pytest.raises(Unsupported, match="worker-1"):
        replay(job, run.trace, until=lost + 0.1)


def test_a_run_that_a_loss_has_ended():
    """What its error carries is replayed to the end of the record."""
    job = JOBS["plain"]
    cluster = ps.Simulator(
        workers=3, servers=2, compute=ps.Exponential(0.1),
        faults=ps.Faults(ps.Crash("server-1", at=0.45)), safety=ps.Safety(lease=0.2),
    )  # fmt: skip
    with pytest.raises(NodeFailure) as caught:
        job.run(cluster, ps.SSP(1))
    again = replay(job, caught.value.trace)
    applied = caught.value.trace.of("apply")
    assert sum(again.versions["w"].values()) == len(applied) > 4
    assert 0 < again.clock == min(again.clocks.values())


def test_rows_that_are_lost_make_the_cut():
    job = JOBS["plain"]
    run = job.run(ps.Simulator(workers=3, servers=2, compute=ps.Exponential(0.1)), ps.ASP())
    frame, applied = run.trace.frame, run.trace.of("apply")
    gone = applied[applied["shard"] == 1].index[8]
    again = replay(job, ps.Trace(frame.drop(index=gone), run.meta), until="possible")
    assert "update 9 of table 'w' on shard 1 is not in the trace" in again.cut
    assert again.versions["w"][1] == 8
    assert again.versions["w"] == replay(job, run.trace, until=again.seconds).versions["w"]
    rest = frame.drop(index=applied[applied["shard"] == 1].index)
    with pytest.raises(DataError, match="no row tells what became of key"):
        replay(job, ps.Trace(rest, run.meta))
    nothing = replay(job, ps.Trace(rest, run.meta), until="possible")
    assert nothing.clock == 0 and not nothing["w"].any()


@pytest.mark.parametrize("until", ["first", -1.0, True, "lost"])
def test_a_cut_that_makes_no_sense_is_refused(until):
    run = JOBS["plain"].run(ps.Simulator(workers=2), ps.ASP())
    with pytest.raises(InvalidJob, match="until="):
        replay(JOBS["plain"], run.trace, until=until)


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
