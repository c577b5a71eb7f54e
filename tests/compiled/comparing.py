"""What the tests of the compiled engine share: jobs of many kinds, and two runs held side by side."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

import psbook as ps

RNG = np.random.default_rng(0)
X = RNG.normal(size=(97, 5)).astype("float32")
Y = (X @ np.arange(1.0, 6.0) + RNG.normal(size=97)).astype("float32")
SHARDS = [(X[:41], Y[:41]), (X[41:48], Y[41:48]), (X[48:], Y[48:])]
"""Uneven: 41, 7 and 49 rows."""

TREE = {
    "hidden": (0.3 * RNG.normal(size=(5, 4))).astype("float32"),
    "out": (0.3 * RNG.normal(size=4)).astype("float32"),
    "bias": np.zeros((), "float32"),
}


def least_squares(w, batch):
    rows, y = batch
    error = rows @ w - y
    return 0.5 * jnp.mean(error**2), rows.T @ error / len(y)


def two_tables(w, shift, batch):
    rows, y = batch
    error = rows @ w + shift[0] - y
    return 0.5 * jnp.mean(error**2), (rows.T @ error / len(y), jnp.full(2, jnp.mean(error)))


def network(tree, batch):
    rows, y = batch

    def loss(tree):
        return jnp.mean((jnp.tanh(rows @ tree["hidden"]) @ tree["out"] + tree["bias"] - y) ** 2)

    return jax.value_and_grad(loss)(tree)


def mean_square(w):
    return float(np.mean((X @ w - Y) ** 2))


def of_two(w, shift, unused):
    return float(np.mean((X @ w + shift[0] - Y) ** 2)) + float(unused.sum())


def normal(rng, shape):
    return rng.normal(size=shape)


def square(update, loop=None, **options):
    """A job of least squares with one table."""
    table = ps.Table(5, update=update)
    return ps.Job(loop or ps.Loop(least_squares), tables={"w": table}, evaluate=mean_square,
                  **{"data": (X, Y), "batch_size": 8, "iterations": 7, **options})  # fmt: skip


JOBS = {
    "plain": square(ps.SGD(0.05)),
    "uneven": square(ps.SGD(0.05), data=SHARDS, iterations=None, epochs=2),
    "accruing": square(ps.Momentum(0.05), ps.Loop(least_squares, n_fetch=2, n_push=3, local=0.05),
                       data=SHARDS, iterations=None, epochs=2, every=2),
    "local SGD": square(ps.SGD(0.05), ps.Loop(least_squares, n_fetch=4, n_push=4, first_push=3, local=0.05),
                        iterations=11, every=4),
    "rare reads": square(ps.Adagrad(0.05), ps.Loop(least_squares, n_fetch=3), batch_size=None, every=5),
    "server-side Adam, two tables": ps.Job(
        ps.Loop(two_tables, pull=("w", "shift")),
        tables={"w": ps.Table(5, update=ps.Adam(0.05)), "shift": ps.Table(2, update=ps.SGD(0.1), init=normal),
                "unused": ps.Table(3)},
        data=(X, Y), batch_size=8, iterations=7, evaluate=of_two, every=5,
    ),
    "network": ps.Job(
        ps.Loop(network), tables={"w": ps.Table.of(TREE, update=ps.Optax(optax.adamw(0.05)))}, data=(X, Y),
        batch_size=16, iterations=6,
    ),
    "assigning": ps.Job(
        ps.Loop(least_squares, push="last"),
        tables={"w": ps.Table(5, init=1.0), "last": ps.Table(5, update=ps.Assign())}, data=(X, Y),
        batch_size=16, iterations=6,
    ),
}  # fmt: skip

GATED = [
    ps.BSP(),
    ps.SSP(0),
    ps.SSP(2),
    ps.SSP(1, gate="clock"),
    ps.BoundedDelay(0),
    ps.BoundedDelay(2),
    ps.ASP(),
    ps.PSP(0, beta=1),
    ps.PSP(1, beta=2, seed=3),
]
ROUNDS = [ps.KSync(2), ps.KSync(3), ps.KBatchSync(2), ps.KAsync(2), ps.KBatchAsync(2), ps.BackupWorkers(1)]
LAWS = [ps.Exponential(0.1), ps.Constant(0.1), ps.LogNormal(0.1, 0.5).spells(0.1, 4.0, 2).slow({1: 1.7})]


def both(job, model, **cluster):
    """Run a job on both engines."""
    compiled = ps.Simulator(**{"trace": "iterations", **cluster}, engine="compiled")
    return job.run(dataclasses.replace(compiled, engine="messages"), model), job.run(compiled, model)


def leaves(value):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(value)])


COLUMNS = [
    "node",
    "kind",
    "peer",
    "table",
    "shard",
    "start",
    "stop",
    "clock",
    "version",
    "staleness",
    "detail",
]


def rows(run):
    """Rows of a trace in an order that does not depend on which of two at one time was written first."""
    frame = run.trace.frame
    frame = frame[(frame["duration"] == 0) | (frame["duration"] > 1e-9)].copy()
    frame["at"] = frame["time"].round(9)
    return frame.sort_values(["at", "node", "kind", "clock", "peer", "table", "shard"], kind="stable")


def assert_same(messages, compiled, ids=True):
    """Check that two runs are one: the same events in the same order, times to 1e-12, numbers to rounding."""
    assert messages.meta["engine"] == "messages"
    assert compiled.meta["engine"] == "compiled"
    one, other = rows(messages), rows(compiled)
    columns = COLUMNS + ["message", "cause"] * ids
    assert one[columns].to_numpy().tolist() == other[columns].to_numpy().tolist()
    end = messages.seconds
    np.testing.assert_allclose(compiled.seconds, end, rtol=1e-12)
    np.testing.assert_allclose(other["time"], one["time"], rtol=1e-12, atol=1e-12 * end)
    np.testing.assert_allclose(other["duration"], one["duration"], rtol=1e-9, atol=1e-12 * end)
    np.testing.assert_allclose(other["value"], one["value"], rtol=2e-4, atol=1e-5)
    for shard in range(len(messages.meta["servers"])):
        orders = [run.trace.of("apply") for run in (messages, compiled)]
        orders = [order[order["shard"] == shard][["peer", "table", "clock", "version"]] for order in orders]
        assert orders[0].to_numpy().tolist() == orders[1].to_numpy().tolist()
    for name, value in messages.tables.items():
        np.testing.assert_allclose(leaves(compiled.tables[name]), leaves(value), rtol=2e-4, atol=2e-5)
