"""Sparse logistic data with keys as skewed as words or advertisements are."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils import Bunch

from psbook.errors import InvalidJob

_DESCR = """Sparse logistic data
====================

Made by psbook.datasets.make_classification_sparse({arguments}). No licence needed.
Size: {rows} rows, {features} features, {entries} stored entries, {positive} rows with label 1.

Each row draws {nnz} features with replacement, feature k (from 0) with probability proportional to
(k + 1)^-{power_law}; a feature drawn twice counts once; stored values are 1. Weights are normal with standard
deviation {signal}/√{nnz}; the label is 1 with probability σ(sum of the row's weights)."""


def make_classification_sparse(
    rows: int = 1000,
    features: int = 10_000,
    nnz: int = 20,
    seed: int = 0,
    *,
    power_law: float = 1.0,
    signal: float = 3.0,
    return_X_y: bool = False,
) -> Any:
    """Generate sparse binary rows whose features follow a power law, with labels of a logistic model.

    The law is what makes a parameter server's sparse tables interesting: a few keys are in almost every
    batch, most in almost none (word counts: Zipf 1949; advertising data alike).

    Parameters
    ----------
    rows, features : int
        Shape of the matrix, at least 1. Feature 0 is the most frequent.
    nnz : int, default 20
        Draws a row; repeats merge, so a row has 1 to `nnz` entries.
    seed : int, default 0
        At least 0. The first rows are the same whatever the number of rows.
    power_law : float, default 1.0
        Exponent a ≥ 0 of P(k) ∝ (k + 1)^-a; 0 is uniform.
    signal : float, default 3.0
        Standard deviation of the margin of a row without repeats, ≥ 0: at 0 labels are coin tosses.
    return_X_y : bool, default False
        True: only ``(data, target)``.

    Returns
    -------
    sklearn.utils.Bunch
        ``data`` float32 CSR of shape (rows, features), ``target`` int64 of 0 and 1, ``coef`` float32, the
        weights that made the labels, ``X_train`` … ``y_test`` (row i is test when i % 10 == 0), ``DESCR``.

    Raises
    ------
    InvalidJob
        An argument outside the ranges above.

    Examples
    --------
    >>> X, y = make_classification_sparse(4, features=100, nnz=5, seed=1, return_X_y=True)
    >>> X.shape, set(X.data.tolist()), set(y.tolist()) <= {0, 1}
    ((4, 100), {1.0}, True)
    """
    if min(rows, features, nnz) < 1 or seed < 0 or not (power_law >= 0 and signal >= 0):
        raise InvalidJob(
            f"rows={rows}, features={features}, nnz={nnz}, seed={seed}, power_law={power_law}, "
            f"signal={signal}; required are rows, features, nnz ≥ 1 and seed, power_law, signal ≥ 0"
        )
    drawing, weighing, labelling = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(3))
    cumulative = np.cumsum(np.arange(1, features + 1) ** -float(power_law))
    # Dividing by the last makes it exactly 1, above every draw in [0, 1).
    drawn = np.searchsorted(cumulative / cumulative[-1], drawing.random((rows, nnz)), side="right")
    X = sparse.csr_array(
        (np.ones(rows * nnz, np.float32), drawn.ravel(), np.arange(0, rows * nnz + 1, nnz)),
        shape=(rows, features),
    )
    X.sum_duplicates()
    X.data[:] = 1.0
    coef = weighing.normal(scale=signal / np.sqrt(nnz), size=features)
    y = (labelling.random(rows) < 1 / (1 + np.exp(-(X @ coef)))).astype(np.int64)
    if return_X_y:
        return X, y
    test = np.arange(rows) % 10 == 0
    arguments = f"{rows}, {features}, {nnz}, {seed}, power_law={power_law}, signal={signal}"
    described = _DESCR.format(
        arguments=arguments,
        rows=rows,
        features=features,
        nnz=nnz,
        power_law=power_law,
        signal=signal,
        entries=X.nnz,
        positive=int(y.sum()),
    )
    return Bunch(
        data=X,
        target=y,
        coef=coef.astype(np.float32),
        X_train=X[~test],
        y_train=y[~test],
        X_test=X[test],
        y_test=y[test],
        DESCR=described,
    )
