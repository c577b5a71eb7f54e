"""Runs without messages: times by recursion, numbers by one scan, many runs in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psbook.core.keys import KeyRange
from psbook.errors import NonFinite, PsbookError, Unsupported
from psbook.laws.option import law_option
from psbook.plan import Plan
from psbook.run import Run
from psbook.simulator.compiled.batches import batches_of, joined
from psbook.simulator.compiled.course import Course, Point, courses, every_of, state_bytes, workers_of
from psbook.simulator.compiled.evaluating import evaluate
from psbook.simulator.compiled.record import applied_at, record
from psbook.simulator.compiled.scanning import MEMORY, Scanned, scan
from psbook.simulator.compiled.support import why_not
from psbook.simulator.compiled.timing import gates
from psbook.table import Table
from psbook.trace import Recorder
from psbook.trace.statistics import SUMMARY
from psbook.versions import versions

RUNS_AT_ONCE = 256
"""The most runs whose times and orders are in memory together."""

ITERATION = 200
"""Bytes that an iteration takes there."""

LARGEST = 2**32
"""Bytes of tables that one run may keep; messages, which evaluate a state as it comes, keep none."""

WHY = "the program is a Loop, and no time depends on a value"


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a run of a batch came to.

    Attributes
    ----------
    summary
        The quantities of `psbook.trace.statistics.SUMMARY`.
    history
        Arrays ``time_s``, ``iterations``, ``updates`` and ``loss``, one item an evaluation.
    tables
        Final values by name.
    seconds
        Length of the run, simulated seconds.
    compile_seconds
        Real seconds that compiling for this run and those computed with it took; 0 for all but the first.
    diverged
        Whether a push that is not finite ended the run: summary and history tell what was before.
    engine, why
        Which engine ran, and why.
    """

    summary: dict[str, float]
    history: dict[str, NDArray[Any]]
    tables: dict[str, Any]
    seconds: float
    compile_seconds: float = 0.0
    diverged: bool = False
    engine: str = "compiled"
    why: str = WHY


@dataclass(frozen=True, eq=False)
class Computed:
    """A run with its numbers."""

    course: Course
    scanned: Scanned
    losses: list[float]
    compile_seconds: float
    until: float
    """When a push that is not finite ended it; infinity: none did."""

    @property
    def history(self) -> list[tuple[float, int, int, float]]:
        """Time, worker iterations, updates and loss of each evaluation."""
        return [(*row, loss) for row, loss in zip(self.course.evaluations(), self.losses, strict=False)]

    def tables(self) -> dict[str, Any]:
        """Final values by name, as a pull of the whole table gives them."""
        job, seed = self.course.point.job, self.course.point.cluster.seed
        return {
            name: table.decode(self.scanned.end[name].copy() if name in self.scanned.end
                               else table.initial(KeyRange(0, table.size), (seed, number)))
            for number, (name, table) in enumerate(job.tables.items())
        }  # fmt: skip


def compute(points: Sequence[Point]) -> Iterator[tuple[int, Computed | PsbookError]]:
    """Make runs that `why_not` has nothing against; give each with its place, in any order.

    Runs that differ in numbers only (seeds, staleness, compute times, rates) are computed together.
    """
    groups: dict[Any, list[int]] = {}
    for place, point in enumerate(points):
        groups.setdefault(_kind(point), []).append(place)
    for places in groups.values():
        number = _at_once(points[places[0]])
        for first in range(0, len(places), number):
            some = places[first : first + number]
            yield from zip(some, _together([points[place] for place in some]), strict=True)


