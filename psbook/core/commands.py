"""What a program asks its client to do. A `ticket` names the operation until it is complete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from psbook.core.consistency import Consistency
from psbook.core.keys import Keys


@dataclass(slots=True, eq=False)
class DoPull:
    """Read keys of a table."""

    ticket: int
    table: str
    keys: Keys


@dataclass(slots=True, eq=False)
class DoPush:
    """Add a value, sliceable along the keys, to keys of a table; `norm`: its largest magnitude."""

    ticket: int
    table: str
    keys: Keys
    value: Any
    norm: float = 0.0


@dataclass(slots=True, eq=False)
class DoClock:
    """End an iteration; `state` is what the program would start again from."""

    ticket: int
    state: Any = None


@dataclass(slots=True, eq=False)
class DoFlush:
    """Wait until every push so far is acknowledged."""

    ticket: int


@dataclass(slots=True, eq=False)
class DoBarrier:
    """Wait until every unfinished program of the same role has come here."""

    ticket: int


@dataclass(slots=True, eq=False)
class DoAsk:
    """Ask a queue for the `number`-th piece of work of this program."""

    ticket: int
    queue: str
    number: int


@dataclass(slots=True, eq=False)
class DoCall:
    """Run a function on every shard of a table."""

    ticket: int
    table: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


@dataclass(slots=True, eq=False)
class DoChangeModel:
    """Go on with another parameter of the consistency model, on every shard."""

    ticket: int
    model: Consistency


@dataclass(slots=True, eq=False)
class DoFinish:
    """Leave the run, behind everything that was pushed."""

    ticket: int


@dataclass(slots=True, eq=False)
class DoResend:
    """Send again what has had no reply for long."""


Command: TypeAlias = (
    DoResend | DoPull | DoPush | DoClock | DoFlush | DoBarrier | DoAsk | DoCall | DoChangeModel | DoFinish
)
