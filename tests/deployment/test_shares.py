"""Processes that share a machine share its cores and its GPU; the trace and the run say how."""

import os
from pathlib import Path

import pytest
from dask.system import CPU_COUNT
from distributed import Client

import psbook as ps
from psbook.experiments import compare

pytestmark = [
    pytest.mark.dask,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in /proc"),
]


def matrix_product(size):
    import jax.numpy as jnp

    return float((jnp.ones((size, size)) @ jnp.ones((size, size))).sum())


def threads_of_xla():
    """Return how many threads XLA really has in this process."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return sum(name.startswith("tf_XLAEigen") for name in names)


async def look(worker):
    """Compute with JAX, then look at the process from inside."""
    from jaxlib import xla_client

    await worker.compute(matrix_product, 500)
    await worker.sleep(1.0)  # a thread names itself when it first runs, which a busy machine puts off
    preallocate = xla_client.generate_pjrt_gpu_plugin_options().get("preallocate", True)
    return {"threads": threads_of_xla(), "preallocate": preallocate}


JOB = ps.Job(look, tables={"w": ps.Table(3)}, evaluate=lambda w: float((w**2).sum()))


def assert_true(run):
    """What the trace says is what the processes found."""
    place = {node: address for address, nodes in run.meta["processes"].items() for node in nodes}
    for node, found in run.results.items():
        assert run.meta["threads"][place[node]] == found["threads"]
        assert run.meta["devices"][place[node]] == ["cpu"]
        assert found["preallocate"] is False


def test_a_cluster_of_our_own_shares_the_machine_and_every_result_says_so(tmp_path):
    before = os.environ.get("NPROC")
    comparison = compare(JOB, ps.Dask(workers=2), [ps.BSP()], seeds=1)
    assert os.environ.get("NPROC") == before
    run = comparison.runs["BSP"][0]
    processes = len(run.meta["processes"])
    assert set(run.meta["threads"]) == set(run.meta["processes"])
    assert set(run.meta["threads"].values()) == {max(1, CPU_COUNT // processes)}
    assert_true(run)
    assert f" in {processes} process" in repr(run) and "JAX on cpu" in repr(run)
    report = comparison.save(tmp_path)["report"].read_text()
    assert f"<dt>processes</dt><dd>{processes} process" in report and "JAX on cpu</dd>" in report


@pytest.mark.slow
def test_workers_that_others_started_share_it_too_and_what_the_user_said_holds(commands):
    address = commands.scheduler("--host", "127.0.0.1")
    plain = ["worker", address, "--no-nanny", "--no-dashboard", "--memory-limit", "0", "--nthreads"]
    commands.dask("plain", *plain, "2", "--name", "plain")
    commands.dask("told", *plain, "2", "--name", "told", NPROC="3")
    commands.dask("used", *plain, "2", "--name", "used")
    with Client(address, set_as_default=False, timeout=60) as client:
        client.wait_for_workers(3, timeout=60)
        found = client.sync(client.scheduler.identity, n_workers=-1)["workers"]
        at = {info["name"]: address for address, info in found.items()}
        client.submit(matrix_product, 400, workers=[at["used"]]).result(60)
        placement = {"worker-0": at["plain"], "worker-1": at["told"], "server-0": at["plain"]}
        run = JOB.run(ps.Dask(client, workers=2, placement=placement), ps.BSP())
        assert run.meta["threads"] == {at["plain"]: max(1, CPU_COUNT // 2), at["told"]: 3}
        assert_true(run)
        # Too late: XLA has its threads. What is shown is what it has.
        placement = {"worker-0": at["used"], "server-0": at["told"]}
        run = JOB.run(ps.Dask(client, workers=1, placement=placement), ps.BSP())
        assert run.meta["threads"] == {at["used"]: CPU_COUNT, at["told"]: 3}
        assert run.results["worker-0"]["threads"] == CPU_COUNT
