"""`Faults`: a schedule of faults, for an engine to follow and for a person to read, save and shrink."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf, prod
from typing import TYPE_CHECKING, Any

from psbook.errors import InvalidJob
from psbook.simulator.faults import drawing, preemptions, validation
from psbook.simulator.faults.events import Event, events_of
from psbook.simulator.faults.fault import Fault
from psbook.simulator.faults.links import Links
from psbook.simulator.faults.members import Join
from psbook.simulator.faults.message import MessageFault
from psbook.simulator.faults.names import covers
from psbook.simulator.faults.plain import KINDS, fault_from_plain, to_plain
from psbook.simulator.faults.slow import SlowNode

if TYPE_CHECKING:
    import pandas as pd

_LINE = 100


@dataclass(frozen=True, init=False, repr=False)
class Faults:
    r"""What goes wrong in a run. Immutable; ``+`` joins two schedules, or adds a fault.

    Parameters
    ----------
    *faults : Fault
        In any order: what happens does not depend on it, except who is first at equal times.
    seed : int
        Another seed is other luck for messages, in the same run; a sum keeps that of its left side.

    Raises
    ------
    InvalidJob
        Something that is no fault, or a seed that is not 0 … 2^64−1.

    Examples
    --------
    >>> from psbook.simulator.faults import Crash, Loss
    >>> faults = Faults(Crash("server-1", at=3, restart=1)) + Loss(0.05, seconds=10)
    >>> faults
    Faults(Crash('server-1', at=3.0, restart=1.0), Loss(0.05, seconds=10.0))
    >>> [(event.time, event.kind) for event in faults.events()], faults.quiet_after
    ([(3.0, 'crash'), (4.0, 'restart')], 10.0)
    >>> print(*faults.sentences, sep="\n")
    server-1 crashes at 3 s and comes back empty after 1 s.
    5 % of the messages are lost on every link, from 0 s to 10 s.
    """

    faults: tuple[Fault, ...]
    seed: int

    def __init__(self, *faults: Fault, seed: int = 0) -> None:
        for fault in faults:
            if not isinstance(fault, Fault):
                kinds = ", ".join(KINDS)
                raise InvalidJob(f"Faults: {fault!r} is no fault; required: one of {kinds}; make one")
        object.__setattr__(self, "faults", faults)
        object.__setattr__(self, "seed", validation.seed("Faults", seed))

    # -- schedules made for you ------------------------------------------------------------------------

    @classmethod
    def random(
        cls,
        seed: int,
        nodes: Sequence[str],
        end: float,
        *,
        crashes: int = 1,
        pauses: int = 1,
        slow: int = 0,
        losses: int = 0,
        bursts: int = 0,
        duplicates: int = 0,
        reorders: int = 0,
        delays: int = 0,
        partitions: int = 0,
        longest: float | None = None,
        rate: float = 0.0,
        restart: float | None = None,
    ) -> Faults:
        """Draw a schedule; the answer is the explicit list, so it can be printed, saved and shrunk.

        Faults begin uniformly in the first 99 % of `end`, and are over by `end`. Each has a stream of its
        own: one more pause changes no crash.

        Parameters
        ----------
        seed : int
            The same seed and arguments give the same schedule, which also takes this seed.
        nodes : sequence of str
            The names that may be hit.
        end : float
            Simulated seconds.
        crashes, pauses, slow, losses, bursts, duplicates, reorders, delays, partitions : int
            How many of each kind. These crashes all restart.
        longest : float, optional
            The longest fault in seconds; by default a quarter of `end`.
        rate : float
            More crashes: of each node, per second that it is up (exponential times between them).
        restart : float, optional
            Seconds until those are back, also after `end`; None: never.

        Raises
        ------
        InvalidJob
            If an argument makes no sense.

        Examples
        --------
        >>> one = Faults.random(7, ["server-0", "worker-0"], end=10, crashes=2, losses=1)
        >>> one == Faults.random(7, ["server-0", "worker-0"], end=10, crashes=2, losses=1)
        True
        >>> sorted(type(fault).__name__ for fault in one)
        ['Crash', 'Crash', 'Loss', 'Pause']
        """
        names = validation.plain_names("random faults", nodes)
        end = validation.duration("random faults", "end", end, endless=False)
        longest = end / 4 if longest is None else validation.duration("random faults", "longest", longest)
        counts = {
            "crashes": crashes,
            "pauses": pauses,
            "slow": slow,
            "losses": losses,
            "bursts": bursts,
            "duplicates": duplicates,
            "reorders": reorders,
            "delays": delays,
            "partitions": partitions,
        }
        faults = drawing.drawn(validation.seed("random faults", seed), names, end, longest, counts)
        if validation.moment("random faults", "rate", rate):
            faults += drawing.poisson_crashes(seed, names, end, rate, restart)
        return cls(*sorted(faults, key=lambda fault: fault.at), seed=seed)

    @classmethod
    def preemptions(
        cls,
        recording: str | os.PathLike[str] | pd.DataFrame,
        nodes: Sequence[str],
        *,
        scale: float = 1.0,
        unit: float = 0.001,
        start: float = 0.0,
        end: float = inf,
    ) -> Faults:
        """Crashes as recorded on spot machines.

        A machine that comes takes the lowest place that is free; place i is node i of `nodes`, which has
        crashed while nobody holds it (from the beginning, if nobody does then). Machines in places beyond
        the nodes are not used, not even as spares.

        Parameters
        ----------
        recording : path or DataFrame
            Three columns: time, "add" or "remove", machine; CSV, also compressed, with or without a header.
            So is the recording of p3 machines that comes with Bamboo (Thorpe et al., NSDI 2023): 11.4 hours,
            up to 32 machines.
        nodes : sequence of str
            Which nodes run on such machines.
        scale : float
            Simulated seconds for a recorded second; 1/60 plays a minute in a second.
        unit : float
            Seconds that one unit of the time column stands for; 0.001 for milliseconds.
        start, end : float
            The part to play, in recorded seconds.

        Raises
        ------
        DataError
            A file that cannot be read, a row that makes no sense, a machine removed that is not there.
        InvalidJob
            If another argument makes no sense.

        Examples
        --------
        >>> import pandas as pd
        >>> rows = [(0, "add", "a"), (0, "add", "b"), (5000, "remove", "a"), (8000, "add", "c")]
        >>> Faults.preemptions(pd.DataFrame(rows), ["worker-0", "worker-1"])
        Faults(Crash('worker-0', at=5.0, restart=3.0))
        """
        names = validation.plain_names("preemptions", nodes)
        scale = validation.duration("preemptions", "scale", scale, endless=False)
        unit = validation.duration("preemptions", "unit", unit, endless=False)
        start = validation.moment("preemptions", "start", start)
        end = validation.duration("preemptions", "end", end)
        changes = preemptions.read_changes(recording, unit)
        return cls(*preemptions.crashes(changes, names, scale, unit, start, end))

    # -- what an engine asks ---------------------------------------------------------------------------

    def check(self, nodes: Iterable[str]) -> None:
        """Refuse names that the run does not have.

        Parameters
        ----------
        nodes : iterable of str
            All nodes of the run, also "controller" if it may be named.

        Raises
        ------
        InvalidJob
            An unknown name, a pattern that fits nothing, or a node on both sides of a partition.
        """
        nodes = [*nodes, *self.newcomers]
        for fault in self.faults:
            fault.check(nodes)

    @property
    def newcomers(self) -> tuple[str, ...]:
        """Nodes that join while the run goes on."""
        return tuple(dict.fromkeys(fault.node for fault in self.faults if isinstance(fault, Join)))

    def events(self, nodes: Iterable[str] | None = None) -> list[Event]:
        """Crashes, restarts and pauses, sorted by time; nodes at equal times as they are first named.

        A node's events make sense one by one: outages that overlap or touch are one, a process that is not
        there cannot hang, and one that dies while it hangs never resumes. So "crash" and "pause" find a
        process running, except that a crash may find it hanging.

        Parameters
        ----------
        nodes : iterable of str, optional
            All nodes of the run; needed when a pattern names some of them.

        Raises
        ------
        InvalidJob
            A pattern, or a name that is not among `nodes`.
        """
        return events_of(self.faults, None if nodes is None else list(nodes))

    def slowdown(self, node: str, now: float) -> float:
        """How many times as long a node takes for what it begins at `now`: the product of its faults."""
        if not self._slow:
            return 1.0
        slow = self._slow_nodes.get(node)
        if slow is None:
            slow = tuple(fault for fault in self._slow if covers([fault.node], node))
            self._slow_nodes[node] = slow
        return prod((fault.factor for fault in slow if fault.at <= now < fault.end), start=1.0)

    def links(self, seed: int, processes: Mapping[str, str] | None = None) -> Links:
        """What becomes of messages, for one run; see `Links`.

        Parameters
        ----------
        seed : int
            The seed of the run, 0 … 2^64−1.
        processes : mapping of node to process, optional
            Nodes of one process; their messages to each other, as those of a node to itself, are never
            touched.

        Raises
        ------
        InvalidJob
            A seed that makes no sense.
        """
        faults = [fault for fault in self.faults if isinstance(fault, MessageFault)]
        return Links(faults, validation.seed("links", seed), self.seed, processes)

    @property
    def touches_messages(self) -> bool:
        """Whether some fault may lose, delay or double messages."""
        return any(isinstance(fault, MessageFault) for fault in self.faults)

    @property
    def quiet_after(self) -> float:
        """Simulated seconds after which no fault does anything; inf when one never ends.

        A crash without a restart is over at once, though its node stays dead. A message that was delayed may
        arrive later.
        """
        return max((fault.end for fault in self.faults), default=0.0)

    # -- for people ------------------------------------------------------------------------------------

    @property
    def sentences(self) -> tuple[str, ...]:
        """Each fault in a sentence."""
        return tuple(fault.sentence for fault in self.faults)

    @property
    def label(self) -> str:
        """Short text for plots."""
        kinds = Counter(type(fault).__name__ for fault in self.faults)
        return ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "no faults"

    def __repr__(self) -> str:
        parts = [*map(repr, self.faults), *([f"seed={self.seed}"] if self.seed else [])]
        line = f"Faults({', '.join(parts)})"
        return line if len(line) <= _LINE else "Faults(\n    " + ",\n    ".join(parts) + ",\n)"

    def to_dict(self) -> dict[str, Any]:
        """The schedule as plain data that JSON can write.

        Raises
        ------
        InvalidJob
            It holds a fault or law of the user's own.
        """
        return {"seed": self.seed, "faults": [to_plain(fault) for fault in self.faults]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Faults:
        """The schedule that `to_dict` wrote.

        Raises
        ------
        InvalidJob
            Something else.
        """
        if not isinstance(data, Mapping) or not isinstance(data.get("faults"), list | tuple):
            raise InvalidJob(f"Faults.from_dict: {data!r}; required: a dictionary with faults; use to_dict's")
        return cls(*map(fault_from_plain, data["faults"]), seed=data.get("seed", 0))

    # -- for shrinking ---------------------------------------------------------------------------------

    def without(self, i: int) -> Faults:
        """The schedule less fault number `i`."""
        place = range(len(self.faults))[i]
        return Faults(*self.faults[:place], *self.faults[place + 1 :], seed=self.seed)

    def simpler(self) -> Iterator[Faults]:
        """Simpler schedules, the simplest first: one fault less, then one fault shorter.

        Taking the first that still fails, again and again, ends at a small failing schedule: a fault is
        halved only down to a microsecond.

        Examples
        --------
        >>> from psbook.simulator.faults import Pause
        >>> list(Faults(Pause("worker-0", at=1, seconds=8)).simpler())
        [Faults(), Faults(Pause('worker-0', at=1.0, seconds=4.0))]
        """
        for i in range(len(self.faults)):
            yield self.without(i)
        for i, fault in enumerate(self.faults):
            for other in fault.simpler():
                yield Faults(*self.faults[:i], other, *self.faults[i + 1 :], seed=self.seed)

    def __add__(self, other: Faults | Fault) -> Faults:
        if isinstance(other, Fault):
            return Faults(*self.faults, other, seed=self.seed)
        if isinstance(other, Faults):
            return Faults(*self.faults, *other.faults, seed=self.seed)
        return NotImplemented

    def __len__(self) -> int:
        return len(self.faults)

    def __iter__(self) -> Iterator[Fault]:
        return iter(self.faults)

    def __getitem__(self, i: int) -> Fault:
        return self.faults[i]

    @cached_property
    def _slow(self) -> tuple[SlowNode, ...]:
        return tuple(fault for fault in self.faults if isinstance(fault, SlowNode))

    @cached_property
    def _slow_nodes(self) -> dict[str, tuple[SlowNode, ...]]:
        """Slow faults by node, found when first asked for."""
        return {}
