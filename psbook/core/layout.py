"""Who takes part in a run, what the protocol must know of the tables, and how safe the run is to be."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from psbook.core.routes import Routes, in_ranges, on_ring
from psbook.errors import InvalidJob


@dataclass(frozen=True, slots=True)
class TableSpec:
    """What the protocol must know of a table.

    Attributes
    ----------
    size : int
        Number of keys.
    mean : bool
        The workers' updates are averaged, not summed (H1).
    additive : bool
        A worker may re-apply its own updates to a cached value (A2).
    cache : bool
        A worker keeps what it has read and uses it as long as the model allows (A6).
    """

    name: str
    size: int
    mean: bool = False
    additive: bool = True
    cache: bool = False


DELIVERY = ("exactly-once", "at-least-once", "at-most-once")
SCHEMES = ("chain", "primary-backup")
LOST_WORKERS = ("restart", "leave")


@dataclass(frozen=True, slots=True)
class Safety:
    """What a run does about lost messages and lost nodes.

    Parameters
    ----------
    replicas : int
        Copies of each shard besides the primary.
    scheme : str
        "chain": acknowledged, and read, at the tail (van Renesse and Schneider 2004); "primary-backup": the
        primary answers when all others have what the answer tells (semantics.md E1).
    aggregate : bool
        Under BSP, replicate a round's sum instead of its pushes (Li et al. 2014, §4.4; E3).
    points : int
        Virtual nodes of each server on a consistent-hash ring (Li et al. 2014, §4.3); 0: one range a server.
    delivery : str
        Of pushes: "exactly-once", "at-least-once" or "at-most-once" (D5).
    lost_workers : str
        "restart": a lost worker stays among the workers until its next start; "leave": it leaves ``min``, and
        the others get the data that it has not worked through (E8).
    atomic : bool
        Keep a clock's pushes aside until its clock message has come, so that nothing is done twice when a
        worker is lost within it (E2b).
    lease : float
        Seconds for which a server may serve after it has told the controller that it lives. A node that hangs
        is given up after 1.2 leases, at most a quarter of a lease later.
    checkpoint_every : int
        Clocks between two checkpoints; 0: none. `psbook.Checkpoints` says where they go.
    resend : float
        Seconds without a reply after which a request is sent again, at most twice as long; the pause doubles
        each time, up to 64 times as long.

    Raises
    ------
    InvalidJob
        If a number or a name makes no sense.
    """

    replicas: int = 0
    scheme: str = "chain"
    aggregate: bool = False
    points: int = 0
    delivery: str = "exactly-once"
    lost_workers: str = "restart"
    atomic: bool = False
    checkpoint_every: int = 0
    lease: float = 2.0
    resend: float = 0.5

    def __post_init__(self) -> None:
        for name, value in (
            ("replicas", self.replicas),
            ("points", self.points),
            ("checkpoint_every", self.checkpoint_every),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise InvalidJob(f"{name}={value!r}; required: a whole number >= 0.")
        for name, text, known in (
            ("scheme", self.scheme, SCHEMES),
            ("delivery", self.delivery, DELIVERY),
            ("lost_workers", self.lost_workers, LOST_WORKERS),
        ):
            if text not in known:
                raise InvalidJob(f"{name}={text!r}; required: one of {', '.join(map(repr, known))}.")
        for name, seconds in (("lease", self.lease), ("resend", self.resend)):
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
                raise InvalidJob(f"{name}={seconds!r}; required: seconds > 0.")

    @property
    def active(self) -> bool:
        """Whether nodes may be lost, and messages."""
        return math.isfinite(self.resend)

    @property
    def label(self) -> str:
        """The measures in a few words.

        >>> Safety(replicas=2, scheme="primary-backup").label
        '2 replicas (primary-backup), exactly-once'
        """
        copies = f"{self.replicas} replicas ({self.scheme})" if self.replicas else "no replicas"
        return f"{copies}, {self.delivery}"


NOTHING_FAILS = Safety(lease=math.inf, resend=math.inf)
"""No beats, no acknowledgements that nobody waits for, nothing sent again: it costs nothing."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Who takes part: node of each rank, role of each rank, ranks whose clocks count, number of servers.

    `routes` are those of the start; by default each server has one range of keys.
    """

    programs: tuple[str, ...]
    roles: tuple[str, ...]
    clocked: frozenset[int]
    count: int
    tables: tuple[TableSpec, ...] = field(default=())
    safety: Safety = field(default=NOTHING_FAILS)
    routes: Routes = None  # type: ignore[assignment]  # set below

    def __post_init__(self) -> None:
        if self.routes is None:
            object.__setattr__(self, "routes", self._first_routes())

    def _first_routes(self) -> Routes:
        safety = self.safety
        if safety.points:
            return on_ring(self.servers, safety.points, safety.replicas)
        return in_ranges(self.servers, safety.replicas)

    @property
    def servers(self) -> list[str]:
        """All server nodes of the start."""
        return [f"server-{number}" for number in range(self.count)]

    @property
    def shards(self) -> list[int]:
        """Shards of the start."""
        return [segment.shard for segment in self.routes.segments]

    def node(self, rank: int) -> str:
        """Node of a program; one that joined later has the next number of the first role."""
        return self.programs[rank] if rank < len(self.programs) else f"{self.roles[0]}-{rank}"

    def rank(self, node: str) -> int | None:
        """Rank of a program, also of one that joined; ``None`` if the node is none."""
        if node in self.programs:
            return self.programs.index(node)
        role, _, number = node.rpartition("-")
        joined = role == self.roles[0] and number.isdigit() and int(number) >= len(self.programs)
        return int(number) if joined else None

    def role(self, rank: int) -> str:
        """Role of a program."""
        return self.roles[rank] if rank < len(self.roles) else self.roles[0]

    def counts(self, rank: int) -> bool:
        """Whether the program's clock counts in ``min``."""
        return rank in self.clocked or rank >= len(self.programs)
