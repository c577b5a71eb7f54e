"""Rules that know how old a gradient is: the papers' formulas, and what storage and hosts hand them."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import psbook as ps
from psbook.core.consistency import KAsync, KBatchAsync
from psbook.core.keys import KeyRange
from psbook.core.messages import MessageId, Push
from psbook.errors import InvalidJob, UpdateError
from psbook.hosts.reads import MOST, Reads
from psbook.initial import Normal
from psbook.storage import Storage
from psbook.updates import SGD, DelayCompensated, StalenessAware, Update

KINDS = [("dense", "numpy"), ("dense", "jax"), ("sparse", "numpy"), ("sparse", "jax")]
WHOLE = KeyRange(0, 12)
RULES = [
    DelayCompensated(0.3, 0.7),
    DelayCompensated(0.3, 2.0, adaptive=True, decay=0.5),
    StalenessAware(0.3),
]


def draw(shape, seed=0, dtype="float64"):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(dtype) for _ in range(3)]


# -------------------------------------------------------------------------------------------- the rules


def test_compensation_is_the_papers_formula_coordinate_by_coordinate():
    w, r, g = draw((5,))
    rule = DelayCompensated(0.3, 0.7)
    expected = [w[k] - 0.3 * (g[k] + 0.7 * g[k] * g[k] * (w[k] - r[k])) for k in range(5)]
    assert_allclose(rule.apply(np, w, {}, g, read=r)[0], expected, rtol=1e-14)


def test_adaptive_compensation_divides_by_the_root_of_the_mean_square():
    rule = DelayCompensated(0.3, 2.0, adaptive=True, decay=0.9, epsilon=1e-7)
    w, r, g = draw((4,))
    state, square, expected = rule.init(np, w), np.zeros(4), w.copy()
    for step in range(1, 4):
        grad = step * g
        w, state = rule.apply(np, w, state, grad, read=r)
        for k in range(4):
            square[k] = 0.9 * square[k] + 0.1 * grad[k] ** 2
            strength = 2.0 / (square[k] + 1e-7) ** 0.5
            expected[k] -= 0.3 * (grad[k] + strength * grad[k] ** 2 * (expected[k] - r[k]))
    assert_allclose(w, expected, rtol=1e-12)
    assert_allclose(state["square"], square, rtol=1e-12)


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_fresh_gradient_is_not_compensated(adaptive):
    w, _, g = draw((5,))
    rule = DelayCompensated(0.3, 0.7, adaptive=adaptive)
    for given in ({}, {"read": w}):
        assert_array_equal(
            rule.apply(np, w, rule.init(np, w), g, **given)[0], SGD(0.3).apply(np, w, {}, g)[0]
        )


def test_strength_zero_is_sgd():
    w, r, g = draw((5,))
    assert_array_equal(
        DelayCompensated(0.3, 0).apply(np, w, {}, g, read=r)[0], SGD(0.3).apply(np, w, {}, g)[0]
    )


def test_compensation_is_exact_where_the_outer_product_is_the_hessian():
    """f(w) = ½ Σ h w², read where λ (h r)² = h: the stale step is the step of the gradient at w itself."""
    h, strength = np.array([0.1, 1.0, 7.0]), 0.4
    r = np.array([1.0, -1.0, 1.0]) / np.sqrt(strength * h)
    for w in draw((3,)):
        stepped, _ = DelayCompensated(0.2, strength).apply(np, w, {}, h * r, read=r)
        assert_allclose(stepped, w - 0.2 * h * w, rtol=1e-12)


def test_compensation_makes_the_error_of_a_delay_second_order():
    """F(w) = −log(w)/λ has F'' = λ F'² everywhere: the error left is ½ F''' d², so d/2 leaves a quarter."""
    strength, r = 0.5, 2.0

    def error(d):
        w, fresh = np.array([r + d]), -1 / (strength * (r + d))
        stepped, _ = DelayCompensated(1.0, strength).apply(
            np, w, {}, np.array([-1 / (strength * r)]), read=np.array([r])
        )
        return (w - stepped)[0] - fresh

    assert_allclose(error(1e-3) / error(5e-4), 4, rtol=1e-3)
    third = -2 / (strength * r**3)
    assert_allclose(error(1e-3), -0.5 * third * 1e-6, rtol=1e-3)


def test_the_rate_is_divided_by_the_staleness_and_whole_up_to_one():
    w, _, g = draw((5,))
    for staleness, divisor in ((0, 1), (0.5, 1), (1, 1), (2, 2), (2.5, 2.5), (40, 40)):
        stepped, _ = StalenessAware(0.3).apply(np, w, {}, g, staleness=staleness)
        assert_allclose(stepped, w - 0.3 / divisor * g, rtol=1e-14)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_numpy_and_jax_agree_and_the_rate_may_be_traced(rule):
    w, r, g = draw((5, 2), dtype="float32")
    given = {"read": r} if "read" in rule.needs else {"staleness": 3.0}
    expected, state = rule.apply(np, w, rule.init(np, w), g, **given)

    def step(rate, w, g, given):
        traced = replace(rule)
        object.__setattr__(traced, "rate", rate)
        return traced.apply(jnp, w, rule.init(jnp, w), g, **given)

    new, after = jax.jit(step)(0.3, w, g, given)
    assert new.dtype == expected.dtype == np.float32
    assert_allclose(new, expected, rtol=2e-6)
    for name in state:
        assert_allclose(after[name], state[name], rtol=2e-6)
    batch = jax.vmap(step, (0, None, None, None))(jnp.array([0.1, 0.3]), w, g, given)[0]
    assert_allclose(batch[1], expected, rtol=2e-6)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: DelayCompensated(0, 1), "rate"),
        (lambda: DelayCompensated(0.1, -1), "strength"),
        (lambda: DelayCompensated(0.1, 1, adaptive=1), "adaptive"),
        (lambda: DelayCompensated(0.1, 1, decay=1.0), "decay"),
        (lambda: DelayCompensated(0.1, 1, epsilon=0), "epsilon"),
        (lambda: StalenessAware(float("nan")), "rate"),
    ],
)
def test_bad_hyper_parameters_are_refused_by_name(make, word):
    with pytest.raises(InvalidJob, match=rf"{word}=.*required"):
        make()


def test_with_rate_knows_their_rate():
    for rule in RULES:
        assert ps.Table(2, update=rule).with_rate(0.9).update == replace(rule, rate=0.9)


def test_a_rule_that_asks_for_something_unknown_is_refused():
    @dataclass(frozen=True)
    class Nosy(Update):
        needs = frozenset({"weather"})

        def apply(self, xp, value, state, grad, *, weather):
            return value, state

    with pytest.raises(InvalidJob, match=r"needs \['weather'\]; required: a subset of .*'read'"):
        ps.Table(2, update=Nosy())


# ------------------------------------------------------------------------------------------- the storage


@pytest.mark.parametrize(("kind", "backend"), KINDS)
@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("keys", [WHOLE, KeyRange(3, 8), np.array([0, 4, 5, 11])], ids=str)
def test_storage_gives_a_rule_what_it_asks_for(kind, backend, rule, keys):
    table = ps.Table((12, 2), update=rule, init=Normal(0.5), sparse=kind == "sparse")
    shard = Storage(table, WHOLE, 5, backend)
    before = shard.read(keys).copy()
    read, grad, _ = draw(before.shape, dtype="float32")
    shard.apply([(keys, grad)], 0.5, 3.0, [read])
    given = {"read": read} if "read" in rule.needs else {"staleness": 3.0}
    expected, _ = rule.apply(np, before, rule.init(np, before), 0.5 * grad, **given)
    assert_allclose(shard.read(keys), expected, rtol=2e-6)


@pytest.mark.parametrize(("kind", "backend"), KINDS)
def test_what_was_read_of_several_parts_is_put_together_and_what_was_not_is_the_value(kind, backend):
    rule = DelayCompensated(0.5, 1.0)
    table = ps.Table(12, update=rule, init=1.0, sparse=kind == "sparse")
    shard = Storage(table, WHOLE, 5, backend)
    one = np.ones(3, "float32")
    parts = [(np.array([0, 1, 2]), one), (np.array([2, 3, 4]), 2 * one)]
    shard.apply(parts, reads=[0 * one, None])
    g, moved = np.array([1, 1, 3, 2, 2.0]), np.array([1, 1, 0, 0, 0.0])
    assert_allclose(shard.read(KeyRange(0, 5)), 1 - 0.5 * (g + g * g * moved))


def test_a_rule_that_returns_what_was_read_does_not_share_it_with_readers():
    @dataclass(frozen=True)
    class Back(Update):
        needs = frozenset({"read"})

        def apply(self, xp, value, state, grad, *, read):
            return read, state

    shard = Storage(ps.Table(4, update=Back(), init=1.0), KeyRange(0, 4))
    read = np.zeros(4, "float32")
    shard.apply([(KeyRange(0, 4), read + 1)], reads=[read])
    shard.apply([(np.array([2]), np.ones(1, "float32"))], reads=[np.full(1, 9.0, "float32")])
    assert shard.read(KeyRange(0, 4)).tolist() == [0, 0, 9, 0] and read.tolist() == [0] * 4


# ------------------------------------------------------------------------------- what a server remembers


def answer(reads, keys, version, rank=0):
    rows = np.asarray(keys if isinstance(keys, list) else range(*keys)) + 100.0 * version
    keys = np.array(keys) if isinstance(keys, list) else keys
    reads.answered(MessageId(rank, 0, "w", 0, 1), keys, version, rows)
    return rows


def push(keys, version, rank=0):
    keys = np.array(keys) if isinstance(keys, list) else keys
    value = np.zeros(keys.size)
    id = MessageId(rank, 0, "w", 0, 9)
    return Push(id, "w", keys, value, 0, read_version=version, read=id if version >= 0 else None)


def test_the_rows_of_the_answer_are_given_back_uncopied():
    reads = Reads()
    rows = answer(reads, KeyRange(0, 4), 3)
    answer(reads, KeyRange(0, 4), 5)  # read ahead: not yet what the push was computed from
    assert reads.of(push(KeyRange(0, 4), 3)) is rows


def test_each_key_is_from_the_newest_answer_up_to_the_one_named():
    reads = Reads()
    answer(reads, [0, 1, 2, 3], 1)
    answer(reads, [1, 2], 2)
    answer(reads, [2], 4)
    assert reads.of(push([0, 1, 2], 2)).tolist() == [100, 201, 202]
    assert reads.of(push([0, 1, 2], 4)).tolist() == [100, 201, 402]


def test_workers_do_not_share_what_they_read_and_nothing_read_is_none():
    reads = Reads()
    answer(reads, KeyRange(0, 2), 1, rank=0)
    answer(reads, KeyRange(0, 2), 7, rank=1)
    assert reads.of(push(KeyRange(0, 2), 1, rank=0)).tolist() == [100, 101]
    assert reads.of(push(KeyRange(0, 2), 7, rank=1)).tolist() == [700, 701]
    assert reads.of(push(KeyRange(0, 2), -1, rank=2)) is None


def test_keys_that_were_not_read_are_named():
    reads = Reads()
    answer(reads, [0, 1], 1)
    with pytest.raises(UpdateError, match=r"1 of 2 keys.*such as 3.*Pull the keys"):
        reads.of(push([1, 3], 1))
    for version in range(2, MOST + 2):
        answer(reads, [5 + version], version)
    with pytest.raises(UpdateError, match="such as 0"):  # too many reads ago
        reads.of(push([0], version))


def test_what_has_been_read_again_and_used_is_forgotten():
    reads = Reads()
    for version in range(3):
        answer(reads, KeyRange(0, 4), version)
        answer(reads, KeyRange(0, 4), version)
        assert reads.of(push(KeyRange(0, 4), version))[0] == 100 * version
        assert [len(kept) for kept in reads._kept.values()] == [1]


# -------------------------------------------------------------------------------- what a run cannot keep


async def read_and_push(worker):
    for step in range(3):
        w = await worker.pull("w", [0, 1])
        worker.push("w", w - step, [0, 1])
        await worker.clock()


def refused(**options):
    job = ps.Job(read_and_push, tables={"w": ps.Table(4, update=DelayCompensated(0.1, 1.0))})
    with pytest.raises(InvalidJob, match=r"table 'w'.*required: none of them.*StalenessAware"):
        job.run(ps.Simulator(workers=2, servers=2, **options), ps.ASP())
    job.tables["w"] = ps.Table(4, update=StalenessAware(0.1))
    job.run(ps.Simulator(workers=2, servers=2, **options), ps.ASP())


def test_what_was_read_is_not_promised_where_it_may_be_lost(tmp_path):
    refused(checkpoints=ps.Checkpoints(tmp_path, every=2))
    refused(safety=ps.Safety(replicas=1))
    refused(safety=ps.Safety(delivery="at-most-once"))
    refused(faults=ps.Faults(ps.Loss(0.1)))


def test_a_push_to_keys_that_were_not_read_ends_the_run_by_name():
    async def careless(worker):
        await worker.pull("w", [0, 1])
        worker.push("w", np.ones(2), [0, 3])
        await worker.clock()

    job = ps.Job(careless, tables={"w": ps.Table(4, update=DelayCompensated(0.1, 1.0))})
    with pytest.raises(UpdateError, match=r"1 of 2 keys.*table 'w'.*such as 3.*required: rows are read"):
        job.run(ps.Simulator(workers=1), ps.ASP())


def test_one_update_from_reads_of_two_versions_is_refused_by_name():
    """Under BSP only a worker that reads seldom is behind the others."""

    async def seldom(worker):
        w = None
        for step in range(4):
            if w is None or worker.rank == 0:
                w = await worker.pull("w")
            worker.push("w", w + step)
            await worker.clock()

    tables = {"w": ps.Table(4, update=DelayCompensated(0.1, 1.0), init=1.0)}
    with pytest.raises(UpdateError, match=r"2 pushes to table 'w'.*versions \[0, 1\]; required: one version"):
        ps.Job(seldom, tables=tables).run(ps.Simulator(workers=2), ps.BSP())


@pytest.mark.parametrize("model", [KAsync(2), KBatchAsync(2)], ids=lambda model: model.label)
def test_models_that_sum_old_gradients_and_new_are_refused_with_a_rule_that_asks_for_the_read(model):
    job = ps.Job(read_and_push, tables={"w": ps.Table(4, update=DelayCompensated(0.1, 1.0))})
    with pytest.raises(InvalidJob, match=r"table 'w'.*makes one update of old gradients and new; required"):
        job.run(ps.Simulator(workers=2), model)
