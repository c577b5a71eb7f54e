"""Batches of partitions: every row once in an epoch, the same luck as in memory, two partitions at most."""

import gc
import weakref
from itertools import chain, islice, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from psbook import data
from psbook.data import Partitions
from psbook.errors import DataError, InvalidJob

LENGTHS = st.lists(st.integers(0, 7), min_size=1, max_size=8)


def cut(lengths):
    """Rows that know their number, in partitions of these lengths, of which some may have none."""
    ends = np.cumsum([0, *lengths])
    return [Counted(np.arange(a, b), f"part {i}") for i, (a, b) in enumerate(pairwise(ends))]


ALIVE = weakref.WeakSet()


class Counted:
    """A partition that counts how often it is read, and how many copies of its rows are alive."""

    def __init__(self, rows, label):
        self.rows, self.label, self.reads = rows, label, 0

    def read(self):
        self.reads += 1
        rows = Rows(self.rows)
        ALIVE.add(rows)
        return rows


class Rows:
    """As little of an array as is needed; unlike arrays it can be in a weak set."""

    def __init__(self, values):
        self.values = values
        self.shape = values.shape

    def __getitem__(self, index):
        return self.values[index]


def run(portion, size, **options):
    return [np.asarray(batch).tolist() for batch in data.batches(portion, size, **options)]


@given(lengths=LENGTHS, workers=st.integers(1, 4), size=st.integers(1, 9), epochs=st.integers(1, 3),
       shuffle=st.booleans())  # fmt: skip
