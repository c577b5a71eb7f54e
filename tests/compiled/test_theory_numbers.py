"""T19 and what must not change, or in a known way, when a compiled run's question is turned around."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import psbook as ps
from psbook.data import batches, split
from psbook.experiments import theory
from psbook.simulator.compiled import Point, run_batch
from tests.compiled.comparing import X, Y, least_squares, square
from tests.compiled.theory import CONFIDENCE
from tests.theory.programs import number

GATED = [ps.BSP(), ps.SSP(0), ps.SSP(2), ps.SSP(1, gate="clock"), ps.BoundedDelay(2), ps.ASP()]
ROUNDS = [ps.KSync(2), ps.KBatchSync(3), ps.KAsync(2), ps.KBatchAsync(3), ps.BackupWorkers(1)]
JOB = square(ps.SGD(0.05), iterations=12)


def label(model):
    return model.label


def run(model, law=ps.Exponential(1.0), job=JOB, workers=4, **cluster):  # noqa: B008  # a law is a value
    cluster = {"trace": "iterations", "seed": 8, **cluster}
    return job.run(ps.Simulator(workers=workers, compute=law, engine="compiled", **cluster), model)


# T19


class Itself:
    """The objective of a run whose history is to be the path of its one weight."""

    def __call__(self, w):
        return float(w[0])

    def many(self, w):
        return np.asarray(w, np.float64)[:, 0]


def quadratic(w, batch):
    return 0.5 * jnp.sum(w**2), w


def geometric_mixture(workers, rate, steps):
    """Mean of w under w ← w − rate·(gradient at a read of geometric staleness, p = 1/M), from w = 1."""
    p, w = 1 / workers, [1.0]
    for t in range(steps):
        stale = sum(p * (1 - p) ** k * w[t - k] for k in range(t)) + (1 - p) ** t * w[0]
        w.append(w[t] - rate * stale)
    return np.array(w)


@pytest.mark.parametrize(("workers", "rate"), [(2, 0.5), (5, 0.2)])
def test_t19_asynchrony_is_momentum(workers, rate):
    """T19: momentum 1 − 1/M and step α/M, by 1,000 compiled runs, at all 30 steps together 99.9 %.

    With exponential times the staleness of an update does not depend on what was read, so that the mean over
    paths is the geometric mixture, exactly.
    """
    steps, runs = 30, 1000
    job = ps.Job(ps.Loop(quadratic), tables={"w": ps.Table(1, update=ps.SGD(rate), init=1.0)},
                 data=np.zeros((workers, 1), "float32"), batch_size=1, iterations=steps, evaluate=Itself(),
                 every=1, aggregate="sum")  # fmt: skip
    clusters = [ps.Simulator(workers=workers, compute=ps.Exponential(1.0), seed=seed) for seed in range(runs)]
    found = run_batch([Point(job, cluster, ps.ASP()) for cluster in clusters])
    paths = np.stack([outcome.history["loss"][: steps + 1] for outcome in found])
    required = theory.mean_path(workers, rate, 1.0, steps)
    np.testing.assert_allclose(required, geometric_mixture(workers, rate, steps), rtol=1e-9, atol=1e-12)
    width = stats.norm.ppf(1 - (1 - CONFIDENCE) / 2 / steps) * paths.std(axis=0, ddof=1) / np.sqrt(runs)
    assert width.max() < 0.04
    assert (np.abs(paths.mean(axis=0) - required) <= width + 1e-6).all()
    serial = theory.mean_path(1, rate, 1.0, steps)
    assert (np.abs(paths.mean(axis=0) - serial) > 3 * width + 1e-6).any()  # the difference shows


# Metamorphic


@pytest.mark.parametrize("model", GATED + ROUNDS, ids=label)
def test_doubling_all_times_halves_all_rates_and_changes_nothing_else(model):
    """A power of two: to the bit."""
    gated = model in GATED
    slow, fast = (
        run(model, ps.Exponential(mean), network=ps.Network(latency=mean / 50) if gated else None)
        for mean in (2.0, 1.0)
    )
    assert slow.seconds == 2 * fast.seconds
    one, other = slow.trace.frame, fast.trace.frame
    for timed in ("time", "duration"):
        np.testing.assert_array_equal(one[timed], 2 * other[timed])
    same = [name for name in one.columns if name not in ("time", "duration")]
    assert one[same].equals(other[same])
    np.testing.assert_array_equal(slow.tables["w"], fast.tables["w"])


@pytest.mark.parametrize("model", GATED + ROUNDS, ids=label)
def test_permuting_the_workers_with_their_luck_permutes_the_trace(model):
    order = [2, 0, 3, 1]
    law = ps.Exponential(1.0).slow({2: 1.5})
    plain, permuted = (run(model, each).trace.frame for each in (law, law.swapped(order)))
    columns = ["time", "kind", "node", "peer", "duration", "clock", "version", "staleness"]

    def rows(frame, names):
        """Rows under the names of the plain run; ties in time have no order of their own."""
        named = frame.assign(node=frame["node"].map(names), peer=frame["peer"].map(names))
        return sorted(named[columns].itertuples(index=False, name=None))

    def renamed(name):
        return f"worker-{order[number(name)]}" if name.startswith("worker") else name

    assert rows(permuted, renamed) == rows(plain, str)
    assert rows(permuted, str) != rows(plain, str)


@pytest.mark.parametrize("latency", [0.0, 0.03])
def test_asp_is_ssp_without_a_bound(latency):
    network = ps.Network(latency=latency) if latency else None
    asp, ssp, bounded = (run(model, network=network) for model in (ps.ASP(), ps.SSP(np.inf), ps.SSP(0)))
    assert asp.trace.hash() == ssp.trace.hash() != bounded.trace.hash()
    np.testing.assert_array_equal(asp.tables["w"], ssp.tables["w"])
    assert asp.trace.meta["model_label"] != ssp.trace.meta["model_label"]


def test_psp_that_looks_at_all_is_ssp_and_at_nobody_asp():
    for psp, model in ((ps.PSP(1, beta=3), ps.SSP(1)), (ps.PSP(1, beta=0), ps.ASP())):
        assert run(psp).trace.hash() == run(model).trace.hash()


def gradient(w, rows):
    return X[rows].T @ (X[rows] @ w - Y[rows]) / len(rows)


ALONE = [*GATED, ps.KSync(1), ps.KBatchSync(1), ps.KAsync(1), ps.KBatchAsync(1), ps.BackupWorkers(0)]


@pytest.mark.parametrize("model", ALONE, ids=label)
def test_one_worker_is_serial_sgd(model):
    """Against float64; tables are float32."""
    found = run(model, job=square(ps.SGD(0.05), batch_size=10, iterations=40), workers=1)
    w, losses = np.zeros(5), []
    for rows in batches(split(np.arange(97), 1, 8)[0], 10, iterations=40, seed=8, worker=0):
        losses.append(0.5 * np.mean((X[rows] @ w - Y[rows]) ** 2))
        w = w - 0.05 * gradient(w, rows)
    np.testing.assert_allclose(found.tables["w"], w, rtol=1e-5)
    np.testing.assert_allclose(found.trace.of("report")["value"], losses, rtol=1e-4)


@pytest.mark.parametrize("model", [ps.BSP(), ps.SSP(0), ps.KSync(4), ps.BackupWorkers(0)], ids=label)
def test_bsp_is_serial_descent_on_the_large_batch(model):
    """Equal shards, averaged, are the whole. SSP(0) applies them one by one, before anybody reads again."""
    data = X[:96], Y[:96]
    job = square(ps.SGD(0.1), data=data, batch_size=None, iterations=30)
    w = np.zeros(5)
    for _ in range(30):
        w = w - 0.1 * gradient(w, np.arange(96))
    found = run(model, job=job).tables["w"]
    np.testing.assert_allclose(found, w, rtol=1e-5)


def test_summed_bsp_is_n_times_the_rate():
    mean = run(ps.BSP(), job=square(ps.SGD(0.1)))
    summed = run(ps.BSP(), job=square(ps.SGD(0.025), aggregate="sum"))
    np.testing.assert_allclose(summed.tables["w"], mean.tables["w"], rtol=1e-5)


def test_local_sgd_under_bsp_averages_models():
    """Stich 2019, Algorithm 1: H local steps from the mean of the models, then the mean again."""
    h, rate = 4, 0.05
    loop = ps.Loop(least_squares, n_fetch=h, n_push=h, first_push=h - 1, local=rate)
    found = run(ps.BSP(), job=square(ps.SGD(rate), loop, iterations=12), workers=3)
    shards = split(np.arange(97), 3, 8)
    drawn = [list(batches(shard, 8, iterations=12, seed=8, worker=k)) for k, shard in enumerate(shards)]
    w = np.zeros(5)
    for first in range(0, 12, h):
        models = [w, w, w]
        for step in range(first, first + h):
            models = [m - rate * gradient(m, drawn[k][step]) for k, m in enumerate(models)]
        w = np.mean(models, axis=0)
    np.testing.assert_allclose(found.tables["w"], w, rtol=1e-5)
