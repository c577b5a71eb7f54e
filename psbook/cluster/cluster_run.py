"""One run on a cluster: hand out, watch, evaluate, put together."""

from __future__ import annotations

import getpass
import os
import socket
import sys
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from distributed import Client

from psbook.cluster.evaluations import Evaluations
from psbook.cluster.kept.keeping import Kept, bare, publish
from psbook.cluster.nearness import likings, nearer
from psbook.cluster.placement import Placement, place
from psbook.cluster.process import shares
from psbook.cluster.process.program_driver import MakeProgram, Unsendable
from psbook.cluster.process.program_task import run_program
from psbook.cluster.process.server_node import MakeServer
from psbook.cluster.session import Session
from psbook.cluster.spec import Spec
from psbook.core.controls import CONTROLLER
from psbook.core.routes import Routes, Segment
from psbook.errors import NodeFailure, ProgramError, PsbookError, Stopped
from psbook.evaluation import Piece, whole_tables
from psbook.hosts.watching import Subject
from psbook.job import Progress
from psbook.laws import Law
from psbook.live import Status
from psbook.plan import Plan
from psbook.run import Run
from psbook.stopping import STOPPED
from psbook.trace import Recorder, Trace
from psbook.versions import VERSION, versions

DRAIN_SECONDS = 1.0
"""Snapshots for the evaluation are fetched from the shards this often."""

SLOW_IMPORTS = ("jax", "jax.numpy", "optax", "sklearn")
"""Imported by programs' processes before clock 0, if they are here."""


@dataclass(frozen=True)
class Options:
    """How a run is carried out, see `psbook.Dask`."""

    placement: Placement
    law: Law | None
    level: str
    lease: float
    patience: float
    path: str | os.PathLike[str] | None = None
    name: str = ""
    keep: str = ""


