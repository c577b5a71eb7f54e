"""What is done to rows before they are learnt from: scaling, a bias column, holding out test rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

Split = tuple[Any, NDArray[Any], Any, NDArray[Any]]


def standardise(train: ArrayLike, *others: ArrayLike) -> tuple[NDArray[np.float32], ...]:
    """Scale each column to mean 0 and standard deviation 1 over the training rows.

    Parameters
    ----------
    train : array of shape (n, d)
        The rows that mean and (population) standard deviation are taken from. A constant column becomes 0.
    *others : array of shape (m, d)
        Scaled with the training rows' numbers, so that nothing of the test rows leaks into training.

    Returns
    -------
    tuple of float32 arrays
        `train` and `others`, scaled.

    Examples
    --------
    >>> train, test = standardise([[1.0, 7.0], [3.0, 7.0]], [[4.0, 8.0]])
    >>> train.tolist(), test.tolist()
    ([[-1.0, 0.0], [1.0, 0.0]], [[2.0, 1.0]])
    """
    rows = np.asarray(train, np.float64)
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    deviation[deviation == 0] = 1.0
    return tuple(((np.asarray(part) - mean) / deviation).astype(np.float32) for part in (train, *others))


def add_bias(X: Any) -> Any:
    """Append a column of ones, so that the intercept is a weight like the others: the last one.

    Parameters
    ----------
    X : array or scipy sparse matrix of shape (n, d)

    Returns
    -------
    array or CSR matrix of shape (n, d + 1)
        With the dtype of `X`.

    Examples
    --------
    >>> add_bias(np.array([[5.0], [6.0]])).tolist()
    [[5.0, 1.0], [6.0, 1.0]]
    """
    ones = np.ones((X.shape[0], 1), X.dtype)
    if sparse.issparse(X):
        return sparse.hstack([X, sparse.csr_array(ones)], format="csr")
    return np.hstack([X, ones])


def hold_out(X: Any, y: ArrayLike) -> Split:
    """Split rows into training and test: row i, counted from 0, is test when i % 10 == 0.

    The rule has no seed: everybody's test rows are the same, and results can be compared.

    Returns
    -------
    X_train, y_train, X_test, y_test
        Rows in their own order.

    Examples
    --------
    >>> X_train, y_train, X_test, y_test = hold_out(np.arange(21), np.arange(21))
    >>> len(y_train), y_test.tolist()
    (18, [0, 10, 20])
    """
    y = np.asarray(y)
    test = np.arange(len(y)) % 10 == 0
    return X[~test], y[~test], X[test], y[test]
