"""One real cluster of two worker processes for a module of tests."""

import faulthandler

import pytest
from distributed import Client, LocalCluster


@pytest.fixture(autouse=True)
def _time_limit():
    """A test that hangs shows where, and takes its process down instead of the whole suite."""
    faulthandler.dump_traceback_later(90, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=4, processes=True, memory_limit=0, dashboard_address=":0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def state(client):
    """What a run may leave behind on a cluster: names of handlers and plugins, running tasks, threads."""

    def of_worker(dask_worker):
        import threading

        threads = [t.name for t in threading.enumerate() if "psbook" in t.name]
        handlers = [name for name in dask_worker.handlers if "psbook" in name]
        plugins = [name for name in dask_worker.plugins if "psbook" in name]
        tasks = [key for key in dask_worker.state.tasks if "psbook" in str(key)]
        return handlers + plugins + tasks + threads

    def of_scheduler(dask_scheduler):
        return [
            str(name)
            for names in (
                dask_scheduler.handlers,
                dask_scheduler.plugins,
                dask_scheduler.worker_plugins,
                dask_scheduler.tasks,
            )
            for name in names
            if "psbook" in str(name)
        ]

    return {"scheduler": client.run_on_scheduler(of_scheduler), **client.run(of_worker)}


def assert_clean(client, seconds=10.0):
    """Check that nothing of a run is left; a process forgets a task when the scheduler's word has come."""
    import time

    deadline = time.monotonic() + seconds
    while any(left := state(client).values()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(left), state(client)


@pytest.fixture
def clean(client):
    """Check after the test that nothing of its runs is left on the cluster."""
    yield
    assert_clean(client)
