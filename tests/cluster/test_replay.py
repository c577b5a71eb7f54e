"""A run on Dask, replayed here from its trace; also one in which a process was killed."""

import os
import signal
import time

import numpy as np
import pytest

import psbook as ps
from psbook.errors import NodeFailure
from psbook.simulator.replay import replay
from tests.cluster.survival import cluster
from tests.compiled.comparing import JOBS

pytestmark = pytest.mark.dask


def assert_whole(job, run):
    """Parameters to rounding, clocks and versions exactly."""
    again = replay(job, run.trace)
    np.testing.assert_allclose(again["w"], run.tables["w"], rtol=1e-5)
    applied = run.trace.of("apply").groupby("shard")["version"].max().to_dict()
    assert again.versions["w"] == applied
    clocks = run.trace.of("clock").groupby("node")["clock"].max().to_dict()
    assert again.clocks == clocks and not again.cut


@pytest.mark.parametrize("model", [ps.BSP(), ps.SSP(1), ps.ASP(), ps.KSync(2)], ids=lambda model: model.label)
def test_a_run_on_a_real_cluster(client, clean, model):
    job = JOBS["plain"]
    run = job.run(ps.Dask(client, workers=3, servers=2, compute=ps.Exponential(0.01)), model)
    np.testing.assert_array_equal(replay(job, run.trace)["w"], run.tables["w"])
    if model != ps.KSync(2):
        assert_whole(job, run)


NODES = ("server-0", "server-1", "worker-0", "worker-1")


def killed(client, victim, job, model, **options):
    """Start a run with a process for each node; kill one well under way; return the handle."""
    pids = client.run(os.getpid)
    placement = dict(zip(NODES, sorted(pids), strict=True))
    backend = ps.Dask(client, workers=2, servers=2, placement=placement, compute=0.02, **options)
    handle = job.start(backend, model)
    while handle.iterations < 60:
        assert not handle.done, handle.result()
        time.sleep(0.01)
    os.kill(pids[placement[victim]], signal.SIGKILL)
    return handle


@pytest.mark.parametrize(
    ("victim", "model"),
    [
        pytest.param("server-0", ps.SSP(1), id="server, SSP"),
        pytest.param("worker-1", ps.ASP(), id="worker, ASP", marks=pytest.mark.slow),
        pytest.param("server-1", ps.BSP(), id="server, BSP", marks=pytest.mark.slow),
    ],
)
def test_a_run_in_which_a_process_was_killed(victim, model):
    """The order of application was replicated, so all of the run can be made again."""
    job = JOBS["plain"].with_batches(size=8, iterations=150)
    safety = ps.Safety(replicas=1, lease=1.5, resend=0.3)
    with cluster(4) as (_, client):
        run = killed(client, victim, job, model, safety=safety).result(80)
    assert victim in run.trace.of("lost", "restart")["node"].to_numpy()
    assert_whole(job, run)


@pytest.mark.slow
def test_a_run_that_ended_with_a_worker():
    """Nothing was made safe: the record ends with the worker, and the replay with the record."""
    job = JOBS["plain"].with_batches(size=8, iterations=150)
    with cluster(4) as (_, client):
        handle = killed(client, "worker-1", job, ps.ASP())
        with pytest.raises(NodeFailure) as caught:
            handle.result(80)
    trace = caught.value.trace
    again = replay(job, trace, until="possible")
    applied = trace.of("apply").groupby("shard")["version"].max().to_dict()
    assert again.versions["w"] == applied
    assert again.clock >= 10
    if caught.value.tables is not None:  # what the servers had when the run was over
        np.testing.assert_allclose(again["w"], caught.value.tables["w"], rtol=1e-5)
    half = replay(job, trace, until=again.seconds / 2)
    assert 0 < half.clock < again.clock and "s" in half.cut
