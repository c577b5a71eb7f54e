"""A worker's copies of what it has read, and its own updates since (semantics.md A2, A6)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from psbook.core.actions import Part
from psbook.core.keys import KeyArray, KeyRange, Keys
from psbook.core.messages import PullReply, Push


@dataclass(slots=True, eq=False)
class Copy:
    """The last reply of one shard, and the worker's own pushes that it does not contain."""

    reply: PullReply
    own: list[Push] = field(default_factory=list)


class Cache:
    """Last reply per (table, shard).

    A reply holds every push that the worker sent before the pull (FIFO), and none sent after it: those are
    kept and re-applied, each exactly once. A table that is not additive gives its copy up instead.
    At most `MOST` own pushes are kept a copy; a worker that writes more without reading loses it.
    """

    MOST = 64

    def __init__(self) -> None:
        self._copies: dict[tuple[str, int], Copy] = {}
        self._since: dict[tuple[str, int], list[Push]] = {}

    def expect(self, table: str, shard: int) -> None:
        """Note that a pull was sent: own pushes from here on are not in its reply."""
        self._since.setdefault((table, shard), [])

    def keep(self, reply: PullReply, additive: bool) -> None:
        """Take over a reply; forget the pushes that it contains."""
        place = reply.table, reply.id.shard
        own = [push for push in self._since.pop(place, ()) if push.id.sequence > reply.id.sequence]
        if own and not additive:
            self._copies.pop(place, None)
            return
        self._since[place] = own
        self._copies[place] = Copy(reply, own)

    def wrote(self, push: Push, additive: bool) -> None:
        """Note an own push: re-applied to the copy if the table is additive, else the copy is dropped."""
        place = push.table, push.id.shard
        since = self._since.get(place)
        if since is None:
            return
        since.append(push)
        if not additive or len(since) > self.MOST:
            self._copies.pop(place, None)

    def find(self, table: str, shard: int, keys: Keys, start: int, stop: int) -> Part | None:
        """Return the copy's part for `keys`, if it holds all of them."""
        copy = self._copies.get((table, shard))
        if copy is None:
            return None
        within = positions(copy.reply.keys, keys)
        if within is None:
            return None
        deltas: list[tuple[Keys, Any, float]] = [(push.keys, push.value, push.scale) for push in copy.own]
        return Part(start, stop, copy.reply, within, deltas)


def positions(held: Keys, wanted: Keys) -> slice | KeyArray | None:
    """Positions of `wanted` among the keys `held`, or ``None`` if one is missing.

    >>> positions(KeyRange(10, 20), np.array([12, 13]))
    array([2, 3])
    >>> positions(np.array([1, 5]), KeyRange(5, 6)), positions(np.array([1, 5]), KeyRange(5, 7))
    (array([1]), None)
    """
    if isinstance(held, KeyRange):
        if isinstance(wanted, KeyRange):
            inside = held.start <= wanted.start and wanted.stop <= held.stop
            return slice(wanted.start - held.start, wanted.stop - held.start) if inside else None
        inside = held.start <= wanted[0] and wanted[-1] < held.stop
        return wanted - held.start if inside else None
    if isinstance(wanted, KeyRange):
        wanted = np.arange(wanted.start, wanted.stop)
    at = np.searchsorted(held, wanted)
    if at[-1] >= len(held) or not np.array_equal(held[at], wanted):
        return None
    return at
