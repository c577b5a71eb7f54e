"""Logistic regression by mini-batch gradients, dense or sparse (Li et al. 2014, §2.2 and Algorithm 1).

A worker pulls the weights that its batch needs, computes the gradient with JAX, and pushes it; the server's
update function takes the step.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.special import log_softmax

from psbook.data import whole
from psbook.errors import InvalidJob
from psbook.job import Job
from psbook.kernels import Padding, accuracy, auc, log_loss, logistic, logistic_sparse, softmax, warm_up
from psbook.loop import Loop
from psbook.table import Table
from psbook.updates import SGD, FTRLProximal, Update
from psbook.worker import Batching, Worker


def logistic_regression(
    X: Any,
    y: ArrayLike,
    X_test: Any = None,
    y_test: ArrayLike | None = None,
    *,
    rate: float = 0.5,
    l1: float = 0.0,
    l2: float = 0.0,
    update: Update | None = None,
    batch_size: int = 32,
    epochs: int = 10,
    iterations: int | None = None,
    **options: Any,
) -> Job:
    """Return a job that fits weights ``w`` of shape (features,) to labels 0 and 1.

    Parameters
    ----------
    X
        Rows, a dense array or a scipy sparse matrix of shape (n, features). Of sparse rows only the weights
        that a batch touches travel.
    y
        Labels, 0 or 1.
    X_test, y_test
        Held-out rows for the objective, by default the training rows.
    rate
        Learning rate of the update function.
    l1, l2
        Penalties. An `l1` > 0 makes the update FTRL-proximal (McMahan et al. 2013), whose weights are sparse.
    update
        Another update function, instead of `SGD`.
    batch_size, epochs, iterations
        Rows of a mini-batch, passes over the data, or mini-batches of each worker.
    **options
        Further arguments of `psbook.Job`.

    Raises
    ------
    InvalidJob
        If a rate, penalty or count makes no sense.

    Examples
    --------
    >>> import psbook as ps
    >>> from psbook.datasets import load_breast_cancer
    >>> data = load_breast_cancer()
    >>> job = logistic_regression(data.X_train, data.y_train, data.X_test, data.y_test, epochs=3)
    >>> run = job.run(ps.Simulator(workers=4), ps.SSP(1))
    >>> run.loss < 0.15
    True
    """
    X_test, y_test = (X, y) if X_test is None or y_test is None else (X_test, y_test)
    if update is None:
        update = FTRLProximal(alpha=rate, l1=l1, l2=l2) if l1 else SGD(rate)
    if not 0 <= l2 < np.inf:
        raise InvalidJob(f"l2={l2!r}; required: a finite number >= 0.")
    is_sparse = sparse.issparse(X)
    program = (
        SparseProgram(batch_size, l2) if is_sparse else Loop(partial(dense_gradient, l2=0.0 if l1 else l2))
    )
    settings: dict[str, Any] = {"name": "logistic regression", **options}
    return Job(
        program,
        tables={"w": Table((X.shape[1],), update=update)},
        data=(sparse.csr_array(X) if is_sparse else np.asarray(X, np.float32), np.asarray(y)),
        evaluate=Objective(X_test, np.asarray(y_test), l2),
        batch_size=batch_size,
        epochs=None if iterations else epochs,
        iterations=iterations,
        **settings,
    )


def softmax_regression(
    X: ArrayLike,
    y: ArrayLike,
    X_test: ArrayLike | None = None,
    y_test: ArrayLike | None = None,
    *,
    rate: float = 0.5,
    l2: float = 0.0,
    update: Update | None = None,
    batch_size: int = 32,
    epochs: int = 10,
    **options: Any,
) -> Job:
    """Return a job that fits weights ``w`` of shape (features, classes) to labels 0 … classes − 1.

    Parameters are those of `logistic_regression`.
    """
    X, y = np.asarray(X, np.float32), np.asarray(y)
    X_test, y_test = (X, y) if X_test is None or y_test is None else (np.asarray(X_test), np.asarray(y_test))
    classes = int(max(y.max(), y_test.max())) + 1
    settings: dict[str, Any] = {"name": "softmax regression", **options}
    return Job(
        Loop(partial(softmax_gradient, l2=l2)),
        tables={"w": Table.rows(X.shape[1], classes, update=update or SGD(rate))},
        data=(X, y),
        evaluate=Objective(X_test, y_test, l2),
        batch_size=batch_size,
        epochs=epochs,
        **settings,
    )


def dense_gradient(w: Any, batch: tuple[Any, Any], l2: float) -> tuple[Any, Any]:
    """Loss and gradient of a dense batch."""
    return logistic(w, *batch, l2)


def softmax_gradient(w: Any, batch: tuple[Any, Any], l2: float) -> tuple[Any, Any]:
    """Loss and gradient of a batch with several classes."""
    return softmax(w, *batch, l2)


class SparseProgram:
    """Pulls and pushes only the weights that a batch touches."""

    def __init__(self, batch_size: int, l2: float) -> None:
        self.batch_size = batch_size
        self.l2 = l2

    def prepare(self, tables: Mapping[str, Table], data: Any, batching: Batching) -> None:
        """Compile the kernel for every shape that batches of this data can have."""
        warm_up(Padding.of(whole(data)[0], self.batch_size))

    async def __call__(self, worker: Worker) -> None:
        """Run the program of one worker."""
        padding = Padding.of(worker.data[0], self.batch_size)
        for X, y in worker.batches(self.batch_size):
            batch = padding.pad(X, y)
            w = await worker.pull("w", batch.keys)
            loss, gradient = await worker.compute(logistic_sparse, w, batch, self.l2)
            worker.report(batch_loss=loss)
            worker.push("w", gradient, batch.keys)
            await worker.clock()


class Objective:
    """Held-out log-loss plus penalty, in float64, for two or more classes; and quality on the same rows."""

    def __init__(self, X: Any, y: np.ndarray[Any, Any], l2: float) -> None:
        self.X = sparse.csr_array(X) if sparse.issparse(X) else np.asarray(X, np.float64)
        self.y = y
        self.l2 = l2

    def __call__(self, w: Any) -> float:
        """Return the objective."""
        return log_loss(w, self.X, self.y) + 0.5 * self.l2 * float(np.square(w, dtype=np.float64).sum())

    def many(self, w: Any) -> np.ndarray[Any, Any]:
        """Return the objective of many weights, stacked along a first axis, at some multiple of the speed."""
        values = np.asarray(w, np.float64)
        portion = max(1, 2**22 // (self.X.shape[0] * int(np.prod(values.shape[2:]))))
        parts = [self._of_some(values[at : at + portion]) for at in range(0, len(values), portion)]
        penalty = 0.5 * self.l2 * np.square(values).sum(axis=tuple(range(1, values.ndim)))
        return np.asarray(np.concatenate([*parts, penalty[:0]]) + penalty)

    def _of_some(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        stacked = np.moveaxis(values, 0, -1)
        z = np.asarray(self.X @ stacked.reshape(stacked.shape[0], -1)).reshape(-1, *stacked.shape[1:])
        if values.ndim == 2:
            losses = np.logaddexp(0.0, np.where(self.y[:, None] == 1, -z, z))
        else:
            losses = -log_softmax(z, axis=1)[np.arange(len(self.y)), self.y.astype(int)]
        return np.asarray(losses.mean(axis=0))

    def accuracy(self, w: Any) -> float:
        """Share of rows on the right side."""
        return accuracy(w, self.X, self.y)

    def auc(self, w: Any) -> float:
        """Area under the ROC curve."""
        return auc(w, self.X, self.y)
