"""Splitting and batching: nothing lost, nothing twice, equal luck whatever else changes."""

from itertools import islice
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from psbook import data
from psbook.errors import InvalidJob


class Pair(NamedTuple):
    X: np.ndarray
    y: np.ndarray


def example(n):
    """Rows that know their number, in every structure that is allowed."""
    i = np.arange(n)
    return {
        "array": np.column_stack([i, i]),
        "sparse": (sparse.csr_array(np.column_stack([i, i])), i),
        "nested": Pair(i, {"deep": (i, jnp.asarray(i))}),
        "frame": (pd.DataFrame({"a": i}, index=i[::-1]), [f"row {k}" for k in i]),
    }


def numbers(part):
    """The row numbers in a part of `example`, checking that all its leaves agree."""
    if isinstance(part, dict):
        found = [numbers(p) for p in part.values()]
    elif isinstance(part, tuple):
        found = [numbers(p) for p in part]
    elif isinstance(part, list):
        found = [[int(text.removeprefix("row ")) for text in part]]
    elif sparse.issparse(part):
        found = [part.toarray()[:, 0].tolist()]
    else:
        array = np.asarray(part)
        found = [(array if array.ndim == 1 else array[:, 0]).tolist()]
    assert all(f == found[0] for f in found)
    return found[0]


@given(n=st.integers(1, 40), workers=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_shards_partition_the_rows_evenly(n, workers, seed):
    if workers > n:
        with pytest.raises(InvalidJob, match=rf"{n} rows for {workers} workers"):
            data.split(np.arange(n), workers, seed)
        return
    shards = data.split(np.arange(n), workers, seed)
    assert sorted(np.concatenate(shards)) == list(range(n))
    assert len(shards) == workers
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_split_permutes_by_the_seed_alone():
    first, again, other = (np.concatenate(data.split(np.arange(100), 4, seed)) for seed in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()
    # The permutation does not depend on the number of workers either: only where it is cut.
    assert np.concatenate(data.split(np.arange(100), 7, 1)).tolist() == first.tolist()
    assert first.tolist() != list(range(100))


@pytest.mark.parametrize("name", example(1))
def test_structure_out_is_structure_in(name):
    whole = example(11)[name]
    shards = data.split(whole, 3, seed=5)
    assert sorted(i for shard in shards for i in numbers(shard)) == list(range(11))
    assert {type(shard) for shard in shards} == {type(whole)}
    assert [data.rows(shard) for shard in shards] == [4, 4, 3]
    batch = next(data.batches(shards[0], 2))
    assert type(batch) is type(whole)
    assert len(numbers(batch)) == 2


@given(n=st.integers(1, 30), size=st.integers(1, 40), epochs=st.integers(0, 4), worker=st.integers(0, 5))
def test_each_epoch_has_every_row_once(n, size, epochs, worker):
    cut = list(data.batches(np.arange(n), size, epochs=epochs, seed=3, worker=worker))
    a_pass = -(-n // min(size, n))
    assert len(cut) == epochs * a_pass
    for e in range(epochs):
        one = cut[e * a_pass : (e + 1) * a_pass]
        assert sorted(np.concatenate(one)) == list(range(n))
        assert all(len(batch) == min(size, n) for batch in one[:-1])


@given(n=st.integers(1, 30), size=st.integers(1, 12), few=st.integers(0, 20), more=st.integers(0, 20))
def test_luck_does_not_depend_on_the_number_of_iterations(n, size, few, more):
    def run(iterations):
        return [b.tolist() for b in data.batches(np.arange(n), size, iterations=iterations, seed=1, worker=2)]

    assert len(run(few)) == few
    assert run(few + more)[:few] == run(few)
    assert run(few) == [
        b.tolist() for b in islice(data.batches(np.arange(n), size, epochs=50, seed=1, worker=2), few)
    ]


def test_epochs_and_workers_have_different_orders():
    def epoch(worker, seed=0):
        return [b.tolist() for b in data.batches(np.arange(50), 50, epochs=2, seed=seed, worker=worker)]

    orders = [*epoch(0), *epoch(1), *epoch(0, seed=1)]
    assert len({tuple(o) for o in orders}) == 6


def test_order_gives_the_rows_of_batches():
    shard = np.arange(100, 117)
    gathered = [shard[i].tolist() for i in data.order(17, 5, iterations=9, seed=4, worker=1)]
    assert gathered == [b.tolist() for b in data.batches(shard, 5, iterations=9, seed=4, worker=1)]


def test_no_size_is_the_whole_shard_uncopied():
    shard = np.arange(4)
    cut = list(data.batches(shard, epochs=3))
    assert len(cut) == 3
    assert all(batch is shard for batch in cut)


def test_without_shuffling_the_order_is_the_shards():
    cut = data.batches(list("abcde"), 2, epochs=2, shuffle=False)
    assert ["".join(batch) for batch in cut] == ["ab", "cd", "e", "ab", "cd", "e"]


def test_a_list_is_one_shard_for_each_worker_untouched():
    shards = [np.arange(2), ["any", object(), None], (np.arange(1), np.arange(1))]
    assert all(a is b for a, b in zip(data.split(shards, 3), shards, strict=True))


def test_a_coo_matrix_can_be_split():
    shards = data.split(sparse.coo_array(np.arange(1, 7).reshape(3, 2)), 3)
    assert sorted(shard.toarray().tolist()[0] for shard in shards) == [[1, 2], [3, 4], [5, 6]]


def test_a_job_without_data():
    assert data.split(None, 2) == [None, None]
    with pytest.raises(InvalidJob, match="without data"):
        data.batches(None, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: data.split(np.ones((0, 3)), 1), "no rows"),
        (lambda: data.split((), 1), "without a single array"),
        (
            lambda: data.split((np.ones(3), {"y": np.ones(4)}), 1),
            r"data\[0\] has 3 rows, data\[1\]\['y'\] has 4",
        ),
        (lambda: data.split("a path", 1), "str without rows"),
        (lambda: data.split(np.float32(1), 1), "float32 without rows"),
        (lambda: data.split(np.ones(3), 0), "0 workers"),
        (lambda: data.split(np.ones(3), 1, seed=-1), "seed is -1"),
        (lambda: data.split([np.ones(3)], 2), "list of 1 shards for 2 workers"),
        (lambda: data.split([np.ones(3), np.ones(0)], 2), "worker 1.*no rows"),
        (lambda: data.split([np.ones(3), (np.ones(3), np.ones(2))], 2), "worker 1.*equal first axes"),
        (lambda: data.batches(np.ones(3), 0), "batch size 0"),
        (lambda: data.batches(np.ones(3), 1.5), "batch size 1.5"),
        (lambda: data.batches(np.ones(3), 1, epochs=-1), "epochs -1"),
        (lambda: data.batches(np.ones(3), 1, iterations=-1), "iterations -1"),
    ],
)
def test_what_cannot_be_cut_is_named_at_the_call(call, message):
    with pytest.raises(InvalidJob, match=message):
        call()
