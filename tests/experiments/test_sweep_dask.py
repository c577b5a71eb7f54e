"""A sweep spread over processes is the sweep, row for row, also when a process is lost."""

import contextlib
import os
import signal
import time

import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster

import psbook as ps
from psbook.errors import ClusterError, InvalidJob

pytestmark = pytest.mark.dask
SIMULATOR = ps.Simulator(workers=2, compute=ps.Exponential(0.1))
OVER = {"model": [ps.BSP(), ps.ASP()], "rate": [0.1, 0.2, 0.5]}


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def quadratic():
    def kernel(w, batch):
        return ((w - 1) ** 2).sum() / 2, w - 1

    def distance(w):
        return float(np.square(np.asarray(w, np.float64) - 1).sum()) / 2

    table = ps.Table(4, update=ps.SGD(0.1), dtype="float32")
    return ps.Job(
        ps.Loop(kernel=kernel), data=np.zeros(8), tables={"w": table}, evaluate=distance, iterations=3
    )


def assert_equal(one, other):
    pd.testing.assert_frame_equal(one.table, other.table, check_exact=True)
    pd.testing.assert_frame_equal(one.history, other.history, check_exact=True)


@pytest.mark.parametrize("engine", ["messages", "compiled"])
def test_the_table_is_that_of_one_machine(client, tmp_path, engine):
    there = ps.sweep(quadratic(), SIMULATOR, OVER, 4, client=client, path=tmp_path / "x", engine=engine)
    assert_equal(there, ps.sweep(quadratic(), SIMULATOR, OVER, 4, engine=engine))
    assert_equal(there, ps.Sweep.load(tmp_path / "x"))
    again = ps.sweep(quadratic(), SIMULATOR, OVER, 4, path=tmp_path / "x", engine=engine)
    assert_equal(again, there)


def test_an_address_will_do_and_a_point_that_fails_is_named(client):
    def job(limit):
        made = quadratic()
        made.evaluate = lambda w: 1 / limit
        return made

    swept = ps.sweep(job, SIMULATOR, {"limit": [0, 1]}, 2, client=client.scheduler.address)
    assert swept.errors["limit"].tolist() == [0, 0] and "ZeroDivisionError" in swept.errors["error"][0]
    assert (swept.table["loss_final"][2:] == 1.0).all()


def test_a_lost_process_costs_time_and_nothing_else(tmp_path):
    """The first process that evaluates is killed by it, in the middle of its chunk; the others go on."""
    flag = tmp_path / "killed"
    job = quadratic()
    real = job.evaluate

    def deadly(w):
        with contextlib.suppress(FileExistsError):
            flag.touch(exist_ok=False)
            os.kill(os.getpid(), signal.SIGKILL)
        return real(w)

    job.evaluate = deadly
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        there = ps.sweep(job, SIMULATOR, OVER, 4, client=client, engine="messages")
    assert flag.exists()
    assert_equal(there, ps.sweep(job, SIMULATOR, OVER, 4, engine="messages"))


def test_nothing_is_left_on_the_cluster(client):
    ps.sweep(quadratic(), SIMULATOR, {"rate": [0.1]}, 2, client=client)
    deadline = time.monotonic() + 10
    while client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_real_runs_go_one_after_the_other(client):
    cluster = ps.Dask(client, workers=2, compute=ps.Constant(0.01))
    swept = ps.sweep(quadratic(), cluster, {"model": [ps.BSP(), ps.ASP()]}, 1, target=2.0)
    assert swept.table["engine"].tolist() == ["dask", "dask"] and swept.time_unit == "s"
    assert (swept.table["iterations"] == 6).all() and (swept.table["seconds"] >= 0.03).all()
    assert swept.table["loss_final"][0] == pytest.approx(2 * 0.9**6, rel=1e-5)
    with pytest.raises(InvalidJob, match="client= spreads simulated runs"):
        ps.sweep(quadratic(), cluster, {"model": [ps.BSP()]}, 1, client=client)


def test_a_cluster_that_does_not_answer_is_said():
    with pytest.raises(ClusterError, match="no Dask scheduler answers"):
        ps.sweep(quadratic(), SIMULATOR, {"rate": [0.1]}, 1, client="tcp://127.0.0.1:1")
