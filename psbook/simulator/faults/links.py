"""`Links`: the fate of each message of a run, link by link."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from math import inf

from psbook.simulator.faults.losses import Partition
from psbook.simulator.faults.luck import Luck
from psbook.simulator.faults.message import NORMAL, Effect, Fate, MessageFault, together

Window = tuple[float, float]


class Links:
    """Tells what becomes of messages; made by `Faults.links`, once for each run.

    The luck of a message is a function of the seeds, the fault, the two nodes and the number of the message
    among those from the one node to the other. A fault is known by its kind and its beginning (and by its
    place among those alike), so longer or likelier faults do not change luck either.

    Parameters
    ----------
    faults : sequence of MessageFault
        In the order of the schedule.
    seed : int
        The seed of the run, 0 … 2^64−1.
    variant : int
        The seed of the schedule.
    processes : mapping of node to process, optional
        Nodes that share a process send each other nothing that can be lost; a node that is not listed has a
        process of its own.

    Examples
    --------
    >>> from psbook.simulator.faults import Faults, Partition, SlowLink
    >>> faults = Faults(SlowLink("a", "b", 0.5), Partition("a", "b", at=3, seconds=1))
    >>> links = faults.links(seed=0)
    >>> links.fates("a", "b", 0.0), links.fates("b", "a", 0.0), links.fates("a", "b", 3.0)
    ((0.5,), (0.0,), ())
    >>> links.cut("b", "a", 3.0), links.cut("b", "a", 4.0)
    (True, False)
    """

    __slots__ = ("_faults", "_links", "_processes", "_seed", "_variant")

    def __init__(
        self,
        faults: Sequence[MessageFault],
        seed: int,
        variant: int = 0,
        processes: Mapping[str, str] | None = None,
    ) -> None:
        self._faults = tuple(faults)
        self._seed = seed
        self._variant = variant
        self._processes = dict(processes or {})
        self._links: dict[tuple[str, str], _Link] = {}

    def fates(self, source: str, destination: str, now: float) -> Fate:
        """Count a message, and tell its fate.

        Parameters
        ----------
        source, destination : str
            Nodes.
        now : float
            Simulated seconds at which it is sent.

        Returns
        -------
        tuple of float
            For each copy that arrives the extra seconds, in rising order: ``()`` lost, ``(0.0,)`` as always,
            ``(0.0, 0.3)`` twice.
        """
        if not self._faults:
            return NORMAL
        link = self._links.get((source, destination)) or self._link(source, destination)
        number = link.count
        link.count = number + 1
        if not link.since <= now < link.until:
            link.turn(now)
        if not link.active:
            return NORMAL
        # All effects are asked, also about a lost message: their chains move with every message.
        return together([effect(number) for effect in link.active])

    def cut(self, source: str, destination: str, now: float) -> bool:
        """Whether a partition parts the nodes at `now`; counts nothing.

        `fates` says so of messages that are sent then. What is on its way when a partition begins arrives,
        unless the engine asks here again when it does.
        """
        if not self._faults:
            return False
        link = self._links.get((source, destination)) or self._link(source, destination)
        return any(start <= now < end for start, end in link.cuts)

    def _link(self, source: str, destination: str) -> _Link:
        link = self._links[source, destination] = _Link()
        processes = self._processes
        if processes.get(source, source) == processes.get(destination, destination):
            return link
        alike: Counter[str] = Counter()
        for fault in self._faults:
            if fault.concerns(source, destination):
                kind = f"{self._variant}/{type(fault).__name__}@{fault.at!r}"
                luck = Luck(self._seed, f"{kind}#{alike[kind]}", source, destination)
                alike[kind] += 1
                link.effects.append((fault.at, fault.end, fault.effect(luck)))
                if isinstance(fault, Partition):
                    link.cuts.append((fault.at, fault.end))
        return link


class _Link:
    """One link: how many messages it carried, and which faults are active between two changes."""

    __slots__ = ("active", "count", "cuts", "effects", "since", "until")

    def __init__(self) -> None:
        self.count = 0
        self.effects: list[tuple[float, float, Effect]] = []
        self.cuts: list[Window] = []
        self.active: tuple[Effect, ...] = ()
        self.since = self.until = inf  # an empty window: the first message turns to its own

    def turn(self, now: float) -> None:
        """Go to the stretch of time that holds `now` and in which nothing changes."""
        changes = sorted({-inf, inf, *(time for start, end, _ in self.effects for time in (start, end))})
        place = bisect_right(changes, now)
        self.since, self.until = changes[place - 1], changes[place]
        self.active = tuple(effect for start, end, effect in self.effects if start <= now < end)
