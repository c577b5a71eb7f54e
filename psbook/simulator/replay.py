"""Replay: the numbers of a run made again from the order that its trace recorded.

Which update was computed from which state, and applied after which, is all in the rows of kind "apply": the
version behind each update, and its staleness. So a trace and the job give the run's parameters again, update
by update, through the same kernels and the same storage; no clock, message or process takes part.
"""

from __future__ import annotations

import operator
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import psbook.data
from psbook.assembly import whole
from psbook.core.keys import KeyRange
from psbook.errors import DataError, InvalidJob, Unsupported
from psbook.job import Job
from psbook.loop import Loop, zipped
from psbook.storage import Storage
from psbook.trace import Trace
from psbook.trace.statistics import require

HANDED_ON = ("lost", "restart")
"""Rows that tell of batches which another program worked through, or of work begun again."""


class Where(NamedTuple):
    """A shard's part of a table."""

    table: str
    shard: int


class Gradient(NamedTuple):
    """What a worker pushed in one clock."""

    worker: int
    clock: int


@dataclass(frozen=True, eq=False)
class Update:
    """One update of one shard: its version afterwards, and the pushes that it is made of, in order."""

    version: int
    pushes: list[Gradient]


def replay(job: Job, trace: Trace) -> dict[str, Any]:
    """Return the final tables of a recorded run, computed again in its order.

    Parameters
    ----------
    job
        The job that ran; its program is a `psbook.Loop`.
    trace
        Of the run, at level "iterations" or "full", from the simulator (with lost servers and messages, too)
        or from Dask.

    Returns
    -------
    dict
        Values by name, as ``run.tables`` has them.

    Raises
    ------
    InvalidJob
        If one of them is no job or no trace.
    Unsupported
        If the program is no `Loop`, or workers were lost, joined or left, so that the trace does not tell who
        worked through which batch.
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
    """
    return _Replay(job, trace).run()


