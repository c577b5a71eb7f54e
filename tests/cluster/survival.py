"""A counting job on a cluster whose processes are killed, stopped, added and taken away."""

import contextlib
import os
import signal
import threading
import time

import numpy as np
from distributed import Client, LocalCluster

import psbook as ps

KEYS = 16
"""Numbers that each worker counts in; nobody else touches them."""


async def count(worker):
    """Add one to random numbers of this worker's own; keep in mind what was acknowledged."""
    acknowledged = np.zeros(KEYS) if worker.saved is None else worker.saved
    while worker.iteration < worker.data[0]:
        await worker.pull("numbers")
        await worker.compute(time.sleep, 0.01)
        mine = np.sort(worker.rng.choice(KEYS, 3, replace=False))
        await worker.push("numbers", np.ones(3), keys=mine + KEYS * worker.rank)
        acknowledged = acknowledged + np.bincount(mine, minlength=KEYS)
        await worker.clock(acknowledged)
    return acknowledged


STEPS = 150


def job(workers, steps=STEPS):
    return ps.Job(
        count,
        data=[np.array([steps])] * workers,
        tables={"numbers": ps.Table(KEYS * workers)},
        evaluate=lambda numbers: float(numbers.sum()),
    )


@contextlib.contextmanager
def cluster(processes=4):
    with (
        LocalCluster(
            n_workers=processes, threads_per_worker=4, processes=True, memory_limit=0, dashboard_address=":0"
        ) as local,
        Client(local, set_as_default=False) as client,
    ):
        client.wait_for_workers(processes)
        yield local, client


class Trial:
    """A run of the counting job, with a hand on the processes."""

    def __init__(self, client, *, workers=2, servers=2, together=False, model=None, steps=STEPS, **options):
        self.client = client
        self.addresses = sorted(client.scheduler_info()["workers"])
        self.pids = client.run(os.getpid)
        nodes = [*(f"server-{n}" for n in range(servers)), *(f"worker-{n}" for n in range(workers))]
        places = self.addresses * len(nodes)
        of_workers = places[:workers] if together else places[servers : servers + workers]
        self.placement = dict(zip(nodes, [*places[:servers], *of_workers], strict=True))
        safety = options.pop("safety", ps.Safety(replicas=1, atomic=True, lease=1.5, resend=0.3))
        self.backend = ps.Dask(
            client, workers=workers, servers=servers, placement=self.placement, safety=safety, **options
        )
        self.workers = workers
        self.steps = steps
        self.handle = job(workers, steps).start(self.backend, model or ps.SSP(2))

    def wait(self, iterations=40, seconds=60):
        """Wait until the run is well under way."""
        deadline = time.monotonic() + seconds
        while self.handle.iterations < iterations:
            assert not self.handle.done and time.monotonic() < deadline, self.handle
            time.sleep(0.01)
        return self

    def signal(self, node, number=signal.SIGKILL):
        os.kill(self.pids[self.placement[node]], number)

    def stop(self, node, seconds):
        """Let the process of a node hang for a while."""
        pid = self.pids[self.placement[node]]
        os.kill(pid, signal.SIGSTOP)
        threading.Timer(seconds, lambda: _go_on(pid)).start()

    def wait_for_processes(self, number, seconds=60):
        """Wait until so many processes have nodes of the run, and have had time to take keys over."""
        deadline = time.monotonic() + seconds
        while sum(map(bool, self.client.run(_nodes).values())) < number:
            assert not self.handle.done and time.monotonic() < deadline, self.handle
            time.sleep(0.1)
        time.sleep(2.0)

    def gone(self, node):
        """Whether Dask has missed the process that a node was placed in."""
        return self.placement[node] not in self.client.scheduler_info(n_workers=-1)["workers"]

    def result(self, seconds=100):
        return self.handle.result(seconds)

    def check(self, run):
        """What was acknowledged is there, and nothing twice: per sender and key."""
        numbers = run.tables["numbers"].reshape(self.workers, KEYS)
        assert numbers.sum(axis=1).tolist() == [3.0 * self.steps] * self.workers
        for rank in range(self.workers):
            acknowledged = run.results[f"worker-{rank}"]
            if acknowledged is not None:  # else it was lost with the process, after the program's end
                assert numbers[rank].tolist() == acknowledged.tolist()
        return run


def _nodes(dask_worker):
    """Nodes of the run in a process."""
    return [node for plugin in dask_worker.plugins.values() for node in getattr(plugin, "nodes", ())]


def _go_on(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def told(run, kind):
    """Nodes that rows of a kind are about."""
    return run.trace.of(kind)["node"].tolist()
