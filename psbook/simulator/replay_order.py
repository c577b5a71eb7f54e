"""What a replay reads from a trace: which updates each shard took, in which order, computed from what."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from psbook.errors import DataError, Unsupported
from psbook.job import Job
from psbook.loop import Loop
from psbook.trace import Trace
from psbook.trace.facts import Facts, IntArray
from psbook.trace.lineage import Lineage, Lineages


class Where(NamedTuple):
    """Keys of a table that were always on one shard together; shards are divided when servers join."""

    table: str
    start: int
    stop: int


class Gradient(NamedTuple):
    """What a worker computed in one clock; `incarnation` is how often it was started before."""

    worker: int
    clock: int
    incarnation: int = 0


@dataclass(frozen=True, eq=False)
class Update:
    """One update of a shard: its version afterwards, the pushes it is made of, in order, where and when."""

    version: int
    pushes: list[Gradient]
    shard: int
    time: float


class Obstacle(NamedTuple):
    """Something from which on a trace does not tell enough: when [s], why, and what a whole replay needs."""

    time: float
    why: str
    required: str
    missing: bool = False
    """Whether rows are missing, which another level may have."""

    def error(self) -> Unsupported | DataError:
        """Return the error of a replay of the whole run."""
        text = f"{self.why}; required to replay: {self.required} Or replay(…, until='possible')."
        return DataError(text) if self.missing else Unsupported(text)


class Order:
    """The updates of a run, shard by shard, and the version behind each.

    Parameters
    ----------
    job
        The job that ran.
    trace
        Of the run.

    Attributes
    ----------
    updates : dict
        Updates of the keys of each place, in order.
    reads : dict
        Version of a place that a gradient was computed from.
    steps : list of int
        Iterations that each worker ended.
    obstacle : Obstacle or None
        The first that was found.
    """

    def __init__(self, job: Job, trace: Trace, batches: list[int]) -> None:
        self.job, self.trace = job, trace
        self.loop: Loop = job.program  # type: ignore[assignment]  # asked before
        self.programs: list[str] = list(trace.meta["workers"])
        self.updates: dict[Where, list[Update]] = {}
        self.reads: dict[tuple[Gradient, Where], int] = {}
        self.obstacle: Obstacle | None = None
        self._facts = Facts(trace)
        self._staleness = trace.frame["staleness"].to_numpy(dtype=np.int64)
        asked = np.concatenate([self._facts.at(kind, detail="Pull") for kind in ("send", "receive")])
        codes, clocks = self._facts.message[asked].tolist(), self._facts.clock[asked].tolist()
        self._asked: dict[int, int] = dict(zip(codes, clocks, strict=True))
        self._rank = {name: number for number, name in enumerate(self.programs)}
        self._changes_of_members()
        lineages = list(Lineages(self._facts))
        self.steps = self._steps(lineages, batches)
        rows = [lineage.last.rows for lineage in lineages]
        self._of_tables(np.concatenate(rows) if rows else np.empty(0, np.int64))
        self._dropped()
        self._answered()

    def until(self, time: float) -> None:
        """Forget the updates behind a time [s]."""
        for where, updates in self.updates.items():
            late = (number for number, update in enumerate(updates) if update.time > time)
            self.updates[where] = updates[: next(late, len(updates))]

    def found(self, obstacle: Obstacle) -> None:
        """Keep the first obstacle."""
        if self.obstacle is None or obstacle.time < self.obstacle.time:
            self.obstacle = obstacle

    # Members

    def _changes_of_members(self) -> None:
        """Look for workers whose batches others worked through."""
        trace, started = self.trace, self.trace.meta["programs"]
        left = self.trace.meta.get("safety", {}).get("lost_workers") == "leave"
        lost, restarts = trace.of("lost"), set(trace.of("restart")["node"])
        for time, node, detail in zip(lost["time"], lost["node"], lost["detail"], strict=True):
            if node in self._rank and (left or str(detail).startswith("left")):
                self._others_have(float(time), f"{node} was lost or left, and others got its batches")
        joins = trace.of("fault")
        for time, node, detail in zip(joins["time"], joins["node"], joins["detail"], strict=True):
            if node in self._rank and str(detail).startswith(("join", "leave")):
                self._others_have(float(time), f"{node} joined or left, and batches changed hands")
        late = [name for name in self.programs if name not in started[: len(self.programs)]]
        for name in late:
            first = trace.frame.loc[trace.frame["node"] == name, "time"]
            self._others_have(float(first.min()), f"{name} came later, and got what others had not done")
        carried = (self.loop.n_fetch, self.loop.n_push) != (1, 1)
        for node in sorted(restarts & set(self.programs) if carried else ()):
            time = float(trace.of("restart").set_index("node").loc[[node], "time"].min())
            why = f"{node} was started again within a loop that carries gradients over iterations"
            self.found(Obstacle(time, why, "a loop that reads and pushes in every iteration."))

    def _others_have(self, time: float, why: str) -> None:
        need = "workers that work through their own batches, for the trace does not tell who had which."
        self.found(Obstacle(time, why, need))

    def _steps(self, lineages: list[Lineage], batches: list[int]) -> list[int]:
        """Iterations that each worker ended: by its own rows, or by its pushes where those are lost."""
        facts, rows = self._facts, self.trace.of("clock")
        told = rows.groupby("node", observed=True)["clock"].max()
        steps = [int(told.get(name, 0)) for name in self.programs]
        too_many = any(made > there for made, there in zip(steps, batches, strict=True))
        if too_many and self.obstacle is None:
            raise DataError(
                f"the job has {batches} batches for its workers, and the trace {steps} iterations; "
                "required: the job that ran."
            )
        for lineage in lineages:
            pushes = lineage.last.rows
            for code in np.unique(facts.peer[pushes]).tolist():
                rank = self._rank[facts.nodes[code]]
                last = int(facts.clock[pushes[facts.peer[pushes] == code]].max())
                steps[rank] = max(steps[rank], min(last + 1, batches[rank]))
        return steps

    # Updates

    def _of_tables(self, rows: IntArray) -> None:
        """Read what was applied, and what it was computed from."""
        facts = self._facts
        start, stop = (self.trace.frame[name].to_numpy(dtype=np.int64) for name in ("start", "stop"))
        for table in dict.fromkeys(self.loop.pushed):
            mine = rows[facts.ids.table[facts.message[rows]] == table]
            mine = mine[np.lexsort((mine, facts.version[mine]))]
            borders = np.unique(np.concatenate([start[mine], stop[mine], [0, self.job.tables[table].size]]))
            if not mine.size and len(self.programs):
                self._unknown(table, 0)
            for first, last in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True):
                covers = mine[(start[mine] <= first) & (stop[mine] >= last)]
                if mine.size and not covers.size:
                    self._unknown(table, first)
                self._of_place(Where(table, first, last), covers)

    def _of_place(self, where: Where, rows: IntArray) -> None:
        """Put the updates of a place in order, up to the first that is missing."""
        facts = self._facts
        found: dict[tuple[int, int], list[int]] = defaultdict(list)
        for row in rows.tolist():
            found[int(facts.version[row]), int(facts.shard[row])].append(row)
        updates: list[Update] = []
        for version, shard in sorted(found):
            if version != len(updates) + 1:
                time = updates[-1].time if updates else -math.inf
                self._gap(where.table, shard, len(updates) + 1, time)
                break
            each = found[version, shard]
            pushes = [self._push(row, where, version) for row in each]
            updates.append(Update(version, pushes, shard, float(facts.time[each].min())))
        self.updates[where] = updates

    def _push(self, row: int, where: Where, version: int) -> Gradient:
        facts = self._facts
        message = facts.message[row]
        rank = self._rank[facts.nodes[facts.peer[row]]]
        push = Gradient(rank, int(facts.clock[row]), int(facts.ids.incarnation[message]))
        stale, read = int(self._staleness[row]), self.read_of(push)
        # While shards are divided, a push may name a pull of an earlier clock for keys that have moved.
        if stale >= 0 and self._asked.get(int(facts.cause[row]), read.clock) == read.clock:
            self.reads[read, where] = version - 1 - stale
        return push

    def read_of(self, push: Gradient) -> Gradient:
        """Return the step whose read a push was last computed from."""
        last = push.clock if push.clock < self.steps[push.worker] else push.clock - 1
        return push._replace(clock=last // self.loop.n_fetch * self.loop.n_fetch)

    def _gap(self, table: str, shard: int, version: int, time: float) -> None:
        why = f"update {version} of table {table!r} on shard {shard} is not in the trace"
        need = 'all of them. After a fail-over they are in a trace of level "full".'
        self.found(Obstacle(math.nextafter(time, math.inf), why, need, missing=True))

    def _unknown(self, table: str, key: int) -> None:
        why = f"no row tells what became of key {key} of table {table!r}"
        self.found(Obstacle(-math.inf, why, "the rows of every server.", missing=True))

    def _dropped(self) -> None:
        """Read what gradients were computed from of the shards that dropped them, where others took them."""
        facts, rows = self._facts, self.trace.of("drop")
        places = rows.index.to_numpy()
        columns = (rows[name].tolist() for name in ("table", "start", "stop", "peer", "clock", "version"))
        for place, table, start, stop, peer, clock, version in zip(places.tolist(), *columns, strict=True):
            incarnation = int(facts.ids.incarnation[facts.message[place]])
            read = self.read_of(Gradient(self._rank[peer], clock, incarnation))
            for where in self._within(table, start, stop) if version >= 0 else ():
                self.reads.setdefault((read, where), version)

    def _within(self, table: str, start: int, stop: int) -> list[Where]:
        """Return the places that a range of keys covers."""
        return [w for w in self.updates if w.table == table and start <= w.start and w.stop <= stop]

    def _answered(self) -> None:
        """Read what was answered where no push tells: its worker was lost in between, or keys have moved."""
        wanted = {push for updates in self.updates.values() for each in updates for push in each.pushes}
        reads = {self.read_of(push) for push in wanted}
        pulled = [where for where in self.updates if where.table in self.loop.pulled]
        lacks = [(read, where) for read in reads for where in pulled if (read, where) not in self.reads]
        if not lacks:
            return
        facts, ids = self._facts, self._facts.ids
        start, stop = (self.trace.frame[name].to_numpy(dtype=np.int64) for name in ("start", "stop"))
        told: dict[tuple[str, Gradient], list[int]] = defaultdict(list)
        for row in facts.at("answer").tolist():
            message = int(facts.message[row])
            if message in self._asked:
                who = int(ids.rank[message]), self._asked[message], int(ids.incarnation[message])
                told[str(ids.table[message]), Gradient(*who)].append(row)
        replies = facts.at("receive", detail="PullReply")
        arrived = dict(
            zip(facts.message[replies][::-1].tolist(), facts.time[replies][::-1].tolist(), strict=True)
        )
        for read, where in lacks:
            for row in told[where.table, read]:
                covers = start[row] <= where.start and where.stop <= stop[row]
                # A pull that was asked again is answered again: the last before the first reply arrived.
                first = (read, where) not in self.reads
                if covers and (first or facts.time[row] <= arrived.get(int(facts.message[row]), -math.inf)):
                    self.reads[read, where] = int(facts.version[row])

    def users(self) -> Counter[tuple[Gradient, str]]:
        """Count how many places' updates of each table a push goes into."""
        return Counter(
            (push, where.table)
            for where, updates in self.updates.items()
            for each in updates
            for push in each.pushes
        )


def clocks_of(order: Order, applied: Mapping[Where, int]) -> dict[str, int]:
    """Return how many of each worker's iterations have their push everywhere, by the updates applied."""
    last: dict[str, dict[Where, int]] = {name: {} for name in order.programs}
    for where, updates in order.updates.items():
        for update in updates[: applied[where]]:
            for push in update.pushes:
                mine = last[order.programs[push.worker]]
                mine[where] = max(mine.get(where, 0), push.clock + 1)
    shards = list(order.updates)
    return {name: min((mine.get(where, 0) for where in shards), default=0) for name, mine in last.items()}