def test_every_row_comes_once_in_an_epoch(lengths, workers, size, epochs, shuffle):
    workers = min(workers, len(lengths))
    portions = Partitions(cut(lengths)).deal(workers)
    seen = []
    for rank, portion in enumerate(portions):
        n = sum(lengths[rank::workers])
        if not n:
            with pytest.raises(DataError, match="no rows"):
                run(portion, size)
            continue
        found = run(portion, size, epochs=epochs, seed=1, worker=rank, shuffle=shuffle)
        a_pass = -(-n // size)
        assert len(found) == epochs * a_pass
        for e in range(epochs):
            one = found[e * a_pass : (e + 1) * a_pass]
            assert [len(batch) for batch in one[:-1]] == [size] * (a_pass - 1)
            if e:
                assert sorted(chain(*one)) == sorted(chain(*found[:a_pass]))
        seen += chain(*found[:a_pass])
    assert sorted(seen) == list(range(sum(lengths)))


@given(n=st.integers(1, 20), size=st.integers(1, 9), worker=st.integers(0, 3), iterations=st.integers(0, 12))
def test_one_partition_is_as_its_rows_in_memory(n, size, worker, iterations):
    (portion,) = Partitions([np.arange(n)]).deal(1)
    options = {"iterations": iterations, "seed": 3, "worker": worker}
    assert run(portion, size, **options) == run(np.arange(n), size, **options)


@given(lengths=LENGTHS.filter(any), size=st.integers(1, 9), iterations=st.integers(0, 12))
def test_unshuffled_they_are_all_partitions_one_behind_the_other(lengths, size, iterations):
    (portion,) = Partitions(cut(lengths)).deal(1)
    options = {"iterations": iterations, "shuffle": False}
    n = sum(lengths)
    # In memory a batch is never larger than the data.
    assert run(portion, size, **options) == run(np.arange(n), size, **options)


@given(lengths=LENGTHS.filter(any), size=st.integers(1, 9), skip=st.integers(0, 30))
def test_what_is_left_out_at_the_beginning_changes_nothing_of_the_rest(lengths, size, skip):
    (portion,) = Partitions(cut(lengths)).deal(1)
    whole = run(portion, size, epochs=4, seed=2)
    assert run(portion, size, epochs=4, seed=2, skip=skip) == whole[skip:]
    endless = data.batches(portion, size, iterations=len(whole), seed=2, skip=skip)
    assert [batch.tolist() for batch in endless] == whole[skip:]


def test_known_epochs_are_left_out_unread():
    parts = cut([3, 3, 3])
    (portion,) = Partitions(parts).deal(1)
    rest = list(data.batches(portion, 2, epochs=10, skip=45))
    assert len(rest) == 5  # the first epoch tells how long one is, the last is wanted
    assert [part.reads for part in parts] == [2, 2, 2]


def test_epochs_workers_and_seeds_have_orders_of_their_own():
    (portion,) = Partitions(cut([5, 5, 5, 5])).deal(1)
    first, second = run(portion, 20, epochs=2)
    orders = [first, second, *run(portion, 20, worker=1), *run(portion, 20, seed=1)]
    assert len({tuple(order) for order in orders}) == 4
    assert run(portion, 20) == [first]


def test_at_most_two_partitions_are_in_memory():
    ALIVE.clear()
    (portion,) = Partitions(cut([4] * 9)).deal(1)
    most = 0
    for _ in data.batches(portion, 3, epochs=2):
        gc.collect()
        most = max(most, len(ALIVE))
    assert most == 2


@pytest.mark.parametrize(("n", "keep", "reads"), [(5, False, 3), (5, True, 1), (2, False, 1)])
def test_partitions_are_read_again_in_each_epoch_unless_kept(n, keep, reads):
    parts = cut([2] * n)
    (portion,) = Partitions(parts, keep=keep).deal(1)
    assert len(run(portion, 4, epochs=3)) == 3 * -(-2 * n // 4)
    # The last partition of an epoch may be the first of the next.
    assert reads * n - 2 <= sum(part.reads for part in parts) <= reads * n


def test_without_a_size_all_rows_are_one_batch():
    (portion,) = Partitions([np.arange(2), np.arange(2, 3)]).deal(1)
    assert run(portion, None, epochs=2) == [[0, 1, 2], [0, 1, 2]]
    assert portion.open().whole().tolist() == [0, 1, 2]


def test_structures_are_joined_across_partitions():
    import pandas as pd
    from scipy import sparse

    def rows(a, b):
        i = np.arange(a, b)
        frame, matrix = pd.DataFrame({"i": i}), sparse.csr_array(i[:, None])
        return {"array": i, "deep": (frame, matrix, [str(k) for k in i])}

    (portion,) = Partitions([rows(0, 2), rows(2, 5), rows(5, 6)]).deal(1)
    *_, last = islice(data.batches(portion, 4, shuffle=False), 2)
    assert last["array"].tolist() == last["deep"][0]["i"].tolist() == [4, 5]
    assert last["deep"][1].toarray().tolist() == [[4], [5]]
    assert last["deep"][2] == ["4", "5"]


class Broken:
    label = "s3://bucket/rows-7.csv"

    def read(self):
        raise OSError("connection reset")


class Torn:
    label = "block 7"

    def read(self):
        return np.ones(3), np.ones(2)


@pytest.mark.parametrize(
    ("bad", "message"),
    [(Broken(), r"s3://bucket/rows-7.csv could not be read: OSError: connection reset"),
     (Torn(), r"block 7: data\[0\] has 3 rows, data\[1\] has 2")],
)  # fmt: skip
def test_a_partition_that_fails_is_named_where_its_rows_are_wanted(bad, message):
    (portion,) = Partitions([*cut([2, 2]), bad, *cut([1])]).deal(1)
    found = data.batches(portion, 2, shuffle=False)
    assert next(found).tolist() == [0, 1]
    assert next(found).tolist() == [2, 3]
    with pytest.raises(DataError, match=message):
        next(found)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Partitions([]), "without partitions"),
        (lambda: Partitions([np.ones(2), np.ones(0)]), "partition 1.*no rows"),
        (lambda: Partitions(np.ones(2)), "Partitions of ndarray.*as they are"),
        (lambda: Partitions([np.ones(2)], target="y"), "target='y'"),
        (lambda: Partitions([np.ones(2)]).deal(2), "1 partitions for 2 workers.*rechunk"),
        (lambda: data.batches(Partitions([np.ones(2)]).deal(1)[0], 0), "batch size 0"),
        (lambda: data.batches(Partitions([np.ones(2)], queue=True).deal(1)[0], 1), "async for"),
        (lambda: Partitions([np.ones(2)], queue=True).deal(1)[0].open().whole(), "from a queue"),
    ],
)
def test_what_cannot_be_dealt_out_is_named_at_the_call(call, message):
    with pytest.raises(InvalidJob, match=message):
        call()
