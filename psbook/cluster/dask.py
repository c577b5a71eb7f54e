"""`Dask`: a real cluster."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from distributed import Client

from psbook.checkpoints import Checkpoints
from psbook.cluster.cluster_run import ClusterRun, Options
from psbook.cluster.joining.connect import Target, check_versions, connected, processes
from psbook.cluster.joining.encryption import warn_unencrypted
from psbook.cluster.placement import Placement
from psbook.core.consistency import Consistency
from psbook.core.layout import Safety
from psbook.errors import InvalidJob, Unsupported
from psbook.job import Job, Progress
from psbook.laws import Law
from psbook.laws.option import law_option
from psbook.live import Source
from psbook.plan import Plan, check_count, check_seed
from psbook.progress import ProgressBar
from psbook.run import Handle, Run
from psbook.stopping import interruptible
from psbook.trace.schema import LEVELS
from psbook.versions import VERSION


@dataclass(frozen=True)
class Dask:
    """A real Dask cluster: the same programs, in real processes and real seconds.

    Parameters
    ----------
    target : distributed.Client or str, optional
        A client or the address of a scheduler; by default a cluster on this machine is started for each run
        (`opened` keeps one for several).
    workers : int, optional
        Programs of the job's first role, 4 by default; they share the cluster's processes.
    servers : int
        Shards that the tables are cut into.
    compute : Law or float, optional
        Seconds that each ``worker.compute`` takes at least: real computing is padded by sleeping. The same
        law on the simulator gives the same experiment.
    placement : {"together", "apart"} or mapping
        Whether servers share processes with programs, or the address for each node.
    seed : int
        Of everything random.
    trace : {"full", "iterations", "off"}
        How much is recorded.
    trace_path : path, optional
        Stream the trace to this Parquet file, on the client's machine, while the run goes on: a long run then
        takes no more memory for it than a short one. The trace is read from there at the end.
    lease : float
        Seconds without a sign of life after which a process is taken for lost; found within 1.4 leases.
    patience : float
        Seconds after which programs that all wait for each other, unmoved, end the run with `Deadlock`.
    safety : Safety, optional
        What is done about lost processes; by default the loss of one ends the run by name. With it, `lease`
        is the safety's, and every process that joins the cluster takes part as a server.
    checkpoints : Checkpoints, optional
        Where and how often the run is saved; every worker must reach the place. See `Job.resume`.
    network, service
        Only the simulator has these; anything but ``None`` is refused.
    name : str
        Name by which `psbook.find_job` finds the job while it runs, and `psbook.jobs` lists it; a second job
        of that name is refused as long as the first one runs.
    keep : str
        Name under which the tables outlive the job, when it ends well or is stopped: their values stay in the
        processes that hold them, for `psbook.served`, until `psbook.unpublish`; with ``safety``, as many
        copies as it has replicas are kept too. Tables of the same name before are let go of.

    Raises
    ------
    InvalidJob, Unsupported
        If an argument makes no sense, or a real cluster cannot honour it.

    Notes
    -----
    Values and clocks travel between the processes themselves; scheduler and client see the control messages,
    the data when it is handed out, and the snapshots for the evaluation.

    A run belongs to the client that has started it, which evaluates, keeps the trace and starts lost programs
    again; if that client disconnects, the run is stopped. A job that shall outlive its notebook is run by a
    task of the cluster: ``client.submit(train)``, where ``train`` calls `distributed.secede` and runs the job
    on ``ps.Dask(distributed.get_client(), name=…, keep=…)``.
    """

    target: Target = None
    workers: int | None = None
    servers: int = 1
    compute: Law | float | None = None
    placement: Placement | Literal["together", "apart"] = "together"
    seed: int = 0
    trace: str = "full"
    trace_path: str | os.PathLike[str] | None = None
    lease: float = 10.0
    patience: float = 30.0
    safety: Safety | None = None
    checkpoints: Checkpoints | None = None
    network: None = None
    service: None = None
    name: str = ""
    keep: str = ""

    def __post_init__(self) -> None:
        if self.workers is not None:
            check_count("workers", self.workers)
        check_count("servers", self.servers)
        law_option("compute", self.compute)
        if self.network is not None or self.service is not None:
            raise Unsupported(
                "network= and service= describe simulated machines; a real cluster has its own. Leave them "
                "out, or use ps.Simulator."
            )
        if self.safety is not None and not isinstance(self.safety, Safety):
            raise InvalidJob(f"safety={self.safety!r}; required: ps.Safety(replicas=…).")
        if self.safety is not None and self.safety.lost_workers == "leave":
            raise Unsupported(
                "lost_workers='leave' on a real cluster: what is left of a dead process's data is not known. "
                "Use 'restart', which goes on with it on another process."
            )
        if self.checkpoints is not None and not isinstance(self.checkpoints, Checkpoints):
            raise InvalidJob(f"checkpoints={self.checkpoints!r}; required: ps.Checkpoints(url, every=…).")
        if self.target is not None and not isinstance(self.target, Client | str):
            raise InvalidJob(f"{self.target!r}; required: a distributed.Client, an address, or None.")
        if self.trace not in LEVELS:
            raise InvalidJob(f"trace={self.trace!r}; required: one of {', '.join(map(repr, LEVELS))}.")
        for name in ("name", "keep"):
            if not isinstance(getattr(self, name), str):
                raise InvalidJob(f"{name}={getattr(self, name)!r}; required: a text, such as 'nightly'.")
        for name in ("lease", "patience"):
            if not getattr(self, name) > 0:
                raise InvalidJob(f"{name}={getattr(self, name)!r}; required: seconds > 0.")
        check_seed(self.seed)

    @contextlib.contextmanager
    def opened(self, nodes: int | None = None) -> Iterator[Dask]:
        """Give the same backend with its cluster kept open for several runs."""
        with connected(self.target, nodes or (self.workers or 4) + self.servers) as client:
            yield dataclasses.replace(self, target=client)

    def run(self, job: Job, model: Consistency, progress: Progress | None = None) -> Run:
        """Run a job to its end; see `Job.run`."""
        if progress is not None:
            return interruptible(lambda stop: self._run(job, model, progress, stop))
        with ProgressBar(f"{model.label} (Dask)") as bar:
            return interruptible(lambda stop: self._run(job, model, bar, stop))

    def start(self, job: Job, model: Consistency) -> Handle:
        """Begin to run a job; see `Job.start`."""
        stop, source = threading.Event(), Source()
        return Handle(
            lambda progress: self._run(job, model, progress, stop, source), stop.set, source.status, self.name
        )

    def _run(
        self,
        job: Job,
        model: Consistency,
        progress: Progress,
        stop: threading.Event,
        source: Source | None = None,
    ) -> Run:
        if self.keep and self.target is None:
            raise InvalidJob(
                f"keep={self.keep!r} without a cluster; required: a client, or an address: a cluster that is "
                "started for the run ends with it, and so would the tables."
            )
        plan = Plan.of(job, model, self.workers, self.servers, self.seed, self.safety, self.checkpoints)
        with connected(self.target, len(plan.layout.programs) + self.servers) as client:
            addresses = processes(client)
            check_versions(client, addresses, VERSION)
            warn_unencrypted([str(client.scheduler_info()["address"]), *addresses])
            law = law_option("compute", self.compute)
            options = Options(
                self.placement,
                law,
                self.trace,
                self.lease,
                self.patience,
                self.trace_path,
                self.name,
                self.keep,
            )
            run = ClusterRun(plan, options, client, addresses)
            if source is not None:
                source.ask = run.live
            return run.run(progress, stop)
