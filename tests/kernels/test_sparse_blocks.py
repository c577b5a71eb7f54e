"""Blocks of sparse rows, and logistic regression on them, against float64 and numpy's own ``unique``."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import approx_fprime
from scipy.special import expit

from psbook.data import batches, split
from psbook.errors import InvalidJob, ShapeMismatch
from psbook.kernels import SparseBlock, SparseBlocks, logistic_block, logistic_sparse, pad
from psbook.kernels.unique import unique_keys

TOLERANCE = 1e-5  # as the docstrings state


def drawn(n=60, d=500, density=0.03, seed=0):
    rng = np.random.default_rng(seed)
    X = sparse.random_array((n, d), density=density, format="csr", rng=rng, dtype=np.float64)
    X.data = rng.normal(size=X.nnz)
    return X, rng.integers(0, 2, n), rng.normal(size=d)


def reference(w, X, y, l2):
    """float64, dense, and in the textbook's form."""
    X = X.toarray()
    p = expit(X @ w)
    loss = -np.mean(y * np.log(p) + (1 - y) * np.log1p(-p)) + l2 / 2 * w @ w
    return loss, X.T @ (p - y) / len(y) + l2 * w


@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize("n", [1, 7, 60])
def test_loss_and_gradient_are_the_float64_formula(n, l2):
    X, y, w = drawn(n, seed=n)
    block = SparseBlock.of(X, y)
    w[np.setdiff1d(np.arange(len(w)), block.keys)] = 0.0  # the regulariser covers the block's keys only
    loss, gradient = logistic_block(w[block.keys], block, l2)
    expected, whole = reference(w, X, y, l2)
    np.testing.assert_allclose(loss, expected, rtol=TOLERANCE)
    np.testing.assert_allclose(gradient, whole[block.keys], atol=TOLERANCE)
    assert gradient.dtype == np.float32
    assert not np.delete(whole, block.keys).any()


def test_gradient_is_the_slope_of_the_loss():
    X, y, w = drawn(20, 30, 0.2)
    block = SparseBlock.of(X, y)
    w = w[block.keys].astype(np.float32)
    slope = approx_fprime(w, lambda v: logistic_block(v, block, 0.1)[0], 1e-2)
    np.testing.assert_allclose(logistic_block(w, block, 0.1)[1], slope, atol=2e-2)


def test_the_kernel_for_gpus_gives_the_same():
    X, y, w = drawn()
    block, padded = SparseBlock.of(X, y), pad(X, y)
    np.testing.assert_array_equal(block.keys, padded.keys)
    w = w[block.keys].astype(np.float32)
    one = logistic_block(w, block, 0.2)
    for batch in (padded, block.padded):
        other = logistic_sparse(w, batch, 0.2)
        np.testing.assert_allclose(one[0], float(other[0]), rtol=TOLERANCE)
        np.testing.assert_allclose(one[1], other[1], atol=TOLERANCE)
    assert block.padded is block.padded and block.padded.shape == padded.shape


@pytest.mark.parametrize("size", [1e-30, 1.0, 300.0, 1e30])
def test_margins_of_any_size_give_finite_numbers(size):
    block = SparseBlock.of(sparse.csr_array(np.eye(2)), [0, 1])
    loss, gradient = logistic_block(np.float32([size, size]), block)
    assert np.isfinite(loss) and np.isfinite(gradient).all()
    np.testing.assert_allclose(loss, (np.logaddexp(0, size) + np.logaddexp(0, -size)) / 2, rtol=1e-5)


def test_weights_that_are_not_the_keys_are_refused():
    X, y, w = drawn()
    with pytest.raises(ShapeMismatch, match="one weight for each key"):
        logistic_block(w, SparseBlock.of(X, y))


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.uint16])
@pytest.mark.parametrize("n", [0, 1, 1000])
def test_unique_keys_are_numpys(kind, n):
    indices = np.random.default_rng(n).integers(0, 300, n).astype(kind)
    keys, places = unique_keys(indices)
    expected, inverse = np.unique(indices, return_inverse=True)
    np.testing.assert_array_equal(keys, expected)
    np.testing.assert_array_equal(places, inverse)
    assert keys.dtype == np.int64 and places.dtype == np.int32


def test_keys_beyond_32_bits():
    indices = np.array([2**40, 3, 2**40, 2**31])
    keys, places = unique_keys(indices)
    np.testing.assert_array_equal(keys, [3, 2**31, 2**40])
    np.testing.assert_array_equal(keys[places], indices)


def test_blocks_hold_every_row_once_and_only_its_own_keys():
    X, y, _ = drawn(25)
    blocks = SparseBlocks.of(X, y, 10, seed=3)
    assert [len(blocks[at]) for at in range(3)] == [10, 10, 5]
    found = []
    for block in (blocks[at] for at in range(len(blocks))):
        assert np.diff(block.rows.tocsc().indptr).min() > 0  # no key without an entry
        full = np.zeros((len(block), X.shape[1]))
        full[:, block.keys] = block.rows.toarray()
        found += [(label, *row) for label, row in zip(block.y, full, strict=True)]
    expected = [(label, *row) for label, row in zip(y, np.float32(X.toarray()), strict=True)]
    assert sorted(found) == sorted(expected)


def test_blocks_are_dealt_by_their_seed_alone():
    X, y, _ = drawn()
    one, same, other = (SparseBlocks.of(X, y, 10, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one[0].keys, same[0].keys)
    assert not np.array_equal(one[0].keys, other[0].keys)


def test_workers_share_blocks_as_if_they_were_rows():
    blocks = SparseBlocks.of(*drawn(100)[:2], 9)
    shards = split(blocks, 3, seed=1)
    assert [len(shard) for shard in shards] == [4, 4, 4]
    mine = [batch[0] for batch in batches(shards[0], 1, epochs=2, seed=1)]
    first, second = {id(block) for block in mine[:4]}, [id(block) for block in mine[4:]]
    assert len(first) == 4 and first == set(second)  # the same objects again: nothing is numbered twice


def test_blocks_survive_the_way_to_another_process():
    block = SparseBlock.of(*drawn()[:2])
    copy = pickle.loads(pickle.dumps(block, protocol=5))
    np.testing.assert_array_equal(copy.keys, block.keys)
    assert (copy.rows != block.rows).nnz == 0 and not copy.keys.flags.writeable
    assert copy.nbytes == block.nbytes


@pytest.mark.parametrize("labels", [[1], [[1, 0]], [1, 0, 1]])
def test_labels_that_do_not_fit_are_refused(labels):
    X = sparse.csr_array(np.eye(2))
    with pytest.raises(InvalidJob, match="one label for each"):
        SparseBlock.of(X, labels)
    with pytest.raises(InvalidJob, match="one label for each"):
        SparseBlocks.of(X, labels, 1)


def test_blocks_of_no_rows_are_refused():
    with pytest.raises(InvalidJob, match="blocks of 0 rows"):
        SparseBlocks.of(sparse.csr_array(np.eye(2)), [0, 1], 0)
