"""Elastic averaging: the fixed point and the rates of its linear recursion, and the algorithm by hand."""

import numpy as np
import pytest

import psbook as ps
from psbook.algorithms import ElasticAveraging
from psbook.errors import InvalidJob, PsbookError

RATE, ALPHA = 0.125, 0.2
TIMES = [1.0, 1.37, 1.83]


def kernel(x, batch):
    """Loss and gradient of ½ (x − mean of the batch)²."""
    return 0.5 * float(((x - batch.mean()) ** 2).sum()), x - batch.mean()


def job(data, iterations, program=None, **table):
    tables = {"w": ps.Table(2, dtype="float64", **table)}
    program = program or ElasticAveraging(kernel, RATE, ALPHA)
    return ps.Job(program, tables=tables, data=data, batch_size=1, iterations=iterations)


def copies(run):
    return np.array([run.results[name][0] for name in sorted(run.results)])


def test_the_fixed_point_is_between_the_workers_optima_and_their_mean():
    """η (xⁱ − bⁱ) + α (xⁱ − c) = 0 and Σ (xⁱ − c) = 0, so c is the mean of all bⁱ."""
    optima = np.array([-1.0, 0.5, 2.0, 4.5])
    run = job([np.full(1, b) for b in optima], 400, init=9.0).run(ps.Simulator(workers=4), ps.BSP())
    np.testing.assert_allclose(run.tables["w"], optima.mean(), rtol=1e-9)
    between = (RATE * optima + ALPHA * optima.mean()) / (RATE + ALPHA)
    np.testing.assert_allclose(copies(run), between, rtol=1e-9)


def test_copies_agree_at_the_rate_of_gradient_and_spring():
    """With one optimum, xⁱ − xʲ shrinks by 1 − η − α in each synchronous step."""

    class Program(ElasticAveraging):
        async def __call__(self, worker):
            worker.saved = [np.full(2, float(worker.rank))], [np.zeros(2)]
            return await super().__call__(worker)

    for steps in (1, 7, 80):
        run = job([np.zeros(1)] * 3, steps, Program(kernel, RATE, ALPHA)).run(
            ps.Simulator(workers=3), ps.BSP()
        )
        gaps = np.diff(copies(run))
        np.testing.assert_allclose(gaps, (1 - RATE - ALPHA) ** steps, rtol=1e-9, atol=1e-15)
    assert np.ptp(copies(run)) < 1e-12


@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("period", [1, 3])
def test_it_is_algorithms_1_and_2_of_the_paper_event_by_event(period, momentum):
    """Worker i reads and pushes at i's multiples of its own constant time, and messages take none."""
    steps, workers = 9, len(TIMES)
    data = [np.linspace(-1, 1, steps) * (rank + 1) for rank in range(workers)]
    program = ElasticAveraging(kernel, RATE, ALPHA, period, momentum)
    law = ps.Constant(1.0).slow(dict(enumerate(TIMES)))
    run = job(data, steps, program, init=0.7).run(
        ps.Simulator(workers=workers, compute=law, seed=4), ps.ASP()
    )
    # The batches' order is luck of the run: ask for it.
    kept = job(data, steps, record).run(ps.Simulator(workers=workers, seed=4), ps.ASP()).results

    center, x, v = 0.7, [0.7] * workers, [0.0] * workers
    events = sorted((step * TIMES[rank], rank, step) for rank in range(workers) for step in range(steps))
    for _, rank, step in events:
        before = x[rank]
        if step % period == 0:
            move = ALPHA * (x[rank] - center)
            x[rank] -= move
            center += move
        gradient = before + momentum * v[rank] - kept[f"worker-{rank}"][step]
        v[rank] = momentum * v[rank] - RATE * gradient
        x[rank] += v[rank]
    np.testing.assert_allclose(run.tables["w"], center, rtol=1e-12)
    np.testing.assert_allclose(copies(run), x, rtol=1e-12)


async def record(worker):
    """Return the batches of a worker, one number each."""
    return [batch.mean() for batch in worker.batches()]


