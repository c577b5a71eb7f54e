"""T12: what collectives and the parameter server's own traffic cost, to 1e-9, headers counted as they are.

Networks are first come, first served by message (see `psbook.simulator.network`), which agrees with a fluid
one wherever one NIC is the bottleneck from the first byte to the last; only such cases are compared here.
"""

import numpy as np
import pytest

import psbook as ps
from psbook.core.messages import HEADER_BYTES as H
from tests.theory.programs import nothing

B, LATENCY = 1e6, 1e-3
KEYS = 16
"""Bytes of a key range in a message."""


def durations(program, workers, *, roles=None, network=None, tables=None, servers=1):
    """What each program returns, on an otherwise empty cluster."""
    network = ps.Network(bandwidth=B, latency=LATENCY) if network is None else network
    tables = {"w": ps.Table(servers)} if tables is None else tables
    job = ps.Job(None if roles else program, roles=roles, tables=tables)
    cluster = ps.Simulator(workers=None if roles else workers, servers=servers, network=network)
    return list(job.run(cluster, ps.ASP()).results.values())


def test_clock_0_begins_at_once_for_all_and_getting_ready_is_nobodys_time():
    async def train(worker):
        begun = worker.now
        await worker.compute(nothing)
        return begun

    job = ps.Job(train, tables={"w": ps.Table(1)})
    run = job.run(ps.Simulator(workers=3, network=ps.Network(bandwidth=480.0, latency=0.5)), ps.ASP())
    assert list(run.results.values()) == [0.0, 0.0, 0.0]
    assert list(run.trace.of("compute")["detail"]) == [""] * 3


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_ring_all_reduce(n):
    """2(n−1)·(S/n/B + α), each step a message with its header."""
    values = 840  # float64, so that every n divides them

    async def program(worker):
        total = await ps.all_reduce(worker, np.full(values, worker.rank + 1.0))
        assert (total == n * (n + 1) / 2).all()
        return worker.now

    step = (8 * values / n + H) / B + LATENCY
    assert durations(program, n) == pytest.approx([2 * (n - 1) * step] * n, rel=1e-9)


@pytest.mark.parametrize("n", [2, 4, 8, 16, 5, 11])
def test_binomial_broadcast(n):
    """⌈log₂ n⌉(α + S/B) for a power of two.

    Nobody waits for the end of a round: the worker with number p in binary is reached after as many
    messages as p has digits, over as many links as p has ones. For other n the last p may have fewer ones.
    """
    value = np.zeros(500)

    async def program(worker):
        await ps.broadcast(worker, value if worker.rank == 0 else None)
        return worker.now

    message = (value.nbytes + H) / B
    required = [p.bit_length() * message + p.bit_count() * LATENCY for p in range(n)]
    found = durations(program, n)
    assert found == pytest.approx(required, rel=1e-9)
    rounds = (n - 1).bit_length()
    if n == 1 << rounds:
        assert max(found) == pytest.approx(rounds * (LATENCY + message), rel=1e-9)
    else:
        assert max(found) <= rounds * (LATENCY + message) * (1 + 1e-9)


@pytest.mark.parametrize("n", [1, 4, 7])
def test_gather_and_scatter_through_one_node(n):
    """2nS/B, and two latencies."""
    value = np.zeros(500)

    async def worker(worker):
        worker.send("root-0", value)
        await worker.receive("root-0")
        return worker.now

    async def root(worker):
        for _ in range(n):
            await worker.receive()
        for rank in range(n):
            worker.send(f"worker-{rank}", value)

    found = durations(None, n, roles={"worker": (worker, n), "root": (root, 1)})
    required = 2 * n * (value.nbytes + H) / B + 2 * LATENCY
    assert max(each for each in found if each is not None) == pytest.approx(required, rel=1e-9)


def rates(worker, server):
    return ps.Network(bandwidth={"worker": worker, "server": server, "controller": 1e12})


@pytest.mark.parametrize(
    ("workers", "servers", "worker_rate", "server_rate"),
    [(1, 1, B, B), (1, 1, B, 4 * B), (1, 1, 4 * B, B), (6, 1, B, B), (6, 1, 3 * B, B), (1, 4, B, B), (1, 4,
    B, 3 * B)],
)  # fmt: skip
def test_pull_then_push(workers, servers, worker_rate, server_rate):
    """2S·max(1/B_w, n/(P·B_s)): the values; the first request before them and the last acknowledgement
    behind are added as they are.

    A barrier parts the phases: without it one worker's push overlaps another's pull, on full-duplex NICs.
    """
    keys = 4000

    async def program(worker):
        await worker.pull("w")
        pulled = worker.now
        await worker.barrier()
        begun = worker.now
        await worker.push("w", np.ones(keys))
        return pulled, begun, worker.now

    found = durations(
        program, workers, servers=servers, network=rates(worker_rate, server_rate),
        tables={"w": ps.Table(keys, dtype="float64")},
    )  # fmt: skip
    pulled, begun, ended = np.array(found).T
    value = H + KEYS + 8 * keys / servers
    values = value * servers * max(1 / worker_rate, workers / (servers * server_rate))
    idle_path = max(1 / worker_rate, 1 / server_rate)
    assert pulled.max() == pytest.approx((H + KEYS) * idle_path + values, rel=1e-9)
    assert ended.max() - begun.min() == pytest.approx(values + H * idle_path, rel=1e-9)


def test_pull_and_push_overlap_on_full_duplex_nics():
    """S·max(1/B_w, n/(P·B_s)) instead of twice that."""
    keys = 4000

    async def program(worker):
        await ps.gather(worker.pull("w"), worker.push("w", np.ones(keys)))
        return worker.now

    (found,) = durations(program, 1, network=rates(B, B), tables={"w": ps.Table(keys, dtype="float64")})
    request, value = H + KEYS, H + KEYS + 8 * keys
    # The push leaves behind the request and arrives as the pulled value does, behind it in no NIC.
    assert found == pytest.approx((request + value) / B + H / B, rel=1e-9)


def test_the_latency_of_a_pull_is_that_of_both_ways_plus_the_bytes():
    async def program(worker):
        await worker.pull("w")
        return worker.now

    (found,) = durations(program, 1, tables={"w": ps.Table(100, dtype="float32")})
    assert found == pytest.approx(2 * LATENCY + (2 * (H + KEYS) + 400) / B, rel=1e-12)
