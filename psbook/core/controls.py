"""What the controller and the nodes say to each other, and a shard's replicas among themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from psbook.core.consistency import Consistency
from psbook.core.routes import Routes, Segment

CONTROLLER = "controller"


@dataclass(slots=True, eq=False)
class Hello:
    """A node is ready."""

    node: str


@dataclass(slots=True, eq=False)
class Start:
    """All nodes are ready: clock 0 begins; `barriers` are behind a program that starts again."""

    barriers: int = 0


@dataclass(slots=True, eq=False)
class Arrive:
    """A program waits at barrier `number` of its role."""

    rank: int
    number: int


@dataclass(slots=True, eq=False)
class Release:
    """Everybody is at barrier `number`."""

    number: int


@dataclass(slots=True, eq=False)
class Ask:
    """A program asks a queue for its `number`-th piece of work, from 1; those before are done."""

    rank: int
    queue: str
    number: int


@dataclass(slots=True, eq=False)
class Grant:
    """The `number`-th piece of work of a program is `item`."""

    queue: str
    number: int
    item: int


@dataclass(slots=True, eq=False)
class Finished:
    """A program has ended, and the shards know."""

    rank: int


@dataclass(slots=True, eq=False)
class Failed:
    """A node was lost or raised."""

    node: str
    detail: str


@dataclass(slots=True, eq=False)
class Remove:
    """A worker was declared dead; it leaves ``min`` and is not heard any more."""

    shard: int
    rank: int
    incarnation: int = 0


@dataclass(slots=True, eq=False)
class Removed:
    """A removed worker is no longer in the ``min`` of a shard."""

    shard: int
    rank: int


@dataclass(slots=True, eq=False)
class ChangeModel:
    """A program asks for another parameter of the consistency model."""

    rank: int
    model: Consistency


@dataclass(slots=True, eq=False)
class SetModel:
    """The model of the run is `model` from now on."""

    shard: int
    model: Consistency
    number: int


@dataclass(slots=True, eq=False)
class ModelSet:
    """A shard has taken over model number `number`."""

    shard: int
    number: int


@dataclass(slots=True, eq=False)
class ModelChanged:
    """Every shard works by model number `number`, which program `rank` asked for."""

    rank: int
    model: Consistency
    number: int


@dataclass(slots=True, eq=False)
class Forward:
    """Entry number `position` of a shard's log, from a replica to the next of the chain."""

    shard: int
    epoch: int
    position: int
    entry: Any


@dataclass(slots=True, eq=False)
class Stable:
    """Entries up to `position` have been handled by every replica from the sender to the tail."""

    shard: int
    epoch: int
    position: int


@dataclass(slots=True, eq=False)
class Lend:
    """Send a copy of the shard to server `to`, and every later entry of the log."""

    shard: int
    to: str
    epoch: int


@dataclass(slots=True, eq=False)
class Install:
    """A copy of a shard: its state at `position` of its log, and its values (by the driver)."""

    segment: Segment
    position: int
    state: Any
    value: Any = None


@dataclass(slots=True, eq=False)
class Installed:
    """A server, member since epoch `since`, holds a copy of the shard, as it was lent in `epoch`."""

    shard: int
    node: str
    epoch: int
    since: int = 0


@dataclass(slots=True, eq=False)
class Kept:
    """A shard's part of the checkpoint of `clock` is written; `record` says where, `meta` of which run."""

    clock: int
    start: int
    stop: int
    record: Any
    meta: dict[str, Any]


@dataclass(slots=True, eq=False)
class Freeze:
    """Take no more requests for the shard until the next epoch; `role`: as head, or as tail (E4)."""

    shard: int
    epoch: int
    role: Literal["head", "tail"]


@dataclass(slots=True, eq=False)
class Frozen:
    """The server takes no more requests in that role, and all it took are on every replica."""

    shard: int
    epoch: int
    role: Literal["head", "tail"]


@dataclass(slots=True, eq=False)
class Reroute:
    """The map of the next epoch."""

    routes: Routes


@dataclass(slots=True, eq=False)
class Beat:
    """A node lives. `incarnation` counts its starts, `epoch` is that of its map.

    A program says whether it has started and finished, at which barrier it waits, and what it asks for.
    """

    node: str
    incarnation: int
    sent: float
    epoch: int
    started: bool = True
    barrier: int = 0
    finished: bool = False
    asks: Ask | None = None


@dataclass(slots=True, eq=False)
class Lease:
    """The controller has heard the node's beat of time `sent`: it may serve for a lease from then on (E6).

    It is a member since epoch `since`; what it held before, it was given up with.
    """

    sent: float
    since: int = 0
