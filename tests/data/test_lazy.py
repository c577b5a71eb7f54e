"""Dask's collections as partitions: the right rows, each with its own part of the graph only."""

import cloudpickle
import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import psbook as ps
from psbook import data
from psbook.data import Partitions
from psbook.errors import DataError, InvalidJob

X = np.arange(24.0).reshape(8, 3)
Y = np.arange(8)
FRAME = pd.DataFrame({"a": Y * 2.0, "y": Y, "b": Y + 0.5})


def halves(rows):
    return [rows[:5], rows[5:]]


def load(i):
    return halves(X)[i], halves(Y)[i]


BLOCKS = da.from_array(X, chunks=((5, 3), 2))
LABELS = da.from_array(Y, chunks=((5, 3),))
FRAMES = dd.concat(
    [dd.from_pandas(half, npartitions=1) for half in halves(FRAME)], interleave_partitions=True
)
LOADED = [dask.delayed(load)(i) for i in range(2)]

KINDS = {
    "array": (BLOCKS, X),
    "computed array": ((BLOCKS + 1).sum(axis=1), (X + 1).sum(axis=1)),
    "pair": ((BLOCKS * 2, LABELS), (X * 2, Y)),
    "dict": ({"X": BLOCKS, "y": LABELS}, {"X": X, "y": Y}),
    "sparse blocks": (BLOCKS.map_blocks(sparse.csr_array), sparse.csr_array(X)),
    "frame": (FRAMES, FRAME),
    "columns": ((FRAMES[["a"]], FRAMES.y), (FRAME[["a"]], FRAME.y)),
    "delayed": (LOADED, (X, Y)),
    "pairs of delayed": ([(pair[0], pair[1]) for pair in LOADED], (X, Y)),
    "bag": (
        db.from_delayed([dask.delayed(list)("abcde"), dask.delayed(list)("fgh")]).map(str.upper),
        [*"ABCDEFGH"],
    ),
    "generator": (db.from_delayed([dask.delayed(iter)("abcde"), dask.delayed(iter)("fgh")]), [*"abcdefgh"]),
}


def flat(rows):
    """Plain nested lists, for comparison."""
    if isinstance(rows, dict | tuple):
        return [flat(part) for part in (rows.values() if isinstance(rows, dict) else rows)]
    return rows.toarray().tolist() if sparse.issparse(rows) else np.asarray(rows).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_partitions_have_the_rows_of_the_collection(kind):
    lazy, expected = KINDS[kind]
    sent = cloudpickle.loads(cloudpickle.dumps(Partitions(lazy)))
    assert len(sent) == 2
    assert [data.rows(part.read()) for part in sent.parts] == [5, 3]
    (portion,) = sent.deal(1)
    whole = portion.open().whole()
    assert flat(whole) == flat(expected)
    assert type(whole) is type(expected)


def test_a_frame_with_a_target_gives_x_and_y():
    X, y = Partitions(FRAMES, target="y").deal(1)[0].open().whole()
    assert X.dtype == np.float32 and X.tolist() == FRAME[["a", "b"]].to_numpy().tolist()
    assert y.tolist() == Y.tolist()


def test_a_job_makes_partitions_of_what_is_not_in_memory():
    async def idle(worker):
        pass

    for lazy, _ in KINDS.values():
        assert len(ps.Job(idle, tables={"w": ps.Table(1)}, data=lazy).data) == 2
    assert ps.Job(idle, tables={"w": ps.Table(1)}, data=X).data is X


def test_nothing_is_computed_before_it_is_read():
    computed = []

    @dask.delayed
    def part(i):
        computed.append(i)
        return np.full(2, i)

    first, _ = Partitions([part(0), part(1)]).deal(2)
    assert computed == []
    assert [batch.tolist() for batch in data.batches(first, 2)] == [[0, 0]]
    assert computed == [0]


def test_a_portion_carries_its_own_part_of_the_graph_only():
    # `from_array` puts the data itself into the graph: 80 KB a block here.
    portions = Partitions(da.from_array(np.zeros((80, 1000)), chunks=(10, -1)) + 1).deal(8)
    sizes = [len(cloudpickle.dumps(portion)) for portion in portions]
    assert all(80_000 < size < 90_000 for size in sizes)
    lazy = Partitions(da.zeros((80, 1000), chunks=(10, -1)) + 1).deal(8)
    assert all(len(cloudpickle.dumps(portion)) < 3_000 for portion in lazy)


def test_a_shared_part_of_a_graph_is_computed_once_for_x_and_y():
    computed = []

    @dask.delayed(nout=2)
    def both(i):
        computed.append(i)
        return load(i)

    pairs = [both(i) for i in range(2)]
    for lazy in (pairs, [(pair[0], pair[1]) for pair in pairs]):
        computed.clear()
        Partitions(lazy).parts[1].read()
        assert computed == [1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: (BLOCKS, LABELS.rechunk(2)), r"data\[0\] has 2 partitions, data\[1\] has 4.*rechunk"),
        (lambda: (BLOCKS, LABELS.rechunk(((4, 4),))), r"partition 0: data\[0\] has 5 rows, data\[1\] has 4"),
        (lambda: (BLOCKS, Y), r"data\[1\] is ndarray.*from_array"),
        (lambda: dask.delayed(load)(0), "data is Delayed.*list of delayed"),
        (lambda: [BLOCKS], "a Array in a list.*concatenate"),
        (lambda: [LOADED[0], 1], "a int in a list"),
        (BLOCKS.sum, "without rows"),
    ],
)
def test_what_cannot_be_partitions_is_named_at_the_job(make, message):
    async def idle(worker):
        pass

    with pytest.raises(InvalidJob, match=message):
        ps.Job(idle, tables={"w": ps.Table(1)}, data=make())


def test_an_unknown_target_is_named():
    with pytest.raises(InvalidJob, match=r"target='z'.*columns \['a', 'y', 'b'\]"):
        Partitions(FRAMES, target="z")
    with pytest.raises(InvalidJob, match="target='y'"):
        Partitions(BLOCKS, target="y")


def test_unequal_rows_that_only_show_when_read_are_named_with_the_partition():
    few = LABELS[da.from_array(Y > 0, chunks=((5, 3),))]  # of unknown length
    with pytest.raises(DataError, match=r"partition 0 .*data\[0\] has 5 rows, data\[1\] has 4"):
        list(data.batches(Partitions((BLOCKS, few)).deal(1)[0], 2))


def test_columns_may_have_the_names_of_attributes():
    named = pd.DataFrame(dict.fromkeys(("open", "deal", "batches", "chunks", "numblocks", "read"), Y))
    lazy = dd.from_pandas(named, npartitions=2)
    assert flat(Partitions(lazy).deal(1)[0].open().whole()) == flat(named)
    assert [len(shard) for shard in data.split(named, 2)] == [4, 4]
    assert len(list(data.batches(named, 4))) == 2
    assert len(Partitions([named, named])) == 2
