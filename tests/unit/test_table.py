"""Tables: what is accepted, what is refused, pytrees there and back, initial values of any key."""

import pickle
import subprocess
import sys
from collections import namedtuple
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from psbook.core.keys import KeyRange
from psbook.errors import InvalidJob, InvalidKeys, ShapeMismatch
from psbook.initial import Normal, Uniform, initial_rows
from psbook.table import Table
from psbook.updates import SGD, Adam, Add, Assign, Update

F32 = np.dtype("float32")

# ---------------------------------------------------------------------------------------- construction


def test_the_ways_to_make_a_table():
    assert (Table(5).shape, Table((5,)).shape, Table.rows(5, 2).row_shape) == ((5,), (5,), (2,))
    sparse = Table.sparse(2**40, 8, update=SGD(0.1), dtype="float64")
    assert (sparse.size, sparse.row_shape, sparse.is_sparse, sparse.dtype) == (2**40, (8,), True, np.float64)
    assert isinstance(Table(5).update, Add)
    made = Table.of(jnp.ones((3, 2)), update=Adam())
    assert made.shape == (3, 2) and made.dtype == F32
    assert_array_equal(made.initial(KeyRange(1, 3), 0), np.ones((2, 2)))


@pytest.mark.parametrize(
    "arguments",
    [
        {"shape": ()},
        {"shape": (0,)},
        {"shape": (-1, 2)},
        {"shape": (2.5,)},
        {"shape": "many"},
        {"shape": 2**63},
        {"dtype": "float33"},
        {"dtype": "object"},
        {"dtype": "U8"},
        {"dtype": "complex64"},
        {"init": [1.0, 2.0]},
        {"init": np.ones(4), "dtype": "int32"},
        {"init": "zero"},
        {"init": lambda rng, shape: rng.normal(size=shape), "sparse": True},
        {"update": SGD},
        {"update": SGD(0.1), "dtype": "int64"},
        {"aggregate": "median"},
        {"aggregate": "mean", "update": Assign()},
        {"aggregate": "mean", "dtype": "int64"},
    ],
    ids=" ".join,
)
def test_what_does_not_go_together_is_refused(arguments):
    with pytest.raises(InvalidJob, match="required"):
        Table(**{"shape": (4,), **arguments})


def test_an_update_function_that_can_change_is_refused():
    class Loose(Update):
        __hash__ = None

        def apply(self, xp, value, state, grad):
            return value, state

    with pytest.raises(InvalidJob, match="frozen=True"):
        Table(4, update=Loose())


def test_aggregation_is_the_jobs_choice_for_gradients_only():
    assert Table(4, update=SGD(0.1)).aggregation("mean") == "mean"
    assert Table(4, update=SGD(0.1), aggregate="sum").aggregation("mean") == "sum"
    assert Table(4).aggregation("mean") == "sum"
    assert Table(4, aggregate="mean").aggregation("sum") == "mean"


# ----------------------------------------------------------------------------------------------- pushes


@pytest.mark.parametrize(
    "value", [[1, 2, 3], np.arange(1, 4), np.arange(1.0, 4), jnp.arange(1.0, 4), (True, 2, 3.0)]
)
def test_rows_of_any_library_become_the_tables_dtype(value):
    keys, rows = Table(9).check("w", [0, 4, 8], value)
    assert isinstance(rows, np.ndarray) and rows.dtype == F32
    assert_array_equal(rows, [1, 2, 3])
    assert_array_equal(keys, [0, 4, 8])


def test_rows_of_the_right_dtype_are_not_copied():
    rows = np.ones(9, "float32")
    assert Table(9).check("w", None, rows)[1] is rows


