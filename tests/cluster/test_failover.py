"""Real processes are killed or stopped while a run goes on: each sender's pushes are counted exactly once.

Nothing here is atomic, and what a sender has issued and heard is kept outside its process.
"""

import dataclasses
import os
import signal
import time

import numpy as np
import pytest

import psbook as ps

from .faults import addresses, check_counts, is_whole, job, kinds, pids, processes, stopped, wait

pytestmark = [pytest.mark.dask, pytest.mark.timeout(90)]

PROCESSES = 3

SAFETY = ps.Safety(replicas=1, lease=1.0, resend=0.3)


@pytest.fixture(scope="module")
def client():
    with processes(PROCESSES) as client:
        yield client


@pytest.fixture(autouse=True)
def _all_there(client):
    client.wait_for_workers(PROCESSES, timeout=60)


WHERE = {
    "shards": (["server-0"], ["server-1"], ["worker-0", "worker-1", "worker-2", "worker-3"]),
    "programs": (["worker-0", "worker-1", "worker-2", "worker-3"], ["server-0"], ["server-1"]),
    "both": (["server-0", "worker-0", "worker-1"], ["server-1", "worker-2"], ["worker-3"]),
}
"""What the victim, the first process, holds, and what the others do."""


def begin(client, folder, holds, model=None, safety=SAFETY, **options):
    """Start the counting job; return its handle, and the victim's address."""
    victim, *others = addresses(client)
    placement = {
        node: address
        for address, nodes in zip((victim, *others), WHERE[holds], strict=False)
        for node in nodes
    }
    backend = ps.Dask(client, workers=4, servers=2, placement=placement, safety=safety)
    handle = job(folder, **options).start(backend, model or ps.SSP(2))
    wait(lambda: handle.iterations > 20 or handle.done)
    return handle, victim


@pytest.mark.parametrize("holds", WHERE)
def test_a_killed_process_is_survived(client, clean, tmp_path, holds):
    pid = pids(client)
    handle, victim = begin(client, tmp_path, holds)
    os.kill(pid[victim], signal.SIGKILL)
    run = handle.result(60)
    check_counts(run, tmp_path)
    lost = run.trace.frame.query("kind == 'lost'")
    assert set(WHERE[holds][0]) <= set(lost["node"])
    assert lost["detail"].str.contains(victim).any()
    if holds != "shards":
        assert "restart" in kinds(run)


@pytest.mark.parametrize("holds", WHERE)
def test_a_hung_process_is_survived(client, clean, tmp_path, holds):
    pid = pids(client)
    handle, victim = begin(client, tmp_path, holds)
    with stopped(pid[victim]):
        run = handle.result(60)
    check_counts(run, tmp_path)
    lost = run.trace.frame.query("kind == 'lost'")
    assert set(WHERE[holds][0]) <= set(lost["node"])
    assert lost["detail"].str.contains("no sign of life").any()


def test_a_process_that_wakes_up_takes_part_again_and_its_old_programs_end(client, clean, tmp_path):
    pid = pids(client)
    handle, victim = begin(client, tmp_path, "both", clocks=150)
    with stopped(pid[victim]):
        time.sleep(2.0)  # longer than lease and margin
    run = handle.result(60)
    check_counts(run, tmp_path)
    frame = run.trace.frame
    assert frame.query("kind == 'restart'")["node"].tolist() == ["worker-0", "worker-1"]
    given_up = frame.query("kind == 'lost' and node == 'server-0'")["time"].iloc[0]
    back = frame.query("kind == 'serve' and node == 'server-0' and detail != ''")
    assert (back["time"] > given_up).any(), "it holds copies again"


def test_programs_that_start_again_have_their_data_again(client, clean):
    pid = pids(client)
    victim, *others = addresses(client)
    placement = dict(zip(("worker-0", "server-0", "server-1"), (victim, *others), strict=True))
    data = [(np.arange(400.0),)]
    learn = ps.Job(sums, tables={"w": ps.Table(1)}, data=data, batch_size=2, epochs=1)
    backend = ps.Dask(client, workers=1, servers=1, placement=placement, safety=ONE_SERVER)
    handle = learn.start(backend, ps.BSP())
    wait(lambda: handle.iterations > 20)
    os.kill(pid[victim], signal.SIGKILL)
    run = handle.result(60)
    assert run.tables["w"].tolist() == [np.arange(400.0).sum()]
    assert "restart" in kinds(run)


