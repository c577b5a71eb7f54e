"""A program that blocks, or computes for long, delays no shard, no sign of life and no program beside it."""

import sys
import threading
import time

import numpy as np
import pytest

import psbook as ps
from psbook.cluster.joining.connect import processes
from psbook.cluster.process.interpreter import SWITCH_SECONDS

pytestmark = pytest.mark.dask

ROUNDS = 100


def event():
    """One event of the process, which both programs find."""
    import psbook.cluster as of_the_process

    return of_the_process.__dict__.setdefault("_test_event", threading.Event())


def forget():
    import psbook.cluster as of_the_process

    of_the_process.__dict__.pop("_test_event", None)


async def blocks_its_loop(worker):
    others_are_done = event()
    await worker.pull("w")
    passed = others_are_done.wait(60)  # no await: nothing else of this program can happen meanwhile
    await worker.clock()
    return passed


async def blocks_in_compute(worker):
    await worker.pull("w")
    passed = await worker.compute(event().wait, 60)
    await worker.clock()
    return passed


async def goes_on(worker):
    """Use shards, in this process and in the other; only then let the first program go on."""
    done = event()
    for _ in range(ROUNDS):
        await worker.pull("w")
        await worker.push("w", np.ones(4))
        await worker.clock()
    done.set()


@pytest.mark.parametrize("blocking", [blocks_its_loop, blocks_in_compute])
def test_what_blocks_one_program_delays_nobody_else(client, clean, blocking):
    client.run(forget)
    here, there = processes(client)
    placement = {"blocking-0": here, "other-0": here, "server-0": here, "server-1": there}
    job = ps.Job(
        roles={"blocking": (blocking, 1), "other": ps.Role(goes_on, 1, clocked=True)},
        tables={"w": ps.Table(4)},
    )
    safety = ps.Safety(replicas=1, lease=2.0)
    run = job.run(ps.Dask(client, servers=2, placement=placement, safety=safety), ps.ASP())
    assert run.results["blocking-0"] is True
    assert run.tables["w"].tolist() == [float(ROUNDS)] * 4
    assert run.trace.frame.query("kind == 'lost'").empty  # nobody was taken for dead


def test_long_computing_in_jax_leaves_beats_and_shards_alone(client, clean):
    """Longer than a lease: whoever does not beat meanwhile is given up."""

    def matrices(seconds):
        import jax.numpy as jnp

        x = jnp.ones((1500, 1500)) / 1500
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            x = (x @ x).block_until_ready()
        return float(x[0, 0])

    async def program(worker):
        for _ in range(2):
            await worker.pull("w")
            await worker.compute(matrices, 3.0)
            await worker.push("w", np.ones(4))
            await worker.clock()

    job = ps.Job(program, tables={"w": ps.Table(4)})
    run = job.run(
        ps.Dask(client, workers=2, servers=2, safety=ps.Safety(replicas=1, lease=2.0)), ps.BSP()
    )
    assert run.tables["w"].tolist() == [4.0] * 4
    assert run.trace.frame.query("kind == 'lost'").empty


def test_threads_take_turns_often_during_a_run_and_as_usual_afterwards(client, clean):
    async def program(worker):
        return await worker.compute(sys.getswitchinterval)

    usual = client.run(sys.getswitchinterval)
    run = ps.Job(program, tables={"w": ps.Table(2)}).run(ps.Dask(client, workers=2, servers=2))
    assert all(found <= SWITCH_SECONDS for found in run.results.values())
    assert client.run(sys.getswitchinterval) == usual
