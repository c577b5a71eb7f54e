"""The job that every cluster of these tests has to do: least squares, whose solution is known."""

import numpy as np

import psbook as ps

SIZE = 20


def data():
    """Rows and targets of a noiseless least-squares problem, and its solution."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((240, SIZE))
    solution = rng.standard_normal(SIZE)
    return X, X @ solution, solution


async def descend(worker):
    for X, y in worker.batches():
        w = await worker.pull("w")
        worker.push("w", X.T @ (X @ w - y) / len(y))
        await worker.clock()


def least_squares(epochs=20):
    """Plain gradient descent on the rows, in batches."""
    X, y, _ = data()
    table = ps.Table(SIZE, update=ps.SGD(0.1), dtype="float64")
    return ps.Job(
        descend, data=(X, y), tables={"w": table}, batch_size=20, epochs=epochs,
        evaluate=lambda w: float(np.mean((X @ w - y) ** 2)),
    )  # fmt: skip


def assert_learned(run):
    """The solution was found, and the run kept what its model promises."""
    assert np.abs(run.tables["w"] - data()[2]).max() < 0.05
    assert run.check().ok
