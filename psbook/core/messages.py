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

from psbook.core.controls import (
    Arrive,
    Ask,
    Beat,
    ChangeModel,
    Failed,
    Finished,
    Forward,
    Freeze,
    Frozen,
    Grant,
    Hello,
    Install,
    Installed,
    Kept,
    Lease,
    Lend,
    ModelChanged,
    ModelSet,
    Release,
    Remove,
    Removed,
    Reroute,
    SetModel,
    Stable,
    Start,
)
from psbook.core.keys import Keys, key_bytes

HEADER_BYTES = 48
"""Bytes of a message without keys and values: id (5 words) and one word of kind and flags."""


class MessageId(NamedTuple):
    """Identity of a worker's message to a shard: unique, and increasing by ``sequence`` per (worker, shard).

    Every request also says in `after` which write of the sender to the shard came before it, so that writes
    are taken in order and each once, whatever the network does.

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
    after: int = 0
    epoch: int = 0
    sent: float = math.nan
    received: float = math.nan


@dataclass(slots=True, eq=False)
class PullReply:
    """The value, the shard's ``min`` and version when it was read, and where the request spent its time.

    ``round`` is the shard's, if it collects gradients in rounds. `unasked`: for the cache, of the keys that
    the worker has read before.
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
    round: int = -1
    unasked: bool = False


@dataclass(slots=True, eq=False)
class Push:
    """Add `value` times `scale` to `keys`, through the table's update function.

    It belongs to `clock`, and was computed from the reply to `read`, which had `read_version` (−1: none).
    `norm` is the largest magnitude of the whole value that it is a part of, if the model asks for it.
    """

    id: MessageId
    table: str
    keys: Keys
    value: Any
    clock: int
    scale: float = 1.0
    read_version: int = -1
    read: MessageId | None = None
    after: int = 0
    epoch: int = 0
    sent: float = math.nan
    received: float = math.nan
    norm: float = 0.0


@dataclass(slots=True, eq=False)
class Clock:
    """All of the worker's pushes of the clocks below `clock` lie before this message.

    `state` is what the program declared as its own state at this clock; one shard keeps it (E7b), with those
    since the clock `known`, which every shard has counted. `jump`: the worker has just joined, and its clock
    may rise by more than one. `round` is that of the read which the pushes were computed from (−1: none).
    """

    id: MessageId
    clock: int
    state: Any = None
    jump: bool = False
    known: int = 0
    after: int = 0
    epoch: int = 0
    sent: float = math.nan
    received: float = math.nan
    round: int = -1


@dataclass(slots=True, eq=False)
class Finish:
    """The worker will send nothing more; it leaves ``min``. `round` is as for its clocks."""

    id: MessageId
    after: int = 0
    epoch: int = 0
    sent: float = math.nan
    received: float = math.nan
    round: int = -1


@dataclass(slots=True, eq=False)
class EndRound:
    """Another shard has come to `round`, and does not hold the sender's read any more.

    End the rounds before that one, and the round that the sender's gradient is in, with what is there.
    """

    id: MessageId
    round: int
    after: int = 0
    epoch: int = 0
    sent: float = math.nan
    received: float = math.nan


@dataclass(slots=True, eq=False)
class Rejoin:
    """The first message of a worker that starts again, or joins: what came before of it counts no more."""

    id: MessageId
    after: int = 0
    epoch: int = 0
    sent: float = math.nan
    received: float = math.nan


@dataclass(slots=True, eq=False)
class Call:
    """Run `function` on the shard's part of `table`, behind the worker's own pushes.

    `open` is the number of the sender's oldest call to the shard whose result has not come.
    """

    id: MessageId
    table: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    after: int = 0
    epoch: int = 0
    sent: float = math.nan
    received: float = math.nan
    open: int = 0


@dataclass(slots=True, eq=False)
class CallReply:
    """What the function returned on this shard.

    `elsewhere`: it ran before the shard was cut, and another part has the result.
    """

    id: MessageId
    table: str
    received: float
    value: Any = None
    parked: float = 0.0
    sent: float = math.nan
    elsewhere: bool = False


@dataclass(slots=True, eq=False)
class Rejoined:
    """Where the shard takes a worker that starts again to be: its clock, and its states by their clocks.

    `joined`: it was not among the workers, and joins at the shard's ``min``.
    """

    id: MessageId
    received: float
    clock: int
    states: tuple[tuple[int, Any], ...] = ()
    joined: bool = False
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
class RoundOver:
    """The shard has come to `round`: what is still computed from a read of an older one will be dropped."""

    shard: int
    round: int


@dataclass(slots=True, eq=False)
class Reject:
    """The server does not take this request: by its map, of `epoch`, it is not for it (B4)."""

    id: MessageId
    epoch: int


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


@dataclass(slots=True, eq=False)
class Batch:
    """Entries of a log that go together; `value` holds the sum of each round that ends in it (E3)."""

    entries: tuple[Any, ...]
    value: list[Any] = field(default_factory=list)


Write: TypeAlias = Push | Clock | Finish | Call | Rejoin | EndRound
Request: TypeAlias = Pull | Write
Reply: TypeAlias = PullReply | CallReply | Ack | Rejoined
Control: TypeAlias = Remove | SetModel
"""What the controller writes into the log of a shard."""

Message: TypeAlias = (
    Request | Reply | Reject | RoundOver | Batch | Hello | Start | Arrive | Release | Ask | Grant | Finished
    | Failed | Control | ChangeModel | ModelSet | ModelChanged | Parcel | Forward | Stable | Lend | Install
    | Installed | Kept | Removed | Freeze | Frozen | Reroute | Beat | Lease
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
    if type(message) is Forward:
        return size(message.entry)
    if type(message) is Batch:
        return sum(map(size, message.entries)) + value_bytes(message.value)
    total = HEADER_BYTES
    keys = getattr(message, "keys", None)
    if keys is not None:
        total += key_bytes(keys)
    value = getattr(message, "value", None)
    return total if value is None else total + value_bytes(value)