def _at_once(point: Point) -> int:
    """How many runs of this kind fit into `MEMORY`, with the states that are evaluated."""
    try:
        made = int(batches_of(point.job, workers_of(point), point.cluster.seed).counts.sum())
    except PsbookError:
        return 1  # it cannot run at all, which is said by name where it is tried
    states = 2 + (made // every if (every := every_of(point)) else 0)
    return max(1, min(RUNS_AT_ONCE, MEMORY // (ITERATION * made + states * state_bytes(point.job))))


def _not_too_large(course: Course) -> Course | Unsupported:
    """Refuse a run that keeps more than `LARGEST`."""
    states = len(course.order.evaluated) + course.order.workers
    needed = states * state_bytes(course.point.job)
    if needed <= LARGEST:
        return course
    return Unsupported(
        f"{states} states of the tables, which take {needed / 2**30:.1f} GiB; required: {LARGEST / 2**30:g} "
        "GiB at most. Evaluate less often (every=)."
    )


def _kind(point: Point) -> Any:
    """What the runs that are computed together have in common."""
    job, cluster, gate = point.job, point.cluster, gates(point.model)
    network = cluster.network
    tables = tuple((name, id(table.init), *_without_rate(table)) for name, table in job.tables.items())
    return (
        id(job.program), id(job.data), id(job.evaluate), tables, job.batching, job.every, job.aggregate,
        workers_of(point), 0.0 if network is None else network.latency, point.model.buffered,
        type(point.model) if gate is None else (gate.clocks, gate.lot),
    )  # fmt: skip


def _without_rate(table: Table) -> tuple[Any, ...]:
    return (id(table.update),) if table.rate is None else (repr(table.with_rate(1.0)), type(table.update))


def _together(points: Sequence[Point]) -> list[Computed | PsbookError]:
    """Make runs of one kind: times for all, an order for each, numbers and losses for all."""
    planned: list[Course | PsbookError] = [
        _not_too_large(course) if isinstance(course, Course) else course for course in courses(points)
    ]
    good = [course for course in planned if isinstance(course, Course)]
    if not good:
        return [course for course in planned if isinstance(course, PsbookError)]
    job, model = good[0].point.job, good[0].point.model
    means = {name: table.aggregation(job.aggregate) == "mean" for name, table in job.tables.items()}
    try:
        data = joined(job.data)
    except PsbookError as error:
        return [error if isinstance(course, Course) else course for course in planned]
    scanned, seconds = scan(
        good[0].loop,
        job.tables,
        means,
        data,
        [course.inputs() for course in good],
        collects=model.buffered or model.collects,
    )
    made = iter(zip(good, scanned, strict=True))
    found: list[Computed | PsbookError] = []
    for course in planned:
        if isinstance(course, PsbookError):
            found.append(course)
            continue
        _, numbers = next(made)
        found.append(_judged(course, numbers, seconds))
        seconds = 0.0
    return found


def _judged(course: Course, scanned: Scanned, seconds: float) -> Computed | PsbookError:
    """Evaluate what a run has kept, up to the first push that is not finite."""
    job, seed = course.point.job, course.point.cluster.seed
    until = _until(course, scanned)
    fixed = {
        name: table.initial(KeyRange(0, table.size), (seed, number))
        for number, (name, table) in enumerate(job.tables.items()) if name not in scanned.end
    }  # fmt: skip
    first = {**fixed, **{name: rows for name, rows in course.inputs().start.items() if name in scanned.end}}
    states = [
        first if state < 0 else {**fixed, **{name: rows[k] for name, rows in scanned.snapshots.items()}}
        for k, state in enumerate(course.order.evaluated[1:].tolist())
    ]
    rows = [row for row in course.evaluations() if row[0] < until]
    states = [first, *states, {**fixed, **scanned.end}][: len(rows)] if rows else []
    try:
        losses = evaluate(job, states)
    except PsbookError as error:
        return error
    return Computed(course, scanned, losses, seconds, until)


def _until(course: Course, scanned: Scanned) -> float:
    """When a worker first pushes what is not finite, which ends the run; infinity: never."""
    order, times = course.order, course.times
    bad = np.flatnonzero(order.pushes & ~scanned.finite)
    if not len(bad):
        return np.inf
    worker, step = order.worker[bad], order.step[bad]
    at = np.minimum(step, times.end.shape[1] - 1)
    return float(np.where(order.computes[bad], times.end[worker, at], times.back[worker, step - 1]).min())


def run_batch(points: Sequence[Point]) -> list[Outcome | PsbookError]:
    """Make many runs in one call; one that fails does not stop the others.

    Parameters
    ----------
    points
        Runs that `why_not` has nothing against.

    Returns
    -------
    list
        An `Outcome` or the error of each, in the order of `points`.
    """
    found: list[Outcome | PsbookError] = [Unsupported("not run")] * len(points)
    for place, computed in compute(points):
        found[place] = computed if isinstance(computed, PsbookError) else outcome(computed)
    return found


def outcome(computed: Computed) -> Outcome:
    """Sum a run up."""
    course, history = computed.course, computed.history
    columns = np.array(history, np.float64).reshape(-1, 4).T
    return Outcome(
        _summary(computed), dict(zip(("time_s", "iterations", "updates", "loss"), columns, strict=True)),
        computed.tables(), min(float(course.times.finish.max()), computed.until), computed.compile_seconds,
        diverged=computed.until < np.inf,
    )  # fmt: skip


def _summary(computed: Computed) -> dict[str, float]:
    course = computed.course
    times, order, loop = course.times, course.order, course.loop
    if computed.until < np.inf:
        return _summary_until(computed)
    seconds, ended = float(times.finish.max()), float(course.batches.counts.sum())
    stale = order.staleness_of_pushes if set(loop.pulled) & set(loop.pushed) else np.zeros(0)
    available = seconds * len(times.end) or np.nan
    blocked = float(times.blocked[course.made].sum())
    values = (
        seconds, ended, float(order.version[-1] * len(loop.pushed)), ended / seconds if seconds else np.nan,
        float(stale.mean()) if len(stale) else np.nan, float(stale.max()) if len(stale) else np.nan,
        1.0 - float((times.end - times.start)[course.made].sum()) / available, blocked / available, np.nan,
        computed.losses[-1] if computed.losses else np.nan,
    )  # fmt: skip
    return dict(zip(SUMMARY, values, strict=True))


def _summary_until(computed: Computed) -> dict[str, float]:
    """What is known of a run that a push that is not finite has ended; not where its time went."""
    course, until = computed.course, computed.until
    order, applied = course.order, applied_at(course.times, course.order) < computed.until
    ended, updates = (course.times.end[course.made] < until).sum(), (order.applies & applied).sum()
    known = {
        "seconds": until, "iterations": float(ended), "updates": float(updates * len(course.loop.pushed)),
        "iterations_per_s": float(ended) / until if until else np.nan,
        "loss_final": computed.losses[-1] if computed.losses else np.nan,
    }  # fmt: skip
    return {name: known.get(name, np.nan) for name in SUMMARY}


def run_compiled(point: Point, progress: Callable[[int, float | None], object] | None = None) -> Run:
    """Make one run, with its trace.

    Raises
    ------
    Unsupported
        If the run has to be simulated message by message.
    NonFinite
        If a push is not finite.
    ProgramError
        If the objective raises.
    """
    job, cluster = point.job, point.cluster
    plan = Plan.of(job, point.model, cluster.workers, cluster.servers, cluster.seed)
    ((_, computed),) = compute([point])
    if isinstance(computed, PsbookError):
        raise computed
    if computed.until < np.inf:
        raise NonFinite(
            f"{job.name} under {point.model.label}: a push that is not finite after {computed.until:g} "
            "simulated s; required: finite pushes. Take a smaller rate; engine='messages' says whose it was."
        )
    course, history = computed.course, computed.history
    recorder = Recorder(cluster.trace, cluster.trace_path)
    record(recorder, course.times, course.order, course.batches.counts, course.loop, plan.layout, job.tables,
           computed.scanned.losses, history)  # fmt: skip
    if progress is not None:
        progress(int(course.batches.counts.sum()), history[-1][-1] if history else None)
    law = law_option("compute", cluster.compute)
    meta = plan.meta(
        backend="simulator", time_unit="simulated s", compute_label="" if law is None else law.label,
        network_label="no network cost" if cluster.network is None else cluster.network.label,
        service_label="",
        placement=cluster.placement, engine="compiled", engine_why=WHY, trace_level=cluster.trace,
        versions=versions(), end=float(course.times.finish.max()),
    )  # fmt: skip
    run = Run(computed.tables(), dict.fromkeys(plan.layout.programs), recorder.trace(meta))
    run.compile_seconds = computed.compile_seconds
    return run


__all__ = ["Outcome", "Point", "compute", "run_batch", "run_compiled", "why_not"]
