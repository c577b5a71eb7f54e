"""What hosts tell a live view: read off their state, between two of its changes, on both backends.

Nothing here is a row of the trace or a message of the protocol, and nothing of it changes the state.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from psbook.core.consistency import Consistency
from psbook.core.shard import Shard

if TYPE_CHECKING:
    from psbook.core.messages import Push
    from psbook.hosts.program import ProgramHost
    from psbook.hosts.server import ServerHost

EXPLAINED = 12
"""Held requests of a server that say why they wait, which costs O(workers) each."""

NAMED = 256
"""Of the rest, so many are named."""

MEMORY = 50
"""Pushes that the moving mean of the staleness looks back on, about."""

WAITS = {"compute": "computing", "reply": "waiting"}
"""State of a program by the kind of operation that it waits for; all others are idle."""


class Counts:
    """Counters of one server, kept as it goes: bytes in and out, pushes applied, and their staleness.

    Examples
    --------
    >>> from psbook.core.messages import MessageId, Push
    >>> read, number = MessageId(0, 0, "w", 0, 1), MessageId(0, 0, "w", 0, 2)
    >>> counts = Counts()
    >>> counts.took([Push(number, "w", range(1), None, 0, read_version=5, read=read)], version=8)
    >>> counts.pushes, counts.staleness, counts.staleness_max
    (1, 2.0, 2)
    """

    __slots__ = ("bytes_in", "bytes_out", "pushes", "staleness", "staleness_max")

    def __init__(self) -> None:
        self.bytes_in = 0
        self.bytes_out = 0
        self.pushes = 0
        self.staleness: float | None = None
        self.staleness_max = 0

    def took(self, pushes: Iterable[Push], version: int) -> None:
        """Count the pushes of an update; one that was computed from no read has no staleness."""
        for push in pushes:
            self.pushes += 1
            if push.read is not None:
                stale = version - 1 - push.read_version
                mean = self.staleness
                self.staleness = float(stale) if mean is None else mean + (stale - mean) / MEMORY
                if stale > self.staleness_max:
                    self.staleness_max = stale


def of_program(host: ProgramHost, now: float) -> dict[str, Any]:
    """Return the fields of a `psbook.live.ProgramStatus`; from any thread, it only reads."""
    kind, label, since = host.waiting
    state = "ended" if host.finished else "computing"
    if kind and not host.finished:
        state = WAITS.get(kind, "idle")
    elif not host.steps:
        state = "starting"
    return {
        "clock": host.clock,
        "state": state,
        "waits_for": "" if state in ("ended", "computing") else label,
        "seconds": max(0.0, now - since) if kind else 0.0,
        "counts": host.client.layout.counts(host.client.rank),
    }


def of_server(host: ServerHost, now: float) -> dict[str, Any]:
    """Return the fields of a `psbook.live.ServerStatus`; on the thread that hands it its messages."""
    shards = [replica.shard for replica in host.server.replicas.values() if replica.answers]
    versions: dict[str, int] = {}
    for shard in shards:
        for table, version in shard.versions.items():
            versions[table] = max(version, versions.get(table, 0))
    parked, more = held(shards, now)
    counts = host.counts
    storages = [each for tables in list(host.shards.values()) for each in list(tables.values())]
    return {
        "versions": versions,
        "parked": parked,
        "more": more,
        "bytes_in": counts.bytes_in,
        "bytes_out": counts.bytes_out,
        "pushes": counts.pushes,
        "staleness": counts.staleness,
        "staleness_max": counts.staleness_max,
        "held_bytes": sum(storage.nbytes for storage in storages),
    }


def clocks_of(host: ServerHost) -> dict[str, int]:
    """Return the clocks of the workers as one shard of a server has counted them: all at one moment.

    What programs tell themselves, each process at its own time, may be further apart than they ever were.
    """
    for replica in host.server.replicas.values():
        if replica.answers:
            shard = replica.shard
            return {shard.layout.node(rank): clock for rank, clock in shard.clocks.reached.items()}
    return {}


def held(shards: Iterable[Shard], now: float) -> tuple[list[dict[str, Any]], int]:
    """Return the requests that shards hold, why and for how long, and how many more there are."""
    found = [(shard, waiting) for shard in shards for waiting in shard.parked]
    told: list[dict[str, Any]] = [
        {
            "worker": shard.layout.node(waiting.message.id.rank),
            "why": shard.why(waiting.message),
            "seconds": max(0.0, now - waiting.since),
        }
        for shard, waiting in found[:EXPLAINED]
    ]
    rest = [{"worker": shard.layout.node(each.message.id.rank)} for shard, each in found[EXPLAINED:]]
    told += rest[:NAMED]
    return told, len(found) - len(told)


def window_of(model: Consistency) -> float | None:
    """Return how many clocks a worker may be ahead of the slowest and still read; ``None``: no such bound.

    >>> from psbook.core.consistency import ASP, BSP, SSP
    >>> window_of(BSP()), window_of(SSP(3)), window_of(SSP(math.inf)), window_of(ASP())
    (0, 3, None, None)
    """
    bounds = [getattr(model, name, None) for name in ("s", "tau", "high")]
    bound = 0 if model.buffered else next((each for each in bounds if each is not None), None)
    return bound if bound is not None and math.isfinite(bound) else None
