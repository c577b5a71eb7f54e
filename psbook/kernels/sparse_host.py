"""Logistic regression on sparse rows by the CPU's own loops."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from psbook.errors import ShapeMismatch
from psbook.kernels.sparse_blocks import SparseBlock


def logistic_block(
    w: NDArray[np.float32], block: SparseBlock, l2: float = 0.0
) -> tuple[float, NDArray[np.float32]]:
    r"""Loss and gradient of logistic regression on a block of sparse rows, at the block's keys.

    With rows :math:`x_i` over the block's own k keys, signs :math:`s_i = 2 y_i - 1` and margins
    :math:`z = X w`,

    .. math::
        f(w) = \frac1n \sum_i \log(1 + e^{-s_i z_i}) + \frac{\lambda}{2} \|w\|^2, \qquad
        \nabla f = X^\top r + \lambda w, \quad r_i = -\frac{s_i}{n} \sigma(-s_i z_i).

    Two products with the same CSR array, once along its rows and once across: neither needs the transpose,
    padding, or a pass over features that do not occur. As in `logistic_sparse` the regulariser covers the
    block's keys only.

    Parameters
    ----------
    w : array of shape (k,)
        Weights at ``block.keys``, as pulled.
    block : SparseBlock
    l2 : float, default 0
        λ ≥ 0.

    Returns
    -------
    loss : float
        Mean loss in nats, with the regulariser of these keys.
    gradient : float32 array of shape (k,)
        At ``block.keys``, as pushed.

    Raises
    ------
    ShapeMismatch
        `w` is not one weight for each of the block's keys.

    Notes
    -----
    scipy's loops, not JAX: on a CPU, XLA's scatter takes 8 ns an entry and both products here 1.5 ns, for
    1024 rows of 50 entries, whose weights stay in the second-level cache. On a GPU use `logistic_sparse`.
    Sums of a row and of a column run in float32: 1e-5 against float64, as the other kernels.

    Examples
    --------
    >>> from scipy import sparse
    >>> block = SparseBlock.of(sparse.csr_array(np.array([[0, 2.0, 0, 0], [0, 0, 0, 4.0]])), [0, 1])
    >>> loss, gradient = logistic_block(np.zeros(2, np.float32), block)
    >>> round(loss, 4), gradient.tolist()
    (0.6931, [0.5, -1.0])
    """
    w = np.asarray(w, np.float32)
    if w.shape != block.keys.shape:
        raise ShapeMismatch(
            f"weights of shape {w.shape} for a block with {len(block.keys)} unique keys; required is one "
            "weight for each key: pull block.keys"
        )
    sign = 2 * block.y - 1
    against = -sign * (block.rows @ w)
    loss = float(np.logaddexp(0, against).mean(dtype=np.float64))
    slope = expit(against)
    slope *= sign
    slope /= -len(slope)
    gradient = block.rows.T @ slope
    if l2:
        loss += 0.5 * l2 * float(np.square(w, dtype=np.float64).sum())
        gradient += np.float32(l2) * w
    return loss, gradient
