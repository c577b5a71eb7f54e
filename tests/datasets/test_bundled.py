"""The sets that ship with scikit-learn, as they are handed out."""

import numpy as np
import pytest
from sklearn import datasets as originals

from psbook import datasets
from tests import reference

LOADERS = [
    (datasets.load_breast_cancer, originals.load_breast_cancer),
    (datasets.load_digits, originals.load_digits),
]


@pytest.mark.parametrize(("load", "original"), LOADERS)
def test_rows_and_labels_are_scikit_learns_scaled(load, original):
    bunch, source = load(), original()
    np.testing.assert_array_equal(bunch.target, source.target)
    train = np.arange(len(source.target)) % 10 != 0
    mean, deviation = source.data[train].mean(axis=0), source.data[train].std(axis=0)
    undone = bunch.data[:, :-1] * deviation + mean
    varied = deviation > 0
    np.testing.assert_allclose(
        undone[:, varied], source.data[:, varied], atol=1e-6 * np.abs(source.data).max()
    )
    assert (bunch.data[:, -1] == 1).all()
    assert len(bunch.feature_names) == bunch.data.shape[1]


@pytest.mark.parametrize(("load", "original"), LOADERS)
def test_the_split_is_a_partition_scaled_by_its_training_rows(load, original):
    bunch = load()
    np.testing.assert_array_equal(bunch.X_test, bunch.data[::10])
    np.testing.assert_array_equal(bunch.y_test, bunch.target[::10])
    assert len(bunch.y_train) + len(bunch.y_test) == len(bunch.target)
    scaled = bunch.X_train[:, :-1].astype(np.float64)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-6)
    deviation = scaled.std(axis=0)
    # Three pixels of the digits are always white; a fourth is seen in test rows only.
    np.testing.assert_allclose(deviation[deviation > 0], 1, atol=1e-5)
    assert bunch.X_train.dtype == np.float32
    assert np.isfinite(bunch.data).all()


@pytest.mark.parametrize(("load", "original"), LOADERS)
def test_the_description_says_source_size_licence_and_preparation(load, original):
    bunch = load()
    for word in ("archive.ics.uci.edu", f"{len(bunch.target)} rows", "CC BY 4.0", "i % 10 == 0", "bias"):
        assert word in bunch.DESCR
    X, y = load(return_X_y=True)
    np.testing.assert_array_equal(X, bunch.data)
    np.testing.assert_array_equal(y, bunch.target)


def test_linear_models_do_as_well_as_they_are_known_to():
    cancer, digits = reference.breast_cancer(), reference.digits()
    assert cancer.accuracy > 0.94
    assert cancer.auc > 0.98
    assert digits.accuracy > 0.93
    assert digits.auc > 0.99
