"""How good a linear model is: log-loss, accuracy, AUC, in float64 on the host.

All take ``(w, X, y)`` as the kernels do; X may be dense or scipy sparse. `w` of shape (d,) is a logistic
model with labels 0 and 1, `w` of shape (d, k) a softmax model with labels 0 … k − 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_softmax


def margins(w: ArrayLike, X: Any) -> NDArray[np.float64]:
    """X w in float64, of shape (n,) or (n, k)."""
    X = X if hasattr(X, "indptr") else np.asarray(X, np.float64)
    return np.asarray(X @ np.asarray(w, np.float64))


def probabilities(w: ArrayLike, X: Any) -> NDArray[np.float64]:
    """Predicted probabilities: of label 1, shape (n,), or of each class, shape (n, k).

    Examples
    --------
    >>> probabilities(np.zeros(2), np.ones((1, 2))).tolist()
    [0.5]
    """
    z = margins(w, X)
    return np.asarray(expit(z) if z.ndim == 1 else np.exp(log_softmax(z, axis=1)))


def log_loss(w: ArrayLike, X: Any, y: ArrayLike) -> float:
    """Mean negative log-likelihood in nats, without regulariser; exact for margins of any size.

    Examples
    --------
    >>> round(log_loss(np.zeros(1), np.ones((2, 1)), [0, 1]), 4)
    0.6931
    """
    z, y = margins(w, X), np.asarray(y)
    if z.ndim == 1:
        return float(np.mean(np.logaddexp(0.0, np.where(y == 1, -z, z))))
    return float(-np.mean(log_softmax(z, axis=1)[np.arange(len(y)), y.astype(int)]))


def accuracy(w: ArrayLike, X: Any, y: ArrayLike) -> float:
    """Fraction of rows whose most probable label is the true one; a margin of 0 counts as label 0.

    Examples
    --------
    >>> accuracy(np.ones(1), np.array([[-1.0], [2.0]]), [0, 1])
    1.0
    """
    z = margins(w, X)
    predicted = (z > 0).astype(int) if z.ndim == 1 else z.argmax(axis=1)
    return float(np.mean(predicted == np.asarray(y)))


def auc(w: ArrayLike, X: Any, y: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a random 1 is ranked above a random 0 (scikit-learn's).

    For a softmax model, the unweighted mean over the classes of one class against the rest.

    Raises
    ------
    ValueError
        From scikit-learn, where `y` lacks a class.

    Examples
    --------
    >>> auc(np.ones(1), np.array([[1.0], [3.0], [2.0]]), [0, 1, 1])
    1.0
    """
    from sklearn.metrics import roc_auc_score  # a second to import; only evaluation needs it

    z = margins(w, X)
    if z.ndim == 1:
        return float(roc_auc_score(y, z))
    return float(roc_auc_score(y, probabilities(w, X), multi_class="ovr"))
