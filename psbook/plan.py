"""A job laid out on a cluster: who runs what on which data, and which shard holds which keys.

The same plan makes the hosts on both backends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import psbook.data
from psbook.checkpoints import Checkpoints
from psbook.core.client import Client
from psbook.core.consistency import Consistency, Rounds
from psbook.core.controls import Install
from psbook.core.layout import NOTHING_FAILS, Layout, Safety, TableSpec
from psbook.core.routes import Segment
from psbook.core.server import Server
from psbook.core.shard import Shard
from psbook.data import Portion
from psbook.errors import CheckpointError, InvalidJob
from psbook.hosts.driver import Driver
from psbook.hosts.program import ProgramHost
from psbook.hosts.server import ServerHost, SnapshotTaker
from psbook.job import Job, Role
from psbook.recovery import Saved, describe, save_part
from psbook.storage import Storage
from psbook.storage.shard import Block
from psbook.trace import Recorder
from psbook.worker import Worker

DEFAULT_WORKERS = 4


@dataclass(frozen=True)
class Plan:
    """A job, a model and a seed on so many workers and servers.

    Attributes
    ----------
    roles : dict
        Roles with their counts.
    shards : list
        Data of each program, by rank; ``None`` where it has none.
    every : int
        Worker iterations between two evaluations; 0: none.
    checkpoints : Checkpoints, optional
        Where and how often the run is saved.
    """

    job: Job
    model: Consistency
    layout: Layout
    roles: dict[str, Role]
    shards: list[Any]
    seed: int
    every: int = 0
    checkpoints: Checkpoints | None = None

    @classmethod
    def of(
        cls,
        job: Job,
        model: Consistency,
        workers: int | None,
        servers: int,
        seed: int,
        safety: Safety | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> Plan:
        """Lay out a job; check all that can be checked before anything runs.

        Raises
        ------
        InvalidJob
            If counts, tables and data do not fit together.
        """
        check_count("workers", workers if workers is not None else 1)
        check_count("servers", servers)
        roles = job.all_roles(DEFAULT_WORKERS if workers is None else workers)
        first, *_ = roles.values()
        if workers is not None and job.roles and first.count != workers:
            raise InvalidJob(
                f"the cluster has {workers} workers, the job's first role {first.count}; required: the same "
                "number, or leave workers= out."
            )
        for name, table in job.tables.items():
            if servers > table.size:
                raise InvalidJob(
                    f"{servers} servers, but table {name!r} has {table.size} keys; required: servers <= keys."
                )
        safety = NOTHING_FAILS if safety is None else safety
        if safety.aggregate and not model.buffered:
            raise InvalidJob(
                f"aggregate=True under {model.label}; required: a model of rounds, BSP, whose sums are "
                "replicated in the place of pushes. Leave it out."
            )
        if model.collects:
            check_rounds(model, safety, saves=checkpoints is not None or job.saved is not None)
        if model.normed:
            check_values(model, servers, safety)
        if checkpoints is not None:
            checkpoints.store()
            safety = replace(safety, checkpoint_every=checkpoints.every)
        check_reads(job, model, safety)
        layout = lay_out(job, roles, servers, safety)
        model.check(len(layout.clocked))
        if job.saved is not None:
            job.saved.check(job, layout.programs)
            if getattr(job.data, "queue", False):
                raise InvalidJob(
                    "a checkpoint, and data from a queue; required: data dealt out, as ps.read(…, "
                    "queue=False), since no checkpoint tells what the queue has handed out."
                )
        data = psbook.data.split(job.data, first.count, seed)
        shards = data + [None] * (len(layout.programs) - first.count)
        every = 0 if job.evaluate is None else job.every or max(1, len(layout.clocked))
        return cls(job, model, layout, roles, shards, seed, every, checkpoints)

    def without_data(self) -> Plan:
        """Return the plan without what only the client needs: the data and the objective."""
        return replace(self, job=self.job.without_data(), shards=[None] * len(self.shards))

    @property
    def workers(self) -> int:
        """Number of programs whose clocks count."""
        return len(self.layout.clocked)

    def program_host(
        self, rank: int, driver: Driver, recorder: Recorder, incarnation: int = 0
    ) -> ProgramHost:
        """Make the host of a program, at first or when it is started again."""
        job = self.job
        data = self.shards[rank] if rank < len(self.shards) else joining(self.shards[0])
        if isinstance(data, Portion):
            data = data.open()

        def worker(host: ProgramHost) -> Worker:
            return Worker(host, job.tables, data, job.batching, self.seed, job.nonfinite)

        client = Client(rank, self.layout, self.model, incarnation=incarnation)
        program = self.roles[self.layout.role(rank)].program
        saved = self.job.saved
        if saved is not None and self.layout.counts(rank):
            client.clock = saved.clock
            program = ended if rank in saved.finished else program
        prepare = getattr(program, "prepare", None)
        if prepare is not None and data is not None:
            prepare = partial(prepare, job.tables, data, job.batching)
        host = ProgramHost(client, program, worker, driver, recorder, prepare)
        host.saved = None if saved is None else saved.states.get(rank)
        return host

    def server_host(
        self,
        node: str,
        driver: Driver,
        recorder: Recorder,
        take_snapshot: SnapshotTaker,
        execute: Callable[..., object] | None = None,
        incarnation: int = 0,
    ) -> ServerHost:
        """Make the host of a server, with the initial values of its shards."""
        server = Server(node, self.layout, self.model, self.every, incarnation)
        saved = self.job.saved
        if saved is not None:
            for replica in server.replicas.values():
                replica.shard.restore(saved.state(replica.segment), saved.clock, fresh=True)
        save = None if self.checkpoints is None else self._save
        host = ServerHost(server, self.storages, driver, recorder, take_snapshot, execute, save)
        host.objective_reads = self.job.reads
        return host

    def storages(self, segment: Segment) -> dict[str, Storage]:
        """Make the values of a shard, as they are at the start."""
        storages = {
            name: Storage(table, segment.keys(table.size), (self.seed, number))
            for number, (name, table) in enumerate(self.job.tables.items())
        }
        if self.job.saved is not None:
            self.job.saved.fill(segment, storages)
        return storages

    def restore(self, segment: Segment) -> Install:
        """Return a shard as it was in the last checkpoint, for a server that is to hold it.

        Raises
        ------
        CheckpointError
            If there is no checkpoint, or it is not what was written.
        """
        if self.checkpoints is None:
            raise CheckpointError("the run takes none; required: checkpoints=ps.Checkpoints(url, every=…).")
        saved = Saved(self.checkpoints.store().read())
        shard = Shard(segment, self.layout, self.model, self.every)
        shard.restore(saved.state(segment), saved.clock, fresh=False)
        storages = self.storages(segment)
        saved.fill(segment, storages)
        blocks = {name: storage.export() for name, storage in storages.items()}
        return Install(segment, 0, shard, [blocks, {}])

    def _save(
        self, clock: int, segment: Segment, blocks: dict[str, Block], state: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        """Write a shard's part of a checkpoint."""
        store = self.checkpoints.store()  # type: ignore[union-attr]  # asked before
        record = save_part(store, clock, segment, blocks, state)
        return record, {"tables": describe(self.job), "programs": list(self.layout.programs)}

    def meta(self, **backend: Any) -> dict[str, Any]:
        """Return what a trace should know about the run."""
        layout, job = self.layout, self.job
        return {
            "job": job.name,
            "model": self.model.family,
            "model_label": self.model.label,
            "model_repr": repr(self.model),
            "programs": list(layout.programs),
            "workers": [layout.programs[rank] for rank in sorted(layout.clocked)],
            "servers": layout.servers,
            "seed": self.seed,
            "buffered": self.model.buffered,
            "collects": self.model.collects,
            "delivery": layout.safety.delivery,
            "replicas": layout.safety.replicas,
            "safety": {**asdict(layout.safety), "active": layout.safety.active},
            "resumed": job.saved is not None,
            "aggregate": job.aggregate,
            "batch_size": job.batching.size,
            "iteration_unit": job.iteration_unit,
            "every": self.every,
            "tables": {name: repr(table) for name, table in job.tables.items()},
            **backend,
        }


