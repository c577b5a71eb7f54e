"""Who serves which keys: segments of the key space, the chain of servers of each, and the epoch (B4).

Every table's keys are laid, in order, along one space of positions ``[0, 2**64)``; a segment of that space is
a shard, and holds the same share of every table. So a shard is placed, moved and split once for all tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from psbook.core.keys import KeyRange, Partition
from psbook.core.ring import POSITIONS, Ring
from psbook.errors import InvalidJob, ProtocolError


def key_at(size: int, position: int) -> int:
    """First key, of a table of `size` keys, at or behind a position.

    >>> key_at(10, POSITIONS // 3 + 1), key_at(10, POSITIONS)
    (3, 10)
    """
    return position * size // POSITIONS


@dataclass(frozen=True, slots=True)
class Segment:
    """One shard: positions ``[start, stop)``, and the servers that hold it, from head to tail.

    Attributes
    ----------
    shard : int
        Its number, never used again for another segment.
    chain : tuple of str
        Writes enter at the first (the primary), reads are answered by the last (E1).
    epoch : int
        Epoch in which the segment's border or chain was last changed.
    restored : bool
        The values came back from a checkpoint, or from nothing, and lack updates that had been applied.
    """

    shard: int
    start: int
    stop: int
    chain: tuple[str, ...]
    epoch: int = 0
    restored: bool = False

    @property
    def head(self) -> str:
        """Server that writes go to."""
        return self.chain[0]

    @property
    def tail(self) -> str:
        """Server that answers reads."""
        return self.chain[-1]

    @property
    def share(self) -> float:
        """Share of the key space."""
        return (self.stop - self.start) / POSITIONS

    def keys(self, size: int) -> KeyRange:
        """Keys of this segment in a table of `size` keys; may be none."""
        return KeyRange(key_at(size, self.start), key_at(size, self.stop))


@dataclass(frozen=True, slots=True)
class Routes:
    """The map of the key space in one epoch: segments in order of their positions, without gap or overlap."""

    segments: tuple[Segment, ...]
    epoch: int = 0

    def __post_init__(self) -> None:
        at = 0
        for segment in self.segments:
            if segment.start != at or segment.stop <= segment.start:
                raise ProtocolError(
                    f"segment {segment.shard} begins at {segment.start}; required: {at}, and some length"
                )
            at = segment.stop
        if at != POSITIONS:
            raise ProtocolError(f"the segments end at {at}; required: {POSITIONS}")

    @property
    def text(self) -> str:
        """The map in words.

        >>> in_ranges(["a", "b"], 1).text
        'shard 0: a, b; shard 1: b, a'
        """
        return "; ".join(f"shard {segment.shard}: {', '.join(segment.chain)}" for segment in self.segments)

    def find(self, shard: int) -> Segment | None:
        """Return a shard's segment, if there is one."""
        return next((segment for segment in self.segments if segment.shard == shard), None)

    def of(self, server: str) -> list[Segment]:
        """Return the segments that a server holds a copy of."""
        return [segment for segment in self.segments if server in segment.chain]

    def partition(self, size: int) -> Partition:
        """Cut a table of `size` keys along the borders of the segments."""
        return Partition(size, [(segment.shard, segment.keys(size)) for segment in self.segments])

    def changed(self, changes: Mapping[int, Sequence[Segment]]) -> Routes:
        """Return the routes of the next epoch, in which segments are replaced by others."""
        epoch = self.epoch + 1
        segments: list[Segment] = []
        for segment in self.segments:
            if segment.shard in changes:
                segments += [replace(each, epoch=epoch) for each in changes[segment.shard]]
            else:
                segments.append(segment)
        return Routes(tuple(segments), epoch)


def cut(chains: Sequence[Sequence[str]]) -> Routes:
    """Return routes of equal segments, one for each chain.

    >>> [segment.keys(10) for segment in cut([["a"], ["b"], ["c"]]).segments][1]
    KeyRange(start=3, stop=6)
    """
    number = len(chains)
    borders = [-(-index * POSITIONS // number) for index in range(number + 1)]
    return Routes(
        tuple(
            Segment(shard, borders[shard], borders[shard + 1], tuple(chain))
            for shard, chain in enumerate(chains)
        )
    )


def in_ranges(servers: Sequence[str], replicas: int = 0) -> Routes:
    """Return one segment a server, copied to the next `replicas` servers.

    >>> [segment.chain for segment in in_ranges(["a", "b", "c"], 1).segments]
    [('a', 'b'), ('b', 'c'), ('c', 'a')]
    """
    check_replicas(servers, replicas)
    count = len(servers)
    return cut([[servers[(at + i) % count] for i in range(replicas + 1)] for at in range(count)])


def on_ring(servers: Sequence[str], points: int, replicas: int = 0) -> Routes:
    """Return one segment for each arc of a ring of `points` virtual nodes a server (Li et al. 2014, §4.3).

    Messages of a request for a whole table grow with the arcs, about servers · points.
    """
    check_replicas(servers, replicas)
    ring = Ring(servers, points)
    return Routes(
        tuple(
            Segment(shard, arc.start, arc.stop, tuple(ring.chain(arc.start, replicas)))
            for shard, arc in enumerate(ring.arcs())
        )
    )


def check_replicas(servers: Sequence[str], replicas: int) -> None:
    """Raise `InvalidJob` unless there are servers enough for the copies."""
    if not 0 <= replicas < len(servers):
        raise InvalidJob(
            f"{replicas} replicas on {len(servers)} servers; required: 0 <= replicas < servers, "
            "each copy on a server of its own."
        )
