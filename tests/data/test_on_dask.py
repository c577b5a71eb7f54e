"""On a real cluster: partitions are read by the processes that train on them, whatever they are."""

import os
import time

import dask
import dask.array as da
import pytest
from distributed import Client, LocalCluster
from tornado.iostream import IOStream

import psbook as ps
from psbook.errors import DataError, ProgramError
from tests.data.rows import KINDS, job, rows, shards

pytestmark = pytest.mark.dask


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=4, processes=True, memory_limit=0, dashboard_address=":0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def expected():
    return job(shards()).run(ps.Simulator(workers=2), ps.BSP()).tables["w"]


def scattered(client):
    return client.scatter(shards(), hash=False)


def submitted(client):
    return client.map(rows, range(2), pure=False)


def persisted(client):
    X, y = KINDS["arrays"](None)
    return tuple(client.persist([X, y]))


HELD = {"scattered": scattered, "submitted": submitted, "persisted": persisted}


@pytest.mark.parametrize("kind", [*KINDS, *HELD])
def test_it_trains_as_in_memory(kind, client, tmp_path, expected):
    data = HELD[kind](client) if kind in HELD else KINDS[kind](tmp_path)
    run = job(data).run(ps.Dask(client, workers=2), ps.BSP())
    assert run.tables["w"] == pytest.approx(expected, rel=1e-5)


def who_reads(data):
    """A job whose programs return their process and what came in their batches."""

    async def look(worker):
        seen = list(worker.batches(1, shuffle=False))
        await worker.clock()
        return os.getpid(), [batch if isinstance(batch, list) else batch.tolist() for batch in seen]

    return ps.Job(look, tables={"w": ps.Table(1)}, data=data)


def test_partitions_are_read_in_the_process_that_trains_on_them(client):
    @dask.delayed(pure=False)
    def read():
        return [os.getpid()]

    results = who_reads([read() for _ in range(4)]).run(ps.Dask(client, workers=2), ps.BSP()).results
    for process, readers in results.values():
        assert readers == [[process]] * 2
    processes = {process for process, _ in results.values()}
    assert processes == set(client.run(os.getpid).values())
    assert os.getpid() not in processes


def test_rows_pass_neither_through_the_scheduler_nor_through_the_client(client, monkeypatch):
    """Both are in this process: what comes in and goes out here is a hundredth of the rows that are read."""
    moved = 0

    def counted(method):
        plain = getattr(IOStream, method)

        def count(stream, data):
            nonlocal moved
            n = plain(stream, data)
            moved += n or 0
            return n

        monkeypatch.setattr(IOStream, method, count)

    counted("read_from_fd")
    counted("write_to_fd")

    async def total(worker):
        found = sum(float(batch.sum()) for batch in worker.batches(100))
        await worker.clock()
        return found

    def run(data):
        nonlocal moved
        moved = 0
        found = ps.Job(total, tables={"w": ps.Table(1)}, data=data).run(ps.Dask(client, workers=2), ps.BSP())
        return sum(found.results.values()), moved

    lazy = da.random.default_rng(1).normal(size=(2000, 1000), chunks=(500, -1))
    here = lazy.compute(scheduler="sync")
    read, few = run(lazy)
    sent, many = run(here)
    assert read == pytest.approx(here.sum()) and sent == pytest.approx(here.sum())
    assert few < 0.02 * here.nbytes < here.nbytes < many


def test_programs_are_placed_where_their_futures_lie(client):
    first, second = client.scheduler_info()["workers"]
    for places in ([first, second], [second, first]):
        data = [client.submit(lambda: [os.getpid()], workers=[place], pure=False) for place in places]
        results = who_reads(data).run(ps.Dask(client, workers=2), ps.BSP()).results
        assert all(readers == [[process]] for process, readers in results.values())


def test_a_partition_that_cannot_be_read_ends_the_run_by_its_name(client):
    @dask.delayed
    def broken():
        raise OSError("connection reset")

    with pytest.raises(
        (DataError, ProgramError), match=r"partition [01] \(broken.*OSError: connection reset"
    ):
        job([broken(), broken()]).run(ps.Dask(client, workers=2), ps.BSP())


def test_a_killed_worker_reads_its_partitions_again(client, tmp_path):
    """Partitions of the lost process are read once more, elsewhere; the model is that of a calm run."""
    log = tmp_path / "reads"

    class Logged:
        def __init__(self, number):
            self.number, self.label = number, f"part {number}"

        def read(self):
            with log.open("a") as file:
                file.write(f"{self.number} {os.getpid()}\n")
            return rows(self.number)

    def readers(number):
        lines = log.read_text().splitlines() if log.exists() else []
        return [int(process) for n, process in map(str.split, lines) if int(n) == number]

    calm = job(shards(), epochs=20).run(ps.Simulator(workers=2), ps.BSP()).tables["w"]
    backend = ps.Dask(client, workers=2, servers=2, compute=0.05, safety=ps.Safety(replicas=1, lease=3.0))
    handle = job(ps.Partitions([Logged(k) for k in range(2)]), epochs=20).start(backend, ps.BSP())
    while not (readers(0) and readers(1)):
        time.sleep(0.05)
    (victim,) = readers(1)
    os.kill(victim, 9)
    run = handle.result()
    assert (run.trace.frame.kind == "restart").any()
    assert set(readers(1)) > {victim}
    assert run.tables["w"] == pytest.approx(calm, rel=1e-4)
