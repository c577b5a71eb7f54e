"""From what hosts tell to a `psbook.live.Status`: reasons, rates, a curve of the loss that stays short."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from psbook.core.consistency import Consistency
from psbook.errors import Stopped
from psbook.hosts.vitals import window_of
from psbook.live import Held, ProcessStatus, ProgramStatus, ServerStatus, Status
from psbook.trace import Trace

POINTS = 400
"""Most points of a loss curve that is watched; the trace has them all."""

READINGS = 20
"""Readings that rates are made from: five seconds where there are four a second."""


HELD = "held like others"
"""Why a worker is held, where a server holds so many that it does not say it of each."""


@dataclass(frozen=True)
class Subject:
    """What is watched: the part of a `psbook.live.Status` that does not change."""

    job: str
    model: str
    backend: str
    time_unit: str
    window: float | None
    name: str = ""

    @classmethod
    def of(cls, job: str, model: Consistency, backend: str, time_unit: str, name: str = "") -> Subject:
        """Return the subject of a run."""
        return cls(job, model.label, backend, time_unit, window_of(model), name)


class Losses:
    """A curve that is thinned out as it grows: its points are about evenly spread, and the last is there.

    Examples
    --------
    >>> losses = Losses(most=4)
    >>> for step in range(9):
    ...     losses.add(step, 10 * step, 1.0 / (1 + step))
    >>> [time for time, _, _ in losses.points]
    [0, 4, 8]
    """

    def __init__(self, most: int = POINTS) -> None:
        self.most = most
        self._kept: list[tuple[float, int, float]] = []
        self._last: tuple[float, int, float] | None = None
        self._every = 1
        self._seen = 0
        self._fresh: deque[tuple[float, int, float]] = deque(maxlen=most)

    def add(self, time: float, iterations: int, loss: float) -> None:
        """Take in an evaluation: seconds of the run, worker iterations, loss."""
        self._last = (time, iterations, loss)
        if self._seen % self._every == 0:
            if len(self._kept) == self.most:
                self._kept = self._kept[::2]
                self._every *= 2
            if self._seen % self._every == 0:
                self._kept = [*self._kept, self._last]
        self._seen += 1
        self._fresh.append(self._last)

    def take(self) -> list[tuple[float, int, float]]:
        """Return the evaluations since the last call, for one who sends them on."""
        return [self._fresh.popleft() for _ in range(len(self._fresh))]

    @property
    def points(self) -> tuple[tuple[float, int, float], ...]:
        """The points that are kept, and the last."""
        kept, last = self._kept, self._last
        return (*kept, last) if last is not None and last != kept[-1] else tuple(kept)


class Meter:
    """Rates of the last seconds, from totals.

    Parameters
    ----------
    least : float
        Seconds between two readings that are kept, so that the rates of many who look are those of one.
    readings : int
        How many are kept.

    Examples
    --------
    >>> meter = Meter()
    >>> meter.rates(0.0, 0, 0), meter.rates(2.0, 10, 4000)
    ((0.0, 0.0), (5.0, 2000.0))
    """

    def __init__(self, least: float = 0.0, readings: int = READINGS) -> None:
        self._least = least
        self._readings: deque[tuple[float, int, int]] = deque(maxlen=readings)

    def rates(self, time: float, iterations: int, nbytes: int) -> tuple[float, float]:
        """Take in totals; return iterations and bytes a second, since the oldest reading that is kept."""
        since, first, before = self._readings[0] if self._readings else (time, iterations, nbytes)
        if not self._readings or time - self._readings[-1][0] > self._least:
            self._readings.append((time, iterations, nbytes))
        seconds = time - since
        if seconds <= 0:
            return 0.0, 0.0
        return max(0.0, (iterations - first) / seconds), max(0.0, (nbytes - before) / seconds)


def assemble(
    subject: Subject,
    time: float,
    state: str,
    programs: Mapping[str, Mapping[str, Any]],
    servers: Mapping[str, Mapping[str, Any]],
    processes: Mapping[str, ProcessStatus],
    meter: Meter,
    losses: Iterable[tuple[float, int, float]] = (),
) -> Status:
    """Put together what hosts have told, see `psbook.hosts.vitals`.

    Parameters
    ----------
    subject
        What runs.
    time
        Seconds of the run.
    state
        One of `psbook.live.Status.state`.
    programs, servers
        What `of_program` and `of_server` returned, by node.
    processes
        The processes, by name.
    meter
        Knows the totals of before.
    losses
        The loss so far.
    """
    found = {
        name: ServerStatus(**{**given, "parked": tuple(Held(**each) for each in given["parked"])})
        for name, given in servers.items()
    }
    reasons = reasons_of(found)
    stand = {name: _held(ProgramStatus(**given), reasons.get(name)) for name, given in programs.items()}
    iterations = sum(program.clock for program in stand.values() if program.counts)
    nbytes = sum(server.bytes_in + server.bytes_out for server in found.values())
    per_s, bytes_per_s = meter.rates(time, iterations, nbytes)
    return Status(
        job=subject.job, model=subject.model, backend=subject.backend, name=subject.name, time=time,
        time_unit=subject.time_unit, state=state, window=subject.window, iterations=iterations,
        losses=tuple(losses), programs=stand, servers=found, processes=dict(processes),
        iterations_per_s=per_s, bytes_per_s=bytes_per_s,
    )  # fmt: skip


def reasons_of(servers: Mapping[str, ServerStatus]) -> dict[str, str]:
    """Return why each worker is held; servers that say the same are named together.

    >>> held = Held("worker-1", "worker-1 reads at clock 3; SSP(1) makes it wait: worker-0 at clock 1")
    >>> reasons_of({"server-0": ServerStatus(parked=(held,)), "server-1": ServerStatus(parked=(held,))})
    {'worker-1': 'worker-1 reads at clock 3; SSP(1) makes it wait: worker-0 at clock 1 (server-0, server-1)'}
    """
    where: dict[str, dict[str, list[str]]] = {}
    for name, server in servers.items():
        for held in server.parked:
            at = where.setdefault(held.worker, {}).setdefault(held.why, [])
            if name not in at:  # it may hold for several shards
                at.append(name)
    return {
        worker: "; ".join(
            f"{why or HELD} ({', '.join(at)})".strip() for why, at in sorted(whys.items(), reverse=True)
        )
        for worker, whys in where.items()
    }


def _held(program: ProgramStatus, why: str | None) -> ProgramStatus:
    """A program that waits for a read which a server holds is held; others may have one under way."""
    if why is None or program.state != "waiting":
        return program
    return replace(program, state="held", why=why)


def closed(status: Status | None, error: BaseException | None, trace: Trace | None) -> Status:
    """Return how a run stands that is over: what was last known of it, and what its trace adds.

    Parameters
    ----------
    status
        What was last known, if anything was.
    error
        What ended the run early.
    trace
        The run's trace, if it left one.
    """
    state = "ended" if error is None else "stopped" if isinstance(error, Stopped) else "failed"
    known = status or Status()
    if trace is not None:
        known = _with_trace(known, trace)
    if error is None:
        servers = {name: replace(each, parked=(), more=0) for name, each in known.servers.items()}
        known = replace(known, servers=servers)
    said = "" if error is None else f"{type(error).__name__}: {error}"
    return replace(known, state=state, error=said, iterations_per_s=0.0, bytes_per_s=0.0)


def _with_trace(status: Status, trace: Trace) -> Status:
    """Return a status with the clocks, ends and losses of the trace, which knows them to the end."""
    meta, losses = trace.meta, Losses()
    rows = trace.of("loss")
    for time, clock, value in zip(rows["time"], rows["clock"], rows["value"], strict=True):
        losses.add(float(time), int(clock), float(value))
    reached = trace.of("clock", "finish").groupby("node")["clock"].max()
    ended = set(trace.of("finish")["node"])
    workers = list(meta.get("workers", ()))
    programs = dict(status.programs)
    for name in (*workers, *(str(node) for node in reached.index if node not in workers)):
        before = programs.get(name, ProgramStatus(counts=name in workers))
        clock = max(int(reached.get(name, 0)), before.clock)
        programs[name] = replace(before, clock=clock)
        if name in ended:
            programs[name] = ProgramStatus(clock, "ended", counts=before.counts)
    applied = trace.of("apply")
    servers = {
        name: _with_updates(each, applied[applied["node"] == name]) for name, each in status.servers.items()
    }
    return replace(
        status, servers=servers,
        job=status.job or str(meta.get("job", "")), model=status.model or str(meta.get("model_label", "")),
        backend=status.backend or str(meta.get("backend", "")),
        time_unit=str(meta.get("time_unit", "s")), time=trace.end, losses=losses.points or status.losses,
        iterations=sum(program.clock for program in programs.values() if program.counts), programs=programs,
    )  # fmt: skip


def _with_updates(server: ServerStatus, applied: pd.DataFrame) -> ServerStatus:
    """Return a server with all that it has applied; what the last reading of it missed is in the trace."""
    last = {str(table): int(version) for table, version in applied.groupby("table")["version"].max().items()}
    return replace(server, versions={**server.versions, **last}, pushes=max(server.pushes, len(applied)))
