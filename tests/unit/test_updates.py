"""Update functions against hand-written algebra, optax, and the papers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from psbook.errors import InvalidJob
from psbook.updates import (
    SGD,
    Adagrad,
    Adam,
    Add,
    Assign,
    DelayCompensated,
    FTRLProximal,
    Momentum,
    Optax,
    StalenessAware,
)

RULES = [
    Assign(),
    Add(),
    SGD(0.3),
    Momentum(0.1, 0.8),
    Momentum(0.1, 0.8, nesterov=True),
    Adagrad(0.5),
    Adagrad(0.5, initial=0.1, epsilon=1e-7),
    Adam(0.05),
    Adam(0.05, beta1=0.0, beta2=0.0),
    FTRLProximal(0.2, 1.0, 0.1, 0.3),
    DelayCompensated(0.3, 0.7),
    DelayCompensated(0.3, 2.0, adaptive=True),
    StalenessAware(0.3),
    Optax(optax.adam(0.05)),
]


def run(rule, xp, value, grads):
    """Apply a rule to a sequence of gradients."""
    state = rule.init(xp, value)
    for grad in grads:
        value, state = rule.apply(xp, value, state, grad)
    return value, state


def draw(shape, steps=5, seed=0, dtype="float32"):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape).astype(dtype), rng.normal(size=(steps, *shape)).astype(dtype)


# ---------------------------------------------------------------------------------------- closed forms


def test_sgd_and_add_are_sums():
    value, grads = draw((4, 2), dtype="float64")
    assert_allclose(run(SGD(0.3), np, value, grads)[0], value - 0.3 * grads.sum(0), rtol=1e-12)
    assert_allclose(run(Add(), np, value, grads)[0], value + grads.sum(0), rtol=1e-12)


def test_assign_keeps_the_last_value():
    value, grads = draw((4,))
    assert_array_equal(run(Assign(), np, value, grads)[0], grads[-1])


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_under_a_constant_gradient_is_a_geometric_sum(nesterov):
    rate, mu, steps, grad = 0.1, 0.75, 9, 2.0
    velocity = [grad * (1 - mu**t) / (1 - mu) for t in range(1, steps + 1)]
    moves = [grad + mu * v if nesterov else v for v in velocity]
    value, state = run(Momentum(rate, mu, nesterov), np, np.zeros(1), np.full((steps, 1), grad))
    assert_allclose(value, -rate * sum(moves), rtol=1e-12)
    assert_allclose(state["velocity"], velocity[-1], rtol=1e-12)


def test_adagrad_counts_the_present_update_in_its_sum():
    # With a constant gradient step t is gamma / sqrt(t), whatever its size; the first is gamma itself.
    grads = np.tile([3.0, -1e-3, 0.0], (7, 1))
    value, state = run(Adagrad(0.5), np, np.zeros(3), grads)
    length = 0.5 * sum(1 / np.sqrt(t) for t in range(1, 8))
    assert_allclose(value, [-length, length, 0.0], rtol=1e-12)
    assert_allclose(state["squares"], [63.0, 7e-6, 0.0], rtol=1e-12)


def test_adam_under_a_constant_gradient_moves_by_its_rate():
    value, _ = run(Adam(0.01, epsilon=1e-12), np, np.zeros(2), np.tile([5.0, -1e-3], (6, 1)))
    assert_allclose(value, [-0.06, 0.06], rtol=1e-6)


# ----------------------------------------------------------------------------- independent references


@pytest.mark.parametrize(
    ("rule", "reference"),
    [
        (SGD(0.3), optax.sgd(0.3)),
        (Momentum(0.1, 0.8), optax.sgd(0.1, 0.8)),
        (Momentum(0.1, 0.8, nesterov=True), optax.sgd(0.1, 0.8, nesterov=True)),
        (Adagrad(0.5, initial=0.1, epsilon=1e-7), optax.adagrad(0.5, 0.1, 1e-7)),
        (Adam(0.05, 0.8, 0.99, 1e-6), optax.adam(0.05, 0.8, 0.99, 1e-6)),
    ],
    ids=lambda rule: getattr(type(rule), "__name__", ""),
)
def test_rules_agree_with_optax(rule, reference):
    value, grads = draw((6, 3), steps=12)
    expected, state = jnp.asarray(value), reference.init(value)
    for grad in grads:
        update, state = reference.update(grad, state, expected)
        expected = optax.apply_updates(expected, update)
    assert_allclose(run(rule, np, value, grads)[0], expected, rtol=1e-5, atol=1e-6)


class PaperFTRL:
    """Algorithm 1 of McMahan et al. 2013 for one coordinate: weights exist only when asked for."""

    def __init__(self, alpha, beta, l1, l2):
        self.alpha, self.beta, self.l1, self.l2 = alpha, beta, l1, l2
        self.z = self.n = 0.0

    @property
    def weight(self):
        if abs(self.z) <= self.l1:
            return 0.0
        sign = 1.0 if self.z > 0 else -1.0
        return -(self.z - sign * self.l1) / ((self.beta + self.n**0.5) / self.alpha + self.l2)

    def step(self, g):
        sigma = ((self.n + g * g) ** 0.5 - self.n**0.5) / self.alpha
        self.z += g - sigma * self.weight
        self.n += g * g


@given(
    st.lists(st.floats(-3, 3), min_size=1, max_size=12),
    st.floats(0.05, 2),
    st.floats(0.1, 2),
    st.floats(0, 2),
    st.floats(0, 2),
)
@settings(max_examples=60, deadline=None)
def test_ftrl_is_the_paper_coordinate_by_coordinate(grads, alpha, beta, l1, l2):
    paper = PaperFTRL(alpha, beta, l1, l2)
    rule, value = FTRLProximal(alpha, beta, l1, l2), np.zeros(1)
    state = rule.init(np, value)
    for grad in grads:
        paper.step(grad)
        value, state = rule.apply(np, value, state, np.array([grad]))
        assert_allclose(value[0], paper.weight, rtol=1e-9, atol=1e-12)
        assert (value[0] == 0) == (paper.weight == 0)


def test_ftrl_keeps_initial_values_until_the_first_push():
    rule, value = FTRLProximal(0.2, 1.0, 0.1, 0.3), np.array([1.5, -0.7, 0.0])
    # A gradient of zero changes neither z nor n, so the weights are recomputed from what init chose.
    assert_allclose(run(rule, np, value, np.zeros((1, 3)))[0], value, rtol=1e-12)


def test_ftrl_with_strong_l1_gives_exact_zeros():
    value, _ = run(FTRLProximal(0.5, l1=3.0), np, np.zeros(2), np.tile([0.1, -2.0], (10, 1)))
    assert value[0] == 0.0 and value[1] > 0


# ------------------------------------------------------------------------- properties of every rule


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("shape", [(7,), (5, 3)])
def test_numpy_and_jax_agree(rule, shape):
    value, grads = draw(shape)
    new, state = run(rule, np, value, grads)
    new_jax, state_jax = run(rule, jnp, jnp.asarray(value), jnp.asarray(grads))
    assert isinstance(new, np.ndarray) and isinstance(new_jax, jax.Array)
    assert new.dtype == new_jax.dtype == np.float32
    assert_allclose(new, new_jax, rtol=2e-5, atol=1e-6)
    assert state.keys() == state_jax.keys()
    for name in state:
        assert state[name].dtype == state_jax[name].dtype
        assert_allclose(state[name], state_jax[name], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_rows_do_not_know_each_other(rule):
    value, grads = draw((6, 2))
    whole, state = run(rule, np, value, grads)
    for rows in (slice(0, 1), slice(1, 4), np.array([0, 3, 5])):
        part, part_state = run(rule, np, value[rows], grads[:, rows])
        assert_allclose(part, whole[rows], rtol=1e-6)
        for name in state:
            assert_allclose(part_state[name], state[name][rows], rtol=1e-6)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_apply_changes_no_argument(rule):
    value, grads = draw((6,))
    state = rule.init(np, value)
    before = [array.copy() for array in (value, grads[0], *state.values())]
    rule.apply(np, value, state, grads[0])
    for array, copy in zip((value, grads[0], *state.values()), before, strict=True):
        assert_array_equal(array, copy)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.additive], ids=str)
def test_additive_rules_move_by_the_same_wherever_they_are(rule):
    value, grads = draw((6,), dtype="float64")
    moved, _ = rule.apply(np, value, {}, grads[0])
    elsewhere, _ = rule.apply(np, value + 10, {}, grads[0])
    assert_allclose(elsewhere - moved, 10, rtol=1e-12)


def test_adam_rows_count_their_own_steps():
    value, grads = draw((2,), steps=4)
    rule = Adam(0.05)
    state = rule.init(np, value)
    both, state = rule.apply(np, value, state, grads[0])
    first = {name: rows[:1] for name, rows in state.items()}
    for grad in grads[1:]:
        both[:1], first = rule.apply(np, both[:1], first, grad[:1])
    alone, alone_state = run(rule, np, value[:1], grads[:, :1])
    assert_allclose(both[:1], alone, rtol=1e-6)
    assert first["count"].tolist() == alone_state["count"].tolist() == [4]
    assert state["count"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: SGD(0), "rate"),
        (lambda: SGD(float("nan")), "rate"),
        (lambda: SGD(float("inf")), "rate"),
        (lambda: SGD("fast"), "rate"),
        (lambda: SGD(True), "rate"),
        (lambda: Momentum(0.1, 1.0), "momentum"),
        (lambda: Momentum(0.1, nesterov=1), "nesterov"),
        (lambda: Adagrad(0.1, initial=-1), "initial"),
        (lambda: Adam(beta2=1.0), "beta2"),
        (lambda: Adam(epsilon=0), "epsilon"),
        (lambda: FTRLProximal(-1), "alpha"),
        (lambda: FTRLProximal(1, l1=-1), "l1"),
    ],
)
def test_bad_hyper_parameters_are_refused_by_name(make, word):
    with pytest.raises(InvalidJob, match=rf"{word}=.*required"):
        make()


# ------------------------------------------------------------------------------------------------ optax


@pytest.mark.parametrize(
    "transformation",
    [
        optax.adamw(0.05, weight_decay=0.1),
        optax.rmsprop(0.05, momentum=0.9),
        optax.lion(0.05),
        optax.chain(optax.clip(0.5), optax.sgd(0.1, 0.9)),
        optax.sgd(optax.exponential_decay(0.5, 1, 0.5)),
        optax.MultiSteps(optax.adam(0.05), 2).gradient_transformation(),
    ],
    ids=["adamw", "rmsprop", "lion", "clip", "schedule", "multisteps"],
)
@pytest.mark.parametrize("shape", [(6,), (4, 3)])
def test_optax_row_by_row_is_optax_on_the_whole(transformation, shape):
    value, grads = draw(shape)
    expected, state = jnp.asarray(value), transformation.init(value)
    for grad in grads:
        update, state = transformation.update(grad, state, expected)
        expected = optax.apply_updates(expected, update)
    new, rows = run(Optax(transformation), np, value, grads)
    assert_allclose(new, expected, rtol=1e-5, atol=1e-6)
    assert all(array.shape[0] == shape[0] for array in rows.values())


def test_optax_rows_follow_a_schedule_by_their_own_age():
    rule = Optax(optax.sgd(optax.exponential_decay(1.0, 1, 0.5)))
    value = np.zeros(2, "float32")
    state = rule.init(np, value)
    value, state = rule.apply(np, value, state, np.ones(2, "float32"))
    assert_allclose(value, [-1.0, -1.0])
    old = {name: rows[:1] for name, rows in state.items()}
    assert_allclose(rule.apply(np, value[:1], old, np.ones(1, "float32"))[0], [-1.5])


@pytest.mark.parametrize(
    ("transformation", "name"),
    [
        (optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1)), "clip_by_global_norm"),
        (optax.chain(optax.clip_by_global_norm(1e4), optax.sgd(0.1)), "clip_by_global_norm"),
        (
            optax.chain(optax.scale(2.0), optax.chain(optax.normalize_by_update_norm())),
            "normalize_by_update_norm",
        ),
        (optax.lamb(0.1), "scale_by_trust_ratio"),
        (optax.adafactor(0.1), "scale_by_factored_rms"),
        (optax.adaptive_grad_clip(0.1), "adaptive_grad_clip"),
        (optax.apply_if_finite(optax.sgd(0.1), 3), "apply_if_finite"),
    ],
)
def test_optax_that_needs_the_whole_vector_is_refused_by_name(transformation, name):
    with pytest.raises(InvalidJob, match=rf"Optax: {name}\b.*Remedy: "):
        Optax(transformation)


def test_optax_is_named_by_its_parts_so_that_records_are_equal_in_every_process():
    assert repr(Optax(optax.adam(0.05))) == "Optax(scale_by_adam, scale)"


def test_optax_refuses_what_it_cannot_run():
    with pytest.raises(InvalidJob, match="Call the optax function"):
        Optax(optax.adam)
    with pytest.raises(InvalidJob, match="masks, labels") as caught:
        Optax(optax.masked(optax.sgd(0.1), {"w": True}))
    assert caught.value.__cause__ is not None
    with pytest.raises(InvalidJob, match=r"float64.*jax_enable_x64"):
        Optax(optax.sgd(0.1)).init(np, np.zeros(3))
