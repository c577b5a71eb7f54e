"""Collectives cost what the theory says: rounds, steps and bytes (theory.md T12, T13)."""

import math

import numpy as np
import pytest

import psbook as ps

LATENCY = 1.0
TABLES = {"unused": ps.Table(1)}


def run(program, workers, **network):
    made = ps.Network(**{"latency": LATENCY, **network})
    return ps.Job(program, tables=TABLES).run(ps.Simulator(workers=workers, network=made), ps.ASP())


def last_receive(run):
    return run.trace.of("receive").query("detail == 'Parcel'")["time"].max()


@pytest.mark.parametrize("workers", [2, 3, 4, 5, 8, 13])
@pytest.mark.parametrize("root", [0, 1])
def test_broadcast_takes_log_n_rounds_and_n_minus_1_messages(workers, root):
    """Each round a sender's network is busy with one message; here that takes a second."""

    async def program(worker):
        await ps.broadcast(worker, "x" * 52, root=root)

    done = run(program, workers, latency=0.0, bandwidth=100.0)
    assert last_receive(done) == pytest.approx(math.ceil(math.log2(workers)))
    assert (done.trace.of("send")["detail"] == "Parcel").sum() == workers - 1


@pytest.mark.parametrize("workers", [2, 3, 4, 7])
def test_all_reduce_takes_2n_minus_2_steps_and_2_times_n_minus_1_nths_of_the_bytes(workers):
    size = 8 * 840

    async def program(worker):
        await ps.all_reduce(worker, np.ones(size // 8))

    done = run(program, workers)
    assert last_receive(done) == pytest.approx(2 * (workers - 1) * LATENCY)
    sent = done.trace.of("send").query("detail == 'Parcel' and node == 'worker-0'")["bytes"] - 48
    assert sent.sum() == 2 * (workers - 1) * size // workers


@pytest.mark.parametrize("workers", [9, 16, 25])
def test_tree_aggregate_at_depth_2_takes_two_rounds_and_rank_0_hears_of_few(workers):
    async def program(worker):
        return await ps.tree_aggregate(worker, np.ones(3), depth=2)

    done = run(program, workers)
    assert last_receive(done) == pytest.approx(2 * LATENCY)
    heard = done.trace.of("receive").query("detail == 'Parcel' and node == 'worker-0'")
    assert len(heard) < workers - 1
    np.testing.assert_array_equal(done.results["worker-0"], np.full(3, workers))


def test_tree_aggregate_at_depth_1_is_everybody_to_rank_0():
    async def program(worker):
        return await ps.tree_aggregate(worker, 1, depth=1)

    done = run(program, 6)
    assert last_receive(done) == pytest.approx(LATENCY)
    assert done.results["worker-0"] == 6


def test_collectives_follow_one_another_without_mixing():
    async def program(worker):
        await worker.sleep(worker.rng.exponential(5.0))
        first = await ps.all_reduce(worker, np.full(5, float(worker.rank)))
        second = await ps.broadcast(worker, worker.rank, root=2)
        third = await ps.all_reduce(worker, np.full(2, 1.0))
        return first[0], second, third[0], await ps.tree_aggregate(worker, 1)

    results = run(program, 5).results
    assert results["worker-0"] == (10.0, 2, 5.0, 5)
    assert {result[:3] for result in results.values()} == {(10.0, 2, 5.0)}
