"""Runs whose processes are killed or stopped while every push is accounted for, sender by sender."""

import contextlib
import os
import signal
import time
from pathlib import Path

import dask
import numpy as np
from distributed import Client, LocalCluster

import psbook as ps

KEYS = 5
"""Keys that each sender pushes to."""

PUSHES = 3
"""Pushes of a clock."""

STARTS = 10
"""Starts of one program at most."""


@contextlib.contextmanager
def processes(number, threads=8):
    """A cluster whose nannies bring every killed process back, however often; gives a client."""
    # A local cluster closes a nanny for good whose process is away when an earlier loss of it has timed out.
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"}),
        LocalCluster(
            n_workers=number, threads_per_worker=threads, memory_limit=0, dashboard_address=":0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def counting(folder, clocks, pause=0.02):
    """A program that adds one to random keys of its own; each start of it is another sender, with a log.

    What a sender has issued, and what was acknowledged, is written at once, so that it outlives the process.
    """

    async def program(worker):
        sender = await worker.compute(claim, folder, worker.rank)
        with log_of(folder, sender) as log:
            while worker.iteration < clocks:
                for _ in range(PUSHES):
                    key = sender * KEYS + int(worker.rng.integers(KEYS))
                    log.write(b"i")
                    await worker.push("w", np.ones(1, np.float32), [key])
                    log.write(b"a")
                await worker.sleep(pause)
                await worker.clock()
        return sender

    return program


def log_of(folder, sender):
    """Open the log of a sender, to be written at once."""
    return Path(folder, f"{sender}.log").open("ab", buffering=0)


def claim(folder, rank):
    """Take the next number of a program's starts."""
    for start in range(STARTS):
        with contextlib.suppress(FileExistsError):
            Path(folder, f"{rank * STARTS + start}.log").touch(exist_ok=False)
            return rank * STARTS + start
    raise RuntimeError(f"program {rank} was started more than {STARTS} times")


def job(folder, workers=4, clocks=60, **options):
    """Return the counting job of so many workers."""
    tables = {"w": ps.Table(workers * STARTS * KEYS)}
    return ps.Job(counting(str(folder), clocks, **options), tables=tables)


def check_counts(run, folder, clocks=None):
    """Exactly once: acknowledged <= applied <= issued for every sender, equal for those alive at the end.

    A program that was lost begins at the least clock that a shard has counted of it. What it pushes again
    there is acknowledged, and not applied once more, by a shard that has counted that clock before (E2b).

    With `clocks`, a clock is atomic, as it is under BSP: of one in which a sender was lost nothing counts, it
    is done again by the next; so all senders of a program together have done it so many times.
    """
    applied = np.asarray(run.tables["w"]).reshape(-1, KEYS).sum(axis=1)
    issued, acknowledged = np.zeros(len(applied)), np.zeros(len(applied))
    for path in Path(folder).glob("*.log"):
        log = path.read_bytes()
        issued[int(path.stem)], acknowledged[int(path.stem)] = log.count(b"i"), log.count(b"a")
    alive = list(run.results.values())
    assert None not in alive, run.results
    if clocks is None:
        check_redone(run, alive, issued, acknowledged, applied)
    else:
        assert applied.reshape(-1, STARTS).sum(axis=1).tolist() == [PUSHES * clocks] * (
            len(applied) // STARTS
        )
    assert (applied <= issued).all(), (applied, issued)
    np.testing.assert_array_equal(acknowledged[alive], issued[alive])
    first = [sender for sender in alive if sender % STARTS == 0 or clocks is not None]
    np.testing.assert_array_equal(applied[first], issued[first])
    return issued


def check_redone(run, alive, issued, acknowledged, applied):
    """Of a sender that is no program's first, no more is missing than was applied before it began."""
    rows = run.trace.of("clock")
    for program, last in enumerate(alive):
        ended = rows["clock"][rows["node"] == f"worker-{program}"].max()
        before = 0.0
        for sender in range(program * STARTS, last + 1):
            begun = ended - issued[sender] / PUSHES if sender == last else 0
            again = max(0.0, before - PUSHES * begun)
            assert acknowledged[sender] - applied[sender] <= again, (sender, acknowledged, applied)
            before += applied[sender]
        assert before >= PUSHES * ended, (program, applied)


def wait(condition, seconds=30.0):
    """Wait until something is so; fail if it takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


def addresses(client):
    """Return the addresses of the cluster's workers, in the order of their names."""
    workers = client.sync(client.scheduler.identity, n_workers=-1)["workers"]
    return sorted(workers, key=lambda address: workers[address]["name"])


def pids(client):
    """Return the process id of each worker."""
    return client.run(os.getpid)


def is_whole(client):
    """Whether every shard of the run has all its copies, or there is no run any more."""

    def look(dask_scheduler):
        plugins = [each for name, each in dask_scheduler.plugins.items() if name.startswith("psbook-")]
        for plugin in plugins:
            driver = plugin.driver
            membership, copies = driver.core.membership, 1 + driver.safety.replicas
            if membership.moves or any(len(each.chain) < copies for each in membership.routes.segments):
                return False
        return True

    return client.run_on_scheduler(look)


@contextlib.contextmanager
def stopped(pid):
    """Let a process hang; go on with it in the end, if it is still there."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def kinds(run):
    """Return the kinds of row that a run's trace has."""
    return set(run.trace.frame["kind"])
