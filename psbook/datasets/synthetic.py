"""Sparse logistic data with keys as skewed as words or advertisements are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils import Bunch

from psbook.errors import InvalidJob

DRAWN_AT_ONCE = 2**20
"""Draws that are made and looked up together: memory beyond the result stays at some 30 MB."""

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
    X = _power_law_rows(rows, features, nnz, power_law, drawing)
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


def _power_law_rows(
    rows: int, features: int, nnz: int, power_law: float, rng: np.random.Generator
) -> sparse.csr_array:
    """Return rows of ones at the distinct features of `nnz` draws each, sorted."""
    cumulative = np.arange(1, features + 1, dtype=np.float64)
    np.power(cumulative, -float(power_law), out=cumulative)
    np.cumsum(cumulative, out=cumulative)
    cumulative /= cumulative[-1]  # now the last is exactly 1, above every draw in [0, 1)
    kind = np.int32 if max(features, rows * nnz) < 2**31 else np.int64
    found, lengths = [], np.zeros(rows + 1, kind)
    portion = max(1, DRAWN_AT_ONCE // nnz)
    for start in range(0, rows, portion):
        stop = min(start + portion, rows)
        drawn = _inverse(cumulative, rng.random((stop - start) * nnz)).astype(kind).reshape(-1, nnz)
        drawn.sort(axis=1)
        first = np.ones(drawn.shape, bool)
        np.not_equal(drawn[:, 1:], drawn[:, :-1], out=first[:, 1:])
        found.append(drawn[first])
        lengths[start + 1 : stop + 1] = first.sum(axis=1)
    indices = np.concatenate(found)
    X = sparse.csr_array(
        (np.ones(len(indices), np.float32), indices, np.cumsum(lengths, dtype=kind)), shape=(rows, features)
    )
    X.has_canonical_format = True
    return X


def _inverse(cumulative: NDArray[np.float64], draws: NDArray[np.float64]) -> NDArray[np.int64]:
    """Look draws up in sorted order: in their own each misses caches, four times as slow for 10⁷ features."""
    order = np.argsort(draws)
    found = np.empty(len(draws), np.int64)
    found[order] = np.searchsorted(cumulative, draws[order], side="right")
    return found
