"""What it costs to watch a run: CPU seconds of all processes, watched and not, side by side.

    pytest -m benchmark tests/benchmarks/test_live.py -s

Both sides are measured in one run, in pairs, and what counts is the ratio: machines are shared.
"""

import statistics
import sys
import time

import numpy as np
import pytest
from distributed import Client, LocalCluster

import psbook as ps
from psbook.hosts.vitals import held
from psbook.view.live_watch import Watch
from tests.core.machines import Shard

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]

PAIRS, ITERATIONS, SECONDS = 10, 150, 0.02
"""Pairs of runs, iterations of each of four workers, and how long each lasts."""


def report(text):
    sys.stdout.write(f"\n{text}\n")


def cpu(client):
    """CPU seconds so far of the workers and of this process, where client and scheduler are."""
    return sum(client.run(time.process_time).values()) + time.process_time()


async def train(worker):
    for _ in range(ITERATIONS):
        await worker.pull("w")
        await worker.compute(lambda: None)
        worker.push("w", np.ones(10_000))
        await worker.clock()


def seconds_of(client, watched):
    """CPU and real seconds of a run; watched as a notebook does it: three pages of HTML a second."""
    job = ps.Job(train, tables={"w": ps.Table(10_000)}, evaluate=lambda w: float(w[0]), every=40)
    before, begun = cpu(client), time.perf_counter()
    handle = job.start(ps.Dask(client, workers=4, servers=2, compute=SECONDS), ps.SSP(2))
    if watched:
        shown = Watch(handle)
        shown.follow(shown.html)
        assert shown.status.iterations == 4 * ITERATIONS and len(shown.history.moments) > 2
    handle.result()
    return cpu(client) - before, time.perf_counter() - begun


def test_watching_costs_little_cpu_time():
    with (
        LocalCluster(n_workers=2, threads_per_worker=4, memory_limit=0, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        seconds_of(client, watched=True)  # imports, first connections
        pairs = []
        for pair in range(PAIRS):
            order = (True, False) if pair % 2 else (False, True)
            found = {watched: seconds_of(client, watched) for watched in order}
            pairs.append((found[True], found[False]))
    ratios = sorted(watched[0] / alone[0] for watched, alone in pairs)
    more = [(watched[0] - alone[0]) / watched[1] for watched, alone in pairs]
    for watched, alone in pairs:
        report(
            f"watched {watched[0]:.2f} CPU s in {watched[1]:.2f} s; alone {alone[0]:.2f} in {alone[1]:.2f}"
        )
    report(
        f"ratio {statistics.median(ratios):.3f} (from {ratios[0]:.3f} to {ratios[-1]:.3f}), "
        f"{1000 * statistics.median(more):.1f} ms of CPU for each second watched"
    )
    assert statistics.median(ratios) < 1.25


@pytest.mark.parametrize("workers", [8, 64, 512])
def test_saying_why_reads_are_held_costs_little_whatever_their_number(workers):
    """Four times a second a server says why; here all workers but one are held."""
    shard = Shard(workers, ps.SSP(0))
    for rank in range(1, workers):
        shard.clock(rank)
        shard.pull(rank)
    seconds = []
    for _ in range(50):
        begun = time.thread_time()
        told, more = held([shard.server], 1.0)
        seconds.append(time.thread_time() - begun)
    report(f"{workers} workers: {1e6 * statistics.median(seconds):.0f} µs")
    assert len(told) + more == workers - 1
    assert 4 * statistics.median(seconds) < 0.01
