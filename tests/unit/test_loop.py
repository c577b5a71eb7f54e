"""`Loop` against Downpour written down in plain numpy (Dean et al. 2012, Algorithm 7.1; semantics.md F)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import psbook as ps
from psbook.data import batches, split
from psbook.errors import InvalidJob, ProgramError

RATE, SEED = 0.125, 3


def kernel(w, batch):
    """Least squares: half the mean squared error, and its gradient."""
    X, y = batch
    error = X @ w - y
    return 0.5 * float(np.mean(error**2)), X.T @ error / len(y)


def problem(workers, rows=6, features=3):
    rng = np.random.default_rng(5)
    X = rng.normal(size=(workers * rows, features))
    return X, X @ np.arange(1.0, features + 1) + rng.normal(size=workers * rows)


def downpour(data, workers, steps, size, n_fetch, n_push, local):
    """All workers in step, as BSP has them: what is pushed in a step is there in the next one."""
    shards = split(data, workers, SEED)
    rows = [
        list(batches(shard, size, iterations=steps, seed=SEED, worker=rank))
        for rank, shard in enumerate(shards)
    ]
    server = np.zeros(data[0].shape[1])
    parameters = [server] * workers
    accrued = [np.zeros_like(server) for _ in range(workers)]
    for step in range(steps):
        arriving = np.zeros_like(server)
        for rank in range(workers):
            if step % n_fetch == 0:
                parameters[rank] = server
            _, gradient = kernel(parameters[rank], rows[rank][step])
            accrued[rank] = accrued[rank] + gradient
            if local:
                parameters[rank] = parameters[rank] - local * gradient
            if step % n_push == 0:
                arriving += accrued[rank]
                accrued[rank] = np.zeros_like(server)
        server = server - RATE * arriving / workers
    return server - RATE * sum(accrued) / workers


@given(
    workers=st.integers(1, 3),
    steps=st.integers(1, 9),
    size=st.sampled_from([None, 1, 4]),
    n_fetch=st.integers(1, 4),
    n_push=st.integers(1, 4),
    local=st.sampled_from([None, 0.25]),
    servers=st.integers(1, 3),
)
def test_loop_is_downpour(workers, steps, size, n_fetch, n_push, local, servers):
    data = problem(workers)
    job = ps.Job(
        ps.Loop(kernel, n_fetch=n_fetch, n_push=n_push, local=local), data=data, batch_size=size,
        iterations=steps, tables={"w": ps.Table(3, update=ps.SGD(RATE), dtype="float64")},
    )  # fmt: skip
    run = job.run(ps.Simulator(workers=workers, servers=servers, seed=SEED), ps.BSP())
    expected = downpour(data, workers, steps, size, n_fetch, n_push, local)
    np.testing.assert_allclose(run.tables["w"], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("n_fetch", "n_push"), [(1, 1), (3, 2), (5, 4)])
def test_both_fire_at_step_0_and_the_rest_is_pushed_at_the_end(n_fetch, n_push):
    job = ps.Job(
        ps.Loop(kernel, n_fetch=n_fetch, n_push=n_push), data=problem(1), batch_size=1, iterations=8,
        tables={"w": ps.Table(3, update=ps.SGD(RATE))},
    )  # fmt: skip
    trace = job.run(ps.Simulator(workers=1), ps.ASP()).trace
    pushed = trace.of("apply")["clock"].tolist()
    assert pushed == [*range(0, 8, n_push), *([8] if 7 % n_push else [])]
    sent = trace.of("receive")
    assert sent[sent["detail"] == "Pull"]["clock"].tolist() == list(range(0, 8, n_fetch))


def test_the_loss_of_each_batch_is_reported():
    data = problem(1)
    job = ps.Job(ps.Loop(kernel), data=data, tables={"w": ps.Table(3, update=ps.SGD(RATE))}, iterations=3)
    reports = job.run(ps.Simulator(workers=1)).trace.of("report")
    assert reports["detail"].tolist() == ["batch_loss"] * 3
    assert reports["value"].iloc[0] == pytest.approx(0.5 * np.mean(data[1] ** 2))


def test_several_tables_pytrees_and_others_pushed_than_pulled():
    import jax.numpy as jnp

    def both(params, scale, batch):
        return 0.0, ({"a": params["a"] * 0 + 1, "b": [jnp.ones(1)]}, np.array([len(batch)]))

    tables = {
        "params": ps.Table.of({"a": jnp.zeros((2, 2)), "b": [jnp.zeros(1)]}),
        "scale": ps.Table(1),
        "rows": ps.Table(1, dtype="int64"),
    }
    loop = ps.Loop(both, pull=("params", "scale"), push=("params", "rows"), n_push=2)
    run = ps.Job(loop, tables=tables, data=np.arange(12), batch_size=2).run(ps.Simulator(workers=2), ps.BSP())
    assert run.tables["rows"].tolist() == [12]
    np.testing.assert_array_equal(run.tables["params"]["a"], np.full((2, 2), 6.0))
    assert run.tables["scale"].tolist() == [0.0]


def test_a_loop_compiles_where_it_will_run_before_clock_0():
    shapes = []

    def remember(w, batch):
        shapes.append(batch.shape)
        return 0.0, w

    loop = ps.Loop(remember)
    ps.Job(loop, tables={"w": ps.Table(2)}, data=np.arange(10), batch_size=4).run(ps.Simulator(workers=1))
    assert shapes == [(4,), (4,), (4,), (2,)]  # the first of them before clock 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_fetch": 0}, r"Loop\(n_fetch=0\)"),
        ({"n_push": 1.5}, r"Loop\(n_push=1.5\)"),
        ({"n_push": True}, r"Loop\(n_push=True\)"),
        ({"local": 0.0}, "a rate > 0"),
        ({"local": -1.0}, "a rate > 0"),
        ({"local": 0.1, "push": "v"}, "other tables pushed than pulled"),
        ({"kernel": 3}, r"Loop\(kernel=3\)"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(InvalidJob, match=message):
        ps.Loop(**{"kernel": kernel, **options})


def test_a_kernel_with_too_few_gradients_is_named():
    loop = ps.Loop(lambda w, v, batch: (0.0, (w,)), pull=("w", "v"))
    job = ps.Job(loop, tables={"w": ps.Table(2), "v": ps.Table(2)}, data=np.arange(4))
    with pytest.raises(ProgramError, match="ValueError"):
        job.run(ps.Simulator(workers=2))
