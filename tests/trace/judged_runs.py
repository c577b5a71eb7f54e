"""Runs to be judged, and ways to damage their traces in exactly one place."""

import functools

import numpy as np
import pandas as pd

import psbook as ps
from psbook.simulator.faults import Crash, Faults, Join, Loss, Pause
from psbook.trace import Trace

MODELS = [ps.BSP(), ps.SSP(0), ps.SSP(1), ps.ASP(), ps.SSP(1, gate="clock"), ps.BoundedDelay(1), ps.Serial()]
CLOCKS = 8

TROUBLES = {
    "nothing": Faults(),
    "a primary dies": Faults(Crash("server-0", at=0.3)),
    "two servers die": Faults(Crash("server-0", at=0.3), Crash("server-2", at=6.0)),
    "a worker is started again": Faults(Crash("worker-1", at=0.4)),
    "messages are lost": Faults(Loss(0.05)),
    "a server hangs": Faults(Pause("server-1", at=0.3, seconds=5.0)),
}


async def program(worker):
    """Read, push to one table or both, clock."""
    for _ in worker.batches(iterations=CLOCKS):
        value = await worker.pull("w")
        await worker.compute(lambda: None)
        worker.push("w", np.ones(6))
        if worker.rank:
            worker.push("b", value[:4])
        await worker.clock()


@functools.cache
def run_of(model, trouble="nothing", *, level="full", **safety):
    """Run; without `safety` nothing can fail, and nothing is done about it."""
    job = ps.Job(program, data=np.arange(40).reshape(40, 1), tables={"w": ps.Table(6), "b": ps.Table(4)})
    settings = {"safety": ps.Safety(**safety), "faults": TROUBLES[trouble]} if safety else {}
    cluster = ps.Simulator(
        workers=3, servers=3, compute=ps.Exponential(0.1), network=ps.Network(latency=0.002), seed=3,
        trace=level, **settings,
    )  # fmt: skip
    return job.run(cluster, model)


def trace_of(model, trouble="nothing", **settings):
    """Return the trace of such a run."""
    return run_of(model, trouble, **settings).trace


@functools.cache
def joined(model, points=0):
    """Return a run that a server joins, for which shards are cut; it adds 36 to each of 12 keys."""

    async def twelve(worker):
        for _ in range(12):
            value = await worker.pull("w")
            await worker.compute(lambda: None)
            worker.push("w", value * 0 + 1)
            await worker.clock()

    cluster = ps.Simulator(
        workers=3, servers=2, compute=ps.Exponential(0.1), faults=Faults(Join("server-2", at=0.4)),
        safety=ps.Safety(replicas=1, points=points),
    )  # fmt: skip
    return ps.Job(twelve, tables={"w": ps.Table(12)}).run(cluster, model)


def rows(trace, kind, detail=None, **cells):
    """Positions of rows of a kind, of a detail, and with some cells."""
    frame = trace.frame
    found = frame["kind"] == kind
    for name, value in ({} if detail is None else {"detail": detail}).items() | cells.items():
        found &= frame[name] == value
    return np.flatnonzero(found).tolist()


def changed(trace, row, **cells):
    """Return the trace with cells of one row replaced."""
    frame = trace.frame.copy()
    for name, value in cells.items():
        frame.loc[row, name] = value
    return Trace(frame, trace.meta)


def without(trace, *positions):
    """Return the trace without some rows."""
    return Trace(trace.frame.drop(index=list(positions)).reset_index(drop=True), trace.meta)


def copied(trace, row, after, **cells):
    """Return the trace with a copy of a row put in behind row `after`, some of its cells replaced."""
    frame = trace.frame
    extra = frame.iloc[[row]].assign(time=frame["time"].iloc[after], **cells)
    parts = [frame.iloc[: after + 1], extra, frame.iloc[after + 1 :]]
    return Trace(pd.concat(parts, ignore_index=True), trace.meta)


def swapped(trace, one, two, *cells):
    """Return the trace with some cells of two rows exchanged."""
    frame = trace.frame.copy()
    for name in cells:
        first, second = frame.loc[one, name], frame.loc[two, name]
        frame.loc[one, name], frame.loc[two, name] = second, first
    return Trace(frame, trace.meta)
