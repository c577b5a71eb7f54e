"""The data plane beside raw sockets, Dask's RPC and Dask's actors, between the same processes in one run.

    pytest -m benchmark tests/benchmarks/test_plane.py -s

What counts are the ratios: machines are shared.
"""

import sys
import time

import pytest
from distributed import Client

import psbook as ps
from psbook.cluster.joining.connect import local_cluster

from . import transports
from .transports import IN_FLIGHT, SIZES, SMALL, figures

pytestmark = pytest.mark.benchmark

TABLES = {f"t{numbers}": ps.Table(numbers) for numbers in SIZES.values()}


async def psbook_figures(worker):
    import numpy as np

    values = {numbers: np.ones(numbers, np.float32) for numbers in SIZES.values()}
    for value in values.values():
        value.flags.writeable = False  # nobody writes to it any more, so it need not be copied

    async def pull(numbers):
        return await worker.pull(f"t{numbers}")

    async def push(numbers):
        return await worker.push(f"t{numbers}", values[numbers])

    async def many(count):
        """Keep 32 pulls in flight: a new one whenever the oldest is there."""
        under_way = [worker.pull(f"t{SMALL}") for _ in range(IN_FLIGHT)]
        for number in range(count):
            await under_way[number % IN_FLIGHT]
            under_way[number % IN_FLIGHT] = worker.pull(f"t{SMALL}")
        for operation in under_way:
            await operation

    return await figures(pull, push, many)


@pytest.fixture(scope="module")
def client():
    with local_cluster(2) as cluster, Client(cluster, set_as_default=False) as client:
        yield client


def measured(client):
    """Each transport in turn, between the first worker and the second."""
    there, here = sorted(client.scheduler_info()["workers"])
    port = client.run(transports.open_echo, workers=[there])[there]
    client.run(transports.open_rpc, workers=[there])
    holder = client.submit(transports.Store, actor=True, workers=[there], pure=False)
    store = holder.result()
    placement = {"worker-0": here, "server-0": there}
    job = ps.Job(psbook_figures, tables=TABLES)
    found = {"raw sockets": client.submit(transports.raw, port, workers=[here], pure=False).result()}
    run = job.run(ps.Dask(client, workers=1, servers=1, placement=placement, trace="off"), ps.ASP())
    found["psbook"] = run.results["worker-0"]
    found["Dask RPC"] = client.run(transports.rpc, there, workers=[here])[here]
    found["Dask actor"] = client.submit(transports.actor, store, workers=[here], pure=False).result()
    return found, run.meta["plane"]


def test_pulls_and_pushes_beside_raw_sockets_rpc_and_actors(client, capsys):
    rounds = [measured(client) for _ in range(3)]
    with capsys.disabled():
        sys.stderr.write(f"\n{rounds[0][1]}\n")
        for found, _ in rounds:
            sys.stderr.write(table(found))
    for found, plane in rounds:
        assert any("tcp port" in way for ways in plane.values() for way in ways.values())
        assert all(each.small > 0 for each in found.values())


def table(found):
    raw = found["raw sockets"]
    lines = [time.strftime("%H:%M:%S")]
    for name, each in found.items():
        sizes = "  ".join(
            f"{size} {each.pull[size]:.2f}/{each.push[size]:.2f} GB/s "
            f"({each.pull[size] / raw.pull[size]:.2f}/{each.push[size] / raw.push[size]:.2f})"
            for size in SIZES
        )
        lines.append(
            f"{name:12s} small pull {1e6 * each.small:5.0f} µs ({each.small / raw.small:4.1f}x), "
            f"99 % {1e6 * each.late:5.0f} µs, {each.rate:7.0f}/s at {IN_FLIGHT} in flight; pull/push {sizes}"
        )
    return "\n".join(lines) + "\n"
