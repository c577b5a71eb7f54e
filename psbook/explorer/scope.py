"""The small scope that is explored: who takes part, what each does, and what may go wrong how often."""

from __future__ import annotations

import math
from dataclasses import dataclass

from psbook.core.consistency import ASP, DSSP, ESSP, PSP, SSP, VAP, BoundedDelay, Consistency, Rounds
from psbook.core.layout import NOTHING_FAILS, Layout, Safety, TableSpec
from psbook.core.routes import cut
from psbook.errors import InvalidJob

TABLE = "w"
LEASE = 2
"""Seconds of a server's lease when time passes; a silent node is given up after 2.4, that is 3."""

_FAULTS = (("crash", "crashes"), ("restart", "restarts"), ("loss", "losses"),
           ("duplicate", "duplicates"), ("early timer", "timers"), ("second", "seconds"))  # fmt: skip


@dataclass(frozen=True)
class Scope:
    """A run so small that all its behaviours can be gone through.

    Each worker reads the whole table, pushes an update of it and clocks, `iterations` times; then finishes.

    Parameters
    ----------
    model : Consistency
        Consistency model.
    workers : int
        Number of programs.
    iterations : int or tuple of int
        Of each worker, or of all.
    reads : bool
        Without, the programs only push and clock.
    shards : int
        Ranges of the key space; shard k begins on server k.
    servers : int
        Servers; those beyond the copies are spare.
    keys : int
        Keys of each shard; more than one lets a shard be cut.
    replicas, scheme, aggregate, delivery, lost_workers, atomic
        As in `Safety`.
    cache : bool
        Workers keep what they have read (A6).
    crashes : int
        So many nodes crash, each at any step.
    crash_of : tuple of str
        Nodes that may crash; none named: all servers and workers.
    restarts : int
        So many crashed servers start again, empty.
    losses, duplicates : int
        So many messages are lost, and come twice.
    timers : int
        So many timers (beats, resends) fire while messages are under way. When nothing is under way they fire
        anyway.
    seconds : int
        So many seconds pass, each at any step; in each the controller hears all servers but at most one.
    ordered : bool
        Messages from one node to another arrive in the order in which they were sent.

    Raises
    ------
    InvalidJob
        If the numbers do not fit together.

    Examples
    --------
    >>> Scope(SSP(1), workers=1, crashes=1, crash_of=("server-0",), servers=2, replicas=1).sentence
    'SSP(1), 1 worker, 2 iterations, 1 shard on 2 servers, 1 replica (chain); at most 1 crash of server-0'
    """

    model: Consistency
    workers: int = 2
    iterations: int | tuple[int, ...] = 2
    reads: bool = True
    shards: int = 1
    servers: int = 1
    keys: int = 1
    replicas: int = 0
    scheme: str = "chain"
    aggregate: bool = False
    delivery: str = "exactly-once"
    lost_workers: str = "restart"
    atomic: bool = False
    cache: bool = False
    crashes: int = 0
    crash_of: tuple[str, ...] = ()
    restarts: int = 0
    losses: int = 0
    duplicates: int = 0
    timers: int = 0
    seconds: int = 0
    ordered: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.model, Rounds | PSP | ESSP | DSSP | VAP):
            raise InvalidJob(
                f"all behaviours under {self.model.label}; required: Serial, BSP, SSP, ASP or bounded delay, "
                "whose promises the explorer can judge."
            )
        several = isinstance(self.iterations, tuple)
        if self.workers < 1 or (several and len(self.iterations) != self.workers):  # type: ignore[arg-type]
            raise InvalidJob(f"{self.workers} workers with iterations {self.iterations}; required: one each.")
        if not 0 <= self.replicas < self.servers or not self.shards >= 1:
            raise InvalidJob(
                f"{self.shards} shards with {self.replicas} replicas on {self.servers} servers; "
                "required: shards >= 1, 0 <= replicas < servers."
            )

    @property
    def faulty(self) -> bool:
        """Whether anything may go wrong."""
        return any(getattr(self, name) for _, name in _FAULTS)

    @property
    def replicated(self) -> bool:
        """Whether the order of a shard's log matters to anybody else."""
        return bool(self.replicas or self.restarts)

    @property
    def bound(self) -> float:
        """Staleness s: a read at clock c shows all updates of the clocks <= c − s − 1 (A1)."""
        if isinstance(self.model, SSP):
            return self.model.s
        if isinstance(self.model, BoundedDelay):
            return self.model.tau
        return math.inf if isinstance(self.model, ASP) else 0

    def clocks(self, rank: int) -> int:
        """Return the iterations of a worker."""
        return self.iterations if isinstance(self.iterations, int) else self.iterations[rank]

    def script(self, rank: int) -> tuple[str, ...]:
        """Return what a worker's program asks for, one after the other."""
        iteration = ("pull", "push", "clock") if self.reads else ("push", "clock")
        return iteration * self.clocks(rank) + ("finish",)

    @property
    def nodes(self) -> tuple[str, ...]:
        """Nodes that may crash."""
        return self.crash_of or (*self.layout().programs, *self.layout().servers)

    def layout(self) -> Layout:
        """Return who takes part, as the core wants it."""
        programs = tuple(f"worker-{rank}" for rank in range(self.workers))
        safety = NOTHING_FAILS
        if self.faulty or self.replicas or self.delivery != "exactly-once":
            safety = Safety(
                replicas=self.replicas, scheme=self.scheme, aggregate=self.aggregate, delivery=self.delivery,
                lost_workers=self.lost_workers, atomic=self.atomic, resend=1.0,
                lease=LEASE if self.seconds else math.inf,
            )  # fmt: skip
        chains = [
            [f"server-{(shard + copy) % self.servers}" for copy in range(self.replicas + 1)]
            for shard in range(self.shards)
        ]
        table = TableSpec(TABLE, self.shards * self.keys, cache=self.cache)
        roles = ("worker",) * self.workers
        ranks = frozenset(range(self.workers))
        return Layout(programs, roles, ranks, self.servers, (table,), safety, cut(chains))

    @property
    def sentence(self) -> str:
        """The scope in words."""
        iterations = (
            "/".join(map(str, self.iterations)) if isinstance(self.iterations, tuple) else self.iterations
        )
        parts = [
            self.model.label,
            _many(self.workers, "worker"),
            f"{iterations} iteration{'' if iterations == 1 else 's'}"
            + ("" if self.reads else " without reads"),
            f"{_many(self.shards, 'shard')} on {_many(self.servers, 'server')}",
        ]
        if self.replicas:
            parts.append(
                f"{_many(self.replicas, 'replica')} ({self.scheme}{', aggregated' * self.aggregate})"
            )
        if self.delivery != "exactly-once":
            parts.append(self.delivery)
        parts += ["cached reads"] * self.cache + ["atomic clocks"] * self.atomic
        parts += [] if self.ordered else ["messages overtake each other"]
        wrong = [_many(getattr(self, name), word) for word, name in _FAULTS if getattr(self, name)]
        if self.crashes:
            wrong[0] += f" of {' or '.join(self.crash_of) or 'any node'}"
            workers = any(node.startswith("worker") for node in self.nodes)
            wrong[0] += f" (a lost worker is to {self.lost_workers})" if workers else ""
        return ", ".join(parts) + (f"; at most {', '.join(wrong)}" if wrong else "")


def _many(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 'es' if word.endswith(('sh', 'ss')) else 's'}"
