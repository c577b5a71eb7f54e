"""Programs and checks that several scenarios share."""

import traceback

import numpy as np

import psbook as ps

MODELS = [
    ps.BSP(),
    ps.Serial(),
    ps.SSP(0),
    ps.SSP(2),
    ps.SSP(1, gate="clock"),
    ps.BoundedDelay(0),
    ps.BoundedDelay(2),
    ps.ASP(),
    ps.ESSP(1),
    ps.DSSP(0, 2),
    ps.PSP(1, 1),
    ps.KAsync(2),
    ps.KBatchAsync(2),
]


def label(model):
    return model.label


async def dawdle(worker, mean=0.002):
    """Let a random time pass, so that workers get out of step."""
    await worker.sleep(worker.rng.exponential(mean))


def tally(lengths):
    """A program: worker r adds one to key r in each iteration, and returns what it read at each clock."""

    async def program(worker):
        seen = []
        one = np.ones(1, np.float32)
        for _ in range(lengths[worker.rank]):
            seen.append(np.asarray(await worker.pull("w")))
            await dawdle(worker)
            worker.push("w", one, [worker.rank])
            await worker.clock()
        return seen

    return program


def run_tally(cluster, model, lengths, servers=1, **table):
    tables = {"w": ps.Table(len(lengths), **table)}
    job = ps.Job(tally(lengths), tables=tables)
    return job.run(cluster(workers=len(lengths), servers=servers), model)


def reads(run):
    """(reader, clock, reader's counts of every worker's updates) of each read of a tally."""
    for name, seen in run.results.items():
        rank = int(name.removeprefix("worker-"))
        for clock, counts in enumerate(seen):
            yield rank, clock, counts


def gaps(run):
    """Lead of the worker that clocks over the slowest one, as the first shard counts the clocks."""
    trace = run.trace.frame
    arrivals = trace[(trace.node == "server-0") & (trace.kind == "receive") & (trace.detail == "Clock")]
    clocks = dict.fromkeys(run.meta["workers"], 0)
    for worker, clock in zip(arrivals.peer, arrivals.clock, strict=True):
        clocks[worker] = clock
        yield clock - min(clocks.values())


def told(error):
    """What a user reads of an exception: its text and its notes."""
    return "".join(traceback.format_exception_only(error))