def test_a_pytree_and_several_tables_are_the_same_algorithm():
    data = [np.linspace(-1, 1, 6) * (rank + 1) for rank in range(3)]

    def of_tree(tree, other, batch):
        loss, left = kernel(tree["a"], batch)
        return loss, ({"a": left, "b": kernel(tree["b"], batch)[1]}, kernel(other, batch)[1])

    tables = {
        "tree": ps.Table.of({"a": np.zeros(1), "b": np.zeros(1)}, dtype="float64"),
        "other": ps.Table(2, dtype="float64"),
    }
    program = ElasticAveraging(of_tree, RATE, ALPHA, 2, 0.5, center=("tree", "other"))
    cluster = ps.Simulator(workers=3, servers=2, compute=ps.Exponential(1.0))
    both = ps.Job(program, tables=tables, data=data, batch_size=1, iterations=6).run(cluster, ps.ASP())
    one = job(data, 6, ElasticAveraging(kernel, RATE, ALPHA, 2, 0.5)).run(cluster, ps.ASP())
    np.testing.assert_array_equal(both.tables["other"], one.tables["w"])
    for leaf in ("a", "b"):
        np.testing.assert_array_equal(both.tables["tree"][leaf], one.tables["w"][:1])
    tree, other = both.results["worker-1"]
    np.testing.assert_array_equal(other, one.results["worker-1"])
    np.testing.assert_array_equal(tree["b"], other[:1])


def test_copies_and_velocities_are_restored_from_a_checkpoint(tmp_path):
    data = [np.linspace(-1, 1, 12) * (rank + 1) for rank in range(3)]
    program = ElasticAveraging(kernel, RATE, ALPHA, 2, 0.5)
    cluster = ps.Simulator(workers=3, compute=ps.Exponential(1.0))
    saving = ps.Simulator(
        workers=3, compute=ps.Exponential(1.0), checkpoints=ps.Checkpoints(tmp_path, every=5)
    )
    whole = job(data, 12, program).run(saving, ps.BSP())
    resumed = job(data, 12, program).resume(tmp_path, cluster, ps.BSP(), number=5)
    np.testing.assert_array_equal(resumed.tables["w"], whole.tables["w"])
    np.testing.assert_array_equal(copies(resumed), copies(whole))


def test_a_worker_that_crashes_goes_on_with_its_copy():
    """Under BSP the run is the one without a crash: the copy and its velocity came back."""
    data = [np.linspace(-1, 1, 12) * (rank + 1) for rank in range(3)]
    program = ElasticAveraging(kernel, RATE, ALPHA, 2, 0.5)
    faults = ps.Faults(ps.Crash("worker-1", at=4.4, restart=0.5), ps.Crash("worker-2", at=8.1, restart=0.5))
    options = {"workers": 3, "compute": ps.Exponential(1.0)}
    broken = job(data, 12, program).run(ps.Simulator(faults=faults, **options), ps.BSP())
    whole = job(data, 12, program).run(ps.Simulator(**options), ps.BSP())
    assert len(broken.trace.of("restart")) == 2
    np.testing.assert_array_equal(broken.tables["w"], whole.tables["w"])
    np.testing.assert_array_equal(copies(broken), copies(whole))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"rate": 0}, "rate"),
        ({"alpha": 1.0}, "alpha"),
        ({"alpha": 0}, "alpha"),
        ({"momentum": 1.0}, "momentum"),
        ({"period": 0}, "period"),
        ({"period": True}, "period"),
        ({"kernel": 3}, "kernel"),
    ],
)
def test_bad_numbers_are_refused_by_name(options, word):
    with pytest.raises(InvalidJob, match=rf"{word}=.*required"):
        ElasticAveraging(**{"kernel": kernel, "rate": 0.1, "alpha": 0.1, **options})


@pytest.mark.parametrize("table", [{"update": ps.SGD(0.1)}, {"aggregate": "mean"}], ids=str)
def test_a_center_that_does_not_add_is_refused(table):
    with pytest.raises(PsbookError, match=r"table 'w'.*required: update=ps.Add\(\) and sums"):
        job([np.zeros(1)] * 2, 3, **table).run(ps.Simulator(workers=2), ps.BSP())
