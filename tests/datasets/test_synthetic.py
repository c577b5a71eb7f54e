"""The generator against the laws it is made to follow."""

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import chisquare

from psbook.datasets import make_classification_sparse
from psbook.errors import InvalidJob


def test_features_follow_the_power_law():
    # One draw a row: no merging, so that counts are multinomial.
    X, _ = make_classification_sparse(20_000, 50, nnz=1, power_law=1.2, seed=3, return_X_y=True)
    expected = np.arange(1, 51) ** -1.2
    observed = np.asarray(X.sum(axis=0)).ravel()
    assert chisquare(observed, expected * 20_000 / expected.sum()).pvalue > 1e-3


def test_exponent_zero_is_uniform():
    X, _ = make_classification_sparse(20_000, 50, nnz=1, power_law=0, seed=3, return_X_y=True)
    assert chisquare(np.asarray(X.sum(axis=0)).ravel()).pvalue > 1e-3


def test_labels_follow_the_logistic_model():
    bunch = make_classification_sparse(20_000, 1000, nnz=10, seed=1)
    p = expit(bunch.data @ bunch.coef)
    surprise = (bunch.target - p).sum() / np.sqrt((p * (1 - p)).sum())
    assert abs(surprise) < 4
    bits = np.digitize(p, np.linspace(0.1, 0.9, 9))
    for group in range(10):
        chosen = bits == group
        assert abs(bunch.target[chosen].mean() - p[chosen].mean()) < 4 * np.sqrt(0.25 / chosen.sum())


def test_without_signal_labels_are_coin_tosses():
    bunch = make_classification_sparse(10_000, 100, nnz=5, signal=0.0)
    assert not bunch.coef.any()
    assert abs(bunch.target.mean() - 0.5) < 4 * 0.5 / 100


def test_rows_are_binary_without_repeats_and_at_most_nnz_long():
    bunch = make_classification_sparse(500, 30, nnz=20, power_law=1.5)
    assert bunch.data.has_canonical_format
    lengths = np.diff(bunch.data.indptr)
    assert lengths.max() <= 20
    assert lengths.min() >= 1
    assert lengths.mean() < 20  # repeats did occur, and merged
    assert set(bunch.data.data.tolist()) == {1.0}


def test_the_first_rows_do_not_depend_on_how_many_follow():
    few, more = (make_classification_sparse(rows, 100, 5, seed=9) for rows in (30, 80))
    np.testing.assert_array_equal(more.data[:30].toarray(), few.data.toarray())
    np.testing.assert_array_equal(more.target[:30], few.target)
    other = make_classification_sparse(30, 100, 5, seed=10)
    assert (other.data != few.data).nnz > 0


def test_the_description_makes_the_data_again():
    bunch = make_classification_sparse(40, 60, 3, 5, power_law=0.5, signal=2.0)
    assert "make_classification_sparse(40, 60, 3, 5, power_law=0.5, signal=2.0)" in bunch.DESCR
    np.testing.assert_array_equal(bunch.X_test.toarray(), bunch.data.toarray()[::10])
    assert len(bunch.y_train) == 36


@pytest.mark.parametrize(
    "wrong", [{"rows": 0}, {"nnz": 0}, {"seed": -1}, {"power_law": -1.0}, {"signal": float("nan")}]
)
def test_arguments_outside_their_ranges_are_refused(wrong):
    with pytest.raises(InvalidJob, match=r"required are rows, features, nnz ≥ 1"):
        make_classification_sparse(**wrong)


def test_portions_and_sorted_look_ups_change_nothing(monkeypatch):
    plain = make_classification_sparse(300, 5000, 20, seed=4)
    monkeypatch.setattr("psbook.datasets.synthetic.DRAWN_AT_ONCE", 61)
    portioned = make_classification_sparse(300, 5000, 20, seed=4)
    assert (plain.data != portioned.data).nnz == 0
    np.testing.assert_array_equal(plain.target, portioned.target)
    # One look-up for all, in the order of the draws, is what both must equal.
    drawing = np.random.default_rng(np.random.SeedSequence(4).spawn(3)[0])
    law = np.cumsum(1.0 / np.arange(1, 5001))
    drawn = np.searchsorted(law / law[-1], drawing.random((300, 20)), side="right")
    for row in range(300):
        assert plain.data[[row]].indices.tolist() == np.unique(drawn[row]).tolist()


def test_a_large_table_of_few_rows_has_indices_of_32_bits():
    X, _ = make_classification_sparse(50, 10**7, 50, seed=2, return_X_y=True)
    assert X.indices.dtype == X.indptr.dtype == np.int32
    assert X.has_sorted_indices and X.data.dtype == np.float32
