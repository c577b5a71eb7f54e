"""How near predictions come to real runs: recorded with two workers under BSP, predicted for others.

    pytest -m benchmark tests/benchmarks/test_prediction.py -s

Two jobs: one is mostly delays, with slow spells; in the other four workers compute on what cores there are. A
machine that is busy with other things computes more slowly at some times than at others, which no recording
tells of: then the errors of the second job are the machine's. The load is printed beside them.
"""

import copy
import dataclasses
import os
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster

import psbook as ps

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]

AIM = 0.10
"""Median error, relative."""

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4000, 20)).astype(np.float32)
Y = (X @ RNG.normal(size=20) + 0.1 * RNG.normal(size=4000)).astype(np.float32)

SETTINGS = [
    (1, ps.BSP()), (2, ps.BSP()), (3, ps.BSP()), (4, ps.BSP()), (4, ps.SSP(2)), (4, ps.ASP()),
]  # fmt: skip


@jax.jit
def gradient(w, batch):
    rows, y = batch
    error = rows @ w - y
    return jnp.mean(error**2) / 2, rows.T @ error / len(y)


@jax.jit
def laborious(w, batch):
    """The same, after some milliseconds of one core."""
    loss, found = gradient(w, batch)
    busy = jax.lax.fori_loop(0, 10_000, lambda _, x: jnp.sin(x) + 1e-3, jnp.full(1000, loss))
    return loss, found + 0 * busy[0]


def mean_square(w):
    return float(np.mean((X @ w - Y) ** 2))


def job(kernel, iterations):
    table = ps.Table(20, update=ps.SGD(0.02))
    return ps.Job(ps.Loop(kernel), tables={"w": table}, data=(X, Y), evaluate=mean_square, every=10,
                  batch_size=32, iterations=iterations)  # fmt: skip


STRAGGLERS = ps.LogNormal(0.04, 0.2).spells(0.03, 4.0, 3)
JOBS = {
    "delays and slow spells": (job(gradient, 200), STRAGGLERS),
    "cores that are shared": (job(laborious, 60), None),
}


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(n_workers=4, threads_per_worker=2, memory_limit=0, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def run(job, client, workers, law, model, seed):
    """Run a job for real, without a progress bar."""
    return ps.Dask(client, workers=workers, compute=law, seed=seed).run(job, model, lambda *_: None)


def replace_kernel(job, kernel):
    """Return the same job with another kernel."""
    light = copy.copy(job)
    light.program = dataclasses.replace(job.program, kernel=kernel)
    return light


def half_way(run):
    """A loss that is reached well within a run: three quarters of its way down, on a logarithmic scale."""
    losses = run.history["loss"].to_numpy()
    return float(np.exp(0.25 * np.log(losses[0]) + 0.75 * np.log(losses.min())))


@pytest.mark.parametrize("name", JOBS)
def test_error_of_predictions(client, capsys, name):
    job, law = JOBS[name]
    run(job.with_batches(iterations=5), client, 4, law, ps.ASP(), 0)  # compiles
    recorded = run(job, client, 2, law, ps.BSP(), 1)
    calibration = ps.calibrate(recorded)
    loss = half_way(recorded)
    rows = []
    for number, (workers, model) in enumerate(SETTINGS):
        # The same numbers, without the labour: a prediction computes every gradient.
        light = replace_kernel(job, gradient)
        prediction = ps.predict(light, calibration, workers=workers, model=model)
        real = run(job, client, workers, law, model, 100 + number)
        found = prediction.against(real, loss).assign(
            workers=workers, model=model.label, load=os.getloadavg()[0]
        )
        rows.append(found[found["quantity"] != "time"])
    table = pd.concat(rows, ignore_index=True)
    worst = table.groupby("quantity")["error"].agg(
        median=lambda e: e.abs().median(), worst=lambda e: e.abs().max()
    )
    with capsys.disabled():
        sys.stderr.write(f"\n{name}\n{calibration}\n{table.round(3).to_string()}\n{worst.round(3)}\n")
    assert (worst["median"] < AIM).all()
