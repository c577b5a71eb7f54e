"""What a state machine asks its driver to do; a driver carries actions out in the order given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from psbook.core.controls import Install
from psbook.core.keys import KeyArray, Keys
from psbook.core.messages import (
    Batch,
    Call,
    CallReply,
    Clock,
    Message,
    Pull,
    PullReply,
    Push,
    Reply,
)
from psbook.core.routes import Segment


@dataclass(slots=True, eq=False)
class Send:
    """Send `message` to node `to`."""

    to: str
    message: Message
    shard: int = 0
    until: int = 0


@dataclass(slots=True, eq=False)
class Apply:
    """Combine the pushes into one update of `table`, times `scale`; the range then has `version`.

    `copy`: on a replica that answers nobody. `total`: the pushes' sum, if they come without their values.
    `shadow`: to the values of the next checkpoint. `redone`: by a worker that was lost within a clock, and
    does it again (semantics.md E2b).
    """

    table: str
    pushes: Sequence[Push]
    scale: float
    version: int
    shard: int = 0
    copy: bool = False
    total: Any = None
    shadow: bool = False
    redone: bool = False


@dataclass(slots=True, eq=False)
class Drop:
    """Forget the pushes: they were computed from a read of an older round than `round`, which is open.

    `copy`: on a replica that answers nobody.
    """

    pushes: Sequence[Push]
    round: int
    shard: int = 0
    copy: bool = False


@dataclass(slots=True, eq=False)
class Answer:
    """Read ``reply.keys`` of ``reply.table`` into ``reply.value``, and send it to node `to`.

    With `until`, here and below, it is sent when entry `until` of the shard's log is on every replica.
    """

    to: str
    reply: PullReply
    shard: int = 0
    until: int = 0


@dataclass(slots=True, eq=False)
class Invoke:
    """Run ``call.function`` on the shard's values, put the result into `reply`, send it to node `to`.

    A replica that answers nobody runs it and sends nothing (`to` is empty). With `again`, the function has
    run, and only what it returned is sent once more.
    """

    to: str
    call: Call
    reply: CallReply
    shard: int = 0
    until: int = 0
    again: bool = False


@dataclass(slots=True, eq=False)
class Snapshot:
    """Keep the shard's values, after `iterations` worker iterations and `updates`, for the evaluation."""

    iterations: int
    updates: int
    shard: int = 0


@dataclass(slots=True, eq=False)
class Committed:
    """The shard's log is on every replica up to entry `position`: send what has waited for that."""

    shard: int
    position: int


@dataclass(slots=True, eq=False)
class Sum:
    """Put the sum of the pushes of each update into the batch, as (keys, values)."""

    updates: list[Apply]
    batch: Batch


@dataclass(slots=True, eq=False)
class Divide:
    """Cut the shard's values into those of other segments; its own may be among them."""

    shard: int
    segments: list[Segment]


@dataclass(slots=True, eq=False)
class CopyOut:
    """Put the shard's values into ``install.value`` and send it to node `to`, if there is one."""

    to: str
    install: Install


@dataclass(slots=True, eq=False)
class TakeIn:
    """Hold the values of a shard from now on; then send `done` to node `to`."""

    install: Install
    to: str
    done: Message


@dataclass(slots=True, eq=False)
class Discard:
    """Forget a shard's values: its copy is no longer wanted here."""

    shard: int


@dataclass(slots=True, eq=False)
class Serves:
    """From now on the server is head or tail of a shard, both, or neither."""

    shard: int
    epoch: int
    head: bool
    tail: bool


@dataclass(slots=True, eq=False)
class Shadow:
    """Copy the shard's values: they are to be those of the next checkpoint."""

    shard: int


@dataclass(slots=True, eq=False)
class Keep:
    """Save the shard's values, or their shadow, with the state of the cut of `clock`."""

    shard: int
    clock: int
    state: dict[str, Any]
    shadow: bool


@dataclass(slots=True, eq=False)
class Commit:
    """Every shard has saved the cut of `clock`: make it a checkpoint."""

    clock: int
    records: list[Any]
    meta: dict[str, Any]


@dataclass(slots=True, eq=False)
class Parked:
    """A request has to wait, and why."""

    peer: str
    message: Pull | Clock
    why: str


@dataclass(slots=True, eq=False)
class Unparked:
    """A request that waited for `seconds` goes on."""

    peer: str
    message: Pull | Clock
    seconds: float


@dataclass(slots=True, eq=False)
class Part:
    """One shard's part of a pulled value.

    It belongs at positions ``start:stop`` of the request. If `within` is given, the part is ``reply.value``
    at those positions only. `deltas` are the worker's own later updates, to be re-applied in order.
    """

    start: int
    stop: int
    reply: PullReply
    within: slice | KeyArray | None = None
    deltas: Sequence[tuple[Keys, Any, float]] = ()


@dataclass(slots=True, eq=False)
class Complete:
    """The operation `ticket` of the program is done.

    `last` is the reply that it waited for longest (``None``: for nobody), to a request sent at `asked`.
    """

    ticket: int
    result: Any = None
    last: Reply | None = None
    asked: float = 0.0


@dataclass(slots=True, eq=False)
class CutShort:
    """End what the program computes, if that can be: its result will be dropped."""


@dataclass(slots=True, eq=False)
class Deliver:
    """The program may start, from the `state` that it had declared before it was lost, if it had."""

    state: Any = None


@dataclass(slots=True, eq=False)
class Lost:
    """A node was given up; the run goes on without it."""

    node: str
    detail: str


@dataclass(slots=True, eq=False)
class Left:
    """A server holds nothing any more, and was to leave: its process may end."""

    node: str


@dataclass(slots=True, eq=False)
class Restart:
    """Start a program again, as its next incarnation, where it can run."""

    rank: int
    incarnation: int


@dataclass(slots=True, eq=False)
class Orphaned:
    """A worker left with data that it has not worked through: hand it to the others."""

    rank: int


@dataclass(slots=True, eq=False)
class Restore:
    """No copy of a shard is left: install it on server `to`, from the last checkpoint."""

    segment: Segment
    to: str


@dataclass(slots=True, eq=False)
class End:
    """The run is over; `failure` says why, if it did not end by itself."""

    failure: str | None = None


Action: TypeAlias = (
    Send | Apply | Drop | Answer | CutShort | Invoke | Snapshot | Parked | Unparked | Complete | Deliver | End
    | Lost | Left | Restart | Orphaned | Restore | Committed | Sum | Divide | CopyOut | TakeIn | Discard
    | Serves | Shadow | Keep | Commit
)  # fmt: skip
