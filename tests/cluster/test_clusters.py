"""Other clusters than two local processes: one process, encrypted, a client that dies, workers that leave."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from distributed import Client, LocalCluster, Security

import psbook as ps
from psbook.errors import NodeFailure, ProgramError, Stopped

from .conftest import assert_clean, state

pytestmark = pytest.mark.dask


async def fill(worker):
    for _ in range(3):
        w = await worker.pull("w")
        worker.push("w", np.ones_like(w))
        await worker.clock()


async def for_ever(worker):
    while True:
        await worker.pull("w")
        await worker.clock()


def filled(client, size=100_000, workers=3):
    job = ps.Job(fill, tables={"w": ps.Table(size)}, data=[(np.ones(3),)] * workers)
    return job.run(ps.Dask(client, workers=workers, servers=2), ps.BSP())


def test_a_cluster_inside_this_process():
    with Client(processes=False, n_workers=2, dashboard_address=":0", set_as_default=False) as client:
        np.testing.assert_array_equal(filled(client).tables["w"], 9.0)
        assert_clean(client)


def test_an_encrypted_cluster_encrypts_every_stream():
    security = Security.temporary()
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=4, security=security, dashboard_address=":0", memory_limit=0
        ) as cluster,
        Client(cluster, security=security, set_as_default=False) as client,
    ):
        run = filled(client)
    np.testing.assert_array_equal(run.tables["w"], 9.0)
    assert all(address.startswith("tls://") for address in run.meta["processes"])


def test_a_cluster_of_our_own_is_started_for_the_run_and_gives_each_process_its_share_of_threads():
    async def look(worker):
        import os

        return int(os.environ["NPROC"])

    run = ps.Job(look, tables={"w": ps.Table(3)}).run(ps.Dask(workers=2), ps.BSP())
    processes = len(run.meta["processes"])
    assert {share * processes for share in run.results.values()} <= set(range(1, 1 + _cores() + processes))
    assert all(share == max(1, _cores() // processes) for share in run.results.values())


def _cores():
    from dask.system import CPU_COUNT

    return CPU_COUNT


CLIENT = """
import sys, psbook as ps
from distributed import Client
from tests.cluster.test_clusters import for_ever

client = Client(sys.argv[1], set_as_default=False)
job = ps.Job(for_ever, tables={"w": ps.Table(4)})
print("begun", flush=True)
try:
    job.run(ps.Dask(client, workers=2, trace="off"), ps.ASP())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGKILL])
def test_a_run_whose_client_is_interrupted_or_killed_leaves_the_cluster_clean(client, project, kind):
    process = subprocess.Popen(
        [sys.executable, "-c", CLIENT, client.scheduler.address],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=project,
    )  # fmt: skip
    assert process.stdout.readline() == "begun\n"
    _wait(lambda: any("worker-1" in name for name in state(client)["scheduler"]))
    time.sleep(0.5)
    process.send_signal(kind)
    assert process.stdout.read() == ("interrupted\n" if kind == signal.SIGINT else "")
    process.wait(20)
    process.stdout.close()
    assert_clean(client, 20.0)


def _wait(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_run_that_is_kept_by_a_slow_objective_stops_at_once(client, clean):
    job = ps.Job(for_ever, tables={"w": ps.Table(4)}, evaluate=lambda w: time.sleep(2.5) or 0.0)
    handle = job.start(ps.Dask(client, workers=2), ps.ASP())
    _wait(lambda: handle.iterations > 10)
    time.sleep(1.5)
    began = time.monotonic()
    handle.stop()
    with pytest.raises(Stopped):
        handle.result(20)
    assert time.monotonic() - began < 2.0


def test_an_objective_that_raises_ends_the_run(client, clean):
    def objective(w):
        raise ZeroDivisionError("in the objective")

    job = ps.Job(for_ever, tables={"w": ps.Table(4)}, evaluate=objective)
    with pytest.raises(ProgramError, match="in the objective") as caught:
        job.run(ps.Dask(client, workers=2), ps.ASP())
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert (caught.value.trace.frame["kind"] == "clock").any()


def test_a_retired_worker_is_a_named_failure():
    with (
        LocalCluster(n_workers=2, threads_per_worker=4, dashboard_address=":0", memory_limit=0) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        leaving = min(client.scheduler_info()["workers"])
        handle = ps.Job(for_ever, tables={"w": ps.Table(4)}).start(ps.Dask(client, workers=2), ps.ASP())
        _wait(lambda: handle.iterations > 10)
        client.retire_workers([leaving])
        with pytest.raises(NodeFailure, match=leaving):
            handle.result(20)
        assert_clean(client)


def _another_host(ahead):
    """Make this worker process believe that it runs on another machine, whose clock is ahead."""
    import types

    from psbook.cluster import timing
    from psbook.cluster.process import plugin as process_plugin

    if ahead:
        timing.time = types.SimpleNamespace(monotonic=lambda: time.monotonic() + ahead)
        process_plugin.boot_id = lambda: "another machine"
    else:
        timing.time, process_plugin.boot_id = time, timing.boot_id


def test_clocks_of_other_hosts_are_put_right_and_their_offsets_recorded(client, clean):
    far = min(client.scheduler_info()["workers"])
    client.run(_another_host, 1000.0, workers=[far])
    try:
        run = filled(client)
    finally:
        client.run(_another_host, 0.0, workers=[far])
    offset = run.meta["clock_offsets"][far]
    assert abs(offset["offset"] + 1000.0) <= offset["error"] < 0.1
    assert {of["offset"] for address, of in run.meta["clock_offsets"].items() if address != far} == {0.0}
    frame = run.trace.frame
    sent = frame.query("kind == 'send' and message != ''").set_index(["message", "detail"])["time"]
    received = frame.query("kind == 'receive' and message != ''").set_index(["message", "detail"])["time"]
    assert (received - sent.reindex(received.index)).min() >= -2 * offset["error"]
    assert run.seconds < 60
