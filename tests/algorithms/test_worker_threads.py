"""Threads of one worker: merged gradients are those of a large batch, Hogwild's steps are those of SGD."""

import threading

import numpy as np
import pytest

import psbook as ps
from psbook.algorithms import Hogwild, Merged
from psbook.kernels import logistic

ROWS, FEATURES = 96, 5


def problem():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(ROWS, FEATURES)).astype("float32")
    return X, (X @ rng.normal(size=FEATURES) > 0).astype("float32")


def kernel(w, batch):
    return logistic(w, *batch)


def mean_gradient(w, X, y):
    """Of the logistic loss, in numpy's float64."""
    X = X.astype("float64")
    return X.T @ (1 / (1 + np.exp(-X @ w)) - y) / len(y)


def test_merged_threads_take_the_step_of_one_large_batch():
    cluster = ps.Simulator(workers=1)
    X, y = problem()
    job = ps.Job(
        Merged(kernel, threads=4), data=[(X, y)], batch_size=8, epochs=2,
        tables={"w": ps.Table(FEATURES, update=ps.SGD(0.5))},
    )  # fmt: skip
    large = ps.Job(ps.Loop(kernel), data=[(X, y)], batch_size=32, epochs=2, tables=job.tables)
    merged = job.run(cluster, ps.BSP())
    at_once = large.run(cluster, ps.BSP())
    assert merged.summary["iterations"] == at_once.summary["iterations"] == 6
    assert merged.tables["w"] == pytest.approx(at_once.tables["w"], abs=1e-5)


def test_hogwild_in_turn_is_sgd_on_the_same_batches():
    X, y = problem()
    seen = []

    def watched(w, batch):
        seen.append(batch)
        return logistic(w, *batch)

    job = ps.Job(
        Hogwild(watched, rate=0.5, threads=3), data=[(X, y)], batch_size=8, epochs=1,
        tables={"w": ps.Table(FEATURES)},
    )  # fmt: skip
    found = job.run(ps.Simulator(workers=1)).tables["w"]
    w = np.zeros(FEATURES)
    for batch in seen[1:]:  # the first was for the compiler
        w -= 0.5 * mean_gradient(w, *batch)
    assert found == pytest.approx(w, abs=1e-5)


@pytest.mark.dask
def test_on_a_cluster_the_threads_of_hogwild_run_side_by_side_on_one_snapshot():
    X, y = problem()

    def waits_for_the_others(w, batch):
        if len(batch[1]) == 8 and threading.current_thread().name.startswith("psbook-row"):
            import psbook.algorithms.worker_threads as here

            barrier = here.__dict__.setdefault("_met", threading.Barrier(3))
            barrier.wait(30)  # passes only if three are here at once
        return logistic(w, *batch)

    job = ps.Job(
        Hogwild(waits_for_the_others, rate=0.1, threads=3), data=[(X, y)], batch_size=8, epochs=20,
        tables={"w": ps.Table(FEATURES)},
    )  # fmt: skip
    run = job.run(ps.Dask(workers=1), ps.BSP())
    assert run.summary["iterations"] == 80
    reports = run.reports
    losses = reports[reports["name"] == "batch_loss"]["value"].to_numpy()
    assert losses[-4:].mean() < losses[:4].mean()


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ps.errors.InvalidJob, match="threads=0"):
        Merged(kernel, threads=0)
    with pytest.raises(ps.errors.InvalidJob, match="rate"):
        Hogwild(kernel, rate=0.0, threads=2)
    job = ps.Job(
        Hogwild(kernel, rate=1.0, threads=2), data=[problem()], batch_size=8,
        tables={"w": ps.Table(FEATURES, update=ps.SGD(1.0))},
    )  # fmt: skip
    with pytest.raises(ps.errors.InvalidJob, match=r"required: update=ps.Add\(\)"):
        job.run(ps.Simulator(workers=1))


@pytest.mark.parametrize("columns", [(), ([],), ([1], [1, 2])])
def test_columns_that_do_not_fit_are_refused_at_the_call(columns):
    async def program(worker):
        await worker.compute_each(max, *columns)

    with pytest.raises(ps.errors.InvalidJob, match="required: at least one column"):
        ps.Job(program, tables={"w": ps.Table(1)}).run(ps.Simulator(workers=1))


def test_an_error_in_one_thread_is_the_programs():
    def fails(number):
        if number == 2:
            raise ZeroDivisionError("here")

    async def program(worker):
        await worker.compute_each(fails, range(4))

    with pytest.raises(ps.errors.ProgramError, match="ZeroDivisionError: here"):
        ps.Job(program, tables={"w": ps.Table(1)}).run(ps.Simulator(workers=1))