@pytest.mark.parametrize(
    ("table", "keys", "value"),
    [
        (Table(4), None, 1.0),
        (Table(4), None, np.ones(3)),
        (Table(4), None, np.ones((4, 1))),
        (Table(4), [1], np.ones((1, 4))),
        (Table.rows(4, 2), [1, 2], np.ones(2)),
        (Table.rows(4, 2), None, [[1, 2], [3]]),
        (Table(4), None, np.ones(4, complex)),
        (Table(4), None, np.array([None] * 4)),
        (Table(4), None, ["a"] * 4),
        (Table(4, dtype="int32"), None, np.ones(4)),
    ],
    ids=str,
)
def test_values_that_do_not_fit_are_refused(table, keys, value):
    with pytest.raises(ShapeMismatch, match=r"table 'w'.*required"):
        table.check("w", keys, value)


@pytest.mark.parametrize(
    "keys", [[1, 1], [2, 1], [-1, 0], [0, 4], [0.5], ["a"], [[1]], KeyRange(2, 5), slice(0, 4, 2)]
)
def test_keys_that_do_not_fit_are_refused(keys):
    with pytest.raises(InvalidKeys, match="table 'w'"):
        Table(4).check("w", keys, np.ones(len(keys) if isinstance(keys, list) else 3))


def test_a_huge_range_of_a_sparse_table_is_refused():
    table = Table.sparse(2**40)
    with pytest.raises(InvalidKeys, match="Name the keys"):
        table.check_keys("w", None)
    assert table.check_keys("w", slice(7, 9)) == KeyRange(7, 9)


# ---------------------------------------------------------------------------------------------- pytrees

Layer = namedtuple("Layer", "kernel bias")


def network():
    rng = np.random.default_rng(3)
    return {
        "layers": [
            Layer(jnp.asarray(rng.normal(size=(4, 3)), "float32"), jnp.zeros(3, "bfloat16")),
            Layer(rng.normal(size=(3, 1)).astype("float16"), 0.5),
        ],
        "none": None,
    }


def test_a_pytree_comes_back_with_its_shapes_dtypes_and_kinds():
    tree = network()
    table = Table.of(tree, update=SGD(0.1))
    assert table.shape == (4 * 3 + 3 + 3 + 1,) and table.dtype == F32
    back = table.decode(table.initial(KeyRange(0, table.size), 0))
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    for old, new in zip(jax.tree.leaves(tree), jax.tree.leaves(back), strict=True):
        assert_array_equal(new, old)
        assert isinstance(new, jax.Array) == isinstance(old, jax.Array)
    assert [leaf.dtype.name for leaf in jax.tree.leaves(back)] == [
        "float32",
        "bfloat16",
        "float16",
        "float32",
    ]


