"""Compute times of a trace: seconds of work of each iteration, without compiling and contention."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from psbook.errors import DataError
from psbook.trace import Trace
from psbook.trace.schema import SPANS
from psbook.trace.statistics import require, workers_of

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

ENOUGH = 8
"""Iterations of a worker without which nothing is fitted."""

BOUND = 0.8
"""Share of their time that computations are on a core, from which on they are taken to be bound by it."""

LEAST_BUSY = 0.2
"""Share below which computations are taken to sleep, not to wait for a core that others have."""

COMPILING = "compiling"
WITHIN = ("network", "queued", "blocked")
"""Kinds of time that an iteration spends elsewhere than in its computation."""


@dataclass(frozen=True)
class Work:
    """Seconds of work of one worker.

    Attributes
    ----------
    worker : str
        The worker.
    clocks : (n,) array
        Numbers of the iterations.
    seconds : (n,) array
        What each would take on a core of its own.
    spent : (n,) array
        What it took, others on the same cores included [s].
    """

    worker: str
    clocks: Ints
    seconds: Floats
    spent: Floats


@dataclass(frozen=True)
class Machines:
    """Who shared which cores.

    Attributes
    ----------
    hosts : mapping
        Host of each worker; empty if the trace does not tell.
    cores : float
        Cores of a host; inf if the trace does not tell.
    busy : float
        Share of the computing time that needs a core, 0 … 1.
    """

    hosts: Mapping[str, str]
    cores: float
    busy: float


def hosts_of(trace: Trace) -> dict[str, str]:
    """Return the host of each program; empty if the trace does not tell.

    >>> from psbook.trace import Recorder
    >>> meta = {"processes": {"tcp://a:1": ["worker-0", "server-0"]}, "hosts": {"tcp://a:1": "a"}}
    >>> hosts_of(Recorder().trace({**meta, "programs": ["worker-0"]}))
    {'worker-0': 'a'}
    """
    told = trace.meta.get("hosts") or {}
    by_node = {node: told[address] for address, nodes in (trace.meta.get("processes") or {}).items()
               if address in told for node in nodes} or told  # fmt: skip
    return {name: str(by_node[name]) for name in trace.meta.get("programs", ()) if name in by_node}


def work_of(trace: Trace, cores: float | None = None) -> tuple[list[Work], Machines]:
    """Return the work of each worker, and who shared which cores.

    Parameters
    ----------
    trace
        Of level "iterations" or "full".
    cores : float, optional
        Cores of each host, in place of what the trace says.

    Returns
    -------
    list of Work, Machines
        Iterations in which something was compiled are left out, and on a real cluster the first of each
        worker, which pays for much that later ones find done.

    Raises
    ------
    DataError
        If the trace has no spans, or a worker fewer than `ENOUGH` iterations.

    Notes
    -----
    While k computations were under way on a host of c cores, each is taken to have gone on at the rate
    min(1, c/k). If that leaves time in which they were not on a core, others had the cores; fewer are taken
    to be there. Where computations hardly were on a core at all, or were padded by a law, they slept, and
    nothing is taken off.
    """
    require(trace, "a calibration", "clock", *SPANS)
    hosts = hosts_of(trace)
    told = {float(each) for each in (trace.meta.get("cores") or {}).values()}
    each = cores if cores is not None else min(told, default=np.inf)
    spans = trace.of("compute")
    spans = spans[spans["duration"] > 0]
    served = _served(spans, hosts, each) if hosts and np.isfinite(each) else spans["duration"].to_numpy()
    busy = _busy(trace, spans, served)
    if busy < BOUND and cores is None and hosts and np.isfinite(each) and not _padded(trace):
        each = _cores_had(trace, spans, hosts, each)
        served = _served(spans, hosts, each)
        busy = _busy(trace, spans, served)
    if busy < BOUND:
        served = spans["duration"].to_numpy()
        busy = _busy(trace, spans, served)
    works = list(_by_worker(trace, spans.assign(served=served)))
    return works, Machines(hosts, each, busy)


def _busy(trace: Trace, spans: pd.DataFrame, served: Floats) -> float:
    """Share of the programs' computing, as it would be on cores of their own, that was on a core."""
    told: Mapping[str, float] = trace.meta.get("busy_seconds") or {}
    if not told:
        return 1.0 if trace.meta.get("compute_label") in (None, "as it takes", "measured") else 0.0
    kernels = spans["node"].isin(list(told)).to_numpy() & (spans["detail"] != "program").to_numpy()
    total = float(served[kernels].sum())
    return min(1.0, sum(told.values()) / total) if total else 0.0


def _padded(trace: Trace) -> bool:
    """Whether computing was lengthened by sleeping."""
    return trace.meta.get("backend") == "dask" and trace.meta.get("compute_label") != "as it takes"


def _cores_had(trace: Trace, spans: pd.DataFrame, hosts: Mapping[str, str], cores: float) -> float:
    """Return how many cores the workers had of a host that others used, too.

    So many that under processor sharing they would have been on a core for as long as they were. Where that
    is hardly at all, they slept, and had all cores.
    """
    if _busy(trace, spans, spans["duration"].to_numpy()) < LEAST_BUSY:
        return cores
    low, high = 0.0, cores
    for _ in range(50):
        middle = (low + high) / 2
        # With too many cores there is more service than there was work done.
        if _busy(trace, spans, _served(spans, hosts, middle)) < 1.0:
            high = middle
        else:
            low = middle
    return high


def _served(spans: pd.DataFrame, hosts: Mapping[str, str], cores: float) -> Floats:
    """Seconds of core that each span had, if all that computed on its host at a time had equal parts."""
    served = spans["duration"].to_numpy(dtype=np.float64).copy()
    start = spans["time"].to_numpy(dtype=np.float64)
    stop = start + served
    where = spans["node"].map(lambda node: hosts.get(node, node)).to_numpy()
    for host in pd.unique(where):
        own = where == host
        at = np.concatenate([start[own], stop[own]])
        order = np.argsort(at, kind="stable")
        at = at[order]
        under_way = np.cumsum(np.repeat([1, -1], int(own.sum()))[order])
        rate = np.minimum(1.0, cores / np.maximum(under_way, 1))
        virtual = np.concatenate([[0.0], np.cumsum(np.diff(at) * rate[:-1])])
        served[own] = np.interp(stop[own], at, virtual) - np.interp(start[own], at, virtual)
    return served


def _by_worker(trace: Trace, spans: pd.DataFrame) -> Iterator[Work]:
    compiled = trace.of("idle")
    compiled = compiled[compiled["detail"] == COMPILING]
    clocks = trace.of("clock").groupby("node", observed=True)["clock"].max()
    for worker in workers_of(trace):
        mine = spans[spans["node"] == worker]
        sums = mine.groupby("clock")[["duration", "served"]].sum()
        ended = sums.index < int(clocks.get(worker, 0))
        first = sums.index == 0 if trace.meta.get("backend") == "dask" else np.zeros(len(sums), bool)
        left_out = sums.index.isin(compiled.loc[compiled["node"] == worker, "clock"]) | first
        kept = sums[ended & ~left_out & (sums["served"] > 0)]
        if len(kept) < ENOUGH:
            raise DataError(
                f"{worker} has {len(kept)} iterations whose compute time is known; required: {ENOUGH}, to "
                "fit a law to. Record a longer run."
            )
        yield Work(
            worker,
            kept.index.to_numpy(dtype=np.int64),
            kept["served"].to_numpy(dtype=np.float64),
            kept["duration"].to_numpy(dtype=np.float64),
        )
