"""Tables that outlive their job: read from clients and ordinary tasks, by rows; lost, copied, freed."""

import os
import signal
import time

import numpy as np
import pytest

import psbook as ps
from psbook.errors import InvalidJob, InvalidKeys, NodeFailure, Stopped, UnknownTable
from tests.cluster.conftest import assert_clean, state

pytestmark = pytest.mark.dask

ROWS, WIDTH = 1000, 8


async def fill(worker):
    """Give every row its number, a few sparse keys theirs, and a tree its leaves."""
    if worker.rank == 0:
        worker.push("rows", np.arange(ROWS)[:, None] + np.zeros((1, WIDTH)))
        worker.push("far", np.array([1.0, 2.0]), np.array([3, 2**39]))
        worker.push("tree", {"a": np.ones(2), "b": np.full((2, 2), 7.0)})
    await worker.clock()


def keep(client, name="model", program=fill, **options):
    tables = {
        "rows": ps.Table.rows(ROWS, WIDTH),
        "far": ps.Table.sparse(2**40, init=0.5),
        "tree": ps.Table.of({"a": np.zeros(2), "b": np.zeros((2, 2))}),
    }
    backend = ps.Dask(client, **{"workers": 2, "servers": 3, "keep": name, "trace": "off", **options})
    return ps.Job(program, tables=tables).start(backend, ps.BSP())


@pytest.fixture
def model(client, clean):
    keep(client).result(60)
    yield "model"
    ps.unpublish(client, "model")


@pytest.mark.parametrize("keys", [None, slice(5, 900), [0, 17, 400, 999], [3]], ids=str)
def test_a_client_reads_the_rows_it_asks_for(client, model, keys):
    with ps.served(client, model) as served:
        expected = np.arange(ROWS)[slice(None) if keys is None else keys]
        rows = served.pull("rows", keys)
        assert rows.shape == (len(expected), WIDTH) and rows.dtype == np.float32
        np.testing.assert_array_equal(rows, expected[:, None] + np.zeros((1, WIDTH)))


def test_sparse_tables_and_trees_are_served_as_a_program_pulls_them(client, model):
    served = ps.served(client, model)
    keys = np.array([0, 3, 2**39, 2**40 - 1])
    np.testing.assert_array_equal(served.pull("far", keys), [0.5, 1.5, 2.5, 0.5])
    touched = served.pull("far")
    assert touched.keys.tolist() == [3, 2**39] and touched.values.tolist() == [1.5, 2.5]
    tree = served.pull("tree")
    assert tree["a"].tolist() == [1.0, 1.0] and tree["b"].tolist() == [[7.0, 7.0]] * 2
    assert set(served.tables) == {"rows", "far", "tree"}


def test_ordinary_tasks_read_where_they_run_and_a_served_object_may_be_passed_to_them(client, model):
    def score(part, model=None):
        served = model or ps.served(None, "model")
        return float(served.pull("rows", part).sum())

    parts = [np.arange(start, start + 10) for start in range(0, ROWS, 100)]
    expected = [float(WIDTH * part.sum()) for part in parts]
    assert client.gather(client.map(score, parts, pure=False)) == expected
    passed = client.map(score, parts, model=ps.served(client, model), pure=False)
    assert client.gather(passed) == expected


def test_only_the_rows_asked_for_travel_and_none_through_the_scheduler(client, model):
    client.run(_count_reads)
    ps.served(client, model).pull("rows", [0, 17, 999])
    assert sum(client.run(_reads).values()) == 3 * WIDTH * 4
    client.run(_stop_counting)


def _count_reads(dask_worker):
    """Count the bytes that the reading handler answers with."""
    name = next(name for name in dask_worker.handlers if name.startswith("psbook-kept"))
    before = dask_worker.handlers[name]

    async def counted(**request):
        reply = await before(**request)
        dask_worker.answered += reply["rows"].data.nbytes if reply else 0
        return reply

    dask_worker.answered, dask_worker.uncounted = 0, (name, before)
    dask_worker.handlers[name] = counted


def _reads(dask_worker):
    return dask_worker.answered


def _stop_counting(dask_worker):
    name, dask_worker.handlers[name] = dask_worker.uncounted


def test_memory_is_shown_and_freed(client, clean):
    keep(client).result(60)
    served = ps.served(client, "model")
    assert served.nbytes >= ROWS * WIDTH * 4
    assert set(served.workers) <= set(client.scheduler_info()["workers"])
    assert any("kept" in str(each) for each in state(client)["scheduler"])
    served.unpublish()
    assert_clean(client)
    with pytest.raises(InvalidJob, match="no tables are served as 'model'"):
        served.pull("rows", [1])
    with pytest.raises(InvalidJob, match="nothing to unpublish"):
        ps.unpublish(client, "model")


def test_mistakes_of_a_reader_are_named(client, model):
    served = ps.served(client.scheduler.address, model)
    with pytest.raises(UnknownTable, match="'rows', 'far', 'tree'"):
        served.pull("weights")
    with pytest.raises(InvalidKeys):
        served.pull("rows", [ROWS])
    with pytest.raises(InvalidJob, match="keep='other'"):
        ps.served(client, "other")
    served.close()


def test_a_newer_job_takes_the_name_over_and_readers_go_on_with_its_tables(client, clean):
    async def more(worker):
        if worker.rank == 0:
            worker.push("rows", np.full((ROWS, WIDTH), 5.0))
        await worker.clock()

    keep(client).result(60)
    reader = ps.served(client, "model")
    assert reader.pull("rows", [7])[0, 0] == 7.0
    keep(client, program=more).result(60)
    assert reader.pull("rows", [7])[0, 0] == 5.0
    reader.unpublish()


def test_a_stopped_job_leaves_what_it_had_learned(client, clean):
    async def for_ever(worker):
        while True:
            worker.push("rows", np.ones((ROWS, WIDTH)))
            await worker.clock()

    handle = keep(client, program=for_ever)
    deadline = time.monotonic() + 30
    while handle.iterations < 10 and time.monotonic() < deadline:
        time.sleep(0.05)
    handle.stop()
    with pytest.raises(Stopped) as caught:
        handle.result(30)
    with ps.served(client, "model") as served:
        np.testing.assert_array_equal(served.pull("rows"), caught.value.tables["rows"])
    ps.unpublish(client, "model")


@pytest.mark.parametrize("replicas", [0, 1])
def test_a_holder_that_dies_costs_nothing_with_a_copy_and_is_named_without(client, clean, replicas):
    client.wait_for_workers(2, timeout=60)
    keep(client, safety=ps.Safety(replicas=1) if replicas else None).result(60)
    served = ps.served(client, "model")
    wait_for_copies(served, 1 + replicas)
    victim = min(served.workers)
    os.kill(client.run(os.getpid, workers=[victim])[victim], signal.SIGKILL)
    if replicas:
        expected = np.arange(ROWS)[:, None] + np.zeros((1, WIDTH))
        np.testing.assert_array_equal(served.pull("rows"), expected)
    else:
        with pytest.raises(NodeFailure, match="shard"):
            served.pull("rows")
    served.unpublish()
    client.wait_for_workers(2, timeout=60)


def wait_for_copies(served, number, seconds=30.0):
    deadline = time.monotonic() + seconds
    while served.nbytes < number * ROWS * WIDTH * 4:
        assert time.monotonic() < deadline
        time.sleep(0.05)
