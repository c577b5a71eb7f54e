"""Real processes are killed, stopped, restarted, retired and added while a run goes on; nothing is lost."""

import os
import signal

import pytest

import psbook as ps

from .faults import addresses, check_counts, job, kinds, pids, processes, stopped, wait

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
