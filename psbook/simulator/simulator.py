"""`Simulator`: an in-process cluster in simulated time."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from psbook.checkpoints import Checkpoints
from psbook.core.consistency import Consistency
from psbook.core.layout import Safety
from psbook.errors import InvalidJob, NonFinite, Stopped, Unsupported
from psbook.job import Job, Progress
from psbook.laws import Law
from psbook.laws.option import law_option
from psbook.live import Source
from psbook.plan import Plan, check_count, check_seed
from psbook.progress import ProgressBar
from psbook.run import Handle, Run
from psbook.simulator.cores import Hosts
from psbook.simulator.faults import Faults
from psbook.simulator.network import Network
from psbook.simulator.service import Service, ServiceOption
from psbook.simulator.simulation import Simulation
from psbook.stopping import STOPPED, interruptible
from psbook.trace.schema import LEVELS

ENGINES = ("auto", "messages", "compiled")


@dataclass(frozen=True)
class Simulator:
    """A simulated cluster: any job, any consistency model, every message, in simulated seconds.

    Equal arguments give equal traces, byte for byte. The seed fixes the luck of each worker and iteration,
    whatever the consistency model does.

    Parameters
    ----------
    workers : int, optional
        Programs of the job's first role, 4 by default.
    servers : int
        Shards that the tables are cut into.
    compute : Law or float
        Simulated seconds of each ``worker.compute``; a number is constant, `Measured()` the real time.
    network : Network, optional
        Bandwidth and latency; by default messages take no time.
    service : Law, float or mapping, optional
        Simulated seconds that a server takes for each pull, push and call, one after the other; 0 by default.
        Or by what it does, ``{"head": 0.05, "replica": 0.02, "read": 0.005}``: a push or call that the head
        takes in, the same passed on to each other replica, a pull.
    safety : Safety, optional
        What is done about lost messages and nodes; `Safety()` if there are faults, by default nothing.
    faults : Faults, optional
        What goes wrong, see `psbook.Faults`.
    checkpoints : Checkpoints, optional
        Where and how often the run is saved; see `Job.resume`. Writing costs no simulated time.
    placement : {"apart", "together"}
        Whether servers have hosts of their own, or server i shares that of worker i.
    seed : int
        Of everything random: compute times, order of the data, initial values, ``worker.rng``.
    trace : {"full", "iterations", "off"}
        How much is recorded.
    engine : {"auto", "messages", "compiled"}
        Every message is simulated, or a `psbook.Loop` is compiled as a whole: times as a recursion, numbers
        as one scan, many times faster, with the same result. "auto" compiles what it can unless the trace is
        to be full, as it is by default, which takes every message. The trace's meta data say which engine
        ran, and why. A compiled run cannot be stopped half-way.
    trace_path : path, optional
        Stream the trace to this Parquet file while the run goes on.
    hosts : Hosts, optional
        Cores that the programs of a host share; by default each has a core of its own.

    Raises
    ------
    InvalidJob
        If an argument makes no sense.

    Notes
    -----
    A message costs O(log events) time; memory is that of the tables, the data and the trace (some 300 bytes a
    row, off: none).

    Examples
    --------
    >>> import psbook as ps
    >>> ps.Simulator(workers=8, servers=2, compute=ps.Exponential(0.1), seed=1).label
    '8 workers, 2 servers, compute Exponential(0.1), no network cost'
    """

    workers: int | None = None
    servers: int = 1
    compute: Law | float = 0.1
    network: Network | None = None
    service: ServiceOption = None
    safety: Safety | None = None
    faults: Faults | None = None
    checkpoints: Checkpoints | None = None
    placement: Literal["apart", "together"] = "apart"
    seed: int = 0
    trace: str = "full"
    trace_path: str | os.PathLike[str] | None = None
    engine: Literal["auto", "messages", "compiled"] = "auto"
    hosts: Hosts | None = None

    def __post_init__(self) -> None:
        if self.workers is not None:
            check_count("workers", self.workers)
        check_count("servers", self.servers)
        if law_option("compute", self.compute) is None:
            raise InvalidJob("compute=None; required: a law such as ps.Exponential(0.1), or seconds.")
        Service(self.service, 0)
        if self.network is not None and not isinstance(self.network, Network):
            raise InvalidJob(f"network={self.network!r}; required: ps.Network(bandwidth=…, latency=…).")
        if self.hosts is not None and not isinstance(self.hosts, Hosts):
            raise InvalidJob(f"hosts={self.hosts!r}; required: ps.Hosts(cores=…).")
        if self.safety is not None and not isinstance(self.safety, Safety):
            raise InvalidJob(f"safety={self.safety!r}; required: ps.Safety(replicas=…).")
        if self.faults is not None and not isinstance(self.faults, Faults):
            raise InvalidJob(f"faults={self.faults!r}; required: ps.Faults(ps.Crash(…), …).")
        if self.checkpoints is not None and not isinstance(self.checkpoints, Checkpoints):
            raise InvalidJob(f"checkpoints={self.checkpoints!r}; required: ps.Checkpoints(url, every=…).")
        if self.placement not in ("apart", "together"):
            raise InvalidJob(f"placement={self.placement!r}; required: 'apart' or 'together'.")
        if self.trace not in LEVELS:
            raise InvalidJob(f"trace={self.trace!r}; required: one of {', '.join(map(repr, LEVELS))}.")
        if self.engine not in ENGINES:
            raise InvalidJob(f"engine={self.engine!r}; required: one of {', '.join(map(repr, ENGINES))}.")
        check_seed(self.seed)

    @property
    def label(self) -> str:
        """The cluster in a line, for plots and tables."""
        network = "no network cost" if self.network is None else self.network.label
        law, served = law_option("compute", self.compute), Service(self.service, 0)
        compute = "" if law is None else law.label
        service = f", service {served.label}" if served else ""
        count = "default number of" if self.workers is None else self.workers
        hosts = "" if self.hosts is None else f", {self.hosts.label}"
        return f"{count} workers, {self.servers} servers, compute {compute}{hosts}, {network}{service}"

    @contextlib.contextmanager
    def opened(self, nodes: int | None = None) -> Iterator[Simulator]:
        """Give this backend: there is nothing to open, as `psbook.Dask.opened` has."""
        yield self

    def run(self, job: Job, model: Consistency, progress: Progress | None = None) -> Run:
        """Run a job to its end; see `Job.run`."""
        if progress is not None:
            return self._run(job, model, progress)
        with ProgressBar(f"{model.label} (simulated)") as bar:
            return self._run(job, model, bar)

    def why_messages(self, job: Job, model: Consistency) -> str:
        """Say why a run is simulated message by message; empty if it is compiled.

        Raises
        ------
        Unsupported
            If ``engine="compiled"``, and the run cannot be.
        """
        if self.engine == "messages":
            return "engine='messages'"
        if self.trace == "full":
            why = "trace='full' keeps every message"
        else:
            from psbook.simulator.compiled import why_not  # JAX takes a second to import

            why = why_not(job, self, model)
        if why and self.engine == "compiled":
            raise Unsupported(f"engine='compiled', but {why}; required: a run that can be compiled, or "
                              "engine='auto', which then simulates its messages.")  # fmt: skip
        return why

    def _run(
        self,
        job: Job,
        model: Consistency,
        progress: Progress,
        stop: threading.Event | None = None,
        source: Source | None = None,
    ) -> Run:
        why = self.why_messages(job, model)
        if why:
            return self._simulate(job, model, progress, stop, why, source)
        from psbook.simulator.compiled import Point, run_compiled

        try:
            run = run_compiled(Point(job, self, model), progress)
            again = replace(self, engine="messages", trace="full", trace_path=None)
            run.by_messages = lambda: again.run(job, model)
            if stop is not None and stop.is_set():
                stopped = Stopped(STOPPED)
                stopped.trace, stopped.tables = run.trace, run.tables
                raise stopped
            return run
        except (Unsupported, NonFinite) as error:
            if self.engine == "compiled":
                raise
            why = str(error).partition(";")[0]
            return self._simulate(job, model, progress, stop, why, source)

    def _simulate(
        self,
        job: Job,
        model: Consistency,
        progress: Progress,
        stop: threading.Event | None,
        why: str,
        source: Source | None,
    ) -> Run:
        """Simulate message by message; without `stop` in the foreground, where Ctrl-C ends it."""

        def run(stop: threading.Event) -> Run:
            return _watched(self._simulation(job, model, progress, stop, why), source).run()

        return interruptible(run) if stop is None else run(stop)

    def start(self, job: Job, model: Consistency) -> Handle:
        """Begin to run a job in a thread of its own; see `Job.start`."""
        stop, source = threading.Event(), Source()
        return Handle(lambda progress: self._run(job, model, progress, stop, source), stop.set, source.status)

    def _simulation(
        self, job: Job, model: Consistency, progress: Progress, stop: threading.Event, why: str
    ) -> Simulation:
        safety = Safety() if self.faults and self.safety is None else self.safety
        plan = Plan.of(job, model, self.workers, self.servers, self.seed, safety, self.checkpoints)
        hosts = {}
        if self.placement == "together":
            programs = plan.layout.programs
            hosts = {server: programs[i % len(programs)] for i, server in enumerate(plan.layout.servers)}
        network = None if self.network is None else self.network.fresh({**self.network.hosts, **hosts})
        law, service = law_option("compute", self.compute), Service(self.service, self.seed)
        if law is None:
            raise InvalidJob("compute=None; required: a law such as ps.Exponential(0.1), or seconds.")
        return Simulation(
            plan,
            law,
            network,
            service,
            self.trace,
            self.trace_path,
            self.placement,
            progress,
            stop,
            self.faults,
            why,
            self.hosts,
        )


def _watched(simulation: Simulation, source: Source | None) -> Simulation:
    """Let those who hold the handle see the run."""
    if source is not None:
        source.ask = simulation.watched.ask
    return simulation
