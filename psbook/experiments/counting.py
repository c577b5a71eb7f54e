"""The counter test: every push adds 1 to its sender's own column, so that tables say what was applied.

What a program issues, and what is acknowledged to it, is written into a ledger outside the run. At the end
three numbers are compared for each table, sender and key: acknowledged, applied, issued (semantics.md E2).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from psbook.core.consistency import BSP, SSP, BoundedDelay, Consistency
from psbook.core.layout import Safety
from psbook.job import Job
from psbook.operation import Operation
from psbook.run import Run
from psbook.storage.shard import NewValues
from psbook.table import Table
from psbook.worker import Worker

Counts = npt.NDArray[np.int64]

ENDLESS = 10**9
"""More than any count."""


@dataclass(frozen=True)
class Habits:
    """What the counting programs do in an iteration.

    Attributes
    ----------
    keys : int
        Keys of each of the two tables, "dense" and "sparse".
    iterations : int
        Iterations of each worker.
    pushes : int
        Pushes an iteration, at most.
    pull, wait, flush, call : float
        Probabilities that an iteration begins with a pull, that a push is awaited, that the iteration ends
        with a flush, and with a call that counts itself.
    barrier : int
        A barrier every so many iterations; 0: none.
    cache : bool
        Whether workers keep what they have read of "dense".
    """

    keys: int = 8
    iterations: int = 5
    pushes: int = 2
    pull: float = 1.0
    wait: float = 0.0
    flush: float = 0.0
    call: float = 0.0
    barrier: int = 0
    cache: bool = False


@dataclass(eq=False)
class Issued:
    """A push, or (with no keys) a call, and the operation that says whether it was acknowledged."""

    clock: int
    table: str
    keys: Counts
    operation: Operation[Any]


@dataclass(eq=False)
class Start:
    """One start of a worker: the clock that it began at, and what it issued."""

    begin: int
    issued: list[Issued] = field(default_factory=list)

    def count(
        self, table: str, size: int, clocks: Callable[[int], bool], acknowledged: bool = False
    ) -> Counts:
        """Pushes of some clocks on each key."""
        total = np.zeros(size, np.int64)
        for each in self.issued:
            if each.table == table and clocks(each.clock) and (each.operation.done or not acknowledged):
                total[each.keys] += 1
        return total


class Ledger:
    """What all programs of a run have issued, and complaints about what they read.

    Parameters
    ----------
    workers
        Number of workers.
    habits
        What they do.
    model
        Consistency model, for what a read must hold.
    safety
        How safe the run is.
    """

    def __init__(self, workers: int, habits: Habits, model: Consistency, safety: Safety) -> None:
        self.workers = workers
        self.habits = habits
        self.model = model
        self.safety = safety
        self.starts: dict[int, list[Start]] = {rank: [] for rank in range(workers)}
        self.finished: set[int] = set()
        self.complaints: list[str] = []
        self.pulls = 0

    @property
    def exact(self) -> bool:
        """Whether pushes are to be applied exactly once."""
        return self.safety.delivery == "exactly-once"

    @property
    def restarts(self) -> bool:
        """Whether a lost worker stays among the workers until its next start."""
        return self.safety.lost_workers == "restart"

    @property
    def whole_clocks(self) -> bool:
        """Whether a clock's pushes are applied together, so that none of a lost worker is made twice."""
        return self.safety.atomic or self.model.buffered

    def job(self) -> Job:
        """Return the counting job: columns 0 … W−1 count the workers' pushes, W … 2W−1 their calls."""
        size, width = self.habits.keys, 2 * self.workers
        dense = Table.rows(size, width, dtype="int64", cache=self.habits.cache)
        return Job(
            self._program, tables={"dense": dense, "sparse": Table.sparse(size, width, dtype="int64")},
            name="counting",
        )  # fmt: skip

    async def _program(self, worker: Worker) -> int:
        habits, rank = self.habits, worker.rank
        start = Start(worker.iteration)
        self.starts[rank].append(start)
        if self.restarts and worker.iteration and worker.saved != worker.iteration:
            self.complaints.append(
                f"worker {rank} goes on at clock {worker.iteration} with the state of clock {worker.saved}"
            )
        for clock in range(worker.iteration, habits.iterations):
            rng = worker.rng
            if rng.random() < habits.pull:
                table, keys = self._choice(rng)
                self._read(rank, clock, table, keys, await worker.pull(table, keys))
            await worker.compute(int)
            for _ in range(int(rng.integers(1, habits.pushes + 1))):
                table, keys = self._choice(rng)
                one = np.zeros((len(keys), 2 * self.workers), np.int64)
                one[:, rank] = 1
                push = worker.push(table, one, keys)
                start.issued.append(Issued(clock, table, keys, push))
                if rng.random() < habits.wait:
                    await push
            if rng.random() < habits.flush:
                await worker.flush()
            if rng.random() < habits.call:
                call = worker.call("dense", count_call, self.workers + rank)
                start.issued.append(Issued(clock, "call", np.zeros(1, np.int64), call))
                await call
            if habits.barrier and clock % habits.barrier == habits.barrier - 1:
                await worker.barrier()
            await worker.clock(clock + 1)
        return habits.iterations

    def _choice(self, rng: np.random.Generator) -> tuple[str, Counts]:
        table = ("dense", "sparse")[int(rng.integers(2))]
        number = int(rng.integers(1, self.habits.keys + 1))
        return table, np.sort(rng.choice(self.habits.keys, number, replace=False)).astype(np.int64)

    # What a read must hold

    def _read(self, rank: int, clock: int, table: str, keys: Counts, rows: Counts) -> None:
        """Check a read: nothing that was not issued, and all that the model promises (A1, A2, A4)."""
        self.pulls += 1
        if not self.exact:
            return
        for sender in range(self.workers):
            seen = rows[:, sender]
            most = self.most(sender, table)[keys]
            if (seen > most).any():
                self._complain("more than was issued", rank, clock, table, keys, seen, most)
            behind = self._bound(clock) if sender != rank else None
            if sender == rank and not self.whole_clocks:
                behind = self.habits.iterations
            if behind is not None and self.restarts:
                least = self.done(sender, table, behind)[keys]
                if (seen < least).any():
                    self._complain("less than the model promises", rank, clock, table, keys, seen, least)

    def _bound(self, clock: int) -> float | None:
        """Clocks below this one of everybody are in a read at `clock`; ``None``: nothing is promised."""
        if isinstance(self.model, BSP):
            return clock
        slack = {SSP: "s", BoundedDelay: "tau"}.get(type(self.model))
        bound = math.inf if slack is None else getattr(self.model, slack)
        return clock - bound if math.isfinite(bound) else None

    def _complain(
        self, what: str, rank: int, clock: int, table: str, keys: Counts, seen: Counts, bound: Counts
    ) -> None:
        self.complaints.append(
            f"worker {rank} at clock {clock} read {what} of {table} {keys.tolist()}: {seen.tolist()}, "
            f"bound {bound.tolist()}"
        )

    # Bounds for what is applied

    def _size(self, table: str) -> int:
        return 1 if table == "call" else self.habits.keys

    def _in_clock(self, start: Start, table: str, clock: int, acknowledged: bool = False) -> Counts:
        return start.count(table, self._size(table), lambda at: at == clock, acknowledged)

    def _zero(self, table: str) -> Counts:
        return np.zeros(self._size(table), np.int64)

    def done(self, sender: int, table: str, end: float) -> Counts:
        """Pushes on each key in the clocks below `end`, as each was gone through last."""
        total = self._zero(table)
        for clock in range(int(min(end, self.habits.iterations))):
            ran = [start for start in self.starts[sender] if start.begin <= clock]
            total += self._in_clock(ran[-1], table, clock) if ran else 0
        return total

    def redone(self, sender: int, table: str) -> Counts:
        """Upper bound of what was applied twice: on a shard one clock of each start that was lost (E2b)."""
        total = self._zero(table)
        for start, following in itertools.pairwise(self.starts[sender]):
            clocks = {each.clock for each in start.issued if each.clock >= following.begin}
            again = [self._in_clock(start, table, clock) for clock in sorted(clocks)]
            if table == "call":  # of calls, each may be made again
                total += sum(again, self._zero(table))
            elif again and not self.whole_clocks:
                total += np.max(again, axis=0)
        return total

    def most(self, sender: int, table: str) -> Counts:
        """Most that may be applied on each key."""
        starts = self.starts[sender]
        if self.safety.delivery == "at-least-once" and table != "call":
            return self._zero(table) + ENDLESS
        if self.safety.delivery == "at-most-once" and table != "call":
            ever = [start.count(table, self._size(table), lambda at: True) for start in starts]
            return sum(ever, self._zero(table))
        total = self.redone(sender, table)
        for clock in range(self.habits.iterations):
            counts = [self._in_clock(start, table, clock) for start in starts if start.begin <= clock]
            total += np.max(counts, axis=0) if counts else 0
        return total

    def least(self, sender: int, table: str) -> Counts:
        """Least that must be applied on each key, at the end of the run."""
        exact = self.exact or table == "call"
        if not exact and self.safety.delivery == "at-most-once":
            return self._zero(table)
        starts = self.starts[sender]
        total = self._zero(table)
        for clock in range(self.habits.iterations):
            ran = [start for start in starts if start.begin <= clock]
            if not ran:
                continue
            ended = sender in self.finished and ran[-1] is starts[-1]
            counted = self.restarts and ran[-1] is not starts[-1]
            if exact and (ended or counted):
                total += self._in_clock(ran[-1], table, clock)
            elif ended or counted or not self.whole_clocks or table == "call":
                total += np.max([self._in_clock(start, table, clock, True) for start in ran], axis=0)
            else:
                total += self._in_clock(ran[-1], table, clock, True) * self._followed(ran[-1], table, clock)
        return total

    def _followed(self, start: Start, table: str, clock: int) -> Counts:
        """Whether a later clock's push on the key was acknowledged, which shows that the clock had ended."""
        return np.minimum(1, start.count(table, self._size(table), lambda at: at > clock, True))

    # The judgement

    def judge(self, run: Run) -> list[str]:
        """Return what is wrong with a run that has ended; nothing if all is well."""
        wrong = list(self.complaints)
        ended = set(run.trace.of("finish")["node"])
        self.finished = {rank for rank in range(self.workers) if f"worker-{rank}" in ended}
        tables = {"dense": np.asarray(run.tables["dense"]), "sparse": self._dense(run.tables["sparse"])}
        for rank in range(self.workers):
            for name, rows in tables.items():
                wrong += self._between(rank, name, rows[:, rank])
            calls = tables["dense"][:, self.workers + rank]
            wrong += self._between(rank, "call", calls)
        if self.restarts:
            wrong += [f"worker {rank} did not draw again what it had drawn" for rank in self._other_draws()]
        return wrong + uncovered(run)

    def _dense(self, rows: Any) -> Counts:
        total = np.zeros((self.habits.keys, 2 * self.workers), np.int64)
        total[rows.keys] = rows.values
        return total

    def _between(self, rank: int, name: str, applied: Counts) -> list[str]:
        least, most = self.least(rank, name), self.most(rank, name)
        if ((least <= applied) & (applied <= most)).all():
            return []
        bounds = f"at least {least.tolist()}, at most {most.tolist()}"
        starts = len(self.starts[rank])
        return [f"{name} of worker {rank}, {starts} starts: applied {applied.tolist()}, {bounds}"]

    def _other_draws(self) -> list[int]:
        """Workers that, started again, did something else in a clock than before."""
        others = []
        for rank, starts in self.starts.items():
            for (one, two), clock in (
                (pair, clock) for pair in itertools.pairwise(starts)
                for clock in range(pair[1].begin, self.habits.iterations)
            ):  # fmt: skip
                drawn = [
                    [(each.table, each.keys.tolist()) for each in start.issued if each.clock == clock]
                    for start in (one, two)
                ]
                if any(a != b for a, b in zip(*drawn, strict=False)):
                    others.append(rank)
        return others


def count_call(rows: Counts, column: int) -> NewValues:
    """Count the call, on every key of the shard."""
    more = rows.copy()
    more[:, column] += 1
    return NewValues(more, len(rows))


def uncovered(run: Run) -> list[str]:
    """Return the programs whose spans do not cover the run from 0 to its end once (H3)."""
    wrong = []
    frame = run.trace.frame
    spans = frame[frame["kind"].isin(["compute", "network", "blocked", "queued", "idle"])]
    for node, rows in spans.groupby("node", sort=True, observed=True):
        begins = rows["time"].to_numpy()
        ends = begins + rows["duration"].to_numpy()
        whole = np.allclose(begins[1:], ends[:-1], atol=1e-9) and begins[0] == 0
        if not (whole and math.isclose(ends[-1], run.seconds, rel_tol=1e-9, abs_tol=1e-9)):
            wrong.append(f"the spans of {node} do not cover the run once: 0 to {run.seconds:g} s")
    return wrong
