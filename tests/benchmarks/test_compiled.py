"""The compiled engine beside SimPy, the message-level engine and a plain scan. Run it on a quiet machine:

    pytest -m benchmark tests/benchmarks/test_compiled.py -s

On a machine with a GPU that JAX sees, the same command measures there.
"""

import dataclasses
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import simpy

import psbook as ps
from psbook.kernels import logistic
from psbook.simulator.compiled import Point, run_batch, timeline
from psbook.simulator.compiled.rounds import collected

pytestmark = pytest.mark.benchmark

S = 3


def seconds(function, repeats=5):
    """Least real seconds of some calls."""
    best = float("inf")
    for _ in range(repeats):
        begun = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - begun)
    return best


def say(capsys, text):
    with capsys.disabled():
        sys.stdout.write(f"\n{text}\n")


def simpy_ssp(times):
    """Simulated seconds of SSP without network on SimPy: a process a worker, an event for each minimum."""
    env = simpy.Environment()
    workers, iterations = times.shape
    clocks, waiting = [0] * workers, []

    def train(rank):
        for clock in range(iterations):
            if min(clocks) < clock - S:
                opened = env.event()
                waiting.append((clock - S, opened))
                yield opened
            yield env.timeout(times[rank][clock])
            clocks[rank] += 1
            least = min(clocks)
            for item in [item for item in waiting if item[0] <= least]:
                waiting.remove(item)
                item[1].succeed()

    env.run(env.all_of([env.process(train(rank)) for rank in range(workers)]))
    return env.now


def test_times_beside_simpy(capsys):
    """The same protocol, the same draws; worker iterations a second, drawing not counted in either."""
    runs, workers, iterations = 1000, 16, 200
    X = np.random.default_rng(0).exponential(size=(runs, workers, iterations))
    ends = timeline(ps.SSP(S), X).seconds
    assert ends[0] == pytest.approx(simpy_ssp(X[0]), rel=1e-12)
    pairs = [
        (seconds(lambda: timeline(ps.SSP(S), X), 1), seconds(lambda: simpy_ssp(X[0]), 1)) for _ in range(7)
    ]
    ours, theirs = (min(each) for each in zip(*pairs, strict=True))
    done = workers * iterations
    say(
        capsys,
        f"times only, {runs} runs of {workers} workers: {runs * done / ours / 1e6:.1f} M worker "
        f"iterations/s, SimPy {done / theirs / 1e6:.3f} M/s: {runs * theirs / ours:.0f} times as fast",
    )


def problem(features, rows=4096):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(rows, features)).astype(np.float32)
    return X, (X @ rng.normal(size=features) > 0).astype(np.int32)


def gradient(w, batch):
    return logistic(w, *batch)


def job_of(features, size=32, iterations=100):
    table = ps.Table(features, update=ps.SGD(0.1))
    return ps.Job(ps.Loop(gradient), tables={"w": table}, data=problem(features), batch_size=size,
                  iterations=iterations)  # fmt: skip


def plain_scan(job, workers):
    """The steps of the run and nothing else: gradients of the same batches, one update after the other."""
    X, y = (jnp.asarray(part) for part in job.data)
    size, steps = job.batching.size, workers * job.batching.iterations
    rows = np.random.default_rng(2).integers(0, len(y), (steps, size)).astype(np.int32)

    @jax.jit
    def run(w, rows):
        def step(w, of_batch):
            loss, grad = gradient(w, (X[of_batch], y[of_batch]))
            return w - 0.1 / workers * grad, loss

        return jax.lax.scan(step, w, rows)

    start = jnp.zeros(X.shape[1])
    return lambda: jax.block_until_ready(run(start, rows))


@pytest.mark.parametrize(("features", "runs"), [(1000, 16), (30, 64)])
def test_whole_runs_beside_messages_and_a_plain_scan(features, runs, capsys):
    """Real gradients, 16 workers, batches of 32: a step is a worker iteration."""
    workers = 16
    job = job_of(features)
    cluster = ps.Simulator(workers=workers, compute=ps.Exponential(0.1), trace="off")
    points = [Point(job, dataclasses.replace(cluster, seed=seed), ps.SSP(S)) for seed in range(runs)]
    messages = dataclasses.replace(cluster, engine="messages")
    plain = plain_scan(job, workers)
    quiet = {"progress": lambda iterations, loss: None}
    for function in (lambda: run_batch(points), lambda: run_batch(points[:1]), plain,
                     lambda: messages.run(job, ps.SSP(S), **quiet)):  # fmt: skip
        function()
    steps = workers * job.batching.iterations
    rounds = [
        (seconds(lambda: run_batch(points), 1) / runs, seconds(lambda: run_batch(points[:1]), 1),
         seconds(lambda: messages.run(job, ps.SSP(S), **quiet), 1), seconds(plain, 1))
        for _ in range(5)
    ]  # fmt: skip
    batch, single, slow, limit = (min(each) for each in zip(*rounds, strict=True))
    say(
        capsys,
        f"{features} features, µs a worker iteration: {1e6 * batch / steps:.2f} in a batch of {runs}, "
        f"{1e6 * single / steps:.2f} alone, {1e6 * slow / steps:.0f} by messages, "
        f"{1e6 * limit / steps:.2f} plain scan: {slow / batch:.0f} and {slow / single:.0f} times as fast as "
        f"messages, {limit / batch:.2f} and {limit / single:.2f} of the limit",
    )


