"""Every property holds on real runs, whatever goes wrong; and what was never put to the test is unknown."""

import re

import numpy as np
import pytest

import psbook as ps
from psbook.simulator.faults import Crash, Faults
from psbook.trace import Recorder, check
from psbook.trace.checks import PROPERTIES
from tests.trace.judged_runs import CLOCKS, MODELS, TROUBLES, joined, program, rows, run_of, trace_of

ALWAYS_JUDGED = {
    "min rises", "applied once", "acknowledged kept", "none missing", "none invented", "versions rise",
    "one primary", "staleness conserved", "progress", "time accounted",
}  # fmt: skip


def answers(trace):
    return {verdict.property: verdict.verdict for verdict in check(trace)}


def by_label(model):
    return model.label


@pytest.mark.parametrize("model", MODELS, ids=by_label)
def test_a_run_in_which_nothing_can_fail(model):
    verdicts = run_of(model).check()
    assert verdicts.ok, verdicts
    assert {name for name, answer in answers(trace_of(model)).items() if answer == "true"} >= ALWAYS_JUDGED
    assert verdicts["none missing"].reached == 3 * 5 * CLOCKS  # 3 workers to 3 shards, 2 of them twice


@pytest.mark.parametrize("scheme", ["chain", "primary-backup"])
@pytest.mark.parametrize("trouble", [name for name in TROUBLES if name != "messages are lost"])
@pytest.mark.parametrize("model", MODELS, ids=by_label)
def test_a_run_with_replicas(model, trouble, scheme):
    trace = trace_of(model, trouble, replicas=1, scheme=scheme)
    verdicts = check(trace)
    assert verdicts.ok, verdicts
    assert verdicts["replicas agree"].reached > 50
    taken_over = trouble not in ("nothing", "a worker is started again")
    for name in ("one answers", "epochs rise"):
        assert verdicts[name].verdict == ("true" if taken_over else "unknown"), verdicts[name]


@pytest.mark.parametrize("scheme", ["chain", "primary-backup"])
@pytest.mark.parametrize("model", MODELS, ids=by_label)
def test_a_run_whose_messages_are_lost(model, scheme):
    verdicts = check(trace_of(model, "messages are lost", replicas=1, scheme=scheme))
    assert verdicts.ok, verdicts
    assert re.search(r"[1-9]\d* pushes arrived more than once", verdicts["applied once"].why)


def test_a_round_that_is_summed_before_it_is_replicated():
    verdicts = check(trace_of(ps.BSP(), "a primary dies", replicas=2, aggregate=True))
    assert verdicts.ok, verdicts
    assert verdicts["replicas agree"].verdict == verdicts["one answers"].verdict == "true"


def test_a_worker_that_leaves_for_good_is_not_waited_for():
    verdicts = check(trace_of(ps.SSP(1), "a worker is started again", replicas=1, lost_workers="leave"))
    assert verdicts.ok, verdicts
    assert "but worker-1, which were lost" in verdicts["progress"].why


def test_clocks_that_are_atomic():
    verdicts = check(trace_of(ps.SSP(1), "a worker is started again", replicas=1, atomic=True))
    assert verdicts.ok, verdicts
    assert verdicts["read my writes"].verdict == "true"


@pytest.mark.parametrize("points", [0, 2])
@pytest.mark.parametrize("model", [ps.BSP(), ps.SSP(1), ps.ASP()], ids=by_label)
def test_a_run_that_a_server_joins(model, points):
    run = joined(model, points)
    verdicts = run.check()
    assert run.tables["w"].tolist() == [36.0] * 12
    assert verdicts.ok, verdicts
    assert len(set(run.trace.of("apply")["shard"])) > 2, "no shard was cut: the run is too tame"


@pytest.mark.parametrize("model", [ps.SSP(0), ps.SSP(1), ps.SSP(2), ps.BoundedDelay(1)], ids=by_label)
def test_missing_updates_are_counted_like_this(model):
    trace = trace_of(model)
    frame = trace.frame
    asked = frame.loc[rows(trace, "send", "Pull")].set_index("message")["clock"]
    applied, made, most = {}, {}, 0
    for row in frame.loc[rows(trace, "apply")].itertuples():
        made.setdefault((row.shard, row.table), set()).add((row.peer, row.clock))
    for row in frame[frame["kind"].isin(["apply", "answer"])].itertuples():
        place = row.shard, row.table
        if row.kind == "apply":
            applied.setdefault(place, set()).add((row.peer, row.clock))
            continue
        due = {one for one in made[place] if one[1] < asked[row.message] and one[0] != row.peer}
        most = max(most, len(due - applied.get(place, set())))
    assert f"missed {most} updates" in check(trace)["missing updates"].why
    assert most > 0 or model == ps.SSP(0)