def joining(shard: Any) -> Any:
    """Return the data of a worker that joins: of a queue, of which each has all, the same; else none."""
    return shard if isinstance(shard, Portion) and shard.queue else None


async def ended(worker: Worker) -> None:
    """Do nothing: the program had ended when the checkpoint was taken."""


def lay_out(job: Job, roles: dict[str, Role], servers: int, safety: Safety) -> Layout:
    """Name the programs and say whose clocks count."""
    programs: list[str] = []
    of_role: list[str] = []
    clocked: set[int] = set()
    for position, (name, role) in enumerate(roles.items()):
        counts = position == 0 if role.clocked is None else role.clocked
        for index in range(role.count):
            if counts:
                clocked.add(len(programs))
            programs.append(f"{name}-{index}")
            of_role.append(name)
    tables = tuple(
        TableSpec(
            name, table.size, table.aggregation(job.aggregate) == "mean", table.update.additive, table.cache
        )
        for name, table in job.tables.items()
    )
    return Layout(tuple(programs), tuple(of_role), frozenset(clocked), servers, tables, safety)


def check_reads(job: Job, model: Consistency, safety: Safety) -> None:
    """Raise `InvalidJob` if an update function asks for what was read, and the run cannot tell it.

    What a worker has read lies with the server that answered it: it is neither replicated nor saved. And one
    update of gradients that were computed from different versions has no one read.
    """
    asking = [name for name, table in job.tables.items() if "read" in table.update.needs]
    if asking and isinstance(model, Rounds) and not model.drops:
        raise InvalidJob(
            f"table {asking[0]!r} has update={job.tables[asking[0]].update!r}, which asks for what was read, "
            f"and {model.label} makes one update of old gradients and new; required: a model that applies "
            "each push by itself, such as ps.ASP(), or drops old ones, or another update function."
        )
    if asking and replace(safety, points=0, atomic=False) != NOTHING_FAILS:
        raise InvalidJob(
            f"table {asking[0]!r} has update={job.tables[asking[0]].update!r}, which asks for what each "
            "worker has read, and the run has faults, checkpoints or a Safety(…); required: none of them, as "
            "what was read is not replicated or saved. Leave them out, or take an update function without "
            "memory of reads, such as ps.StalenessAware(rate)."
        )


