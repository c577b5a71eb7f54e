"""`Event`: crashes, restarts and pauses in order of time, as an engine can take them one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from math import inf
from typing import Literal, NamedTuple

from psbook.errors import InvalidJob
from psbook.simulator.faults.crashes import Crash, Pause, Rack
from psbook.simulator.faults.fault import Fault
from psbook.simulator.faults.members import Join, Leave
from psbook.simulator.faults.names import is_pattern, known


class Event(NamedTuple):
    """Something happens to a process.

    Attributes
    ----------
    time : float
        Simulated seconds.
    node : str
        Whose process.
    kind : {"crash", "restart", "pause", "resume", "join", "leave"}
        "restart": an empty process of that name is there.
    fault : Fault
        Why.
    """

    time: float
    node: str
    kind: Literal["crash", "restart", "pause", "resume", "join", "leave"]
    fault: Fault


class _Outage(NamedTuple):
    start: float
    end: float
    first: Fault
    last: Fault


def events_of(faults: Sequence[Fault], nodes: Sequence[str] | None) -> list[Event]:
    """The events of a schedule, sorted by time; see `Faults.events`."""
    crashes: dict[str, list[_Outage]] = {}
    pauses: dict[str, list[_Outage]] = {}
    order: dict[str, None] = {}  # nodes as they are first named: who is first among equal times
    for fault in faults:
        if isinstance(fault, Crash | Rack | Pause):
            never = not isinstance(fault, Pause) and fault.restart is None
            group = pauses if isinstance(fault, Pause) else crashes
            for node in _meant(fault, nodes):
                order[node] = None
                outage = _Outage(fault.at, inf if never else fault.end, fault, fault)
                group.setdefault(node, []).append(outage)
    changes = [
        Event(fault.at, fault.node, "join" if isinstance(fault, Join) else "leave", fault)
        for fault in faults
        if isinstance(fault, Join | Leave)
    ]
    lives = (_life(node, crashes.get(node, ()), pauses.get(node, ())) for node in order)
    return sorted([*changes, *chain.from_iterable(lives)], key=_time)  # stable: a node's own order is kept


def _life(node: str, crashes: Iterable[_Outage], pauses: Iterable[_Outage]) -> list[Event]:
    """What happens to one node: a process that is not there cannot hang, and one that dies never resumes."""
    events: list[Event] = []
    downs = _joined(crashes)
    for down in downs:
        events.append(Event(down.start, node, "crash", down.first))
        if down.end < inf:
            events.append(Event(down.end, node, "restart", down.last))
    deaths = [down.start for down in downs]
    for hang in _joined(_alive(pauses, downs)):
        events.append(Event(hang.start, node, "pause", hang.first))
        if hang.end not in deaths:
            events.append(Event(hang.end, node, "resume", hang.last))
    return sorted(events, key=_time)


def _alive(pauses: Iterable[_Outage], downs: Sequence[_Outage]) -> Iterator[_Outage]:
    """The pauses that find a process, each to its death at the latest."""
    for hang in pauses:
        if not any(down.start <= hang.start < down.end for down in downs):
            death = min((down.start for down in downs if down.start > hang.start), default=inf)
            yield hang._replace(end=min(hang.end, death))


def _time(event: Event) -> float:
    return event.time


def _joined(outages: Iterable[_Outage]) -> list[_Outage]:
    """Outages that overlap or touch are one, from the first beginning to the last end."""
    joined: list[_Outage] = []
    for outage in sorted(outages, key=lambda outage: outage.start):
        if joined and outage.start <= joined[-1].end:
            before = joined.pop()
            last = outage if outage.end > before.end else before
            joined.append(_Outage(before.start, last.end, before.first, last.last))
        else:
            joined.append(outage)
    return joined


def _meant(fault: Fault, nodes: Sequence[str] | None) -> Iterator[str]:
    names = list(fault.names())
    if nodes is not None:
        yield from known(names, nodes, type(fault).__name__)
        return
    for name in names:
        if is_pattern(name):
            raise InvalidJob(
                f"{fault!r}: {name!r} is a pattern; required: the nodes it may stand for; "
                f"call events(nodes) with the names of the run's nodes"
            )
        yield name
