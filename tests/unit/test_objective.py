"""An objective that says what it reads gets that and no more, from every kind of table and on every path."""

import numpy as np
import pytest

import psbook as ps
from psbook.assembly import SparseRows
from psbook.core.keys import KeyRange
from psbook.errors import InvalidJob, InvalidKeys
from psbook.objective import restricted
from psbook.storage import Storage


class Distance:
    """Sum of some rows' distances from 1; keeps what it was given."""

    def __init__(self, keys):
        self.reads = {"w": keys}
        self.seen = []

    def __call__(self, w, other):
        self.seen.append((w, other))
        return float(np.abs(1 - w.values).sum())


async def approach(worker):
    for _ in range(4):
        w = await worker.pull("w", [1, 5, 9])
        worker.push("w", (1 - w) / 2, [1, 5, 9])
        await worker.clock()


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("servers", [1, 3])
def test_snapshots_hold_what_is_read(sparse, servers):
    keys = np.array([1, 2, 9])
    objective = Distance(keys)
    tables = {"w": ps.Table(12, sparse=sparse), "other": ps.Table(4)}
    job = ps.Job(approach, tables=tables, evaluate=objective, every=1)
    run = job.run(ps.Simulator(workers=1, servers=servers), ps.ASP())
    for step, (w, other) in enumerate(objective.seen):
        assert isinstance(w, SparseRows) and set(w.keys) <= set(keys.tolist())
        assert other.shape == (4,)
        found = dict(zip(w.keys.tolist(), w.values.tolist(), strict=True))
        half = 1 - 0.5**step
        assert found.get(1, 0) == found.get(9, 0) == pytest.approx(half)
        assert found.get(2, 0) == 0
    assert len(objective.seen) == 5
    assert run.history.loss.iloc[-1] == pytest.approx(sum(1 - np.array(list(found.values()))))


def test_the_end_of_a_run_is_evaluated_on_the_same_keys():
    async def push_late(worker):
        await worker.clock()
        await worker.push("w", np.ones(12))

    objective = Distance([0, 11])
    job = ps.Job(push_late, tables={"w": ps.Table(12), "other": ps.Table(1)}, evaluate=objective)
    assert job.run(ps.Simulator(workers=1), ps.ASP()).loss == 0
    assert objective.seen[-1][0].keys.tolist() == [0, 11]


@pytest.mark.dask
def test_on_dask_too():
    objective = Distance([1, 2, 9])
    job = ps.Job(approach, tables={"w": ps.Table(12), "other": ps.Table(1)}, evaluate=objective)
    run = job.run(ps.Dask(workers=1, servers=1), ps.ASP())
    assert run.loss == pytest.approx(1 + 2 * 0.5**4)
    assert all(w.keys.tolist() == [1, 2, 9] for w, _ in objective.seen)


def test_a_snapshot_of_some_keys_makes_no_later_write_copy_the_table():
    storage = Storage(ps.Table(1000), KeyRange(0, 1000))
    keys, rows = storage.some(np.array([3, 2000]))
    array = storage._rows.values
    storage.apply([(np.array([3]), np.ones(1, np.float32))])
    assert storage._rows.values is array and keys.tolist() == [3] and rows.tolist() == [0]


@pytest.mark.parametrize("held", [KeyRange(2, 8), np.array([2, 4, 6, 7]), np.array([], np.int64)])
def test_restricted_is_the_intersection(held):
    listed = np.arange(*held) if isinstance(held, KeyRange) else held
    wanted = np.array([0, 2, 3, 7, 9])
    keys, rows = restricted(held, 10.0 * listed, wanted)
    assert keys.tolist() == np.intersect1d(listed, wanted).tolist()
    np.testing.assert_array_equal(rows, 10.0 * keys)


@pytest.mark.parametrize("reads", [["w"], {"nobody": [1]}])
def test_reads_of_no_table_are_refused(reads):
    def evaluate(w):
        return 0.0

    evaluate.reads = reads
    with pytest.raises(InvalidJob, match="keys by table, of the tables w"):
        ps.Job(approach, tables={"w": ps.Table(12)}, evaluate=evaluate)


def test_keys_outside_the_table_are_refused():
    with pytest.raises(InvalidKeys, match="key 12"):
        ps.Job(approach, tables={"w": ps.Table(12), "other": ps.Table(1)}, evaluate=Distance([12]))
