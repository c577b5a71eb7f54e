"""Logistic regression on dense rows: mean log-loss and its gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from psbook.kernels.compiling import compiled


def row_terms(margin: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Log-loss of each row and its derivative by the margin.

    With s = 2y − 1 the loss is log(1 + exp(−s z)) and its derivative −s σ(−s z). Written this way neither
    cancels: both keep full relative accuracy for every margin, where σ(z) − y would lose it for z ≫ 0.

    Parameters
    ----------
    margin : jax.Array of shape (n,)
        z = X w.
    y : jax.Array of shape (n,)
        Labels, 0 or 1.

    Returns
    -------
    loss, slope : jax.Array of shape (n,)
        Natural-log loss in nats, and dloss/dz.

    Examples
    --------
    >>> loss, slope = row_terms(jnp.array([0.0]), jnp.array([1]))
    >>> round(float(loss[0]), 4), float(slope[0])
    (0.6931, -0.5)
    """
    sign = 2 * y.astype(margin.dtype) - 1
    return jax.nn.softplus(-sign * margin), -sign * jax.nn.sigmoid(-sign * margin)


@compiled
def logistic(
    w: ArrayLike, X: ArrayLike, y: ArrayLike, l2: ArrayLike = 0.0, weight: ArrayLike | None = None
) -> tuple[jax.Array, jax.Array]:
    r"""Loss and gradient of L2-regularised logistic regression on dense rows.

    .. math::
        f(w) = \frac{\sum_i a_i \log(1 + e^{-s_i x_i \cdot w})}{\sum_i a_i} + \frac{\lambda}{2} \|w\|^2,
        \quad s_i = 2 y_i - 1, \qquad
        \nabla f = \frac{-\sum_i a_i s_i \sigma(-s_i x_i \cdot w)\, x_i}{\sum_i a_i} + \lambda w .

    An intercept is a column of ones in ``X`` (`psbook.datasets.add_bias`), regularised as any other weight.
    The minimum is scikit-learn's ``LogisticRegression(C=1 / (λ n), fit_intercept=False)``.

    Parameters
    ----------
    w : array of shape (d,)
        Weights.
    X : array of shape (n, d)
        Rows.
    y : array of shape (n,)
        Labels, 0 or 1.
    l2 : float, default 0
        λ ≥ 0, per mean loss (not per sum). A number, so that changing it does not recompile.
    weight : array of shape (n,), optional
        Row weights a_i ≥ 0; 0 for a padding row. Default: all 1.

    Returns
    -------
    loss : jax.Array, scalar
        Mean loss in nats, regulariser included.
    gradient : jax.Array of shape (d,)

    Notes
    -----
    Products run at full float32 precision on every device (no TF32 on GPUs). Against float64, loss and
    gradient (in the maximum norm) agree to 1e-5 relative to max(1, max_i |x_i|·|w|).

    Examples
    --------
    >>> import numpy as np
    >>> loss, gradient = logistic(np.zeros(2), np.array([[1.0, 1.0], [3.0, 1.0]]), np.array([0, 1]))
    >>> round(float(loss), 4), gradient.tolist()
    (0.6931, [-0.5, 0.0])
    """
    w, X, y = jnp.asarray(w), jnp.asarray(X), jnp.asarray(y)
    a = jnp.ones(X.shape[0], X.dtype) if weight is None else jnp.asarray(weight)
    loss, slope = row_terms(jnp.matmul(X, w, precision="highest"), y)
    gradient = jnp.matmul(slope * a, X, precision="highest") / jnp.sum(a)
    return jnp.dot(a, loss) / jnp.sum(a) + l2 / 2 * jnp.sum(w * w), gradient + l2 * w
