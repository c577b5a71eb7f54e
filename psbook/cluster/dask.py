"""`Dask`: a real cluster."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from distributed import Client

import psbook
from psbook.assembly import whole
from psbook.cluster.connect import Target, check_versions, connected, processes
from psbook.cluster.placement import Placement, place
from psbook.cluster.program_driver import MakeProgram
from psbook.cluster.program_task import run_program
from psbook.cluster.session import Session
from psbook.cluster.shard_node import MakeShard
from psbook.cluster.spec import Spec
from psbook.core.consistency import Consistency
from psbook.core.messages import CONTROLLER
from psbook.errors import InvalidJob, Unsupported
from psbook.evaluation import Evaluator
from psbook.job import Job, Progress
from psbook.laws import Law
from psbook.laws.option import law_option
from psbook.plan import Plan, check_count
from psbook.progress import ProgressBar
from psbook.run import Handle, Run
from psbook.trace import Recorder, Trace
from psbook.trace.schema import LEVELS
from psbook.versions import versions

DRAIN_SECONDS = 1.0
"""Snapshots for the evaluation are fetched from the shards this often."""


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
    lease : float
        Seconds without a sign of life after which a process is taken for lost; found within 1.4 leases.
    patience : float
        Seconds after which programs that all wait for each other, unmoved, end the run with `Deadlock`.
    network, service
        Only the simulator has these; anything but ``None`` is refused.

    Raises
    ------
    InvalidJob, Unsupported
        If an argument makes no sense, or a real cluster cannot honour it.

    Notes
    -----
    Values and clocks travel between the processes themselves; scheduler and client see the control messages,
    the data when it is handed out, and the snapshots for the evaluation.
    """

    target: Target = None
    workers: int | None = None
    servers: int = 1
    compute: Law | float | None = None
    placement: Placement | Literal["together", "apart"] = "together"
    seed: int = 0
    trace: str = "full"
    lease: float = 10.0
    patience: float = 30.0
    network: None = None
    service: None = None

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
        if self.target is not None and not isinstance(self.target, Client | str):
            raise InvalidJob(f"{self.target!r}; required: a distributed.Client, an address, or None.")
        if self.trace not in LEVELS:
            raise InvalidJob(f"trace={self.trace!r}; required: one of {', '.join(map(repr, LEVELS))}.")
        for name in ("lease", "patience"):
            if not getattr(self, name) > 0:
                raise InvalidJob(f"{name}={getattr(self, name)!r}; required: seconds > 0.")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise InvalidJob(f"seed={self.seed!r}; required: a whole number >= 0.")

    @contextlib.contextmanager
    def opened(self, nodes: int | None = None) -> Iterator[Dask]:
        """Give the same backend with its cluster kept open for several runs."""
        with connected(self.target, nodes or (self.workers or 4) + self.servers) as client:
            yield dataclasses.replace(self, target=client)

    def run(self, job: Job, model: Consistency, progress: Progress | None = None) -> Run:
        """Run a job to its end; see `Job.run`."""
        if progress is not None:
            return self._run(job, model, progress, threading.Event())
        with ProgressBar(f"{model.label} (Dask)") as bar:
            return self._run(job, model, bar, threading.Event())

    def start(self, job: Job, model: Consistency) -> Handle:
        """Begin to run a job; see `Job.start`."""
        stop = threading.Event()
        return Handle(lambda progress: self._run(job, model, progress, stop), stop.set)

    def _run(self, job: Job, model: Consistency, progress: Progress, stop: threading.Event) -> Run:
        plan = Plan.of(job, model, self.workers, self.servers, self.seed)
        with connected(self.target, len(plan.layout.programs) + self.servers) as client:
            addresses = processes(client)
            check_versions(client, addresses, psbook.__version__)
            return ClusterRun(self, plan, client, addresses).run(progress, stop)


