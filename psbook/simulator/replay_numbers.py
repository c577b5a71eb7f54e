"""The numbers of a replay: gradients by the job's kernels, updates by its storage, in a given order."""

from __future__ import annotations

import operator
from collections import Counter
from typing import Any

from psbook.assembly import whole
from psbook.core.keys import KeyRange
from psbook.job import Job
from psbook.loop import zipped
from psbook.simulator.replay_order import Gradient, Obstacle, Order, Update, Where
from psbook.storage import Storage


class Numbers:
    """Keys that take in updates as soon as the states are there which these were computed from.

    Parameters
    ----------
    job
        The job that ran.
    order
        Its updates.
    batches
        Batches of each worker, in order.
    seed
        Of the run.
    """

    def __init__(self, job: Job, order: Order, batches: list[list[Any]], seed: int) -> None:
        self.job, self.order, self.loop = job, order, order.loop
        self.seed = seed
        meta = order.trace.meta
        self.means = {name: table.aggregation(job.aggregate) == "mean" for name, table in job.tables.items()}
        self.together = bool(meta.get("buffered")) or bool(meta.get("collects"))
        self.started = len([name for name in meta["workers"] if name in meta["programs"]])
        self.batches = batches
        names = list(job.tables)
        self.storages = {
            where: Storage(
                job.tables[where.table], KeyRange(where.start, where.stop), (seed, names.index(where.table))
            )
            for where in order.updates
        }
        self.versions = dict.fromkeys(self.storages, 0)
        """Updates that are applied, of each place."""
        self.wanted: Counter[tuple[Where, int]] = Counter()
        for (_, where), version in order.reads.items():
            self.wanted[where, version] += 1
        self.kept: dict[tuple[Where, int], Any] = {}
        for where in self.storages:
            self._keep(where)
        self.gradients: dict[Gradient, list[Any]] = {}
        self.made: dict[Gradient, dict[str, Any]] = {}
        self.local: dict[Gradient, list[Any]] = {}
        self.users = order.users()

    def run(self) -> Obstacle | None:
        """Apply update after update, on whatever shard has what it needs; return what stops it."""
        updates = self.order.updates
        at = dict.fromkeys(updates, 0)
        moved = True
        while moved:
            moved = False
            for where, mine in updates.items():
                while at[where] < len(mine) and self._ready(mine[at[where]]):
                    self._apply(where, mine[at[where]])
                    at[where] += 1
                    moved = True
        stuck = [(mine[at[where]].time, where) for where, mine in updates.items() if at[where] < len(mine)]
        if not stuck:
            return None
        time, where = min(stuck)
        why = (
            f"update {at[where] + 1} of table {where.table!r} on shard {updates[where][at[where]].shard} was "
            "computed from a state that the trace does not lead to"
        )
        return Obstacle(time, why, "all updates of the run, and what each was computed from.", missing=True)

    def _ready(self, update: Update) -> bool:
        """Whether every gradient of an update is there, or can be computed now."""
        return all(self._pushed(push) is not None for push in update.pushes)

    def _pushed(self, push: Gradient) -> dict[str, Any] | None:
        """Return what was pushed, by table; ``None``: what it was computed from is not there yet."""
        if push in self.made:
            return self.made[push]
        steps = [push._replace(clock=step) for step in self._accrues(push)]
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
        last = min(push.clock, self.order.steps[push.worker] - 1)
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
            self.local[at._replace(clock=at.clock + 1)] = [
                zipped(lambda w, g: w - rate * g, w, g) for w, g in zip(parameters, gradients, strict=True)
            ]
        self.local.pop(at, None)
        self.gradients[at] = gradients
        self._forget_read(at)
        return gradients

    def _forget_read(self, at: Gradient) -> None:
        """Let go of what a step read, if it was the last to compute from it."""
        if (at.clock + 1) % self.loop.n_fetch == 0 or at.clock + 1 == self.order.steps[at.worker]:
            for where in self.storages:
                place = where, self.order.reads.get((self.order.read_of(at), where), -1)
                self.wanted[place] -= 1
                if self.wanted[place] <= 0:
                    self.kept.pop(place, None)

    def _parameters(self, at: Gradient) -> list[Any] | None:
        """Return what a step computes from: its read, or what local steps made of it."""
        if at.clock % self.loop.n_fetch and self.loop.local is not None:
            if at not in self.local and self._gradient(at._replace(clock=at.clock - 1)) is None:
                return None
            return self.local[at]
        read = at._replace(clock=at.clock // self.loop.n_fetch * self.loop.n_fetch)
        parameters = []
        for name in self.loop.pulled:
            pieces = []
            for where, storage in self.storages.items():
                if where.table == name:
                    rows = self.kept.get((where, self.order.reads.get((read, where), -1)))
                    if rows is None:
                        return None
                    pieces.append((storage.keys, rows))
            table, number = self.job.tables[name], list(self.job.tables).index(name)
            if not pieces:  # nobody pushes to it
                keys = KeyRange(0, table.size)
                pieces = [(keys, table.initial(keys, (self.seed, number)))]
            parameters.append(whole(table, pieces))
        return parameters

    def _apply(self, where: Where, update: Update) -> None:
        storage = self.storages[where]
        parts = [(storage.keys, self.made[push][where.table][where.start : where.stop])
                 for push in update.pushes]  # fmt: skip
        share = len(parts) if self.together else self.started
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

    def tables(self) -> dict[str, Any]:
        """Return the values as they are, by name."""
        tables = {}
        for number, (name, table) in enumerate(self.job.tables.items()):
            pieces = [storage.snapshot() for where, storage in self.storages.items() if where.table == name]
            if sum(keys.size for keys, _ in pieces) < table.size:  # no row tells of some of its keys
                keys = KeyRange(0, table.size)
                pieces = [(keys, table.initial(keys, (self.seed, number)))]
            tables[name] = whole(table, pieces)
        return tables
