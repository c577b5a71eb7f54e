"""What users hand over: kernels that look around, values that do not fit, objectives that write."""

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import psbook as ps
from psbook.errors import ProgramError, ShapeMismatch, Unsupported
from psbook.simulator.compiled import engine

X = np.random.default_rng(3).normal(size=(24, 3)).astype("float32")
Y = X @ np.array([1.0, 2.0, 3.0], "float32")
STRENGTH = {"l2": 0.0}


def square(w, batch):
    x, y = batch
    return jax.value_and_grad(lambda w: jnp.mean((x @ w - y) ** 2))(w)


def ones(w, batch):
    return 0.0, jnp.ones(3)


def regularised(w, batch):
    loss, grad = square(w, batch)
    return loss, grad + STRENGTH["l2"] * w


@dataclass(eq=False)
class Model:
    l2: float = 0.0

    def kernel(self, w, batch):
        loss, grad = square(w, batch)
        return loss, grad + self.l2 * w


def job(kernel, table=None, data=(X, Y), **options):
    table = table or ps.Table(3, update=ps.SGD(0.1))
    return ps.Job(ps.Loop(kernel), tables={"w": table}, data=data, batch_size=4, iterations=5, **options)


def run(job, which="auto"):
    cluster = ps.Simulator(workers=3, compute=ps.Exponential(0.1), seed=2, trace="iterations", engine=which)
    return job.run(cluster, ps.SSP(1))


def values(job, which="compiled"):
    return run(job, which).tables["w"]


def test_a_kernel_that_looks_at_a_global_meets_its_present_value(monkeypatch):
    before = values(job(regularised))
    monkeypatch.setitem(STRENGTH, "l2", 5.0)
    after = values(job(regularised))
    assert not np.allclose(before, after)
    np.testing.assert_allclose(after, values(job(regularised), "messages"), rtol=1e-5)


def test_a_kernel_that_is_a_method_meets_its_objects_present_state():
    model = Model()
    before = values(job(model.kernel))
    model.l2 = 5.0
    after = values(job(model.kernel))
    assert not np.allclose(before, after)
    np.testing.assert_allclose(after, values(job(model.kernel), "messages"), rtol=1e-5)


def test_one_and_the_same_kernel_is_compiled_once():
    model = Model(l2=0.25)
    values(job(model.kernel))
    assert run(job(model.kernel), "compiled").compile_seconds == 0.0


@pytest.mark.parametrize("gradient", [jnp.ones((1, 3)), jnp.ones((3, 1)), jnp.ones(())])
def test_gradients_of_another_shape_are_refused_by_both_engines(gradient):
    wrong = job(lambda w, batch: (0.0, gradient))
    for which in ("auto", "messages"):
        with pytest.raises(ShapeMismatch, match=r"required: \(3,\)"):
            run(wrong, which)
    with pytest.raises(Unsupported, match="ShapeMismatch"):
        run(wrong, "compiled")


@pytest.mark.parametrize("table", [ps.Table(3, dtype="int32"), ps.Table.of({"n": np.zeros(3, "int32")})])
def test_gradients_that_do_not_cast_to_the_table_are_refused_by_both_engines(table):
    wrong = job(lambda w, batch: (0.0, jax.tree.map(lambda rows: jnp.full(3, 2.7), w)), table)
    for which in ("auto", "messages"):
        with pytest.raises(ShapeMismatch, match="casts to int32"):
            run(wrong, which)


def test_a_table_that_is_pushed_to_twice_goes_by_messages():
    twice = ps.Job(
        ps.Loop(lambda w, batch: (0.0, (jnp.ones(3), jnp.ones(3))), push=("w", "w")),
        tables={"w": ps.Table(3)}, data=X, batch_size=4, iterations=2,
    )  # fmt: skip
    done = run(twice)
    assert done.trace.meta["engine_why"] == "the loop pushes to a table twice"
    np.testing.assert_array_equal(done.tables["w"], np.full(3, 12.0))