class _Replay:
    """Shards that take in updates as soon as the states are there which these were computed from."""

    def __init__(self, job: Job, trace: Trace) -> None:
        if not isinstance(job, Job) or not isinstance(trace, Trace):
            kinds = f"{type(job).__name__}, {type(trace).__name__}"
            raise InvalidJob(f"replay of {kinds}; required: a ps.Job and a ps.Trace, as run.trace.")
        if not isinstance(job.program, Loop):
            raise Unsupported("a program that is a coroutine; required to replay: a ps.Loop.")
        require(trace, "a replay", "apply")
        self.job, self.trace, self.loop = job, trace, job.program
        self.programs: list[str] = list(trace.meta["workers"])
        self._check()
        self.seed = int(trace.meta["seed"])
        self.means = {name: table.aggregation(job.aggregate) == "mean" for name, table in job.tables.items()}
        self.together = bool(trace.meta.get("buffered")) or bool(trace.meta.get("collects"))
        clocks = trace.of("clock").groupby("node", observed=True)["clock"].max()
        self.counts = [int(clocks.get(name, 0)) for name in self.programs]
        self.storages: dict[Where, Storage] = {}
        self.updates: dict[Where, list[Update]] = {}
        self.reads: dict[tuple[Gradient, Where], int] = {}
        self._gather()
        self.batches = self._batches()
        known = [len(found) for found in self.batches]
        if any(made > there for made, there in zip(self.counts, known, strict=True)):
            raise DataError(
                f"the job has {known} batches for its workers, and the trace {self.counts} iterations; "
                "required: the job that ran."
            )
        self.versions = dict.fromkeys(self.storages, 0)
        self.wanted: Counter[tuple[Where, int]] = Counter()
        for (_, where), version in self.reads.items():
            self.wanted[where, version] += 1
        self.kept: dict[tuple[Where, int], Any] = {}
        for where in self.storages:
            self._keep(where)
        self.gradients: dict[Gradient, list[Any]] = {}
        self.made: dict[Gradient, dict[str, Any]] = {}
        self.local: dict[Gradient, list[Any]] = {}
        self.users = Counter(
            (push, where.table)
            for where, updates in self.updates.items()
            for each in updates
            for push in each.pushes
        )

    def run(self) -> dict[str, Any]:
        """Apply update after update, on whatever shard has what it needs."""
        at = dict.fromkeys(self.updates, 0)
        while any(at[where] < len(updates) for where, updates in self.updates.items()):
            moved = False
            for where, updates in self.updates.items():
                while at[where] < len(updates) and self._ready(updates[at[where]]):
                    self._apply(where, updates[at[where]])
                    at[where] += 1
                    moved = True
            if not moved:
                where = next(where for where, updates in self.updates.items() if at[where] < len(updates))
                raise DataError(
                    f"update {at[where] + 1} of table {where.table!r} on shard {where.shard} was computed "
                    "from a state that the trace does not lead to; required: all updates of the run."
                )
        return self._tables()

    def _check(self) -> None:
        asked, recorded = self.job.batching.size, self.trace.meta.get("batch_size")
        if set(self.trace.meta["tables"]) != set(self.job.tables) or asked != recorded:
            raise DataError(
                f"a job with tables {', '.join(self.job.tables)} and batches of {asked}, and a trace with "
                f"{', '.join(self.trace.meta['tables'])} and {recorded}; required: the job that ran."
            )
        rows = self.trace.of(*HANDED_ON, "fault")
        named = rows[(rows["kind"] != "fault") & rows["node"].isin(self.programs)]
        joined = [
            name for name in self.programs if name not in self.trace.meta["programs"][: len(self.programs)]
        ]
        if len(named) or joined:
            who = named["node"].iloc[0] if len(named) else joined[0]
            raise Unsupported(
                f"{who} was lost or came later; required to replay: the same workers from start to end, "
                "for the trace does not tell who worked through which batch."
            )

    def _gather(self) -> None:
        """Read from the rows what was applied on each shard, and what it was computed from."""
        rows = self.trace.of("apply", "replicate").drop_duplicates(["shard", "table", "message"])
        rank = {name: number for number, name in enumerate(self.programs)}
        for (table, shard), part in rows.groupby(["table", "shard"], sort=True, observed=True):
            where = Where(str(table), int(str(shard)))
            borders = part[["start", "stop"]].drop_duplicates()
            if len(borders) > 1:
                raise Unsupported(
                    f"shard {shard} changed its borders; required to replay: servers that stay."
                )
            keys = KeyRange(*(int(border) for border in borders.iloc[0].tolist()))
            number = list(self.job.tables).index(where.table)
            self.storages[where] = Storage(self.job.tables[where.table], keys, (self.seed, number))
            found: dict[int, list[Gradient]] = defaultdict(list)
            columns = (part[name].tolist() for name in ("version", "peer", "clock", "staleness"))
            for version, peer, clock, staleness in zip(*columns, strict=True):
                push = Gradient(rank[peer], clock)
                found[version].append(push)
                if staleness >= 0:
                    self.reads[self._read_of(push), where] = version - 1 - staleness
            if sorted(found) != list(range(1, len(found) + 1)):
                lacks = next(v for v in range(1, len(found) + 2) if v not in found)
                raise DataError(
                    f"update {lacks} of table {table!r} on shard {shard} is not in the trace; required: all "
                    'of them. After a fail-over they are in a trace of level "full".'
                )
            self.updates[where] = [Update(version, found[version]) for version in sorted(found)]
        self._gather_dropped(rank)

    def _gather_dropped(self, rank: Mapping[str, int]) -> None:
        """Read what gradients were computed from of the shards that dropped them, where others took them."""
        taken = {push for updates in self.updates.values() for each in updates for push in each.pushes}
        rows = self.trace.of("drop")
        columns = (rows[name].tolist() for name in ("table", "shard", "peer", "clock", "version"))
        for table, shard, peer, clock, version in zip(*columns, strict=True):
            push = Gradient(rank[peer], clock)
            if push in taken and version >= 0:
                self.reads[self._read_of(push), Where(table, shard)] = version

    def _read_of(self, push: Gradient) -> Gradient:
        """The step whose read a push was last computed from."""
        last = push.clock if push.clock < self._steps(push.worker) else push.clock - 1
        return Gradient(push.worker, last // self.loop.n_fetch * self.loop.n_fetch)

    def _steps(self, worker: int) -> int:
        """Iterations that a worker made."""
        return self.counts[worker]

    def _batches(self) -> list[list[Any]]:
        given = self.job.batching
        shards = psbook.data.split(self.job.data, len(self.programs), self.seed)
        return [
            list(psbook.data.batches(shard, given.size, epochs=given.epochs, iterations=given.iterations,
                                     seed=self.seed, worker=worker))
            for worker, shard in enumerate(shards)
        ]  # fmt: skip

    # Updates

    def _ready(self, update: Update) -> bool:
        """Whether every gradient of an update is there, or can be computed now."""
        return all(self._pushed(push) is not None for push in update.pushes)

    def _pushed(self, push: Gradient) -> dict[str, Any] | None:
        """Return what was pushed, by table; ``None``: what it was computed from is not there yet."""
        if push in self.made:
            return self.made[push]
        steps = [Gradient(push.worker, step) for step in self._accrues(push)]
        if any(self._gradient(step) is None for step in steps):
            return None
        total, *others = [self.gradients.pop(step) for step in steps]
        for other in others:
            total = [zipped(operator.add, one, more) for one, more in zip(total, other, strict=True)]
        self.made[push] = {
            name: self.job.tables[name].encode(value)
            for name, value in zip(self.loop.pushed, total, strict=True)
        }
        return self.made[push]

    def _accrues(self, push: Gradient) -> range:
        """Steps whose gradients a push sums up."""
        last = min(push.clock, self._steps(push.worker) - 1)
        first = last
        while first > 0 and not self.loop.pushes_at(first - 1):
            first -= 1
        return range(first, last + 1)

    def _gradient(self, at: Gradient) -> list[Any] | None:
        """Return the gradients of one step, by pushed table; ``None``: not yet."""
        if at in self.gradients:
            return self.gradients[at]
        parameters = self._parameters(at)
        if parameters is None:
            return None
        _, found = self.loop.kernel(*parameters, self.batches[at.worker][at.clock])
        gradients = list(found) if len(self.loop.pushed) > 1 else [found]
        if self.loop.local is not None and self.loop.n_fetch > 1:
            rate = self.loop.local
            self.local[Gradient(at.worker, at.clock + 1)] = [
                zipped(lambda w, g: w - rate * g, w, g) for w, g in zip(parameters, gradients, strict=True)
            ]
        self.local.pop(at, None)
        self.gradients[at] = gradients
        self._forget_read(at)
        return gradients

    def _forget_read(self, at: Gradient) -> None:
        """Let go of what a step read, if it was the last to compute from it."""
        if (at.clock + 1) % self.loop.n_fetch == 0 or at.clock + 1 == self._steps(at.worker):
            for where in self.storages:
                place = where, self.reads.get((self._read_of(at), where), -1)
                self.wanted[place] -= 1
                if self.wanted[place] <= 0:
                    self.kept.pop(place, None)

    def _parameters(self, at: Gradient) -> list[Any] | None:
        """Return what a step computes from: its read, or what local steps made of it."""
        if at.clock % self.loop.n_fetch and self.loop.local is not None:
            if at not in self.local and self._gradient(Gradient(at.worker, at.clock - 1)) is None:
                return None
            return self.local[at]
        read = Gradient(at.worker, at.clock // self.loop.n_fetch * self.loop.n_fetch)
        parameters = []
        for name in self.loop.pulled:
            pieces = []
            for where, storage in self.storages.items():
                if where.table == name:
                    rows = self.kept.get((where, self._version(read, where)))
                    if rows is None:
                        return None
                    pieces.append((storage.keys, rows))
            table, number = self.job.tables[name], list(self.job.tables).index(name)
            if not pieces:  # nobody pushes to it
                keys = KeyRange(0, table.size)
                pieces = [(keys, table.initial(keys, (self.seed, number)))]
            parameters.append(whole(table, pieces))
        return parameters

    def _version(self, read: Gradient, where: Where) -> int:
        """Version of a shard that a step read."""
        try:
            return self.reads[read, where]
        except KeyError:
            raise DataError(
                f"what {self.programs[read.worker]} read of shard {where.shard} at clock {read.clock} is not "
                "in the trace, as nothing was pushed before it read again; required: a loop that pushes "
                "between two reads."
            ) from None

    def _apply(self, where: Where, update: Update) -> None:
        storage = self.storages[where]
        parts = [(storage.keys, self.made[push][where.table][storage.keys.start : storage.keys.stop])
                 for push in update.pushes]  # fmt: skip
        share = len(parts) if self.together else len(self.programs)
        storage.apply(parts, 1.0 / share if self.means[where.table] else 1.0)
        self.versions[where] += 1
        self._keep(where)
        for push in update.pushes:
            self._used(push, where)

    def _keep(self, where: Where) -> None:
        """Keep a shard's values if somebody read them."""
        version = self.versions[where]
        if self.wanted[where, version]:
            self.kept[where, version] = self.storages[where].snapshot()[1]

    def _used(self, push: Gradient, where: Where) -> None:
        """Forget what nobody needs any more."""
        self.users[push, where.table] -= 1
        if not any(self.users[push, table] for table in self.loop.pushed):
            del self.made[push]

    def _tables(self) -> dict[str, Any]:
        tables = {}
        for number, (name, table) in enumerate(self.job.tables.items()):
            pieces = [storage.snapshot() for where, storage in self.storages.items() if where.table == name]
            keys = KeyRange(0, table.size)
            tables[name] = whole(table, pieces or [(keys, table.initial(keys, (self.seed, number)))])
        return tables
