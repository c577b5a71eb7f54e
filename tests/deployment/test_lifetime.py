"""A job queue's walltime: a worker that ends at its time hands over what it holds, also without replicas."""

import numpy as np
import pytest
from distributed import Client

import psbook as ps

from .commands import Commands

pytestmark = [pytest.mark.dask, pytest.mark.slow]

STEPS = 300


async def count(worker):
    w = await worker.pull("w")
    for _ in range(STEPS):
        await worker.push("w", np.ones_like(w))
        await worker.sleep(0.03)
        await worker.clock()


def expire(dask_worker):
    """Do what ``--lifetime`` does, now: by the clock it might come before the run, on a busy machine."""
    dask_worker.loop.call_later(0.1, dask_worker.close_gracefully, reason="worker-lifetime-reached")


def workers(client):
    found = client.sync(client.scheduler.identity, n_workers=-1)["workers"]
    return {info["name"]: address for address, info in found.items()}


def test_a_worker_whose_lifetime_is_over_hands_its_shard_over(commands):
    address = commands.scheduler("--host", "127.0.0.1")
    arguments = ["worker", address, "--no-dashboard", "--nthreads", "4", "--memory-limit", "0"]
    commands.dask("stays", *arguments, "--name", "stays")
    commands.dask("ends", *arguments, "--name", "ends")
    with Client(address, set_as_default=False, timeout=60) as client:
        client.wait_for_workers(2, timeout=60)
        at = workers(client)
        placement = {"worker-0": at["stays"], "worker-1": at["stays"], "server-0": at["ends"]}
        placement["server-1"] = at["stays"]
        job = ps.Job(count, tables={"w": ps.Table(64)})
        backend = ps.Dask(client, workers=2, servers=2, placement=placement, safety=ps.Safety(resend=1.0))
        handle = job.start(backend, ps.ASP())
        Commands.until(lambda: handle.done or handle.iterations > 10)
        client.run(expire, workers=[at["ends"]])
        Commands.until(lambda: handle.done or len(workers(client)) == 1)
        run = handle.result(60)
    np.testing.assert_array_equal(run.tables["w"], 2.0 * STEPS)
    assert run.check().ok
