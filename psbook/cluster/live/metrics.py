"""Runs as Prometheus metrics: gauges at the ``/metrics`` of the Dask scheduler, as long as runs go on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from psbook.live import Status

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

OF_RUN: dict[str, tuple[str, Callable[[Status], float]]] = {
    "iterations": ("Worker iterations ended so far", lambda s: s.iterations),
    "iterations_per_second": (
        "Worker iterations a second, of the last seconds",
        lambda s: s.iterations_per_s,
    ),
    "bytes_per_second": ("Bytes a second in and out of the servers", lambda s: s.bytes_per_s),
    "clock_gap": ("Fastest minus slowest clock of the workers that go on", lambda s: s.gap),
    "loss": ("Last loss of the objective", lambda s: s.loss),
    "seconds": ("Seconds since clock 0", lambda s: s.time),
}
"""Gauges of a run: what each is, and its value."""

OF_NODE: dict[str, tuple[str, Callable[[Status], dict[str, float]]]] = {
    "clock": ("Clock of a program", lambda s: {n: p.clock for n, p in s.programs.items() if p.counts}),
    "held": (
        "1 where the consistency model holds a program's read back",
        lambda s: {n: float(p.state == "held") for n, p in s.programs.items()},
    ),
    "bytes_in": ("Bytes that a server took in", lambda s: {n: v.bytes_in for n, v in s.servers.items()}),
    "bytes_out": ("Bytes that a server sent", lambda s: {n: v.bytes_out for n, v in s.servers.items()}),
    "held_bytes": ("Bytes of values on a server", lambda s: {n: v.held_bytes for n, v in s.servers.items()}),
    "pushes": ("Pushes that a server applied", lambda s: {n: v.pushes for n, v in s.servers.items()}),
    "parked": (
        "Requests that a server holds back",
        lambda s: {n: len(v.parked) + v.more for n, v in s.servers.items()},
    ),
    "staleness": (
        "Mean staleness of a server's last pushes, in updates",
        lambda s: {n: v.staleness for n, v in s.servers.items() if v.staleness is not None},
    ),
    "up": (
        "1 where a process is alive",
        lambda s: {n: float(p.state == "alive") for n, p in s.processes.items()},
    ),
}
"""Gauges of nodes."""


class Collector:
    """Makes the gauges when Prometheus asks, and does nothing meanwhile."""

    def __init__(self) -> None:
        self.runs: dict[str, Callable[[], Status]] = {}

    def describe(self) -> Iterable[Any]:
        """Return nothing: there need be no run when the collector is registered."""
        return ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return every gauge, over all runs."""
        from prometheus_client.core import GaugeMetricFamily

        found = {name: ask() for name, ask in list(self.runs.items())}
        for name, (what, value) in OF_RUN.items():
            gauge = GaugeMetricFamily(f"psbook_{name}", what, labels=["job"])
            for job, status in found.items():
                if not math.isnan(value(status)):
                    gauge.add_metric([job], value(status))
            yield gauge
        for name, (what, values) in OF_NODE.items():
            gauge = GaugeMetricFamily(f"psbook_{name}", what, labels=["job", "node"])
            for job, status in found.items():
                for node, number in values(status).items():
                    gauge.add_metric([job, node], number)
            yield gauge


_COLLECTOR = Collector()
"""One of a process, as the registry of prometheus_client is."""


def join(name: str, status: Callable[[], Status]) -> None:
    """Give a run's metrics, if prometheus_client is installed.

    Parameters
    ----------
    name
        Unique name of the run: the label ``job``.
    status
        Returns how the run is; asked when Prometheus asks.

    Examples
    --------
    >>> join("nightly", lambda: Status(iterations=7))
    >>> from prometheus_client import generate_latest
    >>> 'psbook_iterations{job="nightly"} 7.0' in generate_latest().decode()
    True
    >>> leave("nightly")
    >>> "psbook" in generate_latest().decode()
    False
    """
    try:
        from prometheus_client import REGISTRY
    except ImportError:
        return
    if not _COLLECTOR.runs:
        REGISTRY.register(_COLLECTOR)
    _COLLECTOR.runs[name] = status


def leave(name: str) -> None:
    """Give a run's metrics no longer; safe to call again."""
    if _COLLECTOR.runs.pop(name, None) is not None and not _COLLECTOR.runs:
        from prometheus_client import REGISTRY

        REGISTRY.unregister(_COLLECTOR)
