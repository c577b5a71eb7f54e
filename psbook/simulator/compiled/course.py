"""The course of runs: who computes what, when, and in which order; no values yet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psbook.core.consistency import Consistency, Rounds
from psbook.core.keys import KeyRange
from psbook.errors import PsbookError, Unsupported
from psbook.job import Job
from psbook.laws.option import law_option
from psbook.loop import Loop
from psbook.plan import DEFAULT_WORKERS, Plan
from psbook.simulator.compiled.batches import Batches, batches_of
from psbook.simulator.compiled.order import Order, gated_order
from psbook.simulator.compiled.rounds import collected, rounds_order
from psbook.simulator.compiled.scanning import Inputs
from psbook.simulator.compiled.support import MOST_SIZES
from psbook.simulator.compiled.timing import Timeline, gates, timeline


@dataclass(frozen=True, eq=False)
class Point:
    """One run to be made: a job on a `psbook.Simulator` under a consistency model."""

    job: Job
    cluster: Any
    model: Consistency


@dataclass(frozen=True, eq=False)
class Course:
    """The course of a run: who computes what, when, and in which order; no values yet."""

    point: Point
    batches: Batches
    times: Timeline
    order: Order

    @property
    def loop(self) -> Loop:
        """The program."""
        return self.point.job.program  # type: ignore[return-value]  # asked before

    @property
    def made(self) -> NDArray[np.bool_]:
        """Which iterations are made, shape (workers, iterations)."""
        return np.arange(self.times.end.shape[-1]) < self.batches.counts[:, None]

    def inputs(self) -> Inputs:
        """Return what the scan needs."""
        job, seed = self.point.job, self.point.cluster.seed
        names = dict.fromkeys((*self.loop.pulled, *self.loop.pushed))
        start, rates = {}, {}
        for number, (name, table) in enumerate(job.tables.items()):
            if name in names:
                start[name] = table.initial(KeyRange(0, table.size), (seed, number))
                rates[name] = table.rate or 0.0
        return Inputs(self.order, self.batches, start, rates)

    def evaluations(self) -> list[tuple[float, int, int]]:
        """Time, worker iterations and updates of each evaluation."""
        order, tables = self.order, len(self.loop.pushed)
        if not len(order.counted):
            return []
        ends = np.concatenate([[-self.times.latency], np.sort(self.times.end[self.made])])
        updates = order.version[order.evaluated + 1] * tables
        at = ends[order.counted] + self.times.latency
        rows = list(zip(at.tolist(), order.counted.tolist(), updates.tolist(), strict=True))
        last = float(self.times.finish.max()), len(ends) - 1, int(order.version[-1]) * tables
        return rows if rows[-1][1:] == last[1:] else [*rows, last]


def workers_of(point: Point) -> int:
    """Number of workers of a run."""
    return DEFAULT_WORKERS if point.cluster.workers is None else int(point.cluster.workers)


def every_of(point: Point) -> int:
    """Worker iterations between evaluations; 0: there are none."""
    return 0 if point.job.evaluate is None else point.job.every or workers_of(point)


def state_bytes(job: Job) -> int:
    """Bytes of the tables that a job's loop reads or writes."""
    loop: Loop = job.program  # type: ignore[assignment]  # asked before
    used = [job.tables[name] for name in {*loop.pulled, *loop.pushed}]
    return sum(math.prod(table.shape) * table.dtype.itemsize for table in used)


def courses(points: Sequence[Point]) -> Iterator[Course | PsbookError]:
    """Work out the course of runs of one kind, or say why it cannot be.

    Parameters
    ----------
    points
        Of one kind: same program, data and workers, models of one family.
    """
    workers = workers_of(points[0])
    drawn: dict[Any, NDArray[np.float64]] = {}
    cut = lru_cache(maxsize=None)(lambda seed: batches_of(points[0].job, workers, seed))
    laws = [law_option("compute", point.cluster.compute) for point in points]
    prepared: list[tuple[Point, Batches, NDArray[np.float64]] | PsbookError] = []
    for point, law in zip(points, laws, strict=True):
        try:
            cluster = point.cluster
            Plan.of(point.job.without_data(), point.model, cluster.workers, cluster.servers, cluster.seed)
            batches = cut(cluster.seed)
            if len(batches.sizes) > MOST_SIZES:
                raise Unsupported(
                    f"batches of {len(batches.sizes)} different sizes; required: {MOST_SIZES} at most."
                )
            seconds = drawn.get((id(law), cluster.seed))
            if seconds is None and law is not None:
                seconds = law.matrix(workers, batches.number.shape[1], cluster.seed)
                drawn[id(law), cluster.seed] = seconds
            if seconds is None or not (seconds > 0).all():
                raise Unsupported("iterations that take no time; required: compute times > 0.")
            prepared.append((point, batches, seconds))
        except PsbookError as error:
            prepared.append(error)
    good = [each for each in prepared if not isinstance(each, PsbookError)]
    timed: Iterator[tuple[Timeline, Order]] = iter(())
    if good:
        timed = _timed([point for point, *_ in good], np.stack([x for *_, x in good]), good[0][1].counts)
    for each in prepared:
        if isinstance(each, PsbookError):
            yield each
        else:
            times, order = next(timed)
            yield Course(each[0], each[1], times, order)


def _timed(
    points: Sequence[Point], compute: NDArray[np.float64], counts: Any
) -> Iterator[tuple[Timeline, Order]]:
    """Return the times and the order of runs of one kind."""
    job, network = points[0].job, points[0].cluster.network
    loop: Loop = job.program  # type: ignore[assignment]  # asked before
    every = every_of(points[0])
    models = [point.model for point in points]
    if isinstance(models[0], Rounds):
        found = collected(models, compute, counts)  # type: ignore[arg-type]  # all are of one kind
        for number in range(len(points)):
            one = found.run(number)
            yield one.times, rounds_order(one, counts, models[0].waits, every)
        return
    latency = 0.0 if network is None else network.latency
    times = timeline(models, compute, latency=latency, counts=counts, n_fetch=loop.n_fetch)
    for number, model in enumerate(models):
        of_run, gate = times.run(number), gates(model)
        if gate is not None:
            yield of_run, gated_order(of_run, gate, model.buffered, counts, loop, every)
