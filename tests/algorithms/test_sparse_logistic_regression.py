"""Sparse logistic regression: the serial arithmetic, scikit-learn's quality, and who sees what when."""

import numpy as np
import pytest
from scipy import sparse
from scipy.special import expit
from sklearn.linear_model import SGDClassifier

import psbook as ps
from psbook.algorithms import SparseLogisticRegression, sparse_logistic_regression
from psbook.algorithms.sparse_logistic_regression import SparseObjective
from psbook.assembly import SparseRows
from psbook.datasets import make_classification_sparse
from psbook.errors import InvalidJob
from psbook.kernels import SparseBlocks

MODELS = [ps.BSP(), ps.SSP(2), ps.ASP()]


@pytest.fixture(scope="module")
def data():
    return make_classification_sparse(6000, features=3000, nnz=20, seed=1)


@pytest.fixture(scope="module")
def dask_workers():
    with ps.Dask(workers=2, servers=2, seed=3).opened() as cluster:
        yield cluster


@pytest.fixture(params=["simulator", pytest.param("dask", marks=pytest.mark.dask)])
def cluster(request):
    if request.param == "dask":
        return request.getfixturevalue("dask_workers")
    return ps.Simulator(workers=2, servers=2, compute=ps.Exponential(0.1), seed=3)


@pytest.mark.parametrize("table", [ps.Table, ps.Table.sparse])
def test_one_worker_takes_the_steps_of_plain_gradient_descent(table):
    X, y = make_classification_sparse(50, features=200, nnz=8, seed=2, return_X_y=True)
    blocks = SparseBlocks.of(X, y, size=10, seed=4)
    job = ps.Job(
        SparseLogisticRegression(l2=0.1),
        tables={"w": table(200, update=ps.SGD(0.5))},
        data=blocks,
        batch_size=1,
        epochs=1,
    )
    run = job.run(ps.Simulator(workers=1), ps.BSP())
    w = np.zeros(200)
    order = ps.data.split(blocks, 1, 0)[0]
    for batch in ps.data.batches(order, 1, epochs=1, seed=0, worker=0):
        block = batch[0]
        rows = np.zeros((len(block), 200))
        rows[:, block.keys] = block.rows.toarray()
        gradient = rows.T @ (expit(rows @ w) - block.y) / len(block)
        gradient[block.keys] += 0.1 * w[block.keys]  # the penalty of the block's keys, each time it comes
        w -= 0.5 * gradient
    found = run.tables["w"]
    if isinstance(found, SparseRows):
        assert np.isin(np.flatnonzero(w), found.keys).all()
        found, touched = np.zeros(200), found
        found[touched.keys] = touched.values
    np.testing.assert_allclose(found, w, atol=1e-6)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.label)
def test_quality_is_scikit_learns(cluster, model, data):
    job = sparse_logistic_regression(
        data.X_train, data.y_train, data.X_test, data.y_test, batch_size=64, epochs=5, every=40
    )
    run = job.run(cluster, model)
    known = SGDClassifier(loss="log_loss", alpha=1e-4, random_state=0, max_iter=20, tol=None)
    known.fit(data.X_train, data.y_train)
    held_out = SparseObjective(data.X_test, data.y_test)
    assert held_out.accuracy(run.tables["w"]) >= known.score(data.X_test, data.y_test) - 0.01
    assert held_out.auc(run.tables["w"]) > 0.8
    assert run.loss == pytest.approx(held_out(run.tables["w"]))


def pulls(run):
    """Clock of each worker's pulls, in order."""
    frame = run.trace.frame
    rows = frame[(frame.kind == "pull") | ((frame.kind == "send") & (frame.detail == "Pull"))]
    return {node: group.clock.tolist() for node, group in rows.groupby("node")}


@pytest.mark.parametrize(("model", "ahead"), [(ps.ASP(), True), (ps.SSP(1), True), (ps.BSP(), False)])
def test_it_reads_ahead_where_the_model_lets_it(model, ahead, data):
    X, y = data.data[:400], data.target[:400]
    cluster = ps.Simulator(workers=2, compute=ps.Constant(1.0), network=ps.Network(latency=0.1), seed=1)
    job = sparse_logistic_regression(X, y, batch_size=40, epochs=1)
    run = job.run(cluster, model)
    for clocks in pulls(run).values():
        assert len(clocks) == 5  # once for each block, whoever asked when
        assert clocks == ([0, 0, 1, 2, 3] if ahead else [0, 1, 2, 3, 4])
    spent = run.trace.frame.groupby("kind").duration.sum()
    waited = 2 * 0.2 * (1 if ahead else 5)  # there and back, for the first block only or for each
    assert spent["network"] >= waited - 1e-9
    if ahead:
        assert spent["network"] < 2 * 0.2 * 2


def test_rows_that_come_as_they_are_give_blocks_of_their_own(data):
    X, y = data.data[:600], data.target[:600]
    for ahead in (True, False):
        job = ps.Job(
            SparseLogisticRegression(read_ahead=ahead),
            tables={"w": ps.Table(X.shape[1], update=ps.Adagrad(0.1))},
            data=(X, y),
            batch_size=50,
            epochs=4,
        )
        run = job.run(ps.Simulator(workers=2), ps.ASP())
        reports = run.reports[run.reports.name == "batch_loss"].value
        assert reports[-12:].mean() < 0.8 * reports[:4].mean()


def test_only_the_keys_of_a_batch_travel():
    X, y = make_classification_sparse(200, features=10**6, nnz=10, seed=5, return_X_y=True)
    job = sparse_logistic_regression(X, y, X, y, batch_size=50, epochs=1)
    run = job.run(ps.Simulator(workers=2, servers=2), ps.ASP())
    frame = run.trace.frame
    largest = frame[(frame.kind == "send") & frame.node.str.startswith("worker")].bytes.max()
    assert largest <= 48 + 50 * 10 * (8 + 4)


@pytest.mark.parametrize("wrong", [{"l2": -1.0}, {"l2": float("nan")}, {"batch_size": 0}])
def test_numbers_without_sense_are_refused(wrong):
    with pytest.raises(InvalidJob, match="required"):
        sparse_logistic_regression(sparse.csr_array(np.eye(3)), [0, 1, 1], **wrong)


def test_dense_rows_are_referred_elsewhere():
    with pytest.raises(InvalidJob, match="Dense rows go to logistic_regression"):
        sparse_logistic_regression(np.eye(3), [0, 1, 1])
