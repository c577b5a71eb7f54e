"""Softmax (multinomial logistic) regression on dense rows."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from psbook.kernels.compiling import compiled


@compiled
def softmax(
    w: ArrayLike, X: ArrayLike, y: ArrayLike, l2: ArrayLike = 0.0, weight: ArrayLike | None = None
) -> tuple[jax.Array, jax.Array]:
    r"""Loss and gradient of L2-regularised softmax regression.

    .. math::
        f(W) = -\frac{\sum_i a_i \log p_{i y_i}}{\sum_i a_i} + \frac{\lambda}{2} \|W\|_F^2, \quad
        p_i = \mathrm{softmax}(x_i W), \qquad
        \nabla f = \frac{X^\top \mathrm{diag}(a) (P - Y)}{\sum_i a_i} + \lambda W

    with Y the one-hot labels. W has one row for each feature, so that a feature is a key of the table.

    Parameters
    ----------
    w : array of shape (d, k)
        Weights, one column for each class.
    X : array of shape (n, d)
        Rows.
    y : integer array of shape (n,)
        Classes 0 … k − 1.
    l2 : float, default 0
        λ ≥ 0, per mean loss.
    weight : array of shape (n,), optional
        Row weights a_i ≥ 0; 0 for a padding row. Default: all 1.

    Returns
    -------
    loss : jax.Array, scalar
        Mean loss in nats, regulariser included.
    gradient : jax.Array of shape (d, k)

    Notes
    -----
    Accuracy as `psbook.kernels.logistic`: 1e-5 against float64, relative to max(1, max_i |x_i|·|W|).

    Examples
    --------
    >>> import numpy as np
    >>> loss, gradient = softmax(np.zeros((1, 2)), np.array([[1.0], [3.0]]), np.array([0, 1]))
    >>> round(float(loss), 4), gradient.tolist()
    (0.6931, [[0.5, -0.5]])
    """
    w, X, y = jnp.asarray(w), jnp.asarray(X), jnp.asarray(y)
    a = jnp.ones(X.shape[0], X.dtype) if weight is None else jnp.asarray(weight)
    log_p = jax.nn.log_softmax(jnp.matmul(X, w, precision="highest"))
    onehot = jax.nn.one_hot(y, w.shape[1], dtype=log_p.dtype)
    residual = (jnp.exp(log_p) - onehot) * a[:, None] / jnp.sum(a)
    loss = -jnp.dot(a, jnp.sum(log_p * onehot, axis=1)) / jnp.sum(a)
    return loss + l2 / 2 * jnp.sum(w * w), jnp.matmul(X.T, residual, precision="highest") + l2 * w