@given(st.lists(st.lists(st.integers(1, 3), max_size=3), min_size=1, max_size=4), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_encode_is_the_inverse_of_decode(shapes, seed):
    rng = np.random.default_rng(seed)
    tree = [rng.normal(size=shape).astype("float32") for shape in shapes]
    table = Table.of(tree)
    vector = rng.normal(size=table.size).astype("float32")
    assert_array_equal(table.encode(table.decode(vector)), vector)
    assert_array_equal(table.encode(tree), np.concatenate([leaf.ravel() for leaf in tree]))


def test_a_gradient_of_the_tree_is_pushed_whole_and_a_vector_too():
    params = {"w": jnp.ones((2, 2)), "b": jnp.zeros(2)}
    table = Table.of(params, update=SGD(0.1))
    grad = jax.grad(lambda p: (p["w"] @ jnp.array([1.0, 2.0]) + p["b"]).sum())(params)
    keys, rows = table.check("w", None, grad)
    assert keys == KeyRange(0, 6)
    assert_array_equal(rows, [1, 1, 1, 2, 1, 2])
    assert_array_equal(table.check("w", None, rows)[1], rows)
    assert_array_equal(table.check("w", [0, 5], [3, 4])[1], [3, 4])


@pytest.mark.parametrize(
    "wrong",
    [
        {"w": np.ones((2, 2))},
        {"w": np.ones((2, 2)), "b": np.ones(3)},
        {"w": np.ones((2, 2)), "b": ["x"]},
        1.0,
    ],
)
def test_another_tree_is_refused(wrong):
    table = Table.of({"w": np.ones((2, 2)), "b": np.zeros(2)})
    with pytest.raises(ShapeMismatch, match="required"):
        table.check("w", None, wrong)


@pytest.mark.parametrize(
    "tree", [{}, {"w": np.ones(2, "float32"), "step": np.zeros(1, "int32")}, {"w": "text"}]
)
def test_trees_that_are_no_parameters_are_refused(tree):
    with pytest.raises(InvalidJob, match="required"):
        Table.of(tree)


def test_tables_travel_between_processes():
    table = pickle.loads(pickle.dumps(Table.of(network(), update=Adam(0.1))))
    assert table.update == Adam(0.1)
    assert_array_equal(table.encode(network()), table.init)


def test_jax_is_imported_only_when_needed():
    code = (
        "import sys, numpy as np; from psbook.table import Table; from psbook.storage import Storage;"
        "from psbook.core.keys import KeyRange; from psbook.updates import Adam;"
        "s = Storage(Table.of(np.ones(4), update=Adam()), KeyRange(0, 4));"
        "s.apply([(KeyRange(0, 4), np.ones(4))]); sys.exit('jax' in sys.modules or 'optax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --------------------------------------------------------------------------------------- initial values

RANDOM = [lambda rng, shape: rng.normal(size=shape) / shape[0], Normal(0.3), Uniform(-2, 5)]


@pytest.mark.parametrize("init", [1.5, np.arange(24.0).reshape(12, 2), *RANDOM])
@given(cuts=st.lists(st.integers(0, 12), max_size=4))
@settings(max_examples=15, deadline=None)
def test_initial_values_do_not_depend_on_the_cut(init, cuts):
    borders = [0, *sorted(cuts), 12]
    parts = [initial_rows(init, KeyRange(*ends), (12, 2), F32, 7) for ends in pairwise(borders)]
    whole = initial_rows(init, KeyRange(0, 12), (12, 2), F32, 7)
    assert_array_equal(np.concatenate(parts), whole)
    some = np.array([1, 4, 11])
    assert_array_equal(initial_rows(init, some, (12, 2), F32, 7), whole[some])


@pytest.mark.parametrize("init", RANDOM)
def test_seeds_give_different_values_and_the_same_seed_the_same(init):
    first, again, other = (
        initial_rows(init, KeyRange(0, 50), (50,), F32, seed) for seed in ((1, 2), (1, 2), (1, 3))
    )
    assert_array_equal(first, again)
    assert (first != other).all()


@pytest.mark.parametrize(
    ("init", "law"), [(Normal(2.0), stats.norm(0, 2)), (Uniform(-1, 3), stats.uniform(-1, 4))]
)
@pytest.mark.parametrize("first", [0, 2**40])
def test_values_by_key_follow_their_law_and_are_uncorrelated(init, law, first):
    rows = init.rows(np.arange(first, first + 20_000), (2,), 5)
    assert stats.kstest(rows.ravel(), law.cdf).pvalue > 1e-3
    others = [
        rows[:-1, 0],
        rows[1:, 0],
        rows[:-1, 1],
        init.rows(np.arange(first, first + 19_999), (2,), 6)[:, 0],
    ]
    correlation = np.corrcoef(others) - np.eye(4)
    assert np.abs(correlation).max() < 4 / np.sqrt(20_000)


def test_an_initialiser_must_return_what_it_was_asked_for():
    with pytest.raises(ShapeMismatch, match="init returned"):
        Table(4, init=lambda rng, shape: np.zeros(3)).initial(KeyRange(0, 4), 0)


def test_initial_values_are_a_copy():
    values = np.ones(4, "float32")
    table = Table.of(values)
    values[:] = 9
    assert_allclose(table.initial(KeyRange(0, 4), 0), 1)
