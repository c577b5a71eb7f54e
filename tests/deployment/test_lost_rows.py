"""What a killed process had not sent home is missing from the trace; that is no proof against the run."""

import os
import signal

import numpy as np
import pytest
from distributed import Client

import psbook as ps
from psbook.trace import Recorder, check

from .commands import Commands


@pytest.mark.parametrize(("silent", "verdict"), [([], "false"), (["tcp://10.0.0.1:1"], "unknown")])
def test_a_gap_in_the_time_of_a_program_is_held_against_it_unless_its_rows_were_lost(silent, verdict):
    recorder = Recorder()
    recorder.add(0.0, "worker-0", "compute", duration=2.0, clock=0)
    recorder.add(3.0, "worker-0", "finish", clock=1)
    found = check(recorder.trace({"programs": ["worker-0"], "end": 3.0, "silent": silent}))["time accounted"]
    assert found.verdict == verdict
    assert all(address in found.why for address in silent)


async def count(worker):
    for _ in range(80):
        w = await worker.pull("w")
        await worker.push("w", np.ones_like(w))
        await worker.sleep(0.03)
        await worker.clock()


@pytest.mark.dask
def test_no_verdict_on_a_run_that_survived_a_kill_is_false(commands):
    address = commands.scheduler("--host", "127.0.0.1")
    for name in ("first", "second", "third"):
        arguments = ["--name", name, "--no-dashboard", "--nthreads", "6", "--memory-limit", "0", "--no-nanny"]
        commands.dask(name, "worker", address, *arguments)
    with Client(address, set_as_default=False, timeout=60) as client:
        client.wait_for_workers(3, timeout=60)
        safety = ps.Safety(replicas=1, lease=10.0)
        job = ps.Job(count, tables={"w": ps.Table(8)})
        handle = job.start(ps.Dask(client, workers=3, servers=2, safety=safety), ps.SSP(2))
        Commands.until(lambda: handle.iterations > 20 or handle.done)
        victim, pid = next(iter(client.run(os.getpid).items()))
        os.kill(pid, signal.SIGKILL)
        run = handle.result(90)
    assert run.meta["silent"] == [victim]
    assert not [verdict for verdict in run.check() if verdict.verdict == "false"], run.check()
