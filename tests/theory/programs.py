"""What the tests of theory share: the plain training loop, and what is read off its trace.

The references (recursions, chains, queues) are written here and in the tests from theory alone; they use
nothing of psbook but the compute times themselves.
"""

import numpy as np
from scipy import stats

import psbook as ps

ONE = np.ones(1, np.float32)


def nothing():
    """A kernel that only lets simulated time pass."""


def loop(iterations, table="w", value=ONE):
    """pull, compute, push, clock; `iterations` is a number, or a list with one for each worker."""

    async def train(worker):
        count = iterations[worker.rank] if isinstance(iterations, list) else iterations
        for _ in range(count):
            await worker.pull(table)
            await worker.compute(nothing)
            worker.push(table, value)
            await worker.clock()

    return train


def loop_job(iterations, keys=1, **options):
    value = np.ones(keys, np.float32)
    return ps.Job(loop(iterations, value=value), tables={"w": ps.Table(keys)}, **options)


def run_loop(model, law, workers, iterations, *, seed=0, trace="iterations", servers=1, **cluster):
    job = loop_job(iterations, keys=servers)
    simulator = ps.Simulator(
        workers=workers, servers=servers, compute=law, seed=seed, trace=trace, **cluster
    )
    return job.run(simulator, model)


def number(node):
    return int(node.rpartition("-")[2])


def ends(run, workers=None):
    """When each worker called ``clock()``: one float64 array a worker."""
    rows = run.trace.of("clock")
    workers = len(run.meta["workers"]) if workers is None else workers
    return [rows["time"][rows["node"] == f"worker-{k}"].to_numpy() for k in range(workers)]


def max_plus(times, s):
    """F[i, c] = max(F[i, c−1], max_j F[j, c−1−s]) + X[i, c] (theory T7), for workers with unequal counts.

    A worker that has done all its iterations holds nobody up any more: its last end stands for those it
    never makes.
    """
    counts = [len(row) for row in times]
    F = [np.empty(count) for count in counts]
    for c in range(max(counts)):
        needed = c - 1 - s
        gate = 0.0
        if needed >= 0:
            gate = max(F[j][int(min(needed, counts[j] - 1))] for j in range(len(counts)) if counts[j])
        for i, count in enumerate(counts):
            if c < count:
                own = F[i][c - 1] if c else 0.0
                F[i][c] = max(own, gate) + times[i][c]
    return F


def booked(run, kind):
    """Seconds of one kind, by worker."""
    spans = run.trace.of(kind)
    return [float(spans["duration"][spans["node"] == node].sum()) for node in run.meta["workers"]]


def half_width(samples, confidence=0.999):
    """Half the width of Student's confidence interval of a mean of independent samples."""
    quantile = stats.t.ppf((1 + confidence) / 2, len(samples) - 1)
    return quantile * np.std(samples, ddof=1) / np.sqrt(len(samples))
