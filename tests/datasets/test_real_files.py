"""Real files, where PSBOOK_DATA names a folder that has them; skipped by name otherwise."""

import numpy as np
import pytest

from psbook import kernels
from psbook.datasets import read
from tests import reference


@pytest.mark.parametrize(
    ("name", "shape", "entries", "labels"),
    [
        ("sparse/a9a.train.libsvm.gz", (32561, 123), 451592, {0: 24720, 1: 7841}),
        ("sparse/a9a.test.libsvm.gz", (16281, 122), 225731, {0: 12435, 1: 3846}),
        ("sparse/agaricus.train.libsvm.gz", (6513, 126), 143286, {0: 3373, 1: 3140}),
        ("sparse/agaricus.test.libsvm.gz", (1611, 126), 35442, {0: 835, 1: 776}),
        ("sparse/heart_scale.libsvm", (270, 13), 3378, {0: 150, 1: 120}),
        ("sparse/subjectivity.train.libsvm.gz", (8000, 11603), 160366, {0: 4000, 1: 4000}),
        (
            "tabular/covtype.scale.small.libsvm.gz",
            (500, 54),
            6000,
            {1: 200, 2: 236, 3: 29, 5: 4, 6: 10, 7: 21},
        ),
    ],
)
def test_svmlight_counts_are_the_published_ones(name, shape, entries, labels):
    X, y = read(reference.data_path(name))
    assert X.shape == shape
    assert X.nnz == entries
    found, counts = np.unique(y, return_counts=True)
    assert dict(zip(found.tolist(), counts.tolist(), strict=True)) == labels


def test_csv_counts_are_the_published_ones():
    X, y = read(reference.data_path("images/optdigits.train.csv.gz"))
    assert X.shape == (3823, 64)
    assert np.bincount(y).tolist() == [376, 389, 380, 389, 387, 376, 377, 387, 380, 382]
    assert (X.min(), X.max()) == (0, 16)


def test_a9a_reference_is_the_published_one():
    found = reference.a9a()
    assert found.accuracy == pytest.approx(0.8495, abs=5e-4)
    assert found.auc == pytest.approx(0.9022, abs=5e-4)
    assert found.test_loss == pytest.approx(0.3242, abs=5e-4)


def test_sparse_batches_of_a9a_are_minimised_where_scikit_learns_model_is():
    X, y, X_test, y_test = reference.a9a_rows()
    best = reference.a9a()
    batch = kernels.pad(X, y)
    loss, gradient = kernels.logistic_sparse(best.w[batch.keys], batch, 1 / len(y))
    assert float(loss) == pytest.approx(best.loss, rel=1e-5)
    assert np.abs(gradient).max() < 2e-4
    assert kernels.accuracy(best.w, X_test, y_test) == best.accuracy
    assert kernels.auc(best.w, X_test, y_test) == pytest.approx(best.auc)


def test_batches_of_a9a_need_few_shapes():
    X, y = read(reference.data_path("sparse/a9a.train.libsvm.gz"))
    padding = kernels.Padding.of(X, 100)
    seen = {padding.pad(X[i : i + 100], y[i : i + 100]).shape for i in range(0, len(y), 100)}
    assert seen <= set(padding.shapes)
    assert len(seen) <= 4
