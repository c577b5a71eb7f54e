"""Cores that several workers of a host share: each computation gets its part of them (processor sharing).

While k computations want a core on a host of c cores, each goes on at the rate min(1, c/k): the limit of
a scheduler that gives time slices in turn. One law of work and one host of c = 1 core is the M/PS queue when
work arrives by itself; n workers that are always busy take n/c times as long.

References
----------
L. Kleinrock, "Time-shared systems: a theoretical treatment", Journal of the ACM 14(2), 1967.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

from psbook.errors import InvalidJob
from psbook.simulator.engine import Event, EventQueue


@dataclass(frozen=True)
class Hosts:
    """Hosts whose cores the programs share; servers take none.

    Parameters
    ----------
    cores : float
        Cores of each host, > 0; an average over time need not be whole.
    count : int
        Hosts; program k is on host k mod `count`, as Dask's processes are filled.
    busy : float
        Share of a computation's seconds, 0 … 1, that need a core. The rest passes beside it: a computation of
        T seconds ends when T seconds have passed and ``busy · T`` seconds of core are served. 1: all of it;
        a computation that is padded by sleeping needs little.

    Raises
    ------
    InvalidJob
        If a number makes no sense.

    Examples
    --------
    >>> import psbook as ps
    >>> async def train(worker):
    ...     await worker.compute(int)
    >>> job = ps.Job(train, tables={"w": ps.Table(1)})
    >>> job.run(ps.Simulator(workers=3, compute=1.0, hosts=ps.Hosts(cores=2)), ps.ASP()).seconds
    1.5
    """

    cores: float
    count: int = 1
    busy: float = 1.0

    def __post_init__(self) -> None:
        if not (isinstance(self.cores, int | float) and isfinite(self.cores) and self.cores > 0):
            raise InvalidJob(f"Hosts(cores={self.cores!r}); required: cores of each host, > 0.")
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 1:
            raise InvalidJob(f"Hosts(count={self.count!r}); required: a whole number >= 1.")
        if not 0 <= self.busy <= 1:
            raise InvalidJob(f"Hosts(busy={self.busy!r}); required: a share, 0 … 1.")

    @property
    def label(self) -> str:
        """Short text for plots.

        >>> Hosts(cores=2, count=3, busy=0.5).label
        '3 hosts of 2 cores, busy 0.5'
        """
        hosts = "1 host" if self.count == 1 else f"{self.count} hosts"
        busy = "" if self.busy == 1 else f", busy {self.busy:g}"
        return f"{hosts} of {self.cores:g} core{'' if self.cores == 1 else 's'}{busy}"

    def host(self, rank: int) -> str:
        """Return the name of a program's host."""
        return f"host-{rank % self.count}"


@dataclass(eq=False)
class Computation:
    """A computation that is under way: what it still needs, and what is to be called at its end."""

    rank: int
    until: float
    """Virtual time of its host at which its seconds of core are served."""
    due: float
    """Simulated seconds before which it does not end."""
    done: Callable[[], object]
    event: Event | None = None


class Cores:
    """One host: computations in processor sharing, on the virtual time that each of them has been served.

    Virtual time goes on at the rate min(1, cores/k), so that a computation ends at a virtual time known
    when it begins, whoever comes later.

    Parameters
    ----------
    queue
        The events of the run.
    hosts
        Cores, and the share of time that needs them.
    """

    def __init__(self, queue: EventQueue, hosts: Hosts) -> None:
        self._queue = queue
        self._hosts = hosts
        self._under_way: list[Computation] = []
        self._virtual = 0.0
        self._at = 0.0
        self._next: Event | None = None
        self.seconds: dict[int, float] = {}
        """Seconds of core that each program's computations asked for so far."""

    def begin(self, rank: int, seconds: float, done: Callable[[], object]) -> Computation:
        """Begin a computation of so many seconds; `done` is called at its end."""
        self._advance()
        work = self._hosts.busy * seconds
        self.seconds[rank] = self.seconds.get(rank, 0.0) + work
        computation = Computation(rank, self._virtual + work, self._queue.now + seconds, done)
        self._under_way.append(computation)
        self._plan()
        return computation

    def cancel(self, computation: Computation) -> bool:
        """End a computation without a call; whether it was still under way."""
        if computation in self._under_way:
            self._advance()
            self._under_way.remove(computation)
            self._plan()
            return True
        return computation.event is not None and self._queue.cancel(computation.event)

    def drop(self, rank: int) -> None:
        """Free the cores of a program that has died."""
        for computation in [each for each in self._under_way if each.rank == rank]:
            self.cancel(computation)

    @property
    def _rate(self) -> float:
        return min(1.0, self._hosts.cores / max(1, len(self._under_way)))

    def _advance(self) -> None:
        self._virtual += (self._queue.now - self._at) * self._rate
        self._at = self._queue.now

    def _first(self) -> Computation:
        return min(self._under_way, key=lambda each: (each.until, each.rank))

    def _plan(self) -> None:
        """Schedule the end of whichever is served first, as things are."""
        if self._next is not None:
            self._queue.cancel(self._next)
            self._next = None
        if self._under_way:
            first = self._first()
            left = max(0.0, (first.until - self._virtual) / self._rate)
            self._next = self._queue.after(left, self._served, first, priority=1 + first.rank)

    def _served(self, first: Computation) -> None:
        self._advance()
        self._virtual = max(self._virtual, first.until)
        self._next = None
        self._under_way.remove(first)
        self._plan()
        if first.due > self._queue.now:
            first.event = self._queue.at(first.due, self._end, first, priority=1 + first.rank)
        else:
            self._end(first)

    def _end(self, computation: Computation) -> None:
        computation.event = None
        computation.done()