class ClusterRun:
    """One run, from the client's side.

    Parameters
    ----------
    plan
        What runs.
    options
        How.
    client
        A synchronous Dask client.
    addresses
        Workers of the cluster that may be used.
    """

    def __init__(self, plan: Plan, options: Options, client: Client, addresses: list[str]) -> None:
        self.plan = plan
        self.options = options
        scheduler = str(client.scheduler_info()["address"])
        self.spec = _spec(plan, options, scheduler, addresses, likings(plan, client))
        self.recorder = Recorder(options.level, options.path)
        self._raised: PsbookError | None = None
        self._ended: dict[str, Any] = {}
        """What programs that had ended have sent home, in case their processes are lost."""
        self.evaluations = Evaluations(plan, self.recorder)
        remote = plan.without_data()
        slow = tuple(module for module in SLOW_IMPORTS if module in sys.modules)
        make_program = MakeProgram(remote, options.law, options.level, slow)
        self.session = Session(client, self.spec, MakeServer(remote, options.level), make_program)
        self.session.news = self.evaluations.losses.take
        self._live: Status | None = None

    def run(self, progress: Progress, stop: threading.Event) -> Run:
        """Run to the end; raise what ended it early, with trace and tables as they were by then."""
        with self.evaluations:
            try:
                self.session.open()
                self._submit()
                error = self.session.watch(
                    lambda clocks: self._report(clocks, progress, stop),
                    DRAIN_SECONDS,
                    self._drain,
                    self._start,
                )
                self.session.halt()
                homes = self.session.collect()
                nodes = dict(self._ended)
                for process in homes.values():
                    nodes |= {name: home for name, home in process["nodes"].items() if name not in nodes}
                error = self._raised or error or self._incomplete(nodes)
                pieces = self._pieces(nodes)
                if self.options.keep and (error is None or isinstance(error, Stopped)):
                    failure = self._keep(pieces)
                    if error is not None and failure is not None:
                        error.add_note(str(failure))
                    error = error or failure
            except KeyboardInterrupt:  # the second: the first one stops the run, see `psbook.stopping`
                self.session.abandon()
                raise
            finally:
                self.session.close()
            if error is not None:
                error.trace = self._trace(homes, nodes, error)
                error.tables = self._tables(pieces)
                raise error
            self._evaluate(nodes, pieces)
        progress(sum(nodes[node]["clock"] for node in self._clocked if node in nodes), self.evaluations.loss)
        results = {
            name: nodes[name]["result"] if name in nodes else None for name in self.plan.layout.programs
        }
        return Run(self._tables(pieces) or {}, results, self._trace(homes, nodes))

    def live(self) -> Status | None:
        """Return how the run is, or was when that was last known; from any thread but the run's."""
        try:
            status = self.session.live()
        except Exception:  # noqa: BLE001  # the run ends meanwhile, and with it the client; who watches can wait
            status = None
        if status is not None:
            points = self.evaluations.losses.points
            self._live = replace(status, losses=points or status.losses)
            if status.over:  # for its controller; what it has learned is still to come home
                self._live = replace(self._live, state="running", error="")
        return self._live

    @property
    def _clocked(self) -> list[str]:
        return [self.plan.layout.programs[rank] for rank in sorted(self.plan.layout.clocked)]

    def _submit(self) -> None:
        """Hand the data out, each shard to the process of its program, and start the programs."""
        for node in self.plan.layout.programs:
            self._start(node, 0)

    def _start(self, node: str, incarnation: int) -> None:
        """Start a program, at first or again, with its data where it is."""
        data = self.plan.shards[self.plan.layout.programs.index(node)]
        held = [] if data is None else [self.session.hand_over(node, Held(data))]
        self.session.submit(node, incarnation, run_program, *held)

    def _report(self, clocks: Mapping[str, int], progress: Progress, stop: threading.Event) -> None:
        if stop.is_set():
            self.session.stop(STOPPED)
        try:
            self.evaluations.check()
        except PsbookError as error:
            self._raised = error
            self.session.stop(str(error))
        progress(sum(clocks.get(node, 0) for node in self._clocked), self.evaluations.loss)

    def _drain(self) -> None:
        if self.evaluations.wanted or self.plan.layout.safety.active or self.spec.streams:
            for home in self.session.drain().values():
                self.evaluations.take(home["snapshots"])
                self.recorder.extend(home["rows"])
                self._ended |= home["ended"]

    def _incomplete(self, nodes: Mapping[str, Any]) -> PsbookError | None:
        """Return the error of a run that ended well, but not all of which came home."""
        layout = self.plan.layout
        lost = [node for node in (*layout.programs, *layout.servers) if node not in nodes]
        if layout.safety.active:
            lost = [segment.tail for segment in self._last_map.segments if self._reader(segment) not in nodes]
        if lost:
            return NodeFailure(f"{', '.join(lost)} ended well, but sent nothing home; its process was lost.")
        for name in layout.programs:
            result = nodes[name]["result"] if name in nodes else None
            if isinstance(result, Unsendable):
                return ProgramError(
                    f"{name} returned {result.what}, which cannot be sent ({result.why}); required: a result "
                    "that can be pickled, or none."
                )
        return None

    def _pieces(self, nodes: Mapping[str, Any]) -> list[Piece]:
        """Return the values of the shards that came home, in their order, of whoever answers for each."""
        homes = ((segment, nodes.get(self._reader(segment), {})) for segment in self._last_map.segments)
        return [
            piece for segment, home in homes for piece in home.get("pieces", ())
            if piece.start == segment.start
        ]  # fmt: skip

    def _tables(self, pieces: list[Piece]) -> dict[str, Any] | None:
        """Return the tables; ``None`` if the values of a shard were lost."""
        if len(pieces) < len(self._last_map.segments):
            return None
        return whole_tables(self.plan.job.tables, pieces)

    def _keep(self, pieces: list[Piece]) -> PsbookError | None:
        """Serve the tables from where they are, or return what came between."""
        if len(pieces) < len(self._last_map.segments):
            return NodeFailure("the run has ended, but its tables could not be kept: a shard is lost.")
        job, segments = self.plan.job, self._last_map.segments
        kept = Kept(
            self.options.keep,
            self.spec.keep,
            {name: bare(table) for name, table in job.tables.items()},
            {name: (self.plan.seed, number) for number, name in enumerate(job.tables)},
            {name: [each.keys(table.size) for each in segments] for name, table in job.tables.items()},
            1 + self.plan.layout.safety.replicas,
        )
        readers = [self._reader(segment) for segment in segments]
        places = list(zip(readers, range(len(segments)), [each.start for each in segments], strict=True))
        sparse = [name for name, table in job.tables.items() if table.is_sparse]
        try:
            publish(self.session.client, kept, self.session.keep(sparse, places))
        except Exception as cause:  # noqa: BLE001  # a run that has ended well hands back what it has learned
            error = NodeFailure(f"the run has ended, but its tables could not be kept: {cause}")
            error.__cause__ = cause
            return error
        return None

    def _evaluate(self, nodes: Mapping[str, Any], pieces: list[Piece]) -> None:
        """Evaluate what is left."""
        layout = self.plan.layout
        servers = [home for name, home in nodes.items() if layout.rank(name) is None]
        booked = [home["booked"] for name, home in nodes.items() if layout.rank(name) is not None]
        self.evaluations.finish(servers, pieces, max(booked))

    @property
    def _last_map(self) -> Routes:
        return self.session.last_map or self.plan.layout.routes

    def _reader(self, segment: Segment) -> str:
        return segment.tail if self.plan.layout.safety.scheme == "chain" else segment.head

    def _trace(
        self, homes: Mapping[str, Any], nodes: Mapping[str, Any], error: PsbookError | None = None
    ) -> Trace:
        """Merge what the processes recorded; their clocks have been put right where the rows were made."""
        for home in nodes.values():
            self.recorder.extend(home["rows"])
        self.recorder.extend(self.session.rows)
        programs = {name: home for name, home in nodes.items() if name in self.plan.layout.programs}
        end = max((home["booked"] for home in programs.values()), default=0.0)
        if error is not None:
            end = max(end, self.session.seconds)
            self.recorder.add(end, self.session.failed_node, "failure", detail=str(error))
        for name, home in programs.items():
            if home["booked"] < end:
                self.recorder.add(
                    home["booked"], name, "idle", duration=end - home["booked"], clock=home["clock"],
                    detail="finished early" if home["finished"] else "stopped",
                )  # fmt: skip
        return self.recorder.trace(self._meta(homes, end))

    def _meta(self, homes: Mapping[str, Any], end: float) -> dict[str, Any]:
        law = self.options.law
        return self.plan.meta(
            backend="dask",
            time_unit="s",
            end=end,
            compute_label="as it takes" if law is None else law.label,
            network_label="real",
            placement=str(self.options.placement),
            processes={address: self.spec.nodes_of(address) for address in self.spec.processes},
            clock_offsets={address: home["clock"] for address, home in homes.items()},
            plane={address: home["plane"] for address, home in homes.items()},
            **shares.meta(homes),
            silent=sorted(self.session.gone - homes.keys()),
            hosts={address: home["host"]["name"] for address, home in homes.items()},
            cores={home["host"]["name"]: home["host"]["cores"] for home in homes.values()},
            busy_seconds={
                name: node["busy"]
                for home in homes.values()
                for name, node in home["nodes"].items()
                if "busy" in node
            },
            engine="dask",
            trace_level=self.options.level,
            versions=versions(),
        )


def owner() -> str:
    """Return who runs this process, and on which machine."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a container may have no name for its user
        return socket.gethostname()


class Held:
    """Keeps Dask from looking into a shard of data while it hands it out."""

    __slots__ = ("data",)

    def __init__(self, data: Any) -> None:
        self.data = data


def _spec(
    plan: Plan,
    options: Options,
    scheduler: str,
    addresses: list[str],
    likes: Mapping[str, Mapping[str, int]],
) -> Spec:
    layout = plan.layout
    routes = place(layout.programs, layout.servers, addresses, options.placement)
    if isinstance(options.placement, str):
        routes |= nearer({program: routes[program] for program in layout.programs}, likes)
    used = [address for address in addresses if address in routes.values()]
    hosts = {f"process-{number}": address for number, address in enumerate(used)}
    run = uuid.uuid4().hex[:8]
    return Spec(
        run,
        VERSION,
        layout,
        {**routes, **hosts, CONTROLLER: scheduler},
        options.lease,
        options.level,
        options.patience,
        plan.checkpoints,
        Subject.of(plan.job.name, plan.model, "dask", "s", options.name),
        options.path is not None,
        options.name,
        owner(),
        f"psbook-kept-{run}" if options.keep else "",
    )
