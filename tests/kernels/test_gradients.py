"""Losses and gradients against JAX's own differentiation, finite differences and float64 references."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import approx_fprime
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from psbook.kernels import logistic, logistic_sparse, pad, softmax

TOLERANCE = 1e-5  # as the docstrings state
L2 = 0.3


def rows(n, d, seed=0, classes=2):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * (rng.random((n, d)) < 0.5)
    return X, rng.integers(0, classes, n), rng.normal(size=(d,) if classes == 2 else (d, classes))


def reference_logistic(w, X, y, l2=0.0):
    """float64 and in the textbook's form: the probability of each row's label."""
    z = X @ w
    loss = log_loss(y, expit(z), labels=[0, 1]) + l2 / 2 * w @ w
    return loss, X.T @ (expit(z) - y) / len(y) + l2 * w


def sparse_logistic(w, X, y, l2=0.0):
    """`logistic_sparse` seen from outside: full weights in, full gradient out."""
    batch = pad(sparse.csr_array(X), y)
    loss, gradient = logistic_sparse(w[batch.keys], batch, l2)
    full = np.zeros(len(w))
    full[batch.keys] = gradient
    return loss, full


@pytest.mark.parametrize("kernel", [logistic, sparse_logistic])
@pytest.mark.parametrize(("n", "d"), [(1, 1), (7, 3), (200, 40)])
def test_logistic_is_the_float64_formula(kernel, n, d):
    X, y, w = rows(n, d, seed=n)
    X[0, :] = 1.0  # every feature occurs, so that both regularisers cover the same weights
    loss, gradient = kernel(w, X, y, L2)
    expected = reference_logistic(w, X, y, L2)
    np.testing.assert_allclose(loss, expected[0], rtol=TOLERANCE)
    np.testing.assert_allclose(gradient, expected[1], atol=TOLERANCE)


def test_logistic_is_the_gradient_of_the_naive_formula():
    X, y, w = rows(30, 5)

    def naive(w):
        p = 1 / (1 + jnp.exp(-jnp.asarray(X) @ w))
        return -jnp.mean(jnp.where(y == 1, jnp.log(p), jnp.log(1 - p))) + L2 / 2 * w @ w

    loss, gradient = jax.value_and_grad(naive)(jnp.asarray(w))
    found = logistic(w, X, y, L2)
    np.testing.assert_allclose(found[0], loss, rtol=TOLERANCE)
    np.testing.assert_allclose(found[1], gradient, atol=TOLERANCE)


def test_softmax_is_the_gradient_of_the_naive_formula():
    X, y, w = rows(30, 5, classes=4)

    def naive(w):
        e = jnp.exp(jnp.asarray(X) @ w)
        p = e / e.sum(axis=1, keepdims=True)
        return -jnp.mean(jnp.log(p[jnp.arange(30), y])) + L2 / 2 * jnp.sum(w**2)

    loss, gradient = jax.value_and_grad(naive)(jnp.asarray(w))
    found = softmax(w, X, y, L2)
    np.testing.assert_allclose(found[0], loss, rtol=TOLERANCE)
    np.testing.assert_allclose(found[1], gradient, atol=TOLERANCE)


def test_softmax_loss_is_scikit_learns():
    X, y, w = rows(50, 6, classes=3)
    e = np.exp(X @ w)
    expected = log_loss(y, e / e.sum(axis=1, keepdims=True), labels=[0, 1, 2])
    np.testing.assert_allclose(softmax(w, X, y)[0], expected, rtol=TOLERANCE)


def test_two_softmax_columns_are_one_logistic_weight():
    X, y, w = rows(20, 4)
    loss, gradient = softmax(np.column_stack([np.zeros(4), w]), X, y)
    expected = logistic(w, X, y)
    np.testing.assert_allclose(loss, expected[0], rtol=TOLERANCE)
    np.testing.assert_allclose(gradient[:, 1], expected[1], atol=TOLERANCE)
    np.testing.assert_allclose(gradient[:, 0], -expected[1], atol=TOLERANCE)


@pytest.mark.parametrize("kernel", [logistic, sparse_logistic, softmax])
def test_gradients_are_finite_differences_of_their_losses(kernel):
    X, y, w = rows(40, 4, classes=3 if kernel is softmax else 2)
    # A step of 1e-2 balances float32's rounding (1e-7 / step) with the second derivative (step).
    numeric = approx_fprime(w.ravel(), lambda v: float(kernel(v.reshape(w.shape), X, y, L2)[0]), 1e-2)
    np.testing.assert_allclose(np.ravel(kernel(w, X, y, L2)[1]), numeric, atol=1e-2)


@pytest.mark.parametrize("kernel", [logistic, sparse_logistic])
@pytest.mark.parametrize("margin", [-200.0, -80.0, -20.0, 0.0, 20.0, 80.0])
def test_no_margin_overflows_or_cancels(kernel, margin):
    X, y, w = np.ones((1, 1)), np.array([1]), np.array([margin])
    loss, gradient = kernel(w, X, y)
    np.testing.assert_allclose(loss, np.logaddexp(0, -margin), rtol=1e-4)
    np.testing.assert_allclose(gradient, [-expit(-margin)], rtol=1e-4)


@pytest.mark.parametrize("kernel", [logistic, softmax])
def test_rows_of_weight_zero_do_not_count(kernel):
    X, y, w = rows(9, 3, classes=3 if kernel is softmax else 2)
    weight = np.array([1, 1, 1, 1, 1, 1, 0, 0, 0], np.float32)
    loss, gradient = kernel(w, X, y, L2, weight)
    expected = kernel(w, X[:6], y[:6], L2)
    np.testing.assert_allclose(loss, expected[0], rtol=TOLERANCE)
    np.testing.assert_allclose(gradient, expected[1], atol=TOLERANCE)


def test_gradients_of_batches_average_to_the_gradient_of_all():
    X, y, w = rows(24, 5)
    whole = logistic(w, X, y, L2)[1]
    parts = [logistic(w, X[i : i + 6], y[i : i + 6], L2)[1] for i in range(0, 24, 6)]
    np.testing.assert_allclose(np.mean(parts, axis=0), whole, atol=TOLERANCE)


def test_the_gradient_vanishes_at_scikit_learns_minimum():
    X, y, _ = rows(200, 4, seed=2)
    fitted = LogisticRegression(C=1 / (L2 * 200), fit_intercept=False, tol=1e-10).fit(X, y)
    loss, gradient = logistic(fitted.coef_[0], X, y, L2)
    assert np.abs(gradient).max() < TOLERANCE
    assert loss < logistic(fitted.coef_[0] * 1.1, X, y, L2)[0]
