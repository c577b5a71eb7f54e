"""Evaluation against scikit-learn on the predictions, and by hand."""

import numpy as np
import pytest
from scipy import sparse
from sklearn import metrics
from sklearn.linear_model import LogisticRegression

from psbook import kernels


@pytest.fixture(scope="module", params=[2, 3])
def fitted(request):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)), np.arange(60) % request.param
    model = LogisticRegression(fit_intercept=False).fit(X, y)
    w = model.coef_[0] if request.param == 2 else model.coef_.T
    return w, X, y, model.predict_proba(X)


def test_metrics_are_scikit_learns(fitted):
    w, X, y, p = fitted
    score = p[:, 1] if p.shape[1] == 2 else p
    np.testing.assert_allclose(kernels.probabilities(w, X), score, rtol=1e-9)
    np.testing.assert_allclose(kernels.log_loss(w, X, y), metrics.log_loss(y, p), rtol=1e-9)
    assert kernels.accuracy(w, X, y) == metrics.accuracy_score(y, p.argmax(axis=1))
    assert kernels.auc(w, X, y) == pytest.approx(metrics.roc_auc_score(y, score, multi_class="ovr"))


def test_sparse_rows_score_as_dense_ones(fitted):
    w, X, y, _ = fitted
    for metric in (kernels.log_loss, kernels.accuracy, kernels.auc):
        assert metric(w, sparse.csr_array(X), y) == pytest.approx(metric(w, X, y))


def test_the_loss_of_a_certain_mistake_is_its_margin():
    assert kernels.log_loss([1000.0], [[1.0]], [0]) == pytest.approx(1000.0)
    assert kernels.log_loss([1000.0], [[1.0]], [1]) == 0.0


def test_a_kernels_loss_is_the_metric(fitted):
    w, X, y, _ = fitted
    kernel = kernels.logistic if w.ndim == 1 else kernels.softmax
    np.testing.assert_allclose(kernel(w, X, y)[0], kernels.log_loss(w, X, y), rtol=1e-5)