@pytest.mark.parametrize("model", [ps.BSP(), ps.SSP(1), ps.ASP()], ids=by_label)
def test_what_a_checkpoint_does_not_bring_back_is_counted_to_the_last_push(model, tmp_path):
    async def program(worker):
        for _ in worker.batches(iterations=20):
            await worker.pull("w")
            await worker.compute(lambda: None)
            worker.push("w", np.ones(12))
            await worker.clock(())

    job = ps.Job(program, data=np.arange(40).reshape(40, 1), tables={"w": ps.Table(12)})
    cluster = ps.Simulator(
        workers=3, servers=3, compute=ps.Exponential(0.1), safety=ps.Safety(),
        faults=Faults(Crash("server-0", at=1.2)), checkpoints=ps.Checkpoints(tmp_path, every=3),
    )  # fmt: skip
    run = job.run(cluster, model)
    lost = {int(60 - value) for value in run.tables["w"]} - {0}
    assert len(lost) == 1, "nothing was lost: the run is too tame"
    verdicts = run.check()
    assert verdicts["acknowledged kept"].why.startswith(f"{lost.pop()} acknowledged pushes are lost")
    assert verdicts["replicas agree"].verdict != "false"
    resumed = job.resume(tmp_path, ps.Simulator(workers=3, servers=2, compute=ps.Exponential(0.1)), model)
    assert resumed.check().ok, resumed.check()


def test_a_server_lost_without_a_copy_ends_the_run_and_the_trace_says_so():
    with pytest.raises(ps.errors.NodeFailure) as failed:
        run_of(ps.SSP(1), "a primary dies", replicas=0)
    verdicts = check(failed.value.trace)
    assert verdicts.ok, verdicts
    assert "No copy of shard" in verdicts["progress"].why


@pytest.mark.parametrize("delivery", ["at-most-once", "at-least-once"])
def test_other_deliveries_are_judged_by_what_they_promise(delivery):
    verdicts = check(trace_of(ps.ASP(), "messages are lost", replicas=1, delivery=delivery))
    once, all_there = verdicts["applied once"].verdict, verdicts["none missing"].verdict
    assert (once, all_there) == (("true", "unknown") if delivery == "at-most-once" else ("unknown", "true"))
    assert delivery in verdicts["none missing" if delivery == "at-most-once" else "applied once"].why


def test_an_empty_trace_proves_nothing():
    verdicts = check(Recorder().trace({}))
    assert {verdict.verdict for verdict in verdicts} == {"unknown"}
    assert len(verdicts) == len(PROPERTIES)


def test_a_trace_without_messages_leaves_open_what_they_would_tell():
    found = check(trace_of(ps.SSP(1, gate="clock"), level="iterations"))
    judged = {verdict.property for verdict in found if verdict.verdict != "unknown"}
    assert judged == {"clock bound", "progress", "time accounted", "one primary"}
    for verdict in found:
        if verdict.property in ALWAYS_JUDGED - judged:
            assert 'level "iterations" has no rows' in verdict.why and 'trace="full"' in verdict.why


def test_a_model_that_psbook_does_not_know_has_no_bound_that_can_be_judged():
    class Whoever(ps.ASP):
        pass

    verdicts = check(trace_of(Whoever()))
    assert verdicts.ok
    assert verdicts["read bound"].why.startswith("the bound of Whoever is not known")


def test_a_run_whose_model_changes_is_not_judged_by_the_first():
    async def program(worker):
        for step in range(6):
            await worker.pull("w")
            await worker.compute(lambda: None)
            worker.push("w", np.ones(2))
            if step == 2 and worker.rank == 0:
                await worker.change_model(ps.BoundedDelay(4))
            await worker.clock()

    cluster = ps.Simulator(workers=3, servers=1, compute=ps.Exponential(0.1))
    verdicts = ps.Job(program, tables={"w": ps.Table(2)}).run(cluster, ps.BoundedDelay(0)).check()
    assert verdicts.ok
    assert "was changed during the run" in verdicts["clock bound"].why
    assert verdicts["read bound"].verdict == "unknown"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(70))
def test_random_faults_break_nothing(seed):
    random = np.random.default_rng(seed)
    nodes = ["server-0", "server-1", "server-2", "worker-0", "worker-1", "controller"]
    counts = {kind: int(random.integers(0, 2)) for kind in ("pauses", "losses", "duplicates", "partitions")}
    faults = Faults.random(
        seed, nodes, 6.0, crashes=int(random.integers(3)), restart=0.7, longest=3.0, **counts
    )
    safety = ps.Safety(
        replicas=int(random.integers(1, 3)), points=2 * int(random.integers(2)),
        scheme=str(random.choice(["chain", "primary-backup"])), atomic=bool(random.integers(2)),
        aggregate=bool(random.integers(2)), lost_workers=str(random.choice(["restart", "leave"])),
    )  # fmt: skip
    job = ps.Job(program, data=np.arange(40).reshape(40, 1), tables={"w": ps.Table(6), "b": ps.Table(4)})
    cluster = ps.Simulator(
        workers=3, servers=3, compute=ps.Exponential(0.1), safety=safety, faults=faults, seed=seed
    )  # fmt: skip
    try:
        trace = job.run(cluster, MODELS[seed % len(MODELS)]).trace
    except ps.errors.NodeFailure as failed:
        trace = failed.trace
    assert check(trace).ok, (safety, faults, check(trace))
