"""Logistic regression on sparse rows, over the batch's own keys only."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from psbook.errors import ShapeMismatch
from psbook.kernels.compiling import compiled
from psbook.kernels.logistic import row_terms
from psbook.kernels.padding import Padding, SparseBatch


@compiled
def logistic_sparse_padded(
    w: ArrayLike,
    row: ArrayLike,
    column: ArrayLike,
    value: ArrayLike,
    y: ArrayLike,
    weight: ArrayLike,
    l2: ArrayLike = 0.0,
) -> tuple[jax.Array, jax.Array]:
    """Compute `logistic_sparse` on padded arguments: its compiled part, for use inside other JAX programs.

    Parameters
    ----------
    w : array of shape (slots,)
        Weights of the batch's keys, 0 in padding.
    row, column, value, y, weight : arrays
        Fields of a `SparseBatch`.
    l2 : float, default 0
        λ ≥ 0.

    Returns
    -------
    loss : jax.Array, scalar
    gradient : jax.Array of shape (slots,)
        0 in padding.
    """
    w, row, column, value = (jnp.asarray(a) for a in (w, row, column, value))
    y, weight = jnp.asarray(y), jnp.asarray(weight)
    sum_rows = functools.partial(jax.ops.segment_sum, num_segments=y.shape[0], indices_are_sorted=True)
    loss, slope = row_terms(sum_rows(w[column] * value, row), y)
    slope = slope * weight / jnp.sum(weight)
    gradient = jax.ops.segment_sum(slope[row] * value, column, num_segments=w.shape[0])
    return jnp.dot(weight, loss) / jnp.sum(weight) + l2 / 2 * jnp.sum(w * w), gradient + l2 * w


def logistic_sparse(
    w: ArrayLike, batch: SparseBatch, l2: float = 0.0
) -> tuple[jax.Array, NDArray[np.float32]]:
    r"""Loss and gradient of logistic regression on a sparse batch, at the batch's keys.

    The formula is that of `psbook.kernels.logistic`; the margin and the gradient are two segment sums,

    .. math::
        z_i = \sum_{e:\, r_e = i} w_{c_e} v_e, \qquad
        g_k = \sum_{e:\, c_e = k} -s_{r_e} \sigma(-s_{r_e} z_{r_e})\, v_e / n + \lambda w_k .

    The regulariser covers the batch's keys only, once for each batch that has the key: over an epoch a key
    is shrunk in proportion to how often it is seen, not λ times the number of steps as in the dense kernel.

    Parameters
    ----------
    w : array of shape (k,)
        Weights at ``batch.keys``, as pulled.
    batch : SparseBatch
        From `psbook.kernels.pad`.
    l2 : float, default 0
        λ ≥ 0.

    Returns
    -------
    loss : jax.Array, scalar
        Mean loss in nats, with the regulariser of these keys.
    gradient : float32 array of shape (k,)
        At ``batch.keys``, as pushed.

    Raises
    ------
    ShapeMismatch
        `w` is not one weight for each of the batch's keys.

    Notes
    -----
    Compiles once for each ``batch.shape``. Accuracy as the dense kernel: 1e-5 against float64. On GPUs the
    order of the segment sums, and with it the last bits, may differ between runs.

    Examples
    --------
    >>> from scipy import sparse
    >>> from psbook.kernels import pad
    >>> batch = pad(sparse.csr_array(np.array([[0, 2.0, 0, 0], [0, 0, 0, 4.0]])), [0, 1])
    >>> loss, gradient = logistic_sparse(np.zeros(2), batch)
    >>> batch.keys.tolist(), gradient.tolist()
    ([1, 3], [0.5, -1.0])
    """
    w = np.asarray(w)
    if w.shape != batch.keys.shape:
        raise ShapeMismatch(
            f"weights of shape {w.shape} for a batch with {len(batch.keys)} unique keys; required is one "
            "weight for each key: pull batch.keys"
        )
    padded = np.zeros(batch.slots, np.float32)
    padded[: len(w)] = w
    loss, gradient = logistic_sparse_padded(padded, *batch[2:], l2)
    return loss, np.asarray(gradient)[: len(w)]


def warm_up(padding: Padding) -> int:
    """Compile `logistic_sparse` for every shape that can occur, before clock 0.

    Parameters
    ----------
    padding : Padding
        From ``Padding.of(shard, size)``.

    Returns
    -------
    int
        Number of shapes: the most compilations this shard can cause.
    """
    for rows, entries, slots in padding.shapes:
        index, row = np.zeros(entries, np.int32), np.ones(rows, np.float32)
        value = np.zeros(entries, np.float32)
        logistic_sparse(np.zeros(0), SparseBatch(np.zeros(0, np.int64), slots, index, index, value, row, row))
    return len(padding.shapes)
