"""Pulls and pushes between two processes on Dask, beside a raw asyncio echo over loopback TCP.

    pytest -m benchmark tests/benchmarks/test_dask.py -s

Both sides are measured in one run, and what counts is the ratio: machines are shared.
"""

import asyncio
import multiprocessing
import statistics
import sys
import time

import numpy as np
import pytest

import psbook as ps

pytestmark = pytest.mark.benchmark

SMALL, LARGE = 1_000, 4_000_000
"""Numbers of float32 in a small and a large table: 4 kB and 16 MB."""


def median_seconds(count, begin, end):
    return statistics.median(e - b for b, e in zip(begin[-count:], end[-count:], strict=True))


async def timed_pulls(worker):
    """Median seconds of a small pull, a large pull, and a large push with its acknowledgement."""
    found = []
    gradient = np.ones(LARGE, np.float32)
    for count, operation in (
        (300, lambda: worker.pull("small")),
        (8, lambda: worker.pull("large")),
        (8, lambda: worker.push("large", gradient)),
    ):
        begin, end = [], []
        for _ in range(count + 3):
            begin.append(time.perf_counter())
            await operation()
            end.append(time.perf_counter())
        found.append(median_seconds(count, begin, end))
    return found


def serve_echo(connection):
    """Answer each request, the number of bytes wanted, with so many bytes."""

    async def answer(reader, writer):
        payload = bytes(4 * LARGE)
        while size := int.from_bytes(await reader.readexactly(8)):
            writer.write(memoryview(payload)[:size])
            await writer.drain()
        writer.close()

    async def main():
        server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=2**24)
        connection.send(server.sockets[0].getsockname()[1])
        async with server:
            await server.serve_forever()

    asyncio.run(main())


async def timed_echo(port):
    """Median seconds of a small and a large answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
    found = []
    for count, size in ((300, 4 * SMALL), (8, 4 * LARGE)):
        begin, end = [], []
        for _ in range(count + 3):
            begin.append(time.perf_counter())
            writer.write(size.to_bytes(8))
            await reader.readexactly(size)
            end.append(time.perf_counter())
        found.append(median_seconds(count, begin, end))
    writer.write(bytes(8))
    writer.close()
    return found


def raw_echo():
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve_echo, args=(there,), daemon=True)
    process.start()
    try:
        return asyncio.run(timed_echo(here.recv()))
    finally:
        process.kill()


def test_pulls_and_pushes_beside_a_raw_echo(capsys):
    job = ps.Job(timed_pulls, tables={"small": ps.Table(SMALL), "large": ps.Table(LARGE)})
    backend = ps.Dask(workers=1, servers=1, placement="apart", trace="off")
    with backend.opened() as cluster:
        (small, large, push) = job.run(cluster, ps.ASP()).results["worker-0"]
    echo_small, echo_large = raw_echo()
    gigabytes = 4e-9 * LARGE
    with capsys.disabled():
        sys.stderr.write(
            f"\n4 kB pull {1e6 * small:.0f} µs, raw echo {1e6 * echo_small:.0f} µs: "
            f"{small / echo_small:.1f} times"
            f"\n16 MB pull {gigabytes / large:.2f} GB/s, raw echo {gigabytes / echo_large:.2f} GB/s; "
            f"push with its update and acknowledgement {gigabytes / push:.2f} GB/s\n"
        )
    assert min(small, large, push, echo_small, echo_large) > 0
