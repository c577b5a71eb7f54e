"""What nodes say to each other.

A value is opaque: the core slices it along the keys and asks for its ``nbytes``, nothing else. Times are
in seconds of the driver's clock; ``received`` and ``sent`` are stamped by the driver, so that every
second of a wait can be booked where it was spent (semantics.md H3).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from psbook.core.consistency import Consistency
from psbook.core.keys import Keys, key_bytes

HEADER_BYTES = 48
"""Bytes of a message without keys and values: id (5 words) and one word of kind and flags."""

CONTROLLER = "controller"


class MessageId(NamedTuple):
    """Identity of a worker's message to a shard: unique, and FIFO by ``sequence`` per (worker, shard).

    >>> str(MessageId(3, 0, "w", 1, 17))
    'r3.0/w/s1#17'
    """

    rank: int
    incarnation: int
    table: str
    shard: int
    sequence: int

    def __str__(self) -> str:
        return f"r{self.rank}.{self.incarnation}/{self.table}/s{self.shard}#{self.sequence}"


@dataclass(slots=True, eq=False)
class Pull:
    """Read `keys` of `table`; the reader is at `clock`."""

    id: MessageId
    table: str
    keys: Keys
    clock: int
    sent: float = math.nan
    received: float = math.nan


@dataclass(slots=True, eq=False)
class PullReply:
    """The value, the shard's ``min`` and version when it was read, and where the request spent its time.

    ``upto`` is the number of the reader's last message to the shard whose effect the value contains: that of
    the pull, or of a later one if the pull was parked.
    """

    id: MessageId
    table: str
    keys: Keys
    row_clock: float
    version: int
    received: float
    parked: float = 0.0
    value: Any = None
    sent: float = math.nan
    upto: int = 0


@dataclass(slots=True, eq=False)
class Push:
    """Add `value` times `scale` to `keys`, through the table's update function.

    It belongs to `clock`, and was computed from the reply to `read`, which had `read_version` (−1: none).
    """

    id: MessageId
    table: str
    keys: Keys
    value: Any
    clock: int
    scale: float = 1.0
    read_version: int = -1
    read: MessageId | None = None
    sent: float = math.nan
    received: float = math.nan


@dataclass(slots=True, eq=False)
class Clock:
    """All of the worker's pushes of the clocks below `clock` lie before this message."""

    id: MessageId
    clock: int
    sent: float = math.nan
    received: float = math.nan


@dataclass(slots=True, eq=False)
class Finish:
    """The worker will send nothing more; it leaves ``min``."""

    id: MessageId
    sent: float = math.nan
    received: float = math.nan


@dataclass(slots=True, eq=False)
class Call:
    """Run `function` on the shard's part of `table`, behind the worker's own pushes."""

    id: MessageId
    table: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    sent: float = math.nan
    received: float = math.nan


@dataclass(slots=True, eq=False)
class CallReply:
    """What the function returned on this shard."""

    id: MessageId
    table: str
    received: float
    value: Any = None
    parked: float = 0.0
    sent: float = math.nan


@dataclass(slots=True, eq=False)
class Ack:
    """A push, clock or finish has taken effect on the shard."""

    id: MessageId
    received: float
    parked: float = 0.0
    sent: float = math.nan


@dataclass(slots=True, eq=False)
class Hello:
    """A node is ready."""

    node: str


@dataclass(slots=True, eq=False)
class Start:
    """All nodes are ready: clock 0 begins."""


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

    rank: int


@dataclass(slots=True, eq=False)
class ChangeModel:
    """A program asks for another parameter of the consistency model."""

    rank: int
    model: Consistency


@dataclass(slots=True, eq=False)
class SetModel:
    """The model of the run is `model` from now on."""

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
class Parcel:
    """A value sent from program to program over a channel."""

    source: int
    destination: int
    tag: str
    value: Any = None
    sequence: int = 0
    sent: float = math.nan
    received: float = math.nan


Request: TypeAlias = Pull | Push | Clock | Finish | Call
Reply: TypeAlias = PullReply | CallReply | Ack
Message: TypeAlias = (
    Request | Reply | Hello | Start | Arrive | Release | Finished | Failed | Remove
    | ChangeModel | SetModel | ModelSet | ModelChanged | Parcel
)  # fmt: skip


def value_bytes(value: Any) -> int:
    """Bytes of a value: its ``nbytes``, 8 for a plain number, the sum over a list, tuple or dict.

    >>> value_bytes([1.0, 2.0])
    16
    """
    if value is None:
        return 0
    nbytes = getattr(value, "nbytes", None)
    if nbytes is not None:
        return int(nbytes)
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        return sum(map(value_bytes, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(value_bytes, value))
    return 8


def size(message: Message) -> int:
    """Bytes of a message: `HEADER_BYTES`, its keys and its value.

    >>> size(Clock(MessageId(0, 0, "", 0, 1), 1))
    48
    """
    total = HEADER_BYTES
    keys = getattr(message, "keys", None)
    if keys is not None:
        total += key_bytes(keys)
    value = getattr(message, "value", None)
    return total if value is None else total + value_bytes(value)


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


@dataclass(frozen=True, slots=True)
class Layout:
    """Who takes part: node of each rank, role of each rank, ranks whose clocks count, number of shards."""

    programs: tuple[str, ...]
    roles: tuple[str, ...]
    clocked: frozenset[int]
    shards: int
    tables: tuple[TableSpec, ...] = field(default=())

    def server(self, shard: int) -> str:
        """Node that serves a shard."""
        return f"server-{shard}"

    @property
    def servers(self) -> list[str]:
        """All server nodes."""
        return [self.server(shard) for shard in range(self.shards)]