async def sums(worker):
    for (x,) in worker.batches():
        worker.push("w", np.array([x.sum()], np.float32))
        await worker.sleep(0.01)
        await worker.clock({})


ONE_SERVER = ps.Safety(lease=1.0, resend=0.3)


def test_a_program_that_is_slow_to_prepare_is_waited_for_and_not_given_up(client, clean):
    """Beats begin when a program is prepared; until then nobody starts, and nobody is missed."""
    backend = ps.Dask(client, workers=2, servers=2, safety=SAFETY)
    run = ps.Job(Slow(), tables={"w": ps.Table(2)}, data=[(np.ones(2),)] * 2).run(backend, ps.BSP())
    assert run.seconds < 1.0
    assert not {"lost", "restart"} & kinds(run)


class Slow:
    """A program with kernels that take longer to compile than a lease lasts."""

    def prepare(self, tables, data, batching):
        time.sleep(2.0)

    async def __call__(self, worker):
        await worker.push("w", np.ones(2))
        await worker.clock()


def test_a_process_without_a_node_is_a_server_from_the_start_and_knows_the_time(client, clean, tmp_path):
    first, second, _ = addresses(client)
    placement = {"server-0": first, "worker-0": second}
    backend = ps.Dask(client, workers=1, servers=1, placement=placement, safety=ONE_SERVER)
    run = job(tmp_path, workers=1, clocks=40).run(backend, ps.ASP())
    check_counts(run, tmp_path)
    sent = run.trace.frame.query("node == 'server-1' and kind == 'send'")["time"]
    assert sent.between(0.0, run.seconds + 0.5).all() and sent.max() > 0.3
    assert "server-1" in set(run.trace.frame.query("kind == 'serve'")["node"])


def test_adaptive_scaling_leaves_alone_who_cannot_hand_over(client, clean):
    async def program(worker):
        await worker.sleep(2.0)
        await worker.clock()

    first, second, third = addresses(client)
    placement = {"server-0": first, "worker-0": second}
    backend = ps.Dask(client, workers=1, servers=1, placement=placement)
    handle = ps.Job(program, tables={"w": ps.Table(2)}).start(backend, ps.ASP())
    wait(lambda: any("worker-0" in str(key) for key in client.run_on_scheduler(_tasks)))
    assert client.run_on_scheduler(_closable) == [third]
    handle.result(30)
    assert set(client.run_on_scheduler(_closable)) == {first, second, third}


def _tasks(dask_scheduler):
    return list(dask_scheduler.tasks)


def _closable(dask_scheduler):
    return dask_scheduler.workers_to_close(n=3, attribute="address")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["chain", "primary-backup"])
@pytest.mark.parametrize("seed", range(10))
def test_one_loss_after_the_other_is_survived(client, clean, tmp_path, seed, scheme):
    """Two or three losses of any process, of either kind, while nannies bring processes back."""
    rng = np.random.default_rng(seed)
    model = [ps.SSP(2), ps.ASP(), ps.BSP(), ps.SSP(0)][seed % 4]
    holds = list(WHERE)[seed % 3]
    safety = dataclasses.replace(SAFETY, scheme=scheme)
    handle, _ = begin(client, tmp_path, holds, model, safety, clocks=250)
    for _ in range(int(rng.integers(2, 4))):
        client.wait_for_workers(PROCESSES, timeout=60)
        wait(lambda: is_whole(client))
        time.sleep(0.5 * rng.random())
        found = pids(client)
        victim = found[addresses(client)[rng.integers(PROCESSES)]]
        if rng.random() < 0.5:
            os.kill(victim, signal.SIGKILL)
            time.sleep(0.3)  # until it is noticed
        else:
            with stopped(victim):
                time.sleep(rng.choice([0.5, 2.0]))
    run = handle.result(80)
    check_counts(run, tmp_path, 250 if model.buffered else None)
