"""Equal arguments give equal traces: across processes, levels, ways to store them, and onlookers."""

import dataclasses
import itertools
import os
import random
import subprocess
import sys

import numpy as np
import pytest

import psbook as ps
from psbook.errors import Unsupported
from psbook.experiments import check_determinism
from psbook.experiments.determinism import NotDeterministic
from psbook.trace import Trace, recorder
from tests.theory.programs import nothing

MODELS = [ps.BSP(), ps.SSP(0), ps.SSP(2), ps.SSP(1, gate="clock"), ps.BoundedDelay(1), ps.ASP()]
CLUSTER = ps.Simulator(
    workers=5, servers=3, compute=ps.Exponential(1.0).spells(0.1, 3.0, 2), service=ps.Exponential(0.02),
    network=ps.Network(bandwidth=4000.0, latency=0.01), seed=9,
)  # fmt: skip


def busy_job():
    """Two tables, partial keys, random steps, channels and an objective."""

    async def train(worker):
        for step in range(12):
            keys = np.sort(worker.rng.choice(30, size=5, replace=False))
            w, _ = await ps.gather(worker.pull("w", keys), worker.pull("b"))
            delta = await worker.compute(lambda w: 0.1 * (1 - w), w)
            worker.push("w", delta, keys)
            worker.push("b", [1.0, step, w.sum()])
            worker.send((worker.rank + 1) % worker.workers, step)
            await worker.receive((worker.rank - 1) % worker.workers)
            await worker.clock()

    def evaluate(w, b):
        return float(np.square(1 - w).sum())

    tables = {"w": ps.Table(30, dtype="float64", cache=True), "b": ps.Table(3)}
    return ps.Job(train, tables=tables, evaluate=evaluate)


def hash_of_a_run():
    """What the other processes run."""
    return busy_job().run(CLUSTER, ps.SSP(2)).trace.hash()


@pytest.mark.parametrize("model", MODELS, ids=[model.label for model in MODELS])
def test_two_runs_are_equal_row_by_row(model):
    checked = check_determinism(busy_job(), CLUSTER, model)
    assert checked.label == model.label and checked.rows > 1000


@pytest.mark.parametrize("hash_seed", ["0", "12345"])
def test_the_hash_seed_of_the_process_does_not_matter(hash_seed, project):
    code = "from tests.theory.test_determinism import hash_of_a_run; print(hash_of_a_run())"
    env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(project)}
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, env=env, cwd=project, check=True, capture_output=True, text=True)
    assert found.stdout.strip() == hash_of_a_run()


def test_another_seed_gives_another_trace():
    assert busy_job().run(dataclasses.replace(CLUSTER, seed=10), ps.SSP(2)).trace.hash() != hash_of_a_run()


@pytest.mark.parametrize("chunk", [100, 50_000])
def test_streaming_to_disk_changes_nothing(chunk, tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "CHUNK", chunk)
    path = tmp_path / "trace.parquet"
    run = busy_job().run(dataclasses.replace(CLUSTER, trace_path=path), ps.SSP(2))
    assert run.trace.hash() == Trace.load(path).hash() == hash_of_a_run()


@pytest.mark.parametrize("model", [ps.BSP(), ps.SSP(2)])
def test_a_lower_level_keeps_the_same_rows(model):
    full = busy_job().run(CLUSTER, model).trace
    for level in ("iterations", "off"):
        less = busy_job().run(dataclasses.replace(CLUSTER, trace=level), model).trace
        kept = full.of(*less.frame["kind"].unique()).reset_index(drop=True)
        assert less.frame.equals(kept)
        assert len(less) > 0 and less.end == full.end


def test_the_objective_disturbs_nothing():
    job = busy_job()
    watched = job.run(CLUSTER, ps.SSP(2)).trace
    job.evaluate = None
    unwatched = job.run(CLUSTER, ps.SSP(2)).trace
    assert len(watched.of("loss")) > 5
    rest = watched.frame[watched.frame["kind"] != "loss"].reset_index(drop=True)
    assert rest.equals(unwatched.frame)


def test_watching_changes_nothing():
    seen = []
    run = CLUSTER.run(busy_job(), ps.SSP(2), progress=lambda *state: seen.append(state))
    assert run.trace.hash() == hash_of_a_run()
    assert [iterations for iterations, _ in seen] == list(range(1, 61))
    handle = busy_job().start(CLUSTER, ps.SSP(2))
    while not handle.done:
        _ = repr(handle)
    assert handle.result().trace.hash() == hash_of_a_run()
    assert handle.iterations == 60


# check_determinism finds what is wrong


def job_of(program):
    return ps.Job(program, tables={"w": ps.Table(1)})


def test_a_program_that_remembers_the_run_before_is_named_with_its_first_row():
    calls = itertools.count()

    async def train(worker):
        await worker.sleep(1.0)
        await worker.sleep(1.0 + next(calls) / 8)

    with pytest.raises(NotDeterministic, match=r"row \d+: .*worker-0.*required: equal traces"):
        check_determinism(job_of(train), ps.Simulator(workers=2))


def test_a_run_that_is_longer_is_named_with_the_row_it_has_more():
    calls = itertools.count()

    async def train(worker):
        if next(calls):
            worker.report(late=1.0)

    with pytest.raises(NotDeterministic, match=r"row \d+: .*second"):
        check_determinism(job_of(train), ps.Simulator(workers=1, compute=1.0))


def test_a_global_generator_is_found():
    async def train(worker):
        worker.report(luck=random.random())  # the mistake under test

    with pytest.raises(NotDeterministic, match="value"):
        check_determinism(job_of(train), ps.Simulator(workers=1))


def test_measured_times_are_found():
    async def train(worker):
        await worker.compute(nothing)

    with pytest.raises(NotDeterministic, match=r"row \d+: compute at worker-0"):
        check_determinism(job_of(train), ps.Simulator(workers=1, compute=ps.Measured()))


def test_real_time_is_refused():
    with pytest.raises(Unsupported, match=r"required: a ps\.Simulator"):
        check_determinism(busy_job(), object())
