"""What safety costs: replication, aggregation before it, checkpoints. Run it on a quiet machine:

pytest -m benchmark tests/benchmarks/test_safety.py -s
"""

import itertools
import sys
import time
import tracemalloc

import numpy as np
import pandas as pd
import pytest

import psbook as ps

pytestmark = pytest.mark.benchmark

WORKERS, SERVERS, KEYS, ITERATIONS = 8, 4, 40_000, 60
PUSHED = WORKERS * ITERATIONS * KEYS * 4
"""Bytes of values that the workers push."""


def show(capsys, title, table):
    with capsys.disabled():
        sys.stdout.write(f"\n{title}\n{table.to_string(index=False, float_format=lambda x: f'{x:.4g}')}\n")


def counting(keys=KEYS, iterations=ITERATIONS):
    value = np.ones(keys, np.float32)

    async def train(worker):
        while worker.iteration < iterations:
            await worker.pull("w")
            await worker.compute(int)
            worker.push("w", value)
            await worker.clock()

    return ps.Job(train, tables={"w": ps.Table(keys)}, name="counting")


def cluster(safety, trace="off", checkpoints=None, servers=SERVERS):
    """10 ms of computing, 0.1 ms of latency, 100 MB/s: a push to a shard takes 0.4 ms of a link."""
    return ps.Simulator(
        workers=WORKERS, servers=servers, compute=ps.Gamma(0.01, shape=10), service=2e-4,
        network=ps.Network(bandwidth=1e8, latency=1e-4), safety=safety, trace=trace, checkpoints=checkpoints,
    )  # fmt: skip


def configurations():
    """Name, model and safety of each; the first of a model is that in which nothing can fail."""
    for model in (ps.BSP(), ps.ASP()):
        yield model, "nothing fails", None
        yield model, "k=0", ps.Safety()
        for scheme, k in itertools.product(("chain", "primary-backup"), (1, 2)):
            yield model, f"k={k} {scheme}", ps.Safety(replicas=k, scheme=scheme)
            if model.buffered:
                sums = ps.Safety(replicas=k, scheme=scheme, aggregate=True)
                yield model, f"k={k} {scheme}, aggregated", sums


def measured(model, safety):
    """CPU seconds of the engine at its best of three; simulated seconds; bytes by type of message."""
    job, best = counting(), float("inf")
    for _ in range(3):
        begun = time.process_time()
        run = job.run(cluster(safety), model)
        best = min(best, time.process_time() - begun)
    sent = job.run(cluster(safety, "full"), model).trace.of("send")
    return best, run.seconds, sent.groupby("detail")["bytes"].sum()


def test_cost_of_replication(capsys):
    """Side by side, in one run: without copies, with one, with two, and with sums instead of pushes."""
    rows = []
    for model, name, safety in configurations():
        cpu, seconds, sent = measured(model, safety)
        rows.append({
            "model": model.label, "safety": name, "CPU us/iteration": 1e6 * cpu / (WORKERS * ITERATIONS),
            "iterations/simulated s": WORKERS * ITERATIONS / seconds,
            "forwarded/pushed": sent.get("Forward", 0) / PUSHED, "bytes/pushed": sent.sum() / PUSHED,
        })  # fmt: skip
    table = pd.DataFrame(rows)
    for column in ("CPU us/iteration", "iterations/simulated s"):
        base = table.groupby("model")[column].transform("first")
        table[f"{column.split('/')[0]} ratio"] = table[column] / base
    show(capsys, f"{WORKERS} workers, {SERVERS} servers, {KEYS} float32", table)
    forwarded = table.set_index(["model", "safety"])["forwarded/pushed"]
    for model, k in itertools.product(("BSP", "ASP"), (1, 2)):
        assert forwarded[model, f"k={k} chain"] == pytest.approx(k, rel=0.05)  # T16, but for headers
        if model == "BSP":
            # A program's end lets the pushes of its last round go as they are.
            of_sums, least = forwarded[model, f"k={k} chain, aggregated"], k / WORKERS
            assert least <= of_sums <= 1.05 * (least + k / ITERATIONS)


@pytest.mark.parametrize("model", [ps.BSP(), ps.ASP()], ids=lambda model: model.label)
def test_cost_of_checkpoints(model, tmp_path, capsys):
    """Real seconds of the process that writes, files, memory; simulated seconds are the same."""
    rows = []
    for keys in (1_000, 100_000, 1_000_000):
        job = counting(keys, iterations=20)
        taken = {}
        saving = ps.Checkpoints(tmp_path / str(keys), every=4)
        for name, checkpoints in (("without", None), ("with", saving)):
            best = float("inf")
            for _ in range(4):
                begun = time.perf_counter()
                run = job.run(cluster(None, checkpoints=checkpoints), model)
                best = min(best, time.perf_counter() - begun)
            taken[name] = best, run.seconds
            tracemalloc.start()
            job.run(cluster(None, checkpoints=checkpoints), model)
            taken[name] += (tracemalloc.get_traced_memory()[1],)
            tracemalloc.stop()
        number = len(run.trace.of("checkpoint"))
        size = run.trace.of("checkpoint")["bytes"].mean()
        (plain, simulated, memory), (saved, as_simulated, more) = taken["without"], taken["with"]
        assert number == 5
        assert as_simulated == pytest.approx(simulated, rel=1e-4)  # the controller is told of each
        assert size >= 4 * keys
        rows.append({
            "keys": keys, "table MB": 4e-6 * keys, "file MB": 1e-6 * size,
            "run s": plain, "s/checkpoint": (saved - plain) / number,
            "peak MB": 1e-6 * memory, "peak MB more": 1e-6 * (more - memory),
        })  # fmt: skip
    title = f"{model.label}: {WORKERS} workers, {SERVERS} shards, 20 iterations, 5 checkpoints"
    show(capsys, title, pd.DataFrame(rows))
