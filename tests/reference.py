"""What scikit-learn reaches on the same rows: the references that psbook's training is compared with.

The objective is the kernels': mean log-loss + l2/2 |w|², bias regularised as the other weights, so
C = 1 / (l2 · rows) and no intercept of scikit-learn's own.
"""

import os
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from psbook.datasets import add_bias, load_breast_cancer, load_digits, read


class Reference(NamedTuple):
    """Minimum of the training objective, and how the model does on the test rows.

    `w` has shape (d,) for two classes and (d, k) for k; `loss` is the objective, regulariser included;
    `test_loss` has none. Losses in nats.
    """

    w: np.ndarray
    loss: float
    accuracy: float
    auc: float
    test_loss: float


def fit(X, y, X_test, y_test, l2=1e-3, tol=1e-6):
    """scikit-learn's LogisticRegression on these rows."""
    model = LogisticRegression(C=1 / (l2 * len(y)), fit_intercept=False, tol=tol, max_iter=2000).fit(X, y)
    p = model.predict_proba(X_test)
    two = p.shape[1] == 2
    return Reference(
        w=model.coef_[0] if two else model.coef_.T,
        loss=log_loss(y, model.predict_proba(X)) + l2 / 2 * float(np.sum(model.coef_**2)),
        accuracy=model.score(X_test, y_test),
        auc=roc_auc_score(y_test, p[:, 1] if two else p, multi_class="ovr"),
        test_loss=log_loss(y_test, p),
    )


def _bundled(bunch, l2):
    return fit(*(getattr(bunch, name) for name in ("X_train", "y_train", "X_test", "y_test")), l2=l2)


@cache
def breast_cancer(l2=1e-3):
    return _bundled(load_breast_cancer(), l2)


@cache
def digits(l2=1e-3):
    return _bundled(load_digits(), l2)


def data_path(name):
    """A file under the folder that PSBOOK_DATA names; skips the test, by that name, without it."""
    folder = os.environ.get("PSBOOK_DATA")
    if folder is None or not (path := Path(folder) / name).is_file():
        pytest.skip(f"{name}: not found; PSBOOK_DATA names the folder with real data (now {folder!r})")
    return path


@cache
def a9a_rows():
    """X_train, y_train, X_test, y_test of a9a as float32 CSR with a bias column (124 features)."""
    X, y = read(data_path("sparse/a9a.train.libsvm.gz"))
    X_test, y_test = read(data_path("sparse/a9a.test.libsvm.gz"), n_features=X.shape[1])
    return add_bias(X), y, add_bias(X_test), y_test


@cache
def a9a(l2=1 / 32561):
    """With the default l2, scikit-learn's C = 1."""
    return fit(*a9a_rows(), l2=l2, tol=1e-4)
