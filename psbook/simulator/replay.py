"""Replay: the numbers of a run made again from the order that its trace recorded.

Which update was computed from which state, and applied after which, is all in the rows of kind "apply": the
version behind each update, and its staleness. So a trace and the job give the run's parameters again, update
by update, through the same kernels and the same storage; no clock, message or process takes part.

Where servers died, the updates are those of the servers that answered to the last (`psbook.trace.lineage`);
where a worker died and was started again, what its lives computed are different gradients of one batch.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import psbook.data
from psbook.errors import DataError, InvalidJob, Unsupported
from psbook.job import Job
from psbook.loop import Loop
from psbook.run import Run
from psbook.simulator.replay_numbers import Numbers
from psbook.simulator.replay_order import Order, clocks_of
from psbook.trace import Trace
from psbook.trace.statistics import require

Until = float | Literal["lost", "possible"]


class Replayed(dict[str, Any]):
    """Tables by name, as ``run.tables`` has them, and how far the run was made again.

    Attributes
    ----------
    cut : str
        Where the replay ends, and why; empty if that is where the run ended.
    seconds : float
        Every update up to this time is in [s].
    clocks : dict
        How many iterations of each worker have their push on every shard.
    versions : dict
        Version of each shard, by table.
    """

    def __init__(
        self,
        tables: dict[str, Any],
        cut: str,
        seconds: float,
        clocks: dict[str, int],
        versions: dict[str, dict[int, int]],
    ) -> None:
        super().__init__(tables)
        self.cut = cut
        self.seconds = seconds
        self.clocks = clocks
        self.versions = versions

    @property
    def clock(self) -> int:
        """The last clock whose pushes are all there."""
        return min(self.clocks.values(), default=0)

    def __repr__(self) -> str:
        updates = {name: sum(shards.values()) for name, shards in self.versions.items()}
        said = ", ".join(f"{count} updates of {name!r}" for name, count in updates.items())
        return f"<Replay of {said}, up to {self.cut or 'the end'}; clock {self.clock} is complete>"


def replay(job: Job, trace: Run | Trace, *, until: Until | None = None) -> Replayed:
    """Return the tables of a recorded run, computed again in its order.

    Parameters
    ----------
    job
        The job that ran; its program is a `psbook.Loop`.
    trace
        Of the run, or the run itself, at level "iterations" or "full", from the simulator or from Dask; also
        with lost messages, and servers or workers that died and were replaced, and also the ``trace`` of the
        error that ended a run.
    until : float, "lost" or "possible", optional
        Where to stop: at a time, in seconds; when the first node was lost; or as far as the trace tells. The
        cut is consistent: every update up to that time is in, and no later one. By default the whole run.

    Returns
    -------
    Replayed
        A dict of values by name, as ``run.tables`` has them; its ``cut`` names where the replay ends.

    Raises
    ------
    InvalidJob
        If one of them is no job or no trace, or `until` makes no sense.
    Unsupported
        If the program is no `Loop`; or, for the whole run, if batches changed hands, because workers joined
        or left, so that the trace does not tell who worked through which.
    DataError
        If the trace does not hold every update, or is another job's, by its tables or batches.

    Notes
    -----
    The same kernels run in the same order: on the machine of the run the parameters have the same bits.
    Memory: the versions that are still to be read, at most one for each worker and shard.

    Examples
    --------
    >>> import psbook as ps
    >>> from psbook.algorithms import logistic_regression
    >>> from psbook.datasets import load_breast_cancer
    >>> data = load_breast_cancer()
    >>> job = logistic_regression(data.X_train, data.y_train, iterations=5)
    >>> run = job.run(ps.Simulator(workers=3, servers=2, compute=ps.Exponential(0.1)), ps.ASP())
    >>> bool((replay(job, run.trace)["w"] == run.tables["w"]).all())
    True
    >>> replay(job, run.trace, until=0.2)
    <Replay of 8 updates of 'w', up to 0.2 s; clock 0 is complete>
    """
    trace = trace.trace if isinstance(trace, Run) else trace
    if not isinstance(job, Job) or not isinstance(trace, Trace):
        kinds = f"{type(job).__name__}, {type(trace).__name__}"
        raise InvalidJob(f"replay of {kinds}; required: a ps.Job and a ps.Trace, as run.trace.")
    if not isinstance(job.program, Loop):
        raise Unsupported("a program that is a coroutine; required to replay: a ps.Loop.")
    require(trace, "a replay", "apply")
    _check(job, trace)
    batches = _batches(job, trace)
    order = Order(job, trace, [len(found) for found in batches])
    limit, cut = _limit(order, until)
    order.until(limit)
    numbers = Numbers(job, order, batches, int(trace.meta["seed"]))
    stuck = numbers.run()
    if stuck is not None and until != "possible":
        raise stuck.error()
    if stuck is not None:
        limit, cut = math.nextafter(stuck.time, -math.inf), f"{stuck.time:g} s: {stuck.why}"
        order.until(limit)
        numbers = Numbers(job, order, batches, int(trace.meta["seed"]))
        numbers.run()
    versions: dict[str, dict[int, int]] = {name: {} for name in job.tables}
    for where, updates in order.updates.items():
        for update in updates:
            shards = versions[where.table]
            shards[update.shard] = max(shards.get(update.shard, 0), update.version)
    applied = {where: len(updates) for where, updates in order.updates.items()}
    return Replayed(numbers.tables(), cut, min(limit, trace.end), clocks_of(order, applied), versions)


def _limit(order: Order, until: Until | None) -> tuple[float, str]:
    """Return until when updates count, and what that is called."""
    obstacle = order.obstacle
    if until is None:
        if obstacle is not None:
            raise obstacle.error()
        return math.inf, ""
    if until == "possible":
        if obstacle is None:
            return math.inf, ""
        return math.nextafter(obstacle.time, -math.inf), f"{max(0.0, obstacle.time):g} s: {obstacle.why}"
    if until == "lost":
        rows = order.trace.of("fault", "lost", "failure")
        rows = rows[(rows["kind"] != "fault") | rows["detail"].str.startswith("crash")]
        if rows.empty:
            raise InvalidJob("until='lost', but the trace has no lost node; required: seconds, or None.")
        first = rows.iloc[0]
        time, cut = float(first["time"]), f"{first['time']:g} s, when {first['node']} was lost"
    elif isinstance(until, int | float) and not isinstance(until, bool) and until >= 0:
        time, cut = float(until), f"{until:g} s"
    else:
        raise InvalidJob(f"until={until!r}; required: seconds >= 0, 'lost', 'possible' or None.")
    if obstacle is not None and obstacle.time <= time:
        raise obstacle.error()
    return time, cut


def _check(job: Job, trace: Trace) -> None:
    asked, recorded = job.batching.size, trace.meta.get("batch_size")
    if set(trace.meta["tables"]) != set(job.tables) or asked != recorded:
        raise DataError(
            f"a job with tables {', '.join(job.tables)} and batches of {asked}, and a trace with "
            f"{', '.join(trace.meta['tables'])} and {recorded}; required: the job that ran."
        )


def _batches(job: Job, trace: Trace) -> list[list[Any]]:
    """Return the batches of each worker, in order; of one that joined, none."""
    given, seed = job.batching, int(trace.meta["seed"])
    workers = list(trace.meta["workers"])
    first = [name for name in trace.meta["programs"][: len(workers)] if name in workers]
    shards = psbook.data.split(job.data, len(first), seed)
    found = [
        list(psbook.data.batches(shard, given.size, epochs=given.epochs, iterations=given.iterations,
                                 seed=seed, worker=worker))
        for worker, shard in enumerate(shards)
    ]  # fmt: skip
    return found + [[] for _ in workers[len(first) :]]


__all__ = ["Replayed", "replay"]