def check_rounds(model: Consistency, safety: Safety, saves: bool) -> None:
    """Raise `InvalidJob` if a run is to be safe in a way that rounds of gradients have no meaning for yet."""
    if saves:
        raise InvalidJob(
            f"checkpoints under {model.label}; required: a model whose cuts hold no open round. Leave "
            "checkpoints= and resume out; replicas keep the open round."
        )
    if safety.delivery != "exactly-once":
        raise InvalidJob(
            f"delivery={safety.delivery!r} under {model.label}; required: 'exactly-once', so that a clock's "
            "pushes come before its end."
        )


def check_values(model: Consistency, servers: int, safety: Safety) -> None:
    """Raise `InvalidJob` if what everybody has read is not known in one place, for good."""
    if servers > 1:
        raise InvalidJob(
            f"{model.label} on {servers} servers; required: servers=1. Two workers could wait for each "
            "other, each on one shard for what the other is to read there."
        )
    if safety.active:
        raise InvalidJob(
            f"{model.label} where nodes may be lost; required: safety=None, as only the replica that answers "
            "knows what everybody has read."
        )


def check_count(name: str, value: object) -> None:
    """Raise `InvalidJob` unless `value` is a whole number >= 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidJob(f"{name}={value!r}; required: a whole number >= 1.")


def check_seed(value: object) -> None:
    """Raise `InvalidJob` unless `value` is a whole number >= 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidJob(f"seed={value!r}; required: a whole number >= 0.")
