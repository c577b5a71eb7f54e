"""What the properties see of a node's state: computed once for each state of a node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from psbook.core.controls import CONTROLLER
from psbook.core.replica import Replica
from psbook.core.routes import Routes
from psbook.explorer.nodes import ControllerNode, Dead, Name, Program, ServerNode, indices

Held: TypeAlias = frozenset[tuple[int, Name]]
"""Updates, each with a key that it is at."""


@dataclass(frozen=True)
class ProgramView:
    """A worker."""

    node: str
    rank: int
    alive: bool = False
    started: bool = False
    over: bool = False
    clock: int = 0
    epoch: int = 0
    acknowledged: Held = frozenset()
    owed: frozenset[int] = frozenset()
    waits_for: str = ""


@dataclass(frozen=True)
class ReplicaView:
    """A copy of a shard."""

    shard: int
    start: int
    stop: int
    epoch: int
    position: int
    agrees: bool
    writes: bool
    reads: bool
    min: float
    reached: tuple[tuple[int, int], ...]
    active: frozenset[int]
    values: tuple[tuple[int, tuple[Name, ...]], ...]
    waiting: tuple[tuple[int, Name], ...]

    @property
    def held(self) -> Held:
        """Updates that the copy has, applied or kept for the end of the round."""
        return frozenset((key, name) for key, names in self.values for name in names) | frozenset(
            self.waiting
        )


@dataclass(frozen=True)
class ServerView:
    """A server."""

    node: str
    alive: bool = False
    incarnation: int = 0
    epoch: int = 0
    lease_until: float = 0.0
    replicas: tuple[ReplicaView, ...] = ()
    why_parked: tuple[str, ...] = ()


@dataclass(frozen=True)
class ControllerView:
    """The controller."""

    node: str
    routes: Routes
    lost: frozenset[int]
    counted: frozenset[str]
    ended: bool
    failure: str


View: TypeAlias = ProgramView | ServerView | ControllerView
Node: TypeAlias = Program | ServerNode | ControllerNode | Dead


def view(node: Node) -> View:
    """Return what the properties see of a node."""
    if isinstance(node, Program):
        client = node.client
        return ProgramView(
            node.node, client.rank, True, client.started, node.over, client.clock, client.routes.epoch,
            node.acknowledged, node.owed, node.waits_for(),
        )  # fmt: skip
    if isinstance(node, ServerNode):
        server = node.server
        replicas = tuple(_replica(node, replica) for replica in server.replicas.values())
        why = tuple(
            replica.shard.why(each.message)
            for replica in server.replicas.values()
            for each in replica.shard.parked
        )
        return ServerView(
            node.node, True, server.incarnation, server.routes.epoch, server.lease_until, replicas, why
        )
    if isinstance(node, ControllerNode):
        controller = node.controller
        everybody = [*controller.layout.programs, *controller.layout.servers]
        counted = frozenset(each for each in everybody if controller._counts(each))
        lost = frozenset(segment.shard for segment in controller.membership.lost)
        return ControllerView(
            CONTROLLER, controller.membership.routes, lost, counted, node.ended, node.failure
        )
    role, _, number = node.node.partition("-")
    return ProgramView(node.node, int(number)) if role == "worker" else ServerView(node.node)


def _replica(node: ServerNode, replica: Replica) -> ReplicaView:
    shard = replica.shard
    kept = [push for pushes in (*shard.rounds.values(), *shard.aside.values()) for push in pushes]
    waiting = tuple(
        (key, name) for push in kept for key, name in zip(indices(push.keys), push.value, strict=True)
    )
    return ReplicaView(
        replica.number,
        shard.start,
        shard.stop,
        replica.segment.epoch,
        replica.position + bool(replica._batch),
        replica._behind_head,
        replica.is_head and not replica.frozen,
        replica.answers and "tail" not in replica.frozen,
        shard.clocks.min,
        tuple(sorted(shard.clocks.reached.items())),
        frozenset(rank for rank, _ in shard.clocks.items()),
        tuple(sorted(node.values[replica.number].items())),
        waiting,
    )
