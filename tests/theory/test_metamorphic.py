"""What must not change, or must change in a known way, when the question is turned around."""

import numpy as np
import pytest

import psbook as ps
from psbook.data import batches, split
from tests.theory.programs import loop_job, number, run_loop

MODELS = [ps.BSP(), ps.SSP(0), ps.SSP(2), ps.SSP(1, gate="clock"), ps.BoundedDelay(2), ps.ASP(), ps.Serial()]
LABELS = [model.label for model in MODELS]


@pytest.mark.parametrize("model", MODELS, ids=LABELS)
def test_doubling_all_times_doubles_every_time_and_changes_nothing_else(model):
    """A power of two: to the bit."""
    once = {"compute": ps.Exponential(1.0), "service": ps.Exponential(0.05),
            "network": ps.Network(bandwidth=8000.0, latency=0.02)}  # fmt: skip
    twice = {"compute": ps.Exponential(2.0), "service": ps.Exponential(0.1),
             "network": ps.Network(bandwidth=4000.0, latency=0.04)}  # fmt: skip
    job = loop_job(25, keys=3)
    slow, fast = (
        job.run(ps.Simulator(workers=4, servers=3, seed=5, **world), model).trace.frame for world in (twice,
        once)
    )
    for timed in ("time", "duration"):
        np.testing.assert_array_equal(slow[timed], 2 * fast[timed])
    held = slow["kind"] == "release"
    np.testing.assert_array_equal(slow["value"][held], 2 * fast["value"][held])
    same = [name for name in slow.columns if name not in ("time", "duration", "value")]
    assert slow[same].equals(fast[same])


@pytest.mark.parametrize("model", [m for m in MODELS if not isinstance(m, ps.Serial)], ids=LABELS[:-1])
def test_permuting_the_workers_with_their_luck_permutes_the_trace(model):
    order = [2, 0, 3, 1]
    law = ps.Exponential(1.0).slow({2: 1.5})
    plain, permuted = (run_loop(model, each, 4, 30, seed=8).trace.frame for each in (law, law.swapped(order)))
    columns = ["time", "kind", "node", "peer", "duration", "clock", "version", "staleness"]

    def rows(frame, names):
        """Rows as tuples under the names of the plain run; ties in time have no order of their own."""
        named = frame.assign(node=frame["node"].map(names), peer=frame["peer"].map(names))
        return sorted(named[columns].itertuples(index=False, name=None))

    def renamed(name):
        return f"worker-{order[number(name)]}" if name.startswith("worker") else name

    assert rows(permuted, renamed) == rows(plain, str)


@pytest.mark.parametrize("servers", [1, 3])
def test_asp_is_ssp_without_a_bound(servers):
    """A5: equal traces apart from the model's name."""
    job = loop_job(30, keys=3)
    cluster = ps.Simulator(workers=5, servers=servers, compute=ps.Exponential(1.0), seed=3,
                           network=ps.Network(bandwidth=5000.0, latency=0.01))  # fmt: skip
    asp, ssp = (job.run(cluster, model).trace for model in (ps.ASP(), ps.SSP(float("inf"))))
    assert asp.hash() == ssp.hash()
    assert asp.meta["model_label"] != ssp.meta["model_label"]
    assert job.run(cluster, ps.SSP(1)).trace.hash() != asp.hash()


# Numbers: least squares, whose gradient is written out here

RNG = np.random.default_rng(3)
X = RNG.normal(size=(64, 5))
y = X @ RNG.normal(size=5) + 0.1 * RNG.normal(size=64)


def gradient(w, batch):
    features, target = batch
    return features.T @ (features @ w - target) / len(target)


def least_squares(**options):
    async def train(worker):
        for batch in worker.batches():
            w = await worker.pull("w")
            worker.push("w", await worker.compute(gradient, w, batch))
            await worker.clock()

    table = ps.Table(5, update=ps.SGD(0.1), dtype="float64")
    return ps.Job(train, data=(X, y), tables={"w": table}, **options)


@pytest.mark.parametrize("model", MODELS, ids=LABELS)
def test_one_worker_is_serial_sgd_to_the_bit(model):
    job = least_squares(batch_size=10, iterations=40)
    run = job.run(ps.Simulator(workers=1, servers=2, compute=ps.Exponential(1.0), seed=2), model)
    w = np.zeros(5)
    for batch in batches(split((X, y), 1, 2)[0], 10, iterations=40, seed=2, worker=0):
        w = w - 0.1 * gradient(w, batch)
    np.testing.assert_array_equal(run.tables["w"], w)


def test_bsp_is_serial_gradient_descent_on_the_large_batch():
    """A4, H1: n equal shards, averaged, are the whole."""
    run = least_squares(iterations=30).run(ps.Simulator(workers=8, servers=3), ps.BSP())
    w = np.zeros(5)
    for _ in range(30):
        w = w - 0.1 * gradient(w, (X, y))
    np.testing.assert_allclose(run.tables["w"], w, rtol=1e-12)


def test_summed_bsp_is_n_times_the_learning_rate():
    cluster = ps.Simulator(workers=4)
    mean = least_squares(iterations=10).with_rate(0.1).run(cluster, ps.BSP())
    summed = least_squares(iterations=10, aggregate="sum").with_rate(0.025).run(cluster, ps.BSP())
    np.testing.assert_allclose(summed.tables["w"], mean.tables["w"], rtol=1e-12)


def test_serial_is_serial_sgd_in_the_order_of_clocks_and_workers():
    """A0."""
    job = least_squares(batch_size=8, iterations=6)
    run = job.run(ps.Simulator(workers=3, servers=2, compute=ps.Exponential(1.0), seed=4), ps.Serial())
    streams = [
        batches(shard, 8, iterations=6, seed=4, worker=k) for k, shard in enumerate(split((X, y), 3, 4))
    ]
    w = np.zeros(5)
    for turn in zip(*streams, strict=True):
        for batch in turn:
            w = w - 0.1 * gradient(w, batch)
    np.testing.assert_array_equal(run.tables["w"], w)


@pytest.mark.parametrize("model", MODELS, ids=LABELS)
def test_the_number_of_servers_changes_neither_times_nor_values(model):
    """Where messages cost nothing; an SGD step is row by row, so that equality is to the bit."""
    job = least_squares(batch_size=8, iterations=20)
    law = ps.Exponential(1.0)
    runs = [job.run(ps.Simulator(workers=4, servers=P, compute=law, seed=1), model) for P in (1, 2, 5)]
    clocks = [run.trace.of("clock")[["time", "node", "clock"]].to_numpy().tolist() for run in runs]
    for run, found in zip(runs, clocks, strict=True):
        np.testing.assert_array_equal(run.tables["w"], runs[0].tables["w"])
        assert found == clocks[0]
