"""`calibrate`: from the trace of a run to a simulated cluster that behaves alike, and a look at the fit."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from psbook.errors import InvalidJob
from psbook.experiments.calibrate_compute import Machines, Work, work_of
from psbook.experiments.calibrate_fit import Compute, fit_compute
from psbook.experiments.calibrate_laws import distance
from psbook.experiments.calibrate_network import Costs, costs_of
from psbook.experiments.tidy import in_words
from psbook.laws import Law
from psbook.run import Run
from psbook.simulator import Hosts, Simulator
from psbook.trace import Trace
from psbook.trace.statistics import documented

RESAMPLES = 400
"""Resamples behind an interval of a fitted number."""

COLUMNS: dict[str, str] = {
    "part": "compute, network, server or host",
    "of": "worker, kind of message, or what a server does",
    "quantity": "what was measured or fitted",
    "value": "its value, in the unit beside it",
    "low": "lower end of its bootstrap interval, in the same unit",
    "high": "upper end of its bootstrap interval, in the same unit",
    "unit": "unit of the value; empty: a pure number",
    "law": "law that was fitted",
    "samples": "samples behind it",
    "ks": "Kolmogorov-Smirnov distance of the samples from the law, 0 … 1",
}
"""Columns of `Calibration.table`."""


def trace_of(source: Run | Trace) -> Trace:
    """Return the trace of a run, or the trace that it is.

    Raises
    ------
    InvalidJob
        If it is neither.
    """
    trace = getattr(source, "trace", source)
    if not isinstance(trace, Trace):
        raise InvalidJob(f"{type(source).__name__}; required: a run, or its trace.")
    return trace


def calibrate(source: Run | Trace, *, cores: float | None = None) -> Calibration:
    """Fit a simulated cluster to a recorded run: compute laws, network, servers, shared cores.

    Parameters
    ----------
    source : Run or Trace
        What was recorded, at level "full", or "iterations", which tells less of messages.
    cores : float, optional
        Cores of each host, in place of what the trace says.

    Returns
    -------
    Calibration
        Its `simulator` is the cluster, with as many workers as one likes.

    Raises
    ------
    InvalidJob, DataError
        If it is no run or trace; if the trace tells too little.

    Notes
    -----
    What was compiled is left out, and on a real cluster each worker's first iteration. Where several workers
    shared cores, what an iteration would take on a core of its own is worked out from when the others
    computed, under processor sharing. Slow workers, slowness common to all, and slow spells are taken apart;
    the law of the rest is the most likely of those in `psbook.laws` by Akaike's criterion, or the sample
    itself.

    Examples
    --------
    >>> import psbook as ps
    >>> from psbook.algorithms import logistic_regression
    >>> from psbook.datasets import load_breast_cancer
    >>> data = load_breast_cancer()
    >>> job = logistic_regression(data.X_train, data.y_train, batch_size=8, epochs=4)
    >>> cluster = ps.Simulator(workers=2, compute=ps.Gamma(0.1, 4.0), network=ps.Network(latency=0.01))
    >>> calibrate(job.run(cluster, ps.BSP()))  # doctest: +NORMALIZE_WHITESPACE
    Calibration on 2 workers, BSP: compute Gamma(0.0942073, 4.20355) (KS 0.05 to 0.069), latency 0.01
    simulated s.
    """
    trace = trace_of(source)
    works, machines = work_of(trace, cores)
    return Calibration(trace, tuple(works), machines, fit_compute(works), costs_of(trace))


@dataclass(frozen=True, eq=False, repr=False)
class Calibration:
    """What a recorded run tells of its cluster.

    Attributes
    ----------
    trace : Trace
        What was recorded.
    works : tuple of Work
        Seconds of work of each worker.
    machines : Machines
        Who shared which cores.
    compute : Compute
        What was fitted to the seconds of work.
    costs : Costs
        What messages and servers cost.
    """

    trace: Trace
    works: tuple[Work, ...]
    machines: Machines
    compute: Compute
    costs: Costs

    @property
    def law(self) -> Law:
        """Law of an iteration's seconds on a core of its own."""
        return self.compute.law

    def simulator(
        self, workers: int | None = None, servers: int | None = None, *, seed: int = 0, **options: Any
    ) -> Simulator:
        """Return a simulated cluster like the recorded one.

        Parameters
        ----------
        workers, servers : int, optional
            As many as were recorded, by default. More workers are typical ones.
        seed : int
            Of its luck.
        **options
            Of `psbook.Simulator`, in place of what was fitted.
        """
        meta = self.trace.meta
        workers = len(self.works) if workers is None else workers
        servers = len(meta.get("servers", ())) or 1 if servers is None else servers
        found: dict[str, Any] = {
            "workers": workers,
            "servers": servers,
            "compute": self.law,
            "network": self.costs.network(self._processes(workers, servers)),
            "service": self.costs.laws or None,
            "hosts": self._hosts(workers),
            "trace": "iterations",
            "seed": seed,
        }
        return Simulator(**found | options)

    def _processes(self, workers: int, servers: int) -> dict[str, str]:
        """Which of the recorded processes each node would be in; empty if each has one of its own."""
        processes = list(self.trace.meta.get("processes") or {})
        if not processes or self.trace.meta.get("placement") != "together":
            return {}
        role = self.works[0].worker.rpartition("-")[0]
        names = [f"{role}-{rank}" for rank in range(workers)]
        of_workers = {name: processes[rank % len(processes)] for rank, name in enumerate(names)}
        of_servers = {f"server-{n}": processes[n % len(processes)] for n in range(servers)}
        return of_workers | of_servers

    def _hosts(self, workers: int) -> Hosts | None:
        """Return the hosts, if so many workers want more cores than there are."""
        count, machines = len(set(self.machines.hosts.values())), self.machines
        if not count or not np.isfinite(machines.cores):
            return None
        wanted = -(-workers // count) * machines.busy
        return Hosts(machines.cores, count, machines.busy) if wanted > machines.cores else None

    def resampled(self, seed: int) -> Calibration:
        """Return what another run of the same cluster might have told; see `Compute.resampled`."""
        return replace(self, compute=self.compute.resampled(seed))

    def parameters(self, confidence: float = 0.95) -> pd.DataFrame:
        """Return the fitted numbers of the compute law, one row each.

        Intervals are basic bootstrap intervals of the logarithm (Davison and Hinkley 1997, section 5.2).
        """
        found = self.compute.parameters()
        drawn = [self.compute.resampled(seed).parameters() for seed in range(RESAMPLES)]
        tails = (1 - confidence) / 2, (1 + confidence) / 2
        rows = []
        for name, value in found.items():
            low, high = np.quantile([each.get(name, value) for each in drawn], tails)
            # As far as resamples are above the fit, so far the fit may be above the truth.
            low, high = (value**2 / high, value**2 / low) if low > 0 else (low, high)
            rows.append({"parameter": name, "value": value, "low": float(low), "high": float(high)})
        frame = pd.DataFrame(rows, columns=["parameter", "value", "low", "high"])
        interval = f"of its {confidence:.4g} parametric bootstrap interval"
        return documented(
            frame,
            {"parameter": "law and its parameter, or kind of slowness", "value": "fitted [s or pure]",
             "low": f"lower end {interval}", "high": f"upper end {interval}"},
        )  # fmt: skip

    @cached_property
    def distances(self) -> tuple[float, ...]:
        """Kolmogorov–Smirnov distance of each worker's seconds from the law."""
        return tuple(distance(work.seconds, self.law, rank) for rank, work in enumerate(self.works))

    def table(self) -> pd.DataFrame:
        """Return the fit as a tidy table; what its columns mean is in ``.attrs["columns"]``."""
        label = self.law.label
        rows: list[dict[str, Any]] = [
            {"part": "compute", "of": work.worker, "quantity": "mean", "value": float(work.seconds.mean()),
             "unit": self._unit, "law": label, "samples": len(work.seconds), "ks": far}
            for work, far in zip(self.works, self.distances, strict=True)
        ]  # fmt: skip
        rows += [
            {"part": "compute", "of": "all workers", "quantity": row["parameter"], "value": row["value"],
             "low": row["low"], "high": row["high"], "unit": _unit_of(str(row["parameter"]), self._unit),
             "samples": sum(len(work.seconds) for work in self.works)}
            for row in self.parameters().to_dict("records")
        ]  # fmt: skip
        frame = pd.DataFrame([*rows, *self._of_network(), *self._of_servers(), *self._of_hosts()])
        return documented(frame.reindex(columns=list(COLUMNS)), COLUMNS)

    def _of_network(self) -> list[dict[str, Any]]:
        costs, messages = self.costs, self.costs.messages
        near = int(messages["near"].sum()) if len(messages) else 0
        rows: list[dict[str, Any]] = [
            {"of": "between processes", "quantity": "latency", "value": costs.latency, "unit": self._unit,
             "samples": len(messages) - near}
        ]  # fmt: skip
        if np.isfinite(costs.near):
            rows.append({"of": "within a process", "quantity": "latency", "value": costs.near,
                         "unit": self._unit, "samples": near})  # fmt: skip
        if costs.bandwidth:
            rows.append({"of": "between processes", "quantity": "bandwidth", "value": costs.bandwidth,
                         "unit": f"bytes/{self._unit}", "samples": len(messages) - near})  # fmt: skip
        return [{"part": "network", **row} for row in rows]

    def _of_servers(self) -> list[dict[str, Any]]:
        names = {"head": "a push", "read": "a pull"}
        return [
            {"part": "server", "of": names[role], "quantity": "mean", "value": float(x.mean()),
             "unit": self._unit, "law": fit.law.label, "samples": len(x), "ks": distance(x[x > 0], fit.law)}
            for role, fit in self.costs.service.items() for x in (self.costs.served[role],)
        ]  # fmt: skip

    def _of_hosts(self) -> list[dict[str, Any]]:
        machines = self.machines
        if not machines.hosts:
            return []
        count = len(set(machines.hosts.values()))
        return [
            {"part": "host", "of": f"each of {count}", "quantity": "cores", "value": machines.cores},
            {
                "part": "host",
                "of": "compute",
                "quantity": "share of its time on a core",
                "value": machines.busy,
            },
        ]

    @property
    def _unit(self) -> str:
        return str(self.trace.meta.get("time_unit", "s"))

    def text(self) -> str:
        """Return the fit as a text: a line of summary, and the table."""
        return f"{self}\n\n{in_words(self.table())}"

    def plot(self) -> Any:
        """Draw compute times, their quantiles against the law's, and what messages and servers took."""
        return importlib.import_module("psbook.view.calibration").plot_calibration(self)

    def __repr__(self) -> str:
        meta, costs = self.trace.meta, self.costs
        far = f"KS {min(self.distances):.2g} to {max(self.distances):.2g}"
        parts = [f"compute {self.law.label} ({far})", f"latency {costs.latency:.3g} {self._unit}"]
        if costs.bandwidth:
            parts.append(f"{costs.bandwidth:.3g} bytes/{self._unit}")
        parts += [f"{self._named(role)} {fit.law.label}" for role, fit in costs.service.items()]
        if self.machines.hosts and self.machines.busy:
            parts.append(
                f"{self.machines.cores:g} cores a host, {100 * self.machines.busy:.0f} % of computing"
            )
        return (
            f"Calibration on {len(self.works)} worker{'s' if len(self.works) > 1 else ''}, "
            f"{meta.get('model_label', '?')}: {', '.join(parts)}."
        )

    def _named(self, role: str) -> str:
        return {"head": "push served in", "read": "pull served in"}[role]


UNITS: Mapping[str, str] = {
    "mean": "s",
    "tail": "s",
    "shift": "s",
    "seconds": "s",
    "scale": "s",
    "low": "s",
    "high": "s",
}
"""Parameters of laws that are times."""


def _unit_of(parameter: str, unit: str) -> str:
    return unit if parameter.rpartition(" ")[2] in UNITS else ""
