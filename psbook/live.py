"""The status of a run that goes on, as plain data: what every live view is made from.

A status is a snapshot, made beside the run: to look at one changes nothing in the run or its trace.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

SHOWN = 3
"""Requests that a server holds which the sentence about a run repeats."""


@dataclass(frozen=True)
class Held:
    """A read, or the end of an iteration, that a server holds back.

    Attributes
    ----------
    worker : str
        Whose it is.
    why : str
        What the consistency model makes it wait for; empty where a server holds so many that it says no more.
    seconds : float
        For how long it has been held, seconds of the run.
    """

    worker: str
    why: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class ProgramStatus:
    """One program.

    Attributes
    ----------
    clock : int
        Number of ``clock()`` calls it has made.
    state : str
        "starting", "computing", "waiting" (for a message), "held" (by the consistency model), "idle" (it
        sleeps, or waits for another program), "ended" or "lost".
    waits_for : str
        The operation it waits for, as the program wrote it; empty if it does not.
    why : str
        Why it is held, in words.
    seconds : float
        For how long it has waited, seconds of the run.
    counts : bool
        Whether its clock counts for the consistency model.
    """

    clock: int = 0
    state: str = "starting"
    waits_for: str = ""
    why: str = ""
    seconds: float = 0.0
    counts: bool = True


@dataclass(frozen=True)
class ServerStatus:
    """One server, and the shards that it answers for.

    Attributes
    ----------
    versions : dict
        Version of each table: how many updates it has had here.
    parked : tuple of Held
        Requests that wait; `more` of them are not listed.
    bytes_in, bytes_out : int
        Bytes of all messages so far, keys and values included.
    pushes : int
        Pushes applied so far.
    staleness, staleness_max : float or None, int
        Updates that the rows of a push had had since its worker read them: mean of about the last fifty
        pushes (``None`` before the first), and the most so far.
    held_bytes : int
        Bytes of the values that the server holds, state of the update functions and replicas included.
    """

    versions: dict[str, int] = field(default_factory=dict)
    parked: tuple[Held, ...] = ()
    more: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    pushes: int = 0
    staleness: float | None = None
    staleness_max: int = 0
    held_bytes: int = 0


@dataclass(frozen=True)
class ProcessStatus:
    """One process: its Dask address, "alive", "silent" or "lost", its nodes, seconds since it was heard."""

    address: str = ""
    state: str = "alive"
    nodes: tuple[str, ...] = ()
    silent: float = 0.0


@dataclass(frozen=True)
class Status:
    """A run at a moment.

    Attributes
    ----------
    job, model, backend : str
        What runs, under which consistency model, on "simulator" or "dask".
    name : str
        The run's name on its cluster; empty on the simulator.
    time, time_unit : float, str
        Seconds since clock 0, simulated or real.
    state : str
        "starting", "running", "ended", "stopped" or "failed".
    error : str
        Why it was stopped or failed, by name.
    window : float or None
        How many clocks a worker may be ahead of the slowest and still read: 0 under BSP, s under SSP(s);
        ``None`` where there is no such bound.
    iterations : int
        Worker iterations ended so far.
    losses : tuple
        (seconds, worker iterations, loss) of each evaluation, thinned out to a few hundred.
    programs, servers, processes : dict
        `ProgramStatus`, `ServerStatus` and `ProcessStatus` by name.
    iterations_per_s, bytes_per_s : float
        Of the last seconds.

    Examples
    --------
    >>> slow, fast = ProgramStatus(3, "computing"), ProgramStatus(5, "held", why="worker-0 is behind")
    >>> status = Status("job", "SSP(1)", programs={"worker-0": slow, "worker-1": fast}, window=1)
    >>> status.gap, status.slowest, status.waits
    (2, ['worker-0'], {'worker-1': 'worker-0 is behind'})
    >>> Status.from_dict(status.to_dict()) == status
    True
    """

    job: str = ""
    model: str = ""
    backend: str = ""
    name: str = ""
    time: float = 0.0
    time_unit: str = "s"
    state: str = "starting"
    error: str = ""
    window: float | None = None
    iterations: int = 0
    losses: tuple[tuple[float, int, float], ...] = ()
    programs: dict[str, ProgramStatus] = field(default_factory=dict)
    servers: dict[str, ServerStatus] = field(default_factory=dict)
    processes: dict[str, ProcessStatus] = field(default_factory=dict)
    iterations_per_s: float = 0.0
    bytes_per_s: float = 0.0

    @property
    def over(self) -> bool:
        """Whether the run has ended, well or not."""
        return self.state in ("ended", "stopped", "failed")

    @property
    def loss(self) -> float:
        """Last loss; NaN before the first."""
        return self.losses[-1][2] if self.losses else math.nan

    @property
    def clocks(self) -> dict[str, int]:
        """Clocks of the workers that go on: those whose clocks count, and have neither ended nor got lost."""
        return {
            name: program.clock
            for name, program in self.programs.items()
            if program.counts and program.state not in ("ended", "lost")
        }

    @property
    def gap(self) -> int:
        """Fastest clock minus slowest, of the workers that go on; 0 if there are none."""
        clocks = self.clocks.values()
        return max(clocks) - min(clocks) if clocks else 0

    @property
    def slowest(self) -> list[str]:
        """Workers with the lowest clock."""
        low = min(self.clocks.values(), default=0)
        return [name for name, clock in self.clocks.items() if clock == low]

    @property
    def waits(self) -> dict[str, str]:
        """Who is held by the consistency model, and why, in words."""
        return {name: program.why for name, program in self.programs.items() if program.state == "held"}

    @property
    def bytes(self) -> int:
        """Bytes that the servers have taken in and sent out."""
        return sum(server.bytes_in + server.bytes_out for server in self.servers.values())

    @property
    def staleness(self) -> float | None:
        """Mean staleness of the last pushes over all servers; ``None`` before the first."""
        found = [server.staleness for server in self.servers.values() if server.staleness is not None]
        return sum(found) / len(found) if found else None

    @property
    def sentence(self) -> str:
        """The status in words."""
        what = self.error or self.state
        head = f"{self.job or 'run'}, {self.model}: {what} at {self.time:.4g} {self.time_unit}"
        loss = "" if math.isnan(self.loss) else f", loss {self.loss:.4g}"
        parts = [f"{head.rstrip('.')}. {self.iterations} worker iterations{loss}."]
        if self.clocks:
            low, high = min(self.clocks.values()), max(self.clocks.values())
            parts.append(f"Slowest clock {low} ({listed(self.slowest)}), fastest {high}, gap {self.gap}.")
        if self.staleness is not None:
            parts.append(f"Mean staleness {self.staleness:.3g}.")
        whys = list(dict.fromkeys(why for why in self.waits.values() if why))
        parts += [f"{why}." for why in whys[:SHOWN]]
        if len(whys) > SHOWN:
            parts.append(f"{len(whys) - SHOWN} more wait.")
        away = [f"{name} is {each.state}" for name, each in self.processes.items() if each.state != "alive"]
        return " ".join([*parts, *([f"{', '.join(away)}."] if away else [])])

    def to_dict(self) -> dict[str, Any]:
        """Return the status as dicts, lists, texts and numbers, for msgpack or JSON."""
        found: dict[str, Any] = _plain(dataclasses.asdict(self))
        return found

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Status:
        """Return the status that `to_dict` made; what this version does not know is left out."""
        given = dict(plain)
        given["losses"] = tuple((float(t), int(n), float(loss)) for t, n, loss in given.get("losses", ()))
        servers = {
            name: _made(ServerStatus, {**each, "parked": tuple(_made(Held, h) for h in each["parked"])})
            for name, each in given.get("servers", {}).items()
        }
        processes = {
            name: _made(ProcessStatus, {**each, "nodes": tuple(each["nodes"])})
            for name, each in given.get("processes", {}).items()
        }
        programs = {name: _made(ProgramStatus, each) for name, each in given.get("programs", {}).items()}
        return _made(cls, {**given, "programs": programs, "servers": servers, "processes": processes})


class Source:
    """Where a handle finds the status of its run, which may not have begun when the handle is made."""

    def __init__(self) -> None:
        self.ask: Callable[[], Status | None] = lambda: None
        """Returns the status; from any thread."""

    def status(self) -> Status | None:
        """Return the status of the run; ``None`` before anything is known."""
        return self.ask()


def listed(names: list[str], most: int = 3) -> str:
    """Return some names in a line.

    >>> listed(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _made(cls: type[T], given: Mapping[str, Any]) -> T:
    known = {each.name for each in dataclasses.fields(cls)}  # type: ignore[arg-type]  # one of the above
    return cls(**{name: value for name, value in given.items() if name in known})


def _plain(thing: Any) -> Any:
    if isinstance(thing, dict):
        return {name: _plain(value) for name, value in thing.items()}
    return [_plain(each) for each in thing] if isinstance(thing, list | tuple) else thing
