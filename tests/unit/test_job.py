"""What a job computes, against one machine: large batches, one worker, any number of servers; determinism."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import psbook as ps

MODELS = [ps.BSP(), ps.Serial(), ps.SSP(0), ps.SSP(3), ps.SSP(1, gate="clock"), ps.BoundedDelay(2), ps.ASP()]
UPDATES = [ps.SGD(0.25), ps.Momentum(0.25, 0.5), ps.Adagrad(0.5), ps.Adam(0.1)]
models, updates = st.sampled_from(MODELS), st.sampled_from(UPDATES)


def gradient(w, X, y):
    return X.T @ (X @ w - y) / len(y)


async def descend(worker):
    for X, y in worker.batches():
        w = await worker.pull("w")
        worker.push("w", await worker.compute(gradient, w, X, y))
        await worker.clock()


def data(rows, features=5):
    rng = np.random.default_rng(rows)
    return rng.normal(size=(rows, features)), rng.normal(size=rows)


def job(X, y, update, **options):
    tables = {"w": ps.Table(X.shape[1], update=update, dtype="float64")}
    return ps.Job(descend, tables=tables, data=(X, y), **options)


def serial(update, batches, features=5):
    w = np.zeros(features)
    state = update.init(np, w)
    for X, y in batches:
        w, state = update.apply(np, w, state, gradient(w, X, y))
    return w


@given(workers=st.integers(1, 5), servers=st.integers(1, 4), update=updates, steps=st.integers(1, 6))
@settings(max_examples=40)
def test_bsp_with_the_mean_is_one_machine_with_the_large_batch(workers, servers, update, steps):
    """A4, H1: equal shards, so the mean of their gradients is the gradient of all rows."""
    X, y = data(6 * workers)
    run = job(X, y, update, iterations=steps).run(ps.Simulator(workers=workers, servers=servers), ps.BSP())
    np.testing.assert_allclose(run.tables["w"], serial(update, [(X, y)] * steps), rtol=1e-9, atol=1e-12)


@given(model=models, servers=st.integers(1, 4), update=updates, size=st.sampled_from([None, 1, 3]))
@settings(max_examples=40)
def test_one_worker_is_serial_descent_bit_for_bit_under_every_model(model, servers, update, size):
    X, y = data(7)
    run = job(X, y, update, batch_size=size, epochs=2).run(ps.Simulator(workers=1, servers=servers), model)
    (shard,) = ps.data.split((X, y), 1, 0)
    batches = ps.data.batches(shard, size, epochs=2)
    np.testing.assert_array_equal(run.tables["w"], serial(update, batches))


@given(model=models, update=updates, workers=st.integers(1, 4), cache=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=40)
def test_the_result_does_not_depend_on_the_number_of_servers(model, update, workers, cache, seed):
    X, y = data(8 * workers)
    made = job(X, y, update, batch_size=2)
    made.tables["w"].cache = cache
    found = [
        made.run(
            ps.Simulator(workers=workers, servers=servers, seed=seed, compute=ps.Exponential(1.0)), model
        )
        for servers in (1, 2, 5)
    ]
    for run in found[1:]:
        np.testing.assert_array_equal(run.tables["w"], found[0].tables["w"])
        assert run.seconds == found[0].seconds


@given(model=models, seed=st.integers(0, 2**32))
@settings(max_examples=20)
def test_equal_arguments_give_equal_traces_and_another_seed_does_not(model, seed):
    X, y = data(12)
    network = ps.Network(bandwidth=1e6, latency=1e-3)

    def trace(seed):
        options = {"compute": ps.Exponential(0.1), "service": ps.Exponential(0.01), "network": network}
        cluster = ps.Simulator(workers=3, servers=2, seed=seed, **options)
        return job(X, y, ps.SGD(0.1), batch_size=2).run(cluster, model).trace

    assert trace(seed).hash() == trace(seed).hash()
    assert trace(seed).hash() != trace(seed + 1).hash()


def test_start_and_run_give_the_same_trace():
    X, y = data(12)
    made, cluster = job(X, y, ps.SGD(0.1)), ps.Simulator(workers=3)
    assert made.start(cluster, ps.SSP(1)).result(30).trace.hash() == made.run(cluster, ps.SSP(1)).trace.hash()


def test_the_first_bsp_clock_costs_the_slowest_worker():
    """One constant law a worker: n rounds last n times the slowest, and the others are blocked meanwhile."""
    X, y = data(12)
    law = ps.Constant(0.25).slow({1: 4.0})
    run = job(X, y, ps.SGD(0.1), iterations=5).run(ps.Simulator(workers=3, compute=law), ps.BSP())
    assert run.seconds == 5 * 1.0
    spans = run.trace.frame
    blocked = spans[(spans["kind"] == "blocked") & (spans["node"] == "worker-0")]
    assert blocked["duration"].sum() == 4 * 0.75  # behind the last round it has ended
    assert run.trace.of("idle")["detail"].tolist() == ["finished early"] * 2


def test_a_rate_may_be_changed_and_leaves_the_job_alone():
    X, y = data(4)
    one = job(X, y, ps.SGD(0.5))
    other = one.with_rate(0.25)
    assert (one.rate, other.rate) == (0.5, 0.25)
    assert one.tables["w"].update == ps.SGD(0.5)
    assert job(X, y, ps.Add()).with_rate(0.1).rate is None


def test_a_job_and_its_run_say_what_they_are():
    X, y = data(4)
    made = job(X, y, ps.SGD(0.5), batch_size=2, name="least squares")
    assert repr(made) == "<Job least squares: descend; tables w; mini-batch of 2>"
    assert job(X, y, ps.SGD(0.5)).iteration_unit == "one pass over a worker's data"
    run = made.run(ps.Simulator(workers=2), ps.SSP(1))
    assert repr(run).startswith("<Run of least squares: SSP(1) on simulator, 2 workers, 0.1 simulated s")
    meta = run.meta
    assert (meta["model_label"], meta["workers"], meta["aggregate"]) == (
        "SSP(1)",
        ["worker-0", "worker-1"],
        "mean",
    )


@pytest.mark.parametrize("count", [1, 3])
def test_the_model_is_bsp_unless_told(count):
    X, y = data(6)
    assert job(X, y, ps.SGD(0.5)).run(ps.Simulator(workers=count)).meta["model_label"] == "BSP"


def test_nothing_is_recorded_behind_the_end_of_a_run():
    """Though the controller, a message away, learns of it later."""
    X, y = data(6)
    made = job(X, y, ps.SGD(0.5), evaluate=lambda w: float(w.sum()), every=5)
    run = made.run(ps.Simulator(workers=2, network=ps.Network(latency=1.0), compute=1.0), ps.BSP())
    rows = run.trace.frame
    assert (rows["time"] + rows["duration"]).max() == run.seconds == 2.0 + 1.0 + 2.0
    assert run.history["updates"].tolist() == [0, 1]