def test_a_kernel_without_a_hash_goes_by_messages():
    @dataclass
    class Kernel:
        rate: float = 1.0

        def __call__(self, w, batch):
            return ones(w, batch)

    done = run(job(Kernel()))
    assert done.trace.meta["engine"] == "messages"
    assert "unhashable" in done.trace.meta["engine_why"]


def test_whole_numbers_that_jax_would_cut_off_go_by_messages():
    large = np.arange(24) + 2**40
    kernel = lambda w, rows: (0.0, jnp.ones(3) * (rows % 7).sum())  # noqa: E731
    done = run(job(kernel, data=large))
    assert "whole numbers" in done.trace.meta["engine_why"]
    assert run(job(kernel, data=large - 2**40)).trace.meta["engine"] == "compiled"


@pytest.mark.parametrize("tree", [False, True])
def test_an_objective_may_write_to_what_it_is_given(tree):
    table = ps.Table.of({"a": np.zeros(3, "float32")}) if tree else ps.Table(3)
    kernel = lambda w, batch: (0.0, jax.tree.map(jnp.ones_like, w))  # noqa: E731

    def total(w):
        array = w["a"] if tree else w
        found = float(array.sum())
        array += 100.0
        return found

    by = {which: run(job(kernel, table, evaluate=total), which) for which in ("compiled", "messages")}
    assert by["compiled"].history["loss"].tolist() == by["messages"].history["loss"].tolist()
    assert by["compiled"].history["loss"].iloc[-1] == 45.0


def test_tables_of_a_run_may_be_written_to():
    found = values(job(ones))
    found += 1.0


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_rates_and_shares_have_the_precision_of_the_table(dtype):
    kernel = lambda w, batch: (0.0, jnp.ones(3, dtype))  # noqa: E731
    with jax.enable_x64(True):  # of this thread; the engine computes on others
        table = ps.Table(3, update=ps.SGD(0.1), dtype=dtype)
        compiled, messages = (values(job(kernel, table), which) for which in ("compiled", "messages"))
    assert compiled.dtype == dtype
    np.testing.assert_array_equal(compiled, messages)


def test_a_run_that_would_keep_too_many_states_goes_by_messages(monkeypatch):
    evaluated = job(square, evaluate=lambda w: float(w.sum()), every=1)
    monkeypatch.setattr(engine, "LARGEST", 12 * (16 + 3))  # 15 iterations and the start, 3 workers
    assert run(evaluated).trace.meta["engine"] == "compiled"
    monkeypatch.setattr(engine, "LARGEST", 12 * (16 + 3) - 1)
    done = run(evaluated)
    assert done.trace.meta["engine_why"].startswith("19 states of the tables")
    with pytest.raises(Unsupported, match="every="):
        run(evaluated, "compiled")


def test_the_states_that_runs_keep_together_are_bounded(monkeypatch):
    sizes = []
    together = engine._together
    monkeypatch.setattr(engine, "_together", lambda points: sizes.append(len(points)) or together(points))
    evaluated = job(square, evaluate=lambda w: float(w.sum()), every=1)
    cluster = ps.Simulator(workers=3, compute=ps.Exponential(0.1), trace="iterations")
    points = [engine.Point(evaluated, dataclasses.replace(cluster, seed=seed), ps.ASP()) for seed in range(4)]
    whole = engine.run_batch(points)
    monkeypatch.setattr(engine, "MEMORY", 2 * (engine.ITERATION * 15 + 12 * 17))
    halves = engine.run_batch(points)
    assert sizes == [4, 2, 2]
    for one, other in zip(whole, halves, strict=True):
        np.testing.assert_array_equal(one.tables["w"], other.tables["w"])


def test_an_objective_for_many_states_gives_a_loss_for_each():
    class Objective:
        def __call__(self, w):
            return float(w.sum())

        def many(self, w):
            return w.sum(axis=1)[self.kept]

        kept = slice(None)

    objective = Objective()
    each, together = (
        run(job(square, evaluate=found)).history["loss"] for found in (lambda w: float(w.sum()), objective)
    )
    np.testing.assert_allclose(together, each, rtol=1e-6)
    objective.kept = slice(1)
    with pytest.raises(ProgramError, match="1 losses for 6 states"):
        run(job(square, evaluate=objective))