def test_a_sweep_of_a_thousand_runs(capsys):
    """5 rates × 10 models × 20 seeds in one call, with 100 evaluations each."""
    from psbook.algorithms import logistic_regression
    from psbook.datasets import load_breast_cancer

    data = load_breast_cancer()
    job = logistic_regression(
        data.X_train, data.y_train, data.X_test, data.y_test, iterations=100, batch_size=16
    )
    models = [ps.ASP(), *(ps.SSP(s) for s in (0, 1, 2, 3, 4, 8, 16, 32, 64))]
    points = [
        Point(job.with_rate(rate), ps.Simulator(workers=16, compute=ps.Exponential(0.1), seed=seed), model)
        for seed in range(20) for rate in (0.1, 0.2, 0.5, 1.0, 2.0) for model in models
    ]  # fmt: skip
    begun = time.perf_counter()
    first = run_batch(points)
    cold = time.perf_counter() - begun
    warm = seconds(lambda: run_batch(points), 3)
    done = sum(outcome.summary["iterations"] for outcome in first)
    say(
        capsys,
        f"{len(points)} runs, {done / 1e6:.2f} M worker iterations, {100 * len(points):,} evaluations: "
        f"{cold:.2f} s the first time ({first[0].compile_seconds:.2f} s to compile), then {warm:.2f} s, "
        f"{done / warm / 1e6:.2f} M worker iterations/s",
    )


@pytest.mark.parametrize("workers", [10, 100, 1000, 10_000])
def test_workers(workers, capsys):
    """The same 10⁶ iterations by more workers: times alone, then times and numbers."""
    X = np.random.default_rng(0).exponential(size=(1, workers, 1_000_000 // workers))
    timeline(ps.SSP(S), X)
    took = seconds(lambda: timeline(ps.SSP(S), X), 3)
    iterations = max(1, 20_000 // workers)
    job = job_of(30, iterations=iterations, size=1) if workers > 4096 else job_of(30, iterations=iterations)
    if workers > 4096:
        job.data = problem(30, 2 * workers)
    point = Point(job, ps.Simulator(workers=workers, compute=ps.Exponential(0.1)), ps.SSP(S))
    run_batch([point])
    whole = seconds(lambda: run_batch([point]), 3)
    say(capsys, f"{workers} workers: {1e9 * took / X.size:.1f} ns an iteration, times only; "
                f"{1e6 * whole / (workers * iterations):.2f} µs with numbers")  # fmt: skip


def test_rounds(capsys):
    """Models of rounds go event by event."""
    X = np.random.default_rng(0).exponential(size=(100, 16, 200))
    for model in (ps.KSync(8), ps.KBatchSync(8), ps.KAsync(8), ps.KBatchAsync(8), ps.BackupWorkers(4)):
        collected(model, X)
        took = seconds(lambda model=model: collected(model, X), 3)
        say(capsys, f"{model.label}: {X.size / took / 1e6:.2f} M worker iterations/s, times only")


@pytest.mark.skipif(jax.default_backend() == "cpu", reason="no GPU that JAX sees")
@pytest.mark.parametrize("runs", [1_000, 10_000, 100_000])
def test_a_sweep_on_an_accelerator(runs, capsys):
    job = job_of(30, iterations=50)
    points = [
        Point(job, ps.Simulator(workers=8, compute=ps.Exponential(0.1), seed=seed % 100), ps.SSP(seed % 7))
        for seed in range(runs)
    ]
    begun = time.perf_counter()
    run_batch(points)
    took = time.perf_counter() - begun
    say(capsys, f"{runs} runs: {took:.1f} s, {runs * 400 / took / 1e6:.2f} M worker iterations/s")
