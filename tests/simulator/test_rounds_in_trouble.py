"""Rounds with several shards, lost messages, lost nodes: nothing hangs, all is accounted for."""

import numpy as np
import pytest

import psbook as ps
from psbook.trace.conservation import conserved
from tests.theory.programs import number, run_loop

MODELS = [ps.KSync(2), ps.BackupWorkers(1), ps.KBatchSync(2), ps.KAsync(3), ps.KBatchAsync(2)]
LAW = ps.Exponential(0.3)


def accounted(run, workers, iterations):
    """Applied + dropped = pushed, for each shard."""
    applied, dropped = run.trace.of("apply"), run.trace.of("drop")
    for shard in range(len(run.meta["servers"])):
        found = []
        for rows in (applied, dropped):
            here = rows[rows["shard"] == shard]
            found.append(set(zip(here["peer"], here["clock"], strict=True)))
        assert not found[0] & found[1]
        assert len(found[0] | found[1]) == workers * iterations
    return len(dropped)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.label)
def test_shards_out_of_step_apply_or_drop_every_gradient(model):
    """A narrow network and slow servers: messages to three shards overtake one another."""
    network = ps.Network(bandwidth=2000.0, latency=0.05)
    for seed in range(3):
        run = run_loop(model, LAW, 5, 25, seed=seed, servers=3, trace="full", network=network,
                       service=ps.Exponential(0.2))  # fmt: skip
        assert (accounted(run, 5, 25) > 0) is model.drops
        assert run.check().ok and conserved(run.trace)[0]
        np.testing.assert_array_equal(run.tables["w"].sum(), len(run.trace.of("apply")))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.label)
@pytest.mark.parametrize("lost_workers", ["restart", "leave"])
def test_a_lost_server_a_lost_worker_and_lost_messages(model, lost_workers):
    """With one seed each a shard's primary or its tail dies with gradients in the open round."""
    crash = ps.Crash("worker-1", at=3.0, **({"restart": 4.0} if lost_workers == "restart" else {}))
    safety = ps.Safety(replicas=1, lost_workers=lost_workers, lease=1.0, resend=0.1)
    for seed, server in enumerate(("server-0", "server-1")):
        faults = ps.Faults(ps.Crash(server, at=2.0), crash, ps.Loss(0.1))
        run = run_loop(model, LAW, 4, 15, seed=seed, servers=3, trace="full", safety=safety, faults=faults)
        assert run.check().ok, run.check().false
        ended = run.trace.of("finish")["node"].map(number)
        assert set(ended) >= {0, 2, 3}


def test_replicas_drop_what_the_tail_drops_and_it_is_counted_once():
    run = run_loop(ps.KSync(1), LAW, 3, 20, servers=2, trace="full", safety=ps.Safety(replicas=1))
    alone = run_loop(ps.KSync(1), LAW, 3, 20, servers=2, trace="full")
    assert len(run.trace.of("drop")) == len(alone.trace.of("drop")) == 2 * 20 * 2
    copies = run.trace.of("drop copy")
    assert sorted(copies["message"]) == sorted(run.trace.of("drop")["message"])


def test_who_does_not_read_is_dropped_once_its_round_is_over():
    """Worker 1 reads in its first iteration only; worker 2 never reads, and its gradients are never old."""

    async def train(worker):
        for clock in range(6):
            if worker.rank == 0 or (worker.rank == 1 and clock == 0):
                await worker.pull("w")
            await worker.compute(int)
            worker.push("w", np.ones(1, np.float32), [worker.rank])
            await worker.clock()

    job = ps.Job(train, tables={"w": ps.Table(3)})
    run = job.run(ps.Simulator(workers=3, compute=ps.Constant(1.0)), ps.KBatchSync(1))
    dropped = run.trace.of("drop")
    assert set(dropped["peer"]) == {"worker-0", "worker-1"}
    assert run.tables["w"][2] == 6.0
    assert run.tables["w"][1] + (dropped["peer"] == "worker-1").sum() == 6.0


def test_programs_of_another_role_write_at_once_and_are_in_no_round():
    async def train(worker):
        for _ in range(4):
            await worker.pull("w")
            await worker.compute(int)
            worker.push("w", np.ones(1, np.float32))
            await worker.clock()

    async def write(worker):
        await worker.push("w", np.full(1, 100.0, np.float32))
        return np.asarray(await worker.pull("w")).tolist()

    roles = {"worker": ps.Role(train, 3), "writer": ps.Role(write, 1)}
    run = ps.Job(roles=roles, tables={"w": ps.Table(1)}).run(ps.Simulator(compute=LAW), ps.KAsync(3))
    assert run.results["writer-0"] == [100.0]
    assert run.tables["w"].tolist() == [112.0]
