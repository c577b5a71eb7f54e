"""Storage: one update a round, the same for any cut into shards, and readers who never see a later write."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from psbook.core.keys import KeyRange, count
from psbook.core.routes import cut
from psbook.errors import InvalidJob, ProtocolError, UpdateError
from psbook.initial import Normal
from psbook.storage import NewValues, Storage
from psbook.storage.arithmetic import jitted
from psbook.storage.combine import as_array, combined
from psbook.storage.device import _compiled
from psbook.storage.index import KeyIndex
from psbook.table import Table
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
    Update,
)

RULES = [Assign(), Add(), SGD(0.3), Momentum(0.1), Adagrad(0.5), Adam(0.05), FTRLProximal(0.2, 1.0, 0.1)]
RULES += [DelayCompensated(0.3, 2.0, adaptive=True), StalenessAware(0.3)]
OPTAX = Optax(optax.adam(0.05))
KINDS = [("dense", "numpy"), ("dense", "jax"), ("sparse", "numpy"), ("sparse", "jax")]
WHOLE = KeyRange(0, 12)


def storage(kind, backend, update, keys=WHOLE, row=(), seed=5):
    """Return storage for a table of 12 keys, or for a part of it."""
    table = Table((12, *row), update=update, init=Normal(0.5), sparse=kind == "sparse")
    return Storage(table, keys, seed, backend)


def pushes(seed, steps=6, row=()):
    """Return a list of updates, each one or more parts, with ranges and key lists mixed."""
    rng = np.random.default_rng(seed)
    updates = []
    for _ in range(steps):
        parts = []
        for _ in range(rng.integers(1, 4)):
            start, stop = sorted(rng.choice(13, 2, replace=False).tolist())
            listed = np.flatnonzero(rng.random(12) < 0.4)
            keys = [WHOLE, KeyRange(start, stop), listed][rng.integers(3)]
            parts.append((keys, rng.normal(size=(count(keys), *row)).astype("float32")))
        updates.append(parts)
    return updates


def split(parts, owned):
    """Return what of some parts falls to one shard."""
    out = []
    for keys, rows in parts:
        listed = as_array(keys)
        kept = (listed >= owned.start) & (listed < owned.stop)
        if isinstance(keys, KeyRange) and kept.any():
            out.append((KeyRange(max(keys.start, owned.start), min(keys.stop, owned.stop)), rows[kept]))
        elif kept.any():
            out.append((listed[kept], rows[kept]))
    return out


# ----------------------------------------------------------------------------- what an update amounts to


@pytest.mark.parametrize(("kind", "backend"), KINDS)
@pytest.mark.parametrize("update", RULES, ids=str)
def test_storage_applies_the_rule_to_the_combined_rows(kind, backend, update):
    shard = storage(kind, backend, update, row=(2,))
    value = shard.table.initial(WHOLE, 5)
    state = update.init(np, value)
    for parts in pushes(1, row=(2,)):
        # Independent reference: row by row, each touched key by itself, in Python.
        touched = {}
        for keys, rows in parts:
            for key, row in zip(as_array(keys).tolist(), rows, strict=True):
                touched[key] = touched[key] + row if key in touched and update.combine == "sum" else row
        for key, row in touched.items():
            old = {name: rows[[key]] for name, rows in state.items()}
            new, after = update.apply(np, value[[key]], old, (row * 0.5)[None])
            value[[key]] = new
            for name, rows in after.items():
                state[name][[key]] = rows
        shard.apply(parts, scale=0.5)
        assert_allclose(shard.read(WHOLE), value, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("update", [*RULES, OPTAX], ids=str)
@given(seed=st.integers(0, 10_000), shards=st.integers(2, 5))
@settings(max_examples=8, deadline=None)
def test_the_number_of_shards_changes_nothing(kind, update, seed, shards):
    one = storage(kind, "numpy", update)
    partition = cut([[str(n)] for n in range(shards)]).partition(12)
    many = [storage(kind, "numpy", update, partition.range(shard)) for shard in range(shards)]
    for parts in pushes(seed, steps=4):
        one.apply(parts, scale=0.25)
        for shard in many:
            if mine := split(parts, shard.keys):
                shard.apply(mine, scale=0.25)
    together = np.concatenate([shard.read(shard.keys) for shard in many])
    assert_allclose(together, one.read(WHOLE), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("update", [*RULES, OPTAX], ids=str)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_sparse_equals_dense_and_stores_what_was_touched(update, seed):
    dense, sparse = storage("dense", "numpy", update), storage("sparse", "numpy", update)
    touched = set()
    for parts in pushes(seed, steps=3):
        parts = [(as_array(keys)[:3], rows[:3]) for keys, rows in parts]
        touched |= {key for keys, _ in parts for key in keys.tolist()}
        dense.apply(parts)
        sparse.apply(parts)
    assert_allclose(sparse.read(WHOLE), dense.read(WHOLE), rtol=1e-6, atol=1e-7)
    keys, values = sparse.snapshot()
    assert keys.tolist() == sorted(touched)
    assert_array_equal(values, sparse.read(keys))


@pytest.mark.parametrize("update", [*RULES, OPTAX], ids=str)
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_numpy_and_jax_storage_agree(kind, update):
    ours, theirs = storage(kind, "numpy", update), storage(kind, "jax", update)
    for parts in pushes(3):
        ours.apply(parts)
        theirs.apply(parts)
    for keys in (WHOLE, KeyRange(2, 5), np.array([0, 7, 11])):
        assert_allclose(theirs.read(keys), ours.read(keys), rtol=5e-5, atol=5e-6)


def test_a_huge_sparse_table_costs_what_is_touched():
    shard = Storage(Table.sparse(2**40, 4, update=Adagrad(0.1), init=Normal(1.0)), KeyRange(2**39, 2**40))
    keys = np.unique(np.random.default_rng(0).integers(2**39, 2**40, 5000))
    before = shard.read(keys)
    assert shard.nbytes < 2_000  # reading stores nothing
    shard.apply([(keys, np.ones((len(keys), 4), "float32"))])
    assert_allclose(shard.read(keys), before - np.float32(0.1), rtol=1e-5, atol=1e-6)
    assert shard.nbytes < 5000 * (16 + 16 + 8 + 8 * 8) * 2
    assert_array_equal(shard.snapshot()[0], keys)


# ------------------------------------------------------------------------------------ combining pushes


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_combining_is_a_sum_or_the_last_of_each_key(seed):
    parts = pushes(seed, steps=1)[0]
    for how in ("sum", "last"):
        expected = {}
        for keys, rows in parts:
            for key, row in zip(as_array(keys).tolist(), rows, strict=True):
                expected[key] = expected[key] + row if how == "sum" and key in expected else row
        keys, rows = combined(parts, how)
        listed = as_array(keys).tolist()
        assert listed == sorted(listed) and set(listed) == set(expected)
        assert_array_equal(rows, np.array([expected[key] for key in listed], "float32"))


def test_the_order_of_parts_decides_the_rounding():
    big, one = np.array([2.0**24], "float32"), np.array([1.0], "float32")
    key = KeyRange(0, 1)
    assert combined([(key, big), (key, one), (key, one)], "sum")[1] == 2.0**24
    assert combined([(key, one), (key, one), (key, big)], "sum")[1] == 2.0**24 + 2


def test_combining_changes_no_part():
    parts = [(WHOLE, np.ones(12, "float32")) for _ in range(4)]
    shard = storage("dense", "numpy", Add())
    shard.apply(parts, scale=0.5)
    for _, rows in parts:
        assert_array_equal(rows, 1)


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_integers_stay_integers(kind, scale):
    shard = Storage(Table(4, dtype="int64", sparse=kind == "sparse"), KeyRange(0, 4))
    shard.apply([(KeyRange(0, 4), np.array([2, 4, 6, 2**53 * 2]))], scale)
    assert shard.read(KeyRange(0, 4)).tolist() == [int(v * scale) for v in (2, 4, 6, 2**53 * 2)]


# ------------------------------------------------------------------------- nobody sees a later write


@dataclass(frozen=True)
class Greedy(Update):
    """Keeps its own arguments: the gradient becomes the value, the old value the state, twice."""

    def init(self, xp, value):
        return {"old": value, "older": value}

    def apply(self, xp, value, state, grad):
        return grad, {"old": value, "older": state["old"]}


@pytest.mark.parametrize(("kind", "backend"), KINDS)
@pytest.mark.parametrize("update", [*RULES, OPTAX, Greedy()], ids=str)
def test_readers_never_see_later_writes(kind, backend, update):
    shard = storage(kind, backend, update)
    held = []
    for parts in pushes(11, steps=10):
        shard.apply(parts)
        reads = [shard.read(WHOLE), shard.read(KeyRange(0, 8)), shard.read(KeyRange(3, 5))]
        reads += [shard.read(np.array([1, 9])), shard.snapshot()[1], shard.export().values]
        reads += list(shard.export().state.values())
        assert not any(rows.flags.writeable for rows in reads[:6])
        held += [(rows, rows.copy()) for rows in reads]
        for _, rows in parts:
            rows[:] = np.nan  # the sender uses its buffer again
    assert not np.isnan(shard.read(WHOLE)).any()
    for rows, copy in held:
        assert_array_equal(rows, copy)


@pytest.mark.parametrize(("kind", "backend"), KINDS)
def test_arrays_an_update_function_keeps_do_not_run_into_each_other(kind, backend):
    shard = storage(kind, backend, Greedy())
    start = shard.read(WHOLE)
    first, some = np.arange(12, dtype="float32"), np.array([2, 5])
    shard.apply([(WHOLE, first)])
    shard.apply([(some, np.array([-1, -2], "float32"))])
    block = shard.export()
    expected = first.copy()
    expected[some] = [-1, -2]
    assert_array_equal(block.values, expected)
    expected = start.copy()
    expected[some] = first[some]
    assert_array_equal(block.state["old"], expected)
    assert_array_equal(block.state["older"], start)


@pytest.mark.parametrize("size", [64, 2**18])
def test_jax_does_not_adopt_the_memory_of_a_push(size):
    room = np.empty(size + 16, "float32")
    first = -room.ctypes.data % 64 // 4
    rows = room[first : first + size]  # aligned as JAX's own buffers are
    keys = KeyRange(0, size)
    shard = Storage(Table(size, update=Greedy()), keys, backend="jax")
    for value in (1.0, 2.0):
        rows[:] = value
        shard.apply([(keys, rows)])
    rows[:] = np.nan
    assert_array_equal(shard.read(keys), 2.0)
    assert_array_equal(shard.export().state["old"], 1.0)


def test_a_whole_read_of_a_dense_shard_is_no_copy():
    shard = storage("dense", "numpy", Add())
    assert np.shares_memory(shard.read(WHOLE), shard.read(KeyRange(0, 12)))
    shard.apply([(np.array([1]), np.ones(1, "float32"))])
    buffer = shard.read(np.array([0])), shard._rows.values
    shard.apply([(np.array([1]), np.ones(1, "float32"))])
    assert shard._rows.values is buffer[1]  # nobody held it: written in place


# ---------------------------------------------------------------------------------------------- errors


@dataclass(frozen=True)
class Faulty(Update):
    """Does wrong what `how` says, once it gets a negative gradient."""

    how: str

    def init(self, xp, value):
        return {"sum": xp.zeros_like(value)}

    def apply(self, xp, value, state, grad):
        good = value + grad, {"sum": state["sum"] + grad}
        if xp is np and grad[0] >= 0:
            return good
        match self.how:
            case "raise":
                raise ZeroDivisionError("of all things")
            case "shape":
                return good[0][:1].sum(), good[1]
            case "state shape":
                return good[0], {"sum": good[1]["sum"].sum()}
            case "names":
                return good[0], {"total": good[1]["sum"]}
            case "in place":
                value += grad
                return value, state
            case "state in place":
                state["sum"] += grad
                return value, state
            case "grad in place":
                grad *= 2
                return good
            case "nothing":
                return None


@pytest.mark.parametrize(
    "how",
    ["raise", "shape", "state shape", "names", "in place", "state in place", "grad in place", "nothing"],
)
@pytest.mark.parametrize("keys", [WHOLE, KeyRange(2, 6), np.array([0, 4, 5])], ids=str)
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_an_update_that_fails_changes_nothing(kind, keys, how):
    shard = storage(kind, "numpy", Faulty(how))
    ones = np.ones(count(keys), "float32")
    shard.apply([(keys, ones)])
    before = shard.export()
    with pytest.raises(UpdateError, match=r"Faulty.*nothing has changed.*Required") as caught:
        shard.apply([(keys, -ones)])
    assert caught.value.__cause__ is not None
    after = shard.export()
    assert_array_equal(after.keys, before.keys)
    assert_array_equal(after.values, before.values)
    assert_array_equal(after.state["sum"], before.state["sum"])
    shard.apply([(keys, ones)])
    assert_allclose(shard.read(keys), before.values[np.isin(as_array(before.keys), as_array(keys))] + 1)


def test_an_update_that_fails_under_jax_changes_nothing():
    shard = storage("dense", "jax", Faulty("raise"))
    before = shard.read(WHOLE)
    with pytest.raises(UpdateError) as caught:
        shard.apply([(WHOLE, np.ones(12, "float32"))])
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert_array_equal(shard.read(WHOLE), before)


def test_state_must_have_a_row_a_key():
    @dataclass(frozen=True)
    class Counting(Update):
        def init(self, xp, value):
            return {"count": xp.zeros(())}

        def apply(self, xp, value, state, grad):
            return value, state

    for kind, backend in KINDS:
        with pytest.raises(InvalidJob, match="one row a key"):
            storage(kind, backend, Counting())


def test_what_cannot_be_stored_is_refused():
    with pytest.raises(InvalidJob, match="backend='torch'"):
        Storage(Table(4), KeyRange(0, 4), backend="torch")
    with pytest.raises(InvalidJob, match=r"float64.*jax_enable_x64"):
        Storage(Table(4, dtype="float64"), KeyRange(0, 4), backend="jax")
    with pytest.raises(UpdateError, match="initial values") as caught:
        Storage(Table(4, init=lambda rng, shape: rng.wrong()), KeyRange(0, 4))
    assert isinstance(caught.value.__cause__, AttributeError)


@pytest.mark.parametrize(("kind", "backend"), KINDS)
def test_keys_of_another_shard_are_a_bug(kind, backend):
    shard = storage(kind, backend, Add(), KeyRange(4, 8))
    for keys in (KeyRange(3, 5), KeyRange(7, 9), np.array([3, 5]), np.array([5, 8])):
        with pytest.raises(ProtocolError, match="4:8"):
            shard.read(keys)
    assert len(shard.read(KeyRange(0, 0))) == len(shard.read(np.empty(0, "int64"))) == 0
    before = shard.read(shard.keys)
    shard.apply([(KeyRange(0, 0), np.empty(0, "float32"))])
    assert_array_equal(shard.read(shard.keys), before)


# ------------------------------------------------------------------- functions, export, compilation


@pytest.mark.parametrize(("kind", "backend"), KINDS)
def test_server_side_functions_read_and_write(kind, backend):
    shard = storage(kind, backend, Momentum(0.1))
    shard.apply([(WHOLE, np.ones(12, "float32"))])
    before, state = shard.read(WHOLE), shard.export().state["velocity"]
    assert shard.call(np.dot, (np.ones(12, "float32"),)) == pytest.approx(before.sum(), rel=1e-5)
    view = shard.call(lambda values: values[::2])
    assert shard.call(lambda values, a, b: NewValues(a * values + b, "done"), (2.0, 1.0)) == "done"
    assert_allclose(shard.read(WHOLE), 2 * before + 1, rtol=1e-6)
    assert_array_equal(view, before[::2])
    assert_array_equal(shard.export().state["velocity"], state)


@pytest.mark.parametrize(
    "function",
    [
        lambda values: 1 / 0,
        lambda values: NewValues(values[:2]),
        lambda values: NewValues(values.astype(complex)),
        lambda values: values.fill(0),
    ],
)
@pytest.mark.parametrize(("kind", "backend"), KINDS)
def test_a_server_side_function_that_fails_changes_nothing(kind, backend, function):
    shard = storage(kind, backend, Add())
    shard.apply([(WHOLE, np.ones(12, "float32"))])
    before = shard.read(WHOLE)
    with pytest.raises(UpdateError, match=r"server-side function.*lambda.*nothing has changed"):
        shard.call(function)
    assert_array_equal(shard.read(WHOLE), before)


@pytest.mark.parametrize("update", [*RULES, OPTAX], ids=str)
@pytest.mark.parametrize(("kind", "backend"), KINDS)
def test_a_shard_cut_in_the_middle_of_training_goes_on_as_if_whole(kind, backend, update):
    whole = storage(kind, backend, update)
    first, second = pushes(21, steps=8)[:4], pushes(22, steps=4)
    for parts in first:
        whole.apply(parts)
    halves = []
    for ends in pairwise([0, 5, 12]):
        half = storage(kind, backend, update, KeyRange(*ends))
        half.load(whole.export(half.keys))
        halves.append(half)
    listed = whole.export(np.array([1, 6]))
    assert_array_equal(listed.values, whole.read(listed.keys))
    for parts in second:
        whole.apply(parts)
        for half in halves:
            if mine := split(parts, half.keys):
                half.apply(mine)
    assert_allclose(np.concatenate([h.read(h.keys) for h in halves]), whole.read(WHOLE), rtol=2e-6, atol=1e-6)


def test_changing_sizes_compile_a_bounded_number_of_times():
    update, other = SGD(0.123), SGD(0.124)
    dense = Storage(Table(100, update=update), KeyRange(0, 100), backend="jax")
    sparse = Storage(Table.sparse(100, update=other), KeyRange(0, 100), backend="jax")
    for n in range(1, 100):
        for shard in (dense, sparse):
            shard.apply([(np.arange(n), np.ones(n, "float32"))])
            shard.read(np.arange(n))
    assert jitted(other)._cache_size() <= 5
    assert [compiled._cache_size() for compiled in _compiled(update)[1:]] == [5, 5]


@pytest.mark.parametrize(("kind", "backend"), KINDS)
def test_bytes_are_those_of_values_and_state(kind, backend):
    shard = storage(kind, backend, Adam())
    shard.apply([(WHOLE, np.ones(12, "float32"))])
    assert shard.nbytes >= 12 * 4 * 4
    if kind == "dense":
        assert shard.nbytes == 12 * 4 * 4


@given(st.lists(st.lists(st.integers(0, 2**62), unique=True), max_size=8))
@settings(max_examples=50, deadline=None)
def test_the_key_index_is_a_dictionary(batches):
    index, reference = KeyIndex(), {}
    for batch in batches:
        keys = np.array(sorted(batch), np.int64)
        assert index.find(keys).tolist() == [reference.get(key, -1) for key in keys.tolist()]
        slots = index.insert(keys).tolist()
        for key in keys.tolist():
            reference.setdefault(key, len(reference))
        assert slots == [reference[key] for key in keys.tolist()]
    assert len(index) == len(reference) and index.keys.tolist() == list(reference)


def test_the_key_index_stands_keys_that_collide():
    index = KeyIndex()
    inverse = pow(0x9E3779B97F4A7C15, -1, 2**64)
    # Products of the hash that differ in their low bits only: all keys have the same home.
    keys = np.array(sorted(k for k in (i * inverse % 2**64 for i in range(4000)) if k < 2**63), np.int64)
    slots = index.insert(keys)
    assert sorted(slots.tolist()) == list(range(len(keys))) and len(keys) > 1000
    assert_array_equal(index.find(keys), slots)
