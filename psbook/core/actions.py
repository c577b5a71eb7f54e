"""What a state machine asks its driver to do; a driver carries actions out in the order given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from psbook.core.keys import KeyArray, Keys
from psbook.core.messages import Call, CallReply, Message, PullReply, Push, Reply


@dataclass(slots=True, eq=False)
class Send:
    """Send `message` to node `to`."""

    to: str
    message: Message


@dataclass(slots=True, eq=False)
class Apply:
    """Combine the pushes into one update of `table`, times `scale`; the range then has `version`."""

    table: str
    pushes: Sequence[Push]
    scale: float
    version: int


@dataclass(slots=True, eq=False)
class Answer:
    """Read ``reply.keys`` of ``reply.table`` into ``reply.value``, and send it to node `to`."""

    to: str
    reply: PullReply


@dataclass(slots=True, eq=False)
class Invoke:
    """Run ``call.function`` on the shard's values, put the result into `reply`, send it to node `to`."""

    to: str
    call: Call
    reply: CallReply


@dataclass(slots=True, eq=False)
class Snapshot:
    """Keep the shard's values, after `iterations` worker iterations and `updates`, for the evaluation."""

    iterations: int
    updates: int


@dataclass(slots=True, eq=False)
class Parked:
    """A request has to wait, and why."""

    peer: str
    message: Message
    why: str


@dataclass(slots=True, eq=False)
class Unparked:
    """A request that waited for `seconds` goes on."""

    peer: str
    message: Message
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
class Deliver:
    """The program may start."""


@dataclass(slots=True, eq=False)
class End:
    """The run is over; `failure` says why, if it did not end by itself."""

    failure: str | None = None


Action: TypeAlias = (
    Send | Apply | Answer | Invoke | Snapshot | Parked | Unparked | Complete | Deliver | End
)  # fmt: skip
