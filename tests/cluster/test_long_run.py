"""A long run takes no more of anything than a short one: memory, files, sockets, threads, tasks.

    PSBOOK_LONG_RUN_SECONDS=120 pytest -m "dask and slow" tests/cluster/test_long_run.py -s

The scheduler and two worker processes are started by the command line, so that each of scheduler, shards and
client is a process of its own that can be measured.
"""

import contextlib
import faulthandler
import gc
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest
from distributed import Client
from scipy.stats import t as student

import psbook as ps
from psbook.trace import recorder

from .conftest import assert_clean

SECONDS = float(os.environ.get("PSBOOK_LONG_RUN_SECONDS", "900"))

pytestmark = [pytest.mark.dask, pytest.mark.slow, pytest.mark.timeout(3 * SECONDS + 300)]

SAMPLES, BLOCKS, WARM_UP = 200, 10, 1 / 3
CONFIDENCE = 0.95
MOST_GROWTH = 0.05
"""Of a process's memory, over what was measured: a run grows by less, with `CONFIDENCE`."""
MOST_FILES = 3
"""Files and sockets that come and go."""

PROFILER_OFF = {"DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}
"""Dask's own statistical profiler keeps the call stacks of the last hour, which a run of an hour fills."""

DENSE, SPARSE, TOUCHED = 10_000, 10**6, 500


@pytest.fixture(autouse=True)
def _time_limit():
    """Other tests of this folder end within 90 seconds."""
    faulthandler.dump_traceback_later(3 * SECONDS + 240, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    file, began = folder / "scheduler.json", []

    def start(what, *options):
        command = [sys.executable, "-m", "dask", what, "--scheduler-file", str(file), "--no-dashboard"]
        environment = {**os.environ, **PROFILER_OFF, "PYTHONPATH": os.pathsep.join(sys.path)}
        with (folder / f"{len(began)}.log").open("w") as log:
            began.append(subprocess.Popen([*command, *options], stdout=log, stderr=log, env=environment))

    try:
        start("scheduler", "--host", "127.0.0.1", "--port", "0")
        start("worker", "--nworkers", "2", "--nthreads", "4", "--memory-limit", "0")
        while not file.exists():
            assert began[0].poll() is None, (folder / "0.log").read_text()
            time.sleep(0.1)
        with Client(scheduler_file=str(file), set_as_default=False) as client:
            client.wait_for_workers(2, timeout=120)
            yield client
    finally:
        for process in reversed(began):
            children = psutil.Process(process.pid).children(recursive=True)
            for each in (process, *children):
                with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                    each.terminate()
            process.wait(30)


@dataclass
class Meter:
    """What the processes of a cluster hold, sample by sample."""

    processes: dict[str, psutil.Process]
    rows: list[tuple[float, dict[str, tuple[int, int, int]]]] = field(default_factory=list)

    @classmethod
    def of(cls, client):
        workers = client.run(os.getpid).values()
        numbered = {f"worker process {at}": pid for at, pid in enumerate(workers)}
        pids = {"client": os.getpid(), "scheduler": client.run_on_scheduler(os.getpid), **numbered}
        return cls({name: psutil.Process(pid) for name, pid in pids.items()})

    def now(self):
        """Bytes of its own, open files and sockets, and threads, by process.

        Libraries and other files do not count: their pages come and go as others need the memory.
        """
        found = {}
        for name, process in self.processes.items():
            memory = process.memory_info()
            own = memory.rss - getattr(memory, "shared", 0)
            found[name] = own, process.num_fds(), process.num_threads()
        return found

    @contextlib.contextmanager
    def measuring(self, pause):
        over = threading.Event()

        def measure():
            while not over.wait(pause):
                self.rows.append((time.monotonic(), self.now()))

        thread = threading.Thread(target=measure, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def series(self, name, column):
        """Seconds and values from the end of the warm-up to the end of training; then the trace is read."""
        times = np.array([when for when, _ in self.rows]) - self.rows[0][0]
        values = np.array([found[name][column] for _, found in self.rows], float)
        kept = (times >= WARM_UP * SECONDS) & (times <= SECONDS)
        return times[kept] - times[kept][0], values[kept]


def growth(times, values):
    """Least and most that a series has grown from end to end: the confidence interval of a straight line.

    Samples that follow one another are alike, so the line is drawn through the means of `BLOCKS` blocks.
    """
    x, y = (np.array([part.mean() for part in np.array_split(each, BLOCKS)]) for each in (times, values))
    slope, offset = np.polyfit(x, y, 1)
    residual = y - slope * x - offset
    error = np.sqrt(residual @ residual / (BLOCKS - 2) / np.square(x - x.mean()).sum())
    half = student.ppf((1 + CONFIDENCE) / 2, BLOCKS - 2) * error
    return (slope - half) * times[-1], (slope + half) * times[-1]


def test_the_line_through_a_flat_series_is_flat_and_a_leak_is_seen():
    rng, times = np.random.default_rng(0), np.arange(200.0)
    noise = rng.normal(0, 3, 200)
    least, most = growth(times, 100 + noise)
    assert least < 0 < most < MOST_GROWTH * 100
    least, most = growth(times, 100 + 0.1 * times + noise)
    assert 0 < least < 0.1 * times[-1] < most


async def work(worker):
    """Pull and push a dense and a sparse table until the first program says that the time is over."""
    going = True
    while going:
        keys = np.unique(worker.rng.integers(0, SPARSE // 10, TOUCHED))
        dense, rows = await ps.gather(worker.pull("dense"), worker.pull("sparse", keys))
        away = await worker.compute(np.subtract, dense, 1.0)
        worker.push("dense", away)
        worker.push("sparse", 0.01 * (1.0 - rows), keys)
        worker.report(away=float(np.abs(away).mean()))
        await worker.clock()
        if worker.rank == 0:
            going = worker.now < SECONDS
            worker.send(1, going, tag="going")
        else:
            going = await worker.receive(0, tag="going")


def distance(dense, sparse):
    return float(np.abs(1 - dense).mean())


def test_memory_files_and_threads_of_a_long_run_are_flat(client, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(recorder, "CHUNK", 5000)  # many groups of rows are written in each block of samples
    job = ps.Job(
        work,
        tables={"dense": ps.Table(DENSE, update=ps.SGD(0.01)), "sparse": ps.Table.sparse(SPARSE)},
        evaluate=distance,
        every=1000,
    )
    file = Path(tmp_path) / "trace.parquet"
    cluster = ps.Dask(client, workers=2, servers=2, trace="iterations", trace_path=file, compute=0.002)
    meter = Meter.of(client)
    for _ in range(3):
        run_little(client)  # Dask opens connections when they are first needed, and keeps them
    before = meter.now()
    with meter.measuring(SECONDS / SAMPLES):
        run = job.run(cluster, ps.SSP(2))
    iterations = int((run.trace.frame.kind == "clock").sum())
    said = [f"{SECONDS:.0f} s, {iterations} iterations, {len(run.trace)} rows of trace"]
    grown = {}
    for name in meter.processes:
        times, memory = meter.series(name, 0)
        grown[name] = [bound / memory.mean() for bound in growth(times, memory)]
        low, high = (100 * bound for bound in grown[name])
        said.append(f"{name}: {memory.mean() / 2**20:.0f} MiB, grows by {low:.1f} to {high:.1f} %")
    with capsys.disabled():
        sys.stderr.write("\n" + "\n".join(said) + "\n")
    for name in meter.processes:
        assert grown[name][1] < MOST_GROWTH, said
        for column in (1, 2):
            _, counts = meter.series(name, column)
            first, last = np.array_split(counts, 2)
            assert np.median(last) <= np.median(first) + MOST_FILES, (name, counts)
    assert run.loss < 0.5
    assert_nothing_left(client, meter, before)


async def little(worker):
    for _ in range(5):
        w = await worker.pull("w")
        worker.push("w", np.ones_like(w))
        await worker.clock()


def run_little(client):
    run = ps.Job(little, tables={"w": ps.Table(1000)}).run(ps.Dask(client, workers=2, servers=2), ps.BSP())
    assert run.tables["w"][0] == 10


def test_many_short_runs_leave_nothing_behind(client):
    meter = Meter.of(client)
    for turn in range(max(10, int(SECONDS / 30))):
        run_little(client)
        if turn == 4:
            before = meter.now()
    assert_nothing_left(client, meter, before)


def assert_nothing_left(client, meter, before):
    """Check that handlers, plugins, tasks and threads are gone, and files and sockets are as they were."""
    assert_clean(client)
    deadline = time.monotonic() + 30
    while True:
        gc.collect()
        after = meter.now()
        more = {name: after[name][1] - before[name][1] for name in after}
        if max(more.values()) <= MOST_FILES or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    assert max(more.values()) <= MOST_FILES, more
