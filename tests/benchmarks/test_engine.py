"""The message-level engine beside SimPy, and what workers and servers cost. Run it on a quiet machine:

pytest -m benchmark tests/benchmarks -s
"""

import sys
import time

import numpy as np
import pytest
import simpy

import psbook as ps

pytestmark = pytest.mark.benchmark

LATENCY, SERVICE, S = 0.01, 0.001, 3
LAW = ps.Exponential(1.0)
MESSAGES = 5
"""Per iteration and shard: pull, its reply, push, its acknowledgement, clock."""


def nothing():
    pass


def psbook_model(workers, servers, iterations, trace="off", law=LAW):
    """Simulated seconds of SSP on psbook."""
    value = np.ones(servers, np.float32)

    async def train(worker):
        for _ in range(iterations):
            await worker.pull("w")
            await worker.compute(nothing)
            worker.push("w", value)
            await worker.clock()

    job = ps.Job(train, tables={"w": ps.Table(servers)})
    cluster = ps.Simulator(workers=workers, servers=servers, compute=law, service=SERVICE,
                           network=ps.Network(latency=LATENCY), trace=trace)  # fmt: skip
    return cluster.run(job, ps.SSP(S), progress=lambda iterations, loss: None).seconds


class Shard:
    """A server of the SimPy model: a first-come-first-served resource, and the clocks it has counted."""

    def __init__(self, env, workers):
        self.env = env
        self.queue = simpy.Resource(env)
        self.clocks = [0] * workers
        self.min = 0
        self.held = []

    def pull(self, clock):
        yield self.env.timeout(LATENCY)
        with self.queue.request() as turn:
            yield turn
            yield self.env.timeout(SERVICE)
        if self.min < clock - S:
            released = self.env.event()
            self.held.append((clock - S, released))
            yield released
        yield self.env.timeout(LATENCY)

    def push(self):
        yield self.env.timeout(LATENCY)
        with self.queue.request() as turn:
            yield turn
            yield self.env.timeout(SERVICE)
        yield self.env.timeout(LATENCY)

    def clock(self, worker):
        yield self.env.timeout(LATENCY)
        with self.queue.request() as turn:
            yield turn
        self.clocks[worker] += 1
        least = min(self.clocks)
        if least > self.min:
            self.min = least
            still = []
            for needed, released in self.held:
                if needed <= least:
                    released.succeed()
                else:
                    still.append((needed, released))
            self.held = still


def simpy_model(workers, servers, iterations):
    """Simulated seconds of the same run on SimPy: the same topology, protocol and compute times.

    It carries no values, ids, or books; a message is a process.
    """
    env = simpy.Environment()
    shards = [Shard(env, workers) for _ in range(servers)]
    times = LAW.matrix(workers, iterations, 0).tolist()

    def train(rank):
        for clock in range(iterations):
            yield env.all_of([env.process(shard.pull(clock)) for shard in shards])
            yield env.timeout(times[rank][clock])
            for shard in shards:
                env.process(shard.push())
                env.process(shard.clock(rank))

    programs = [env.process(train(rank)) for rank in range(workers)]
    env.run(env.all_of(programs))
    return env.now


def seconds(function, *arguments, repeats=3):
    """Best of some runs, in seconds of this process, and what the last one returned."""
    best = float("inf")
    for _ in range(repeats):
        begun = time.process_time()
        result = function(*arguments)
        best = min(best, time.process_time() - begun)
    return best, result


@pytest.mark.parametrize(("workers", "servers"), [(10, 1), (32, 4)])
def test_beside_simpy(workers, servers, capsys):
    """Equal simulated times; real times side by side, in one run."""
    iterations = 4000 // (workers * servers)
    pairs = [
        (seconds(psbook_model, workers, servers, iterations, repeats=1),
         seconds(simpy_model, workers, servers, iterations, repeats=1))
        for _ in range(5)
    ]  # fmt: skip
    (ours, simulated), (theirs, required) = (min(each) for each in zip(*pairs, strict=True))
    # The end differs by what leaving costs: pushes, a message to the shards and one to the controller.
    assert simulated == pytest.approx(required, abs=4 * LATENCY + 2 * workers * SERVICE)
    done = workers * iterations
    with capsys.disabled():
        sys.stdout.write(
            f"\n{workers} workers, {servers} servers: psbook {done / ours:,.0f} iterations/s "
            f"({done * servers * MESSAGES / ours:,.0f} messages/s), SimPy {done / theirs:,.0f} iterations/s: "
            f"psbook takes {ours / theirs:.2f} of SimPy's time\n"
        )


@pytest.mark.parametrize("trace", ["off", "iterations", "full"])
def test_levels_of_the_trace(benchmark, trace):
    benchmark.extra_info["iterations"] = 2000
    benchmark.pedantic(psbook_model, (10, 1, 200, trace), rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("workers", [10, 100, 1000])
def test_workers(benchmark, workers):
    """The same 4000 iterations by more workers: the cost of one should hardly rise."""
    benchmark.extra_info["iterations"] = 4000
    benchmark.pedantic(psbook_model, (workers, 1, 4000 // workers), rounds=3)


@pytest.mark.parametrize("servers", [1, 4, 32])
def test_servers(benchmark, servers):
    """The same 16,000 messages over more shards."""
    iterations = 3200 // (10 * servers)
    benchmark.extra_info["messages"] = 10 * iterations * servers * MESSAGES
    benchmark.pedantic(psbook_model, (10, servers, iterations), rounds=3)
