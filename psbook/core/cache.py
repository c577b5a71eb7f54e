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


@dataclass(slots=True, eq=False)
class Since:
    """The worker's own pushes to a shard behind its message number `start`, all of them."""

    start: int
    pushes: list[Push] = field(default_factory=list)


class Cache:
    """Last reply per (table, shard).

    A reply says up to which of the worker's own messages it contains them: those sent before the pull
    (FIFO), and, if the pull was parked, some sent after it. Own pushes behind that are kept and re-applied,
    each exactly once. A table that is not additive gives its copy up instead. Replies may come in any order:
    one that is older than what is kept is not cached.
    At most `MOST` own pushes are kept a copy; a worker that writes more without reading loses it.
    """

    MOST = 64

    def __init__(self) -> None:
        self._copies: dict[tuple[str, int], Copy] = {}
        self._since: dict[tuple[str, int], Since] = {}

    def expect(self, table: str, shard: int, sequence: int) -> None:
        """Note that pull number `sequence` was sent: own pushes from here on may not be in its reply."""
        self._since.setdefault((table, shard), Since(sequence))

    def keep(self, reply: PullReply, additive: bool) -> None:
        """Take over a reply; forget the pushes that it contains."""
        place = reply.table, reply.id.shard
        since = self._since.get(place)
        if since is None or reply.upto < since.start:
            return
        if reply.unasked and place in self._copies and self._copies[place].reply.version > reply.version:
            return
        since.start = reply.upto
        since.pushes = [push for push in since.pushes if push.id.sequence > reply.upto]
        if since.pushes and not additive:
            self._copies.pop(place, None)
        else:
            self._copies[place] = Copy(reply, since.pushes)

    def wrote(self, push: Push, additive: bool) -> None:
        """Note an own push: re-applied to the copy if the table is additive, else the copy is dropped."""
        since = self._since.get((push.table, push.id.shard))
        if since is None:
            return
        since.pushes.append(push)
        if len(since.pushes) > self.MOST:
            self.forget(push.table, push.id.shard)
        elif not additive:
            self._copies.pop((push.table, push.id.shard), None)

    def forget(self, table: str, shard: int) -> None:
        """Drop the copy, and cache no reply to a pull that is under way."""
        self._copies.pop((table, shard), None)
        self._since.pop((table, shard), None)

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