class ClusterRun:
    """One run on a cluster, as the client sees it."""

    def __init__(self, backend: Dask, plan: Plan, client: Client, addresses: list[str]) -> None:
        self.backend = backend
        self.plan = plan
        self.client = client
        layout = plan.layout
        routes = place(layout.programs, layout.servers, addresses, backend.placement)
        used = [address for address in addresses if address in routes.values()]
        hosts = {f"process-{number}": address for number, address in enumerate(used)}
        routes = {**routes, **hosts, CONTROLLER: client.scheduler_info()["address"]}
        self.spec = Spec(
            uuid.uuid4().hex[:8],
            psbook.__version__,
            layout,
            routes,
            backend.lease,
            backend.trace,
            backend.patience,
        )
        self.law = law_option("compute", backend.compute)
        remote = plan.without_data()
        self.recorder = Recorder(backend.trace)
        self.evaluator = (
            None
            if plan.job.evaluate is None
            else Evaluator(plan.job.evaluate, plan.job.tables, layout.shards, self.recorder)
        )
        self.session = Session(
            client,
            self.spec,
            MakeShard(remote, backend.trace),
            MakeProgram(remote, law_option("compute", backend.compute), backend.trace),
        )

    def run(self, progress: Progress, stop: threading.Event) -> Run:
        """Run to the end; raise what ended it early, with the trace so far as its ``trace``."""
        homes: dict[str, dict[str, Any]] = {}
        try:
            self.session.open()
            self._submit()
            error = self.session.watch(
                lambda clocks: self._report(clocks, progress, stop), DRAIN_SECONDS, self._drain
            )
            self.session.halt()
            homes = self.session.collect()
        finally:
            self.session.close()
        nodes = {name: home for process in homes.values() for name, home in process["nodes"].items()}
        if error is None:
            tables = self._tables(nodes)
            trace = self._trace(homes, nodes)
            results = {name: nodes[name]["result"] for name in self.plan.layout.programs}
            return Run(tables, results, trace)
        error.trace = self._trace(homes, nodes)
        raise error

    def _submit(self) -> None:
        """Hand the data out, each shard to the process of its program, and start the programs."""
        for rank, node in enumerate(self.plan.layout.programs):
            data = self.plan.shards[rank]
            address = self.spec.routes[node]
            there = [] if data is None else [self.client.scatter(_Held(data), workers=[address], hash=False)]
            self.session.submit(node, run_program, *there)

    def _report(self, clocks: Mapping[str, int], progress: Progress, stop: threading.Event) -> None:
        if stop.is_set():
            self.session.stop("the run was stopped from outside; its trace so far is the error's `trace`.")
        latest = self.evaluator.latest if self.evaluator else None
        counted = [clocks.get(self.plan.layout.programs[rank], 0) for rank in self.plan.layout.clocked]
        progress(sum(counted), latest[1] if latest else None)

    def _drain(self) -> None:
        if self.evaluator is not None:
            for snapshots in self.session.drain().values():
                for snapshot in snapshots:
                    self.evaluator.take(*snapshot)

    def _tables(self, nodes: dict[str, dict[str, Any]]) -> dict[str, Any]:
        servers = [nodes[name] for name in self.plan.layout.servers]
        tables = self.plan.job.tables
        if self.evaluator is not None:
            for server in servers:
                for snapshot in server["snapshots"]:
                    self.evaluator.take(*snapshot)
            counted = servers[0]["counted"]
            if self.evaluator.latest is None or self.evaluator.latest[0] != counted:
                end = max(nodes[name]["booked"] for name in self.plan.layout.programs)
                for shard, server in enumerate(servers):
                    self.evaluator.take(shard, counted, end, server["tables"], server["updates"])
        return {
            name: whole(table, [server["tables"][name] for server in servers])
            for name, table in tables.items()
        }

    def _trace(self, homes: dict[str, dict[str, Any]], nodes: dict[str, dict[str, Any]]) -> Trace:
        """Merge what the processes recorded; their clocks have been put right where the rows were made."""
        for home in nodes.values():
            self.recorder.extend(home["rows"])
        programs = {name: home for name, home in nodes.items() if name in self.plan.layout.programs}
        end = max((home["booked"] for home in programs.values()), default=0.0)
        for name, home in programs.items():
            if home["booked"] < end:
                self.recorder.add(
                    home["booked"], name, "idle", duration=end - home["booked"], clock=home["clock"],
                    detail="finished early" if home["finished"] else "stopped",
                )  # fmt: skip
        meta = self.plan.meta(
            backend="dask",
            time_unit="s",
            end=end,
            compute_label="as it takes" if self.law is None else self.law.label,
            network_label="real",
            placement=str(self.backend.placement),
            processes={address: self.spec.nodes_of(address) for address in self.spec.processes},
            clock_offsets={address: home["clock"] for address, home in homes.items()},
            engine="dask",
            trace_level=self.backend.trace,
            versions=versions(),
        )
        return self.recorder.trace(meta)


class _Held:
    """Keeps Dask from looking into a shard of data while it hands it out."""

    __slots__ = ("data",)

    def __init__(self, data: Any) -> None:
        self.data = data
