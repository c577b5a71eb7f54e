"""A run in the background: watched, awaited, stopped."""

import asyncio
import time

import numpy as np
import pytest

import psbook as ps
from psbook.errors import ProgramError, Stopped

TABLES = {"w": ps.Table(3)}


async def finite(worker):
    for _ in range(5):
        worker.push("w", np.ones(3))
        await worker.clock()


async def endless(worker):
    while True:
        await worker.pull("w")
        await worker.sleep(0.001)
        worker.push("w", np.ones(3))
        await worker.clock()


async def failing(worker):
    raise ValueError("no")


def start(cluster, program, model=None):
    return ps.Job(program, tables=TABLES).start(cluster(workers=2), model or ps.SSP(2))


def test_a_handle_gives_the_run_when_it_is_over(cluster):
    handle = start(cluster, finite)
    run = handle.result(timeout=30)
    assert run.tables["w"].tolist() == [10.0] * 3
    assert handle.done and handle.iterations == 10
    assert handle.result() is run
    assert repr(handle).startswith("<Finished: 10 worker iterations")


def test_a_handle_can_be_awaited(cluster):
    async def main():
        return await start(cluster, finite)

    assert asyncio.run(main()).tables["w"].tolist() == [10.0] * 3


def test_a_run_can_be_stopped_and_leaves_its_trace(cluster):
    handle = start(cluster, endless)
    deadline = time.monotonic() + 30
    while handle.iterations < 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(TimeoutError, match="still goes on"):
        handle.result(timeout=0.0)
    assert not handle.done and repr(handle).startswith("<Running")
    handle.stop()
    with pytest.raises(Stopped, match="stopped from outside") as caught:
        handle.result(timeout=30)
    assert handle.done
    trace = caught.value.trace
    assert len(trace.of("apply")) >= 10
    assert trace.end > 0


def test_what_ends_the_run_is_raised_by_result_and_by_await(cluster):
    handle = start(cluster, failing)
    for _ in range(2):
        with pytest.raises(ProgramError, match="ValueError: no"):
            handle.result(timeout=30)

    async def main():
        await handle

    with pytest.raises(ProgramError):
        asyncio.run(main())
