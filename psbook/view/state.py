"""The state of a run at any row of its trace, by replay from snapshots."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from psbook.core.controls import CONTROLLER
from psbook.trace import Trace
from psbook.trace.schema import NAMES, SPANS

EVERY = 512
"""Rows between two snapshots: a replay of so many rows takes about a millisecond."""


class Event(NamedTuple):
    """A row of a trace; the fields are the columns of `psbook.trace.schema.COLUMNS`."""

    time: float
    duration: float
    node: str
    kind: str
    peer: str
    table: str
    shard: int
    start: int
    stop: int
    clock: int
    version: int
    staleness: int
    message: str
    cause: str
    bytes: int
    value: float
    detail: str


class InFlight(NamedTuple):
    """A message that was sent and has not arrived: its type, where from and to, and its id."""

    type: str
    source: str
    to: str
    message: str


class Held(NamedTuple):
    """A request that a server holds: whose it is, since when, and why."""

    node: str
    since: float
    why: str


@dataclass
class State:
    """What is known of a run after some rows of its trace.

    Attributes
    ----------
    clocks : dict
        Clock of each worker.
    finished : set
        Programs that have ended.
    doing : dict
        Last span of each program.
    sent : dict
        When each message that has not arrived was last sent, and how many of it.
    held : dict
        Requests that servers hold, by server and message.
    versions : dict
        Version by server and table.
    loss : float
        Last loss; NaN before the first.
    """

    clocks: dict[str, int]
    finished: set[str] = field(default_factory=set)
    doing: dict[str, Event] = field(default_factory=dict)
    sent: dict[InFlight, tuple[float, int]] = field(default_factory=dict)
    held: dict[tuple[str, str], Held] = field(default_factory=dict)
    versions: dict[tuple[str, str], int] = field(default_factory=dict)
    loss: float = math.nan
    evaluated: int = 0

    def take(self, event: Event) -> None:
        """Go on by a row."""
        handler = HANDLERS.get(event.kind)
        if handler is not None:
            handler(self, event)

    def copy(self) -> State:
        """Return a state that goes on by itself; what it refers to is immutable."""
        return State(**{name: copy.copy(value) for name, value in vars(self).items()})

    def in_flight(self) -> list[tuple[InFlight, float]]:
        """Messages under way and when they were sent, the oldest first."""
        return [(message, time) for message, (time, count) in self.sent.items() for _ in range(max(0, count))]

    def clock_range(self) -> tuple[int, int] | None:
        """Slowest and fastest clock of the workers that have not ended; ``None`` if all have."""
        active = [clock for node, clock in self.clocks.items() if node not in self.finished]
        return (min(active), max(active)) if active else None

    def why(self, node: str) -> list[tuple[str, Held]]:
        """Where and why requests of a program are held."""
        return [(server, held) for (server, _), held in self.held.items() if held.node == node]

    # What each kind of row changes

    def _span(self, event: Event) -> None:
        self.doing[event.node] = event

    def _clock(self, event: Event) -> None:
        if event.node in self.clocks:
            self.clocks[event.node] = event.clock

    def _finish(self, event: Event) -> None:
        self.finished.add(event.node)

    def _send(self, event: Event) -> None:
        # The controller's own rows are in no trace: what is sent to it would never arrive.
        if event.peer != CONTROLLER:
            self._count(InFlight(event.detail, event.node, event.peer, event.message), event.time, 1)

    def _receive(self, event: Event) -> None:
        if event.peer != CONTROLLER:
            self._count(InFlight(event.detail, event.peer, event.node, event.message), event.time, -1)

    def _count(self, message: InFlight, time: float, change: int) -> None:
        # Below zero: the clocks of two machines differ so much that it arrived before it was sent.
        since, count = self.sent.pop(message, (time, 0))
        if count + change:
            self.sent[message] = (time if change > 0 else since, count + change)

    def _park(self, event: Event) -> None:
        self.held[event.node, event.message] = Held(event.peer, event.time, event.detail)

    def _release(self, event: Event) -> None:
        self.held.pop((event.node, event.message), None)

    def _apply(self, event: Event) -> None:
        self.versions[event.node, event.table] = event.version

    def _fault(self, event: Event) -> None:
        if event.detail.startswith("crash:"):  # what it held is gone with it
            self.held = {place: held for place, held in self.held.items() if place[0] != event.node}

    def _loss(self, event: Event) -> None:
        if event.clock >= self.evaluated:
            self.loss, self.evaluated = event.value, event.clock


HANDLERS: dict[str, Callable[[State, Event], None]] = {
    **dict.fromkeys(SPANS, State._span),
    "clock": State._clock,
    "finish": State._finish,
    "send": State._send,
    "receive": State._receive,
    "park": State._park,
    "release": State._release,
    "apply": State._apply,
    "fault": State._fault,
    "loss": State._loss,
}
"""What a row of each kind changes; the others change nothing."""


class Replay:
    """The states of a trace, each a short replay away from a snapshot.

    Parameters
    ----------
    trace
        A trace of any level; it is read once and never changed.
    every
        Rows between two snapshots.

    Attributes
    ----------
    events : list of Event
        The rows.
    lost : frozenset of int
        Rows of messages that never arrive, in a run in which messages may be lost.

    Notes
    -----
    One pass over the trace when made, some 2 µs a row; then at most `every` rows a state.

    Examples
    --------
    >>> from psbook.trace import Recorder
    >>> recorder = Recorder()
    >>> recorder.add(0.5, "worker-0", "clock", clock=1)
    >>> replay = Replay(recorder.trace({"workers": ["worker-0"]}))
    >>> replay.at(0).clocks
    {'worker-0': 1}
    """

    def __init__(self, trace: Trace, every: int = EVERY) -> None:
        columns: list[list[Any]] = [trace.frame[name].to_list() for name in NAMES]
        self.events = list(map(Event._make, zip(*columns, strict=True)))
        self.every = every
        workers = trace.meta.get("workers") or sorted(
            {event.node for event in self.events if event.kind == "clock"}
        )
        self._times = trace.frame["time"].to_numpy()
        may_lose = trace.meta.get("safety", {}).get("active", False)
        self.lost = never_arriving(self.events) if may_lose else frozenset()
        state = State(dict.fromkeys(workers, 0))
        self._snapshots = [state.copy()]
        for number, event in enumerate(self.events, 1):
            if number - 1 not in self.lost:
                state.take(event)
            if number % every == 0:
                self._snapshots.append(state.copy())

    def __len__(self) -> int:
        return len(self.events)

    def between(self, start: float, stop: float) -> tuple[int, int]:
        """Return the rows of a stretch of time, as the first and the one behind the last."""
        first, last = np.searchsorted(self._times, start), np.searchsorted(self._times, stop, side="right")
        return int(first), int(last)

    def at(self, index: int) -> State:
        """Return the state after row `index`; −1 is before the first."""
        taken = index + 1
        state = self._snapshots[taken // self.every].copy()
        for number in range(taken - taken % self.every, taken):
            if number not in self.lost:
                state.take(self.events[number])
        return state


def never_arriving(events: Sequence[Event]) -> frozenset[int]:
    """Return the rows of the messages that are sent and never received.

    Of several that are sent under one id, the one that arrives is taken to be the last sent before.
    """
    waiting: dict[InFlight, list[int]] = {}
    early: Counter[InFlight] = Counter()
    for number, event in enumerate(events):
        if event.kind == "send" and event.peer != CONTROLLER:
            message = InFlight(event.detail, event.node, event.peer, event.message)
            if early[message]:
                early[message] -= 1
            else:
                waiting.setdefault(message, []).append(number)
        elif event.kind == "receive" and event.peer != CONTROLLER:
            message = InFlight(event.detail, event.peer, event.node, event.message)
            if waiting.get(message):
                waiting[message].pop()
            else:
                early[message] += 1
    return frozenset(number for left in waiting.values() for number in left)
