"""Which servers live and who holds what: fail-over, new copies, moves to newcomers (semantics.md E4-E6).

A server is lost when it has not been heard of for longer than any lease that it may still have, or when its
next incarnation speaks: then its place in every chain is given up at once, in one new epoch. Everything else
is planned, shard by shard, in steps that lose nothing:

1. *lend*: those who are to hold the shard take a copy, and every later entry of its log, while it serves on;
2. *head*, then *tail*: the head takes no more writes and lets its log drain, then the tail takes no more
   reads, so that all replicas are alike;
3. the map of the next epoch is sent to everybody.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from psbook.core.actions import Action, Send
from psbook.core.controls import Freeze, Frozen, Installed, Lend
from psbook.core.layout import Layout
from psbook.core.ring import Ring
from psbook.core.routes import Segment

MARGIN = 1.2
"""A node is given up after this many leases without a sign of life; its own clock may be so much slower."""


@dataclass(slots=True)
class Move:
    """A planned change of one shard: `goal` replaces it when nobody is waited for any more."""

    shard: int
    goal: list[Segment]
    stage: Literal["lend", "head", "tail"]
    waiting: set[str] = field(default_factory=set)


class Membership:
    """State machine of who serves what.

    Parameters
    ----------
    layout
        Who takes part, and the first map.

    Notes
    -----
    State grows with servers + segments; an event costs O(segments) at most.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.routes = layout.routes
        self.servers = set(layout.servers)
        """Servers that live."""
        self.since: dict[str, int] = {}
        """Epoch since which a server is a member that was not one from the start, or was given up before."""
        self.leaving: set[str] = set()
        self.departed: set[str] = set()
        """Servers that have left; they are not taken in again."""
        self.lost: list[Segment] = []
        """Shards of which no copy is left."""
        self.moves: dict[int, Move] = {}
        self._next_shard = max(layout.shards) + 1
        self._owner = {segment.shard: segment.head for segment in layout.routes.segments}
        self._ring = Ring(layout.servers, layout.safety.points) if layout.safety.points else None

    # Changes of the members

    def failed(self, nodes: Iterable[str]) -> None:
        """Give up lost servers: their places in all chains, in one epoch."""
        dead = set(nodes)
        self.servers -= dead
        self.leaving -= dead
        if not self._staying():
            self.leaving.clear()  # somebody has to hold the keys
        if self._ring is not None and self.servers:
            self._ring = Ring(self._staying() or self.servers, self._ring.points)
        changes: dict[int, Sequence[Segment]] = {}
        for segment in self.routes.segments:
            left = tuple(node for node in segment.chain if node not in dead)
            move = self.moves.get(segment.shard)
            if len(left) < len(segment.chain) or (move and dead & _nodes(move.goal)):
                self.moves.pop(segment.shard, None)
                if left:
                    changes[segment.shard] = [replace(segment, chain=left)]
                elif segment not in self.lost:
                    self.lost.append(segment)
            if left and self._owner[segment.shard] in dead:
                self._owner[segment.shard] = left[0]
        if changes:
            self.routes = self.routes.changed(changes)

    def joined(self, node: str) -> None:
        """Take a server in; it will get its share of the keys."""
        if node in self.servers:
            return
        self.servers.add(node)
        self.since[node] = self.routes.epoch + 1
        if self._ring is not None:
            self._ring = Ring(self._staying(), self._ring.points)
            self._cut_for_ring()
        else:
            self._cut_for(node)

    def leave(self, node: str) -> None:
        """Let a server go as soon as others hold what it holds."""
        self.leaving.add(node)
        if self._ring is not None and self._staying():
            self._ring = Ring(self._staying(), self._ring.points)
        changes: dict[int, Sequence[Segment]] = {}
        for shard, move in list(self.moves.items()):
            segment = self.routes.find(shard)
            if segment is not None and node in _nodes(move.goal):  # it was to get what it must not have now
                del self.moves[shard]
                changes[shard] = [segment]
        if changes:
            self.routes = self.routes.changed(changes)

    def let_go(self) -> list[str]:
        """Return the servers that were to leave and hold nothing any more; they are members no longer."""
        coming = {node for move in self.moves.values() for node in _nodes(move.goal)}
        gone = sorted(node for node in self.leaving - coming if not self.routes.of(node))
        self.servers -= set(gone)
        self.leaving -= set(gone)
        self.departed |= set(gone)
        return gone

    def restored(self, shard: int, node: str) -> None:
        """A shard of which no copy was left lives again on `node`, as it was some time ago."""
        segment = next(each for each in self.lost if each.shard == shard)
        self.lost.remove(segment)
        self._owner[shard] = node
        self.routes = self.routes.changed({shard: [replace(segment, chain=(node,), restored=True)]})

    def _staying(self) -> set[str]:
        return self.servers - self.leaving

    # Plans

    def _cut_for(self, node: str) -> None:
        """Cut the last 1/n off every range, for the newest of n servers."""
        share = len(self._staying())
        owned = [segment for segment in self.routes.segments if segment.shard not in self.moves]
        for segment in owned:
            at = segment.stop - (segment.stop - segment.start) // share
            self._cut(segment, [at], {segment.stop: node})

    def _cut_for_ring(self) -> None:
        """Cut segments along the arcs of the ring."""
        if self._ring is None:
            return
        arcs = self._ring.arcs()
        for segment in self.routes.segments:
            inside = [arc.stop for arc in arcs if segment.start < arc.stop < segment.stop]
            if inside and segment.shard not in self.moves:
                self._cut(segment, inside, {})

    def _cut(self, segment: Segment, borders: Sequence[int], owners: dict[int, str]) -> None:
        ends = [segment.start, *borders, segment.stop]
        parts: list[Segment] = []
        for start, stop in itertools.pairwise(ends):
            if start >= stop:
                continue
            shard = segment.shard if not parts else self._next_shard
            self._next_shard += bool(parts)
            parts.append(replace(segment, shard=shard, start=start, stop=stop))
            self._owner[shard] = owners.get(stop, self._owner[segment.shard])
        self.moves[segment.shard] = Move(segment.shard, parts, "head", {segment.head})

    def plan(self) -> list[Action]:
        """Begin a move for every shard that is not where it should be; return the first orders."""
        before = set(self.moves)
        self._plan()
        return [
            order for shard, move in self.moves.items() if shard not in before for order in self._order(move)
        ]

    def _plan(self) -> None:
        if self._ring is not None:
            self._cut_for_ring()
        for segment in self.routes.segments:
            if segment.shard in self.moves or segment in self.lost:
                continue
            chain = self._goal(segment)
            if chain != segment.chain:
                new = [node for node in chain if node not in segment.chain]
                goal = [replace(segment, chain=chain)]
                if new:
                    self.moves[segment.shard] = Move(segment.shard, goal, "lend", set(new))
                else:
                    self.moves[segment.shard] = Move(segment.shard, goal, "head", {segment.head})

    def emptiest(self) -> str:
        """Return the server that holds least."""
        return min(self._staying() or self.servers, key=lambda node: (self._load(node), node))

    def _goal(self, segment: Segment) -> tuple[str, ...]:
        """Return the chain that a shard should have: its owner, then as many others as there are replicas."""
        copies = self.layout.safety.replicas
        if self._ring is not None:
            return tuple(self._ring.chain(segment.start, copies))
        staying = self._staying()
        if not staying:
            return segment.chain
        kept = [node for node in segment.chain if node in staying]
        others = sorted(staying - set(kept), key=lambda node: (self._load(node), node))
        owner = self._owner[segment.shard]
        if owner not in staying:
            owner = self._owner[segment.shard] = (kept or others)[0]
        rest = [node for node in (*kept, *others) if node != owner]
        return (owner, *rest[:copies])

    def _load(self, node: str) -> int:
        planned = [part for move in self.moves.values() for part in move.goal]
        moving = {part.shard for part in planned}
        held = [segment for segment in self.routes.segments if segment.shard not in moving]
        return sum(segment.stop - segment.start for segment in (*held, *planned) if node in segment.chain)

    # Steps of a plan

    def orders(self) -> list[Action]:
        """Say to everybody who is waited for what he has to do; it may come twice."""
        return [order for move in self.moves.values() for order in self._order(move)]

    def _order(self, move: Move) -> list[Action]:
        segment = self.routes.find(move.shard)
        if segment is None:
            return []
        if move.stage == "lend":
            lender = segment.tail if self.layout.safety.scheme == "chain" else segment.head
            return [Send(lender, Lend(move.shard, to, segment.epoch)) for to in sorted(move.waiting)]
        return [Send(node, Freeze(move.shard, segment.epoch, move.stage)) for node in sorted(move.waiting)]

    def installed(self, done: Installed) -> list[Action]:
        """A newcomer has its copy."""
        move, segment = self.moves.get(done.shard), self.routes.find(done.shard)
        if move is None or segment is None or move.stage != "lend" or done.epoch != segment.epoch:
            return []
        if done.since != self.since.get(done.node, 0):
            return []  # a copy that it will give up, as soon as it hears that it was given up itself
        move.waiting.discard(done.node)
        if move.waiting:
            return []
        move.stage, move.waiting = "head", {segment.head}
        return self._order(move)

    def frozen(self, done: Frozen) -> list[Action]:
        """The head, or the tail, takes no more requests; publish the next epoch when both do not."""
        move, segment = self.moves.get(done.shard), self.routes.find(done.shard)
        if move is None or segment is None or move.stage != done.role or done.epoch != segment.epoch:
            return []
        if done.role == "head":
            move.stage, move.waiting = "tail", {segment.tail}
            return self._order(move)
        del self.moves[done.shard]
        self.routes = self.routes.changed({done.shard: move.goal})
        return []


def _nodes(goal: Iterable[Segment]) -> set[str]:
    return {node for segment in goal for node in segment.chain}
