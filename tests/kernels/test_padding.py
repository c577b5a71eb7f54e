"""Padding changes no number and bounds the compilations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from psbook.errors import InvalidJob, ShapeMismatch
from psbook.kernels import Padding, bucket, compilations, logistic_sparse, pad, warm_up


def ragged(n, d=300, seed=0):
    """Rows of 0 to about 100 entries."""
    rng = np.random.default_rng(seed)
    density = rng.random((n, 1)) ** 4 / 3
    return sparse.csr_array(rng.normal(size=(n, d)) * (rng.random((n, d)) < density))


@given(st.integers(1, 10**9))
def test_a_bucket_is_the_least_power_of_two_that_holds_n(n):
    size = bucket(n)
    assert size.bit_count() == 1
    assert size / 2 < n <= size


@given(n=st.integers(1, 20), extra=st.integers(0, 5), seed=st.integers(0, 100))
def test_a_padded_batch_is_the_batch(n, extra, seed):
    X = ragged(n, seed=seed)
    batch = pad(X, np.ones(n), n + extra)
    dense = np.zeros((n + extra, batch.slots), np.float32)
    np.add.at(dense, (batch.row, batch.column), batch.value)
    full = np.zeros((n + extra, X.shape[1]), np.float32)
    full[:, batch.keys] = dense[:, : len(batch.keys)]
    np.testing.assert_array_equal(full[:n], X.toarray().astype(np.float32))
    assert not full[n:].any()
    assert not dense[:, len(batch.keys) :].any()
    assert batch.weight.tolist() == batch.y.tolist() == [1.0] * n + [0.0] * extra
    assert (np.diff(batch.row) >= 0).all()  # the kernel's segment sum relies on it
    assert (np.diff(batch.keys) > 0).all()
    assert batch.shape == (n + extra, bucket(X.nnz, 64), bucket(len(batch.keys), 64))


def test_more_padding_gives_the_same_loss_and_gradient():
    X, y = ragged(5), np.array([0, 1, 1, 0, 1])
    small, large = pad(X, y), pad(X, y, rows=64)
    w = np.random.default_rng(1).normal(size=len(small.keys))
    (loss, gradient), (expected, expected_gradient) = (logistic_sparse(w, b, 0.1) for b in (large, small))
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-7)


@pytest.mark.parametrize("size", [1, 7, 32, 100, None])
def test_every_batch_has_one_of_the_shapes_known_before(size):
    X, y = ragged(100), np.ones(100)
    padding = Padding.of(X, size)
    step, rng = size or 100, np.random.default_rng(0)
    seen = set()
    for _ in range(20):
        shuffled = X[rng.permutation(100)]
        seen |= {padding.pad(shuffled[i : i + step], y[i : i + step]).shape for i in range(0, 100, step)}
    assert seen <= set(padding.shapes)
    assert len(padding.shapes) <= 16


def test_ragged_batches_compile_no_more_often_than_foretold_and_none_after_the_warm_up():
    X, y = ragged(100, seed=3), np.ones(100)
    padding = Padding.of(X, 9)

    def compiled():
        return compilations().get("logistic_sparse_padded", 0)

    before = compiled()
    bound = warm_up(padding)
    assert 1 < compiled() - before <= bound == len(padding.shapes)
    warm, different = compiled(), set()
    for i in range(92):
        batch = padding.pad(X[i : i + 9], y[i : i + 9])
        logistic_sparse(np.zeros(len(batch.keys)), batch, 0.5)
        different.add((X[i : i + 9].nnz, len(batch.keys)))
    assert len(different) > len(padding.shapes)  # without padding each of these would compile
    assert compiled() == warm


def test_what_cannot_be_padded_is_named():
    X = ragged(3)
    with pytest.raises(InvalidJob, match="has 0 rows"):
        pad(X[:0], np.zeros(0))
    with pytest.raises(InvalidJob, match="room for 2 rows"):
        pad(X, np.zeros(3), 2)
    with pytest.raises(InvalidJob, match=r"labels of shape \(2,\)"):
        pad(X, np.zeros(2))
    with pytest.raises(InvalidJob, match="batches of 0"):
        Padding.of(X, 0)
    with pytest.raises(InvalidJob, match="0 rows"):
        Padding.of(X[:0])


def test_weights_for_other_keys_are_refused():
    batch = pad(ragged(3), np.zeros(3))
    with pytest.raises(ShapeMismatch, match=r"pull batch\.keys"):
        logistic_sparse(np.zeros(len(batch.keys) + 1), batch)


def test_padding_leaves_the_callers_matrix_alone():
    repeated = sparse.csr_array((np.ones(2), np.array([0, 0]), np.array([0, 2])), shape=(1, 3))
    assert pad(repeated, [1]).value[0] == 2.0
    assert Padding.of(repeated).keys == (64,)
    assert repeated.data.tolist() == [1.0, 1.0]
