"""Consistent hashing with virtual nodes: which server owns which part of the key space (semantics.md B3).

Every server puts `points` virtual nodes on a ring of 2^64 positions and owns from each of them
counter-clockwise to the next point, whoever's that is (Li et al. 2014, "Scaling Distributed Machine
Learning with the Parameter Server", section 4.3). A server that joins takes arcs from its clockwise
neighbours only, one that leaves gives its arcs to them, and nobody else's keys move.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from numbers import Integral
from typing import NamedTuple

from psbook.errors import InvalidJob, InvalidKeys

POSITIONS = 2**64
"""Number of positions on a ring: they are the integers 0 … 2^64−1."""


class Arc(NamedTuple):
    """The positions ``[start, stop)`` and the server that owns them."""

    start: int
    stop: int
    owner: str


class Move(NamedTuple):
    """The positions ``[start, stop)`` that go from server `old` to server `new`."""

    start: int
    stop: int
    old: str
    new: str


def point(server: str, index: int, seed: int = 0) -> int:
    """Position of virtual node number `index` of a server: the same in every process.

    >>> point("server-0", 3) == point("server-0", 3), point("server-0", 3) == point("server-0", 4)
    (True, False)
    """
    return _hash(f"point {seed} {index} {server}")


def position(key: int, seed: int = 0) -> int:
    """Position of a hashed key, for tables whose neighbouring keys are to lie on different servers.

    >>> Ring(["server-0", "server-1"]).owner(position(7))
    'server-1'
    """
    return _hash(f"key {seed} {key}")


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


@dataclass(frozen=True, init=False)
class Ring:
    """A ring of servers; an immutable value, equal to any other with the same servers, points and seed.

    Of points that collide, that of the server whose name sorts first comes first on the ring, so it owns
    the arc; the others own nothing there. Building costs O(n v log n v) for n servers of v points, finding
    an owner O(log n v).

    Parameters
    ----------
    servers : iterable of str
        Names of the servers; their order means nothing.
    points : int
        Virtual nodes a server, v ≥ 1. The coefficient of variation of a server's share of the ring is
        sqrt((n−1)/(n v+1)), over seeds.
    seed : int
        Names one of many rings of the same servers.

    Attributes
    ----------
    servers : tuple of str
        Their names, sorted.

    Raises
    ------
    InvalidJob
        If there is no server, a name is given twice, or there is less than one point.

    Examples
    --------
    >>> ring = Ring(["server-0", "server-1", "server-2"])
    >>> ring.chain(2**63, copies=1)
    ('server-2', 'server-1')
    >>> {move.new for move in ring.moved(ring.with_server("server-3"))}
    {'server-3'}
    """

    servers: tuple[str, ...]
    points: int
    seed: int
    _positions: tuple[int, ...] = field(repr=False, compare=False)
    _owners: tuple[str, ...] = field(repr=False, compare=False)

    def __init__(self, servers: Iterable[str], points: int = 64, seed: int = 0) -> None:
        names = _checked(servers)
        if not isinstance(points, Integral) or points < 1:
            raise InvalidJob(f"a ring of {points!r} points a server; required: an integer, at least 1")
        laid = sorted((point(name, index, seed), name) for name in names for index in range(points))
        positions, owners = zip(*laid, strict=True)
        fields = {
            "servers": names,
            "points": points,
            "seed": seed,
            "_positions": positions,
            "_owners": owners,
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)  # a frozen dataclass leaves no other way

    def arcs(self) -> list[Arc]:
        """Arcs in order of position, covering ``[0, 2**64)`` exactly; neighbours have different owners.

        The arc that crosses position 0 is cut there: its two parts are the first and the last of the list.
        """
        positions, owners = (*self._positions, POSITIONS - 1), (*self._owners, self._owners[0])
        arcs: list[Arc] = []
        at = 0
        for last, owner in zip(positions, owners, strict=True):
            if at > last:  # a second point at one position owns nothing
                continue
            start = arcs.pop().start if arcs and arcs[-1].owner == owner else at
            at = last + 1
            arcs.append(Arc(start, at, owner))
        return arcs

    def owner(self, position: int) -> str:
        """Name of the server that owns a position, 0 … 2^64−1; `InvalidKeys` for any other."""
        return self._owners[self._first(position)]

    def chain(self, position: int, copies: int) -> tuple[str, ...]:
        """Return who holds a position: its owner, then the next `copies` distinct servers clockwise.

        When the owner leaves, the next of the chain owns the position, and has the values already. A ring
        of fewer servers gives them all.

        Raises
        ------
        InvalidKeys
            If the position is not on the ring.
        InvalidJob
            If `copies` is negative.
        """
        if copies < 0:
            raise InvalidJob(f"a chain of {copies} copies; required: 0 or more")
        first = self._first(position)
        seen: dict[str, None] = {}  # in order of appearance
        for step in range(len(self._owners)):
            seen[self._owners[(first + step) % len(self._owners)]] = None
            if len(seen) > copies:
                break
        return tuple(seen)

    def shares(self) -> dict[str, float]:
        """Part of the ring that each server owns; they add up to 1."""
        owned = dict.fromkeys(self.servers, 0)
        for arc in self.arcs():
            owned[arc.owner] += arc.stop - arc.start
        return {name: size / POSITIONS for name, size in owned.items()}

    def with_server(self, name: str) -> Ring:
        """Return the ring that `name` has joined; `InvalidJob` if it is on the ring already."""
        return Ring((*self.servers, name), self.points, self.seed)

    def without(self, name: str) -> Ring:
        """Return the ring that `name` has left; `InvalidJob` if it is not on it, or alone on it."""
        if name not in self.servers:
            raise InvalidJob(f"no server {name!r} on the ring; required: one of {', '.join(self.servers)}")
        return Ring((other for other in self.servers if other != name), self.points, self.seed)

    def moved(self, after: Ring) -> list[Move]:
        """Return what changes owner when `after` replaces this ring, in order of position.

        Parts that touch differ in their old or their new owner, for the arcs of either ring do.
        """
        return [move for move in _overlay(self.arcs(), after.arcs()) if move.old != move.new]

    def _first(self, position: int) -> int:
        if not 0 <= position < POSITIONS:
            raise InvalidKeys(f"position {position}; required: 0 <= position < 2**64")
        return bisect_left(self._positions, position) % len(self._positions)


def _checked(servers: Iterable[str]) -> tuple[str, ...]:
    """Names in order, or `InvalidJob`."""
    names = list(servers)
    if isinstance(servers, str) or not all(isinstance(name, str) for name in names):
        raise InvalidJob(f"the servers of a ring are {servers!r}; required: a list of names")
    if not names:
        raise InvalidJob("a ring of no servers; required: at least one, to own the keys")
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise InvalidJob(f"a ring names {twice} more than once; required: each server once")
    return tuple(sorted(names))


def _overlay(before: list[Arc], after: list[Arc]) -> Iterator[Move]:
    """Cut two coverings of the ring at each other's borders."""
    start = one = two = 0
    while start < POSITIONS:
        old, new = before[one], after[two]
        stop = min(old.stop, new.stop)
        yield Move(start, stop, old.owner, new.owner)
        start = stop
        one += old.stop == stop
        two += new.stop == stop
