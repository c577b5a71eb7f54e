"""Logistic regression on sparse rows, in a table of any dimension: only the keys of a batch travel.

The program of Li et al. 2014 (§2.2, algorithm 1) for click-through and text data, where a batch touches some
thousand of millions of features: pull the weights at the batch's keys, compute loss and gradient there, push
the gradient at the same keys. Time and bytes of an epoch grow with the stored entries, not with the features.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from psbook.assembly import SparseRows
from psbook.errors import InvalidJob
from psbook.job import Job
from psbook.kernels import SparseBlock, SparseBlocks, accuracy, auc, log_loss, logistic_block, logistic_sparse
from psbook.operation import Operation
from psbook.table import Table
from psbook.updates import Adagrad, Update
from psbook.worker import Worker


def sparse_logistic_regression(
    X: Any,
    y: ArrayLike,
    X_test: Any = None,
    y_test: ArrayLike | None = None,
    *,
    rate: float = 0.1,
    l2: float = 0.0,
    update: Update | None = None,
    batch_size: int = 1024,
    epochs: int = 10,
    read_ahead: bool = True,
    seed: int = 0,
    **options: Any,
) -> Job:
    """Return a job that fits weights ``w`` of shape (features,) to labels 0 and 1 of sparse rows.

    Rows are dealt out to blocks once, and each block's keys are numbered once; epochs differ in the order of
    the blocks. A row is a member of the same block in every epoch.

    Parameters
    ----------
    X : scipy sparse matrix or array of shape (n, features)
    y : array of shape (n,)
        Labels, 0 or 1.
    X_test, y_test
        Held-out rows for the objective, by default none: then the run has no losses but those of batches.
    rate
        Learning rate of the update function.
    l2
        Penalty λ ≥ 0 of a block's keys, each time the block comes.
    update
        The update function, `psbook.Adagrad` by default: rare keys take larger steps.
    batch_size, epochs
        Rows of a block, and passes over the data.
    read_ahead
        Pull what the next block needs while this one is computed, see `SparseLogisticRegression`.
    seed
        Of who is in which block.
    **options
        Further arguments of `psbook.Job`.

    Raises
    ------
    InvalidJob
        If a rate, penalty or count makes no sense.

    Examples
    --------
    >>> import psbook as ps
    >>> from psbook.datasets import make_classification_sparse
    >>> data = make_classification_sparse(4000, features=2000, nnz=20, seed=1)
    >>> job = sparse_logistic_regression(
    ...     data.X_train, data.y_train, data.X_test, data.y_test, batch_size=64, epochs=3
    ... )
    >>> run = job.run(ps.Simulator(workers=2), ps.ASP())
    >>> run.loss < 0.6
    True
    """
    if not sparse.issparse(X):
        raise InvalidJob(
            f"X is {type(X).__name__}; required: a scipy sparse matrix. Dense rows go to logistic_regression."
        )
    if not 0 <= l2 < np.inf:
        raise InvalidJob(f"l2={l2!r}; required: a finite number >= 0.")
    held_out = None if X_test is None or y_test is None else SparseObjective(X_test, y_test)
    settings: dict[str, Any] = {"name": "sparse logistic regression", "evaluate": held_out, **options}
    return Job(
        SparseLogisticRegression(l2, read_ahead),
        tables={"w": Table((X.shape[1],), update=update or Adagrad(rate))},
        data=SparseBlocks.of(X, y, batch_size, seed),
        batch_size=1,
        epochs=epochs,
        **settings,
    )


class SparseLogisticRegression:
    """The program: pulls and pushes only the weights that a batch touches.

    Its data is `psbook.kernels.SparseBlocks`, with a batch size of 1; or pairs of sparse rows and labels,
    whose keys are then numbered anew for each batch.

    Parameters
    ----------
    l2
        Penalty λ ≥ 0.
    read_ahead
        Pull what the next batch needs while this one is computed. The read then misses the worker's own last
        push, and is as old as the model allows one iteration earlier. Under models of rounds (BSP and those
        that collect gradients) it is not done: it would make every gradient one of the round before.
    """

    def __init__(self, l2: float = 0.0, read_ahead: bool = True) -> None:
        self.l2 = l2
        self.read_ahead = read_ahead

    async def __call__(self, worker: Worker) -> None:
        """Run the program of one worker."""
        ahead = self.read_ahead and not (worker.model.buffered or worker.model.collects)
        coming: tuple[Any, SparseBlock, Operation[Any]] | None = None
        for batch in worker.batches():
            if coming is not None and coming[0] is not batch:  # which has gone to another worker meanwhile
                await coming[2]
                coming = None
            _, block, pulled = coming or self._begin(worker, batch)
            w = await pulled
            following = worker.upcoming() if ahead else None
            coming = None if following is None else self._begin(worker, following)
            loss, gradient = await worker.compute(sparse_gradient, w, block, self.l2)
            worker.report(batch_loss=loss)
            worker.push("w", gradient, block.keys)
            await worker.clock()
        if coming is not None:
            await coming[2]

    def _begin(self, worker: Worker, batch: Any) -> tuple[Any, SparseBlock, Operation[Any]]:
        """Ask for the weights that a batch needs."""
        block = as_block(batch)
        return batch, block, worker.pull("w", block.keys)


def as_block(batch: Any) -> SparseBlock:
    """Return a batch as a block: the one of some `SparseBlocks`, or made of sparse rows and labels."""
    return batch[0] if isinstance(batch, SparseBlocks) else SparseBlock.of(*batch)


def sparse_gradient(w: NDArray[np.float32], block: SparseBlock, l2: float) -> tuple[Any, NDArray[np.float32]]:
    """Loss and gradient of a block by the kernel that suits JAX's default device."""
    return logistic_sparse(w, block.padded, l2) if _accelerated() else logistic_block(w, block, l2)


@cache
def _accelerated() -> bool:
    return jax.default_backend() != "cpu"


class SparseObjective:
    """Held-out log-loss in nats, float64, without penalty: a function of the weights at the rows' own keys.

    Parameters
    ----------
    X : scipy sparse matrix or array of shape (n, features)
    y : array of shape (n,)
        Labels, 0 or 1.

    Examples
    --------
    >>> objective = SparseObjective(sparse.csr_array(np.array([[0, 3.0], [0, -3.0]])), [1, 0])
    >>> round(objective(np.zeros(2)), 4), round(objective(np.array([0.0, 1.0])), 4)
    (0.6931, 0.0486)
    """

    def __init__(self, X: Any, y: ArrayLike) -> None:
        self.block = SparseBlock.of(X, y)
        self.reads = {"w": self.block.keys}
        """What snapshots hold of the table; see `psbook.Job`."""

    def __call__(self, w: Any) -> float:
        """Return the loss at a whole table: an array, or `SparseRows` of the keys that were touched."""
        return log_loss(self.weights(w), self.block.rows, self.block.y)

    def accuracy(self, w: Any) -> float:
        """Share of rows on the right side."""
        return accuracy(self.weights(w), self.block.rows, self.block.y)

    def auc(self, w: Any) -> float:
        """Area under the ROC curve."""
        return auc(self.weights(w), self.block.rows, self.block.y)

    def weights(self, w: Any) -> NDArray[Any]:
        """Return the weights at the rows' keys; those that nobody has pushed are 0."""
        keys = self.block.keys
        if not isinstance(w, SparseRows):
            return np.asarray(np.asarray(w)[keys])
        if not len(w.keys):
            return np.zeros(len(keys))
        at = np.minimum(np.searchsorted(w.keys, keys), len(w.keys) - 1)
        return np.where(w.keys[at] == keys, w.values[at], 0)
