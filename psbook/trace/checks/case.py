"""A trace to be judged: its rows, its lineages, its pushes, and what the run promised; each made once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from psbook.core.keys import KeyRange, key_bytes
from psbook.core.messages import HEADER_BYTES
from psbook.trace.checks.parts import Parts, Pushes
from psbook.trace.checks.promises import Promises
from psbook.trace.facts import NEVER, BoolArray, Facts, IntArray
from psbook.trace.lineage import Lineages
from psbook.trace.trace import Trace

RANGE_BYTES = key_bytes(KeyRange(0, 0))


@dataclass(frozen=True)
class Reads:
    """Every answer, to a program whose clock counts, whose reply was sent.

    Attributes
    ----------
    row, asked : array of int
        Positions of the answer, and of the first sending of the pull.
    rank, clock : array of int
        The reader, and its clock when it asked.
    """

    row: IntArray
    asked: IntArray
    rank: IntArray
    clock: IntArray


class Case:
    """A trace to be judged.

    Parameters
    ----------
    trace
        The trace.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.facts = Facts(trace)
        self.promises = Promises.of(trace.meta)

    @cached_property
    def lineages(self) -> Lineages:
        """What became of each shard."""
        return Lineages(self.facts)

    @cached_property
    def model_changed(self) -> bool:
        """Whether a program changed the model, to one that the trace does not tell."""
        return bool(self.facts.at("send", detail=("ChangeModel", "ModelSet")).size)

    @cached_property
    def acked(self) -> IntArray:
        """By message: position of the first acknowledgement that its sender received."""
        return self.facts.first(self.facts.at("receive", detail="Ack"))

    @cached_property
    def pushes(self) -> Pushes:
        """The pushes."""
        facts, ids = self.facts, self.facts.ids
        rows = facts.at("send", detail="Push")
        smallest = np.full(len(ids.text), NEVER)
        np.minimum.at(smallest, facts.message[rows], facts.trace.frame["bytes"].to_numpy(np.int64)[rows])
        _, first = np.unique(facts.message[rows], return_index=True)
        rows = rows[np.sort(first)]
        message = facts.message[rows]
        code = {name: number for number, name in enumerate(facts.tables)}
        names = ids.table[message]
        table = np.fromiter((code.get(name, -1) for name in names), np.int64, len(names))
        no_keys = (smallest[message] >= 0) & (smallest[message] <= HEADER_BYTES + RANGE_BYTES)
        return Pushes(
            message, rows, self.acked[message], facts.clock[rows], ids.rank[message],
            ids.incarnation[message], ids.shard[message], ids.sequence[message], table,
            empty=no_keys & bool(self.split_off),
        )  # fmt: skip

    @cached_property
    def reads(self) -> Reads:
        """The reads that a consistency model has a say in."""
        facts = self.facts
        rows = self.lineages.sent_answers
        rank = facts.ids.rank[facts.message[rows]]
        asked = facts.first(facts.at("send", detail="Pull"))[facts.message[rows]]
        known = (asked != NEVER) & np.isin(rank, list(self.workers))
        rows, rank, asked = rows[known], rank[known], asked[known]
        clock = facts.clock[asked]
        told = clock >= 0
        return Reads(rows[told], asked[told], rank[told], clock[told])

    @property
    def workers(self) -> frozenset[int]:
        """Ranks of the programs whose clocks count."""
        return self.facts.workers

    @cached_property
    def split_off(self) -> frozenset[int]:
        """Shards that were cut off others during the run."""
        facts = self.facts
        rows = facts.at("serve")
        shards = set(facts.shard[rows].tolist())
        return frozenset(shards - set(facts.shard[rows[facts.version[rows] == 0]].tolist()))

    @cached_property
    def parts(self) -> Parts:
        """Pushes to shards that were cut."""
        return Parts(self.facts, self.lineages, self.pushes, self.split_off)

    @property
    def resumed(self) -> bool:
        """Whether the run went on from a checkpoint, whose versions come before its first."""
        return bool(self.trace.meta.get("resumed", False))

    # Programs

    @cached_property
    def incarnation(self) -> dict[int, int]:
        """Last incarnation of each program, by rank."""
        facts = self.facts
        last: dict[int, int] = {}
        for row in facts.at("restart").tolist():
            rank = facts.programs.get(int(facts.node[row]))
            if rank is not None:
                last[rank] = max(last.get(rank, 0), int(facts.version[row]))
        return last

    @cached_property
    def finished(self) -> frozenset[int]:
        """Ranks of the programs that ended."""
        facts = self.facts
        rows = facts.at("finish")
        return frozenset(rank for node, rank in facts.programs.items() if (facts.node[rows] == node).any())

    @cached_property
    def ended_well(self) -> bool:
        """Whether the run came to its end."""
        return not self.facts.at("failure").size and self.finished >= frozenset(self.facts.programs.values())

    @cached_property
    def alive(self) -> BoolArray:
        """By push: whether its sender lived to the end, in the same incarnation, and ended."""
        pushes = self.pushes
        ranks = np.unique(pushes.rank)
        last = {int(rank): self.incarnation.get(int(rank), 0) for rank in ranks}
        lives = np.zeros(len(pushes.message), dtype=bool)
        for rank in ranks.tolist():
            if rank in self.finished:
                lives |= (pushes.rank == rank) & (pushes.incarnation == last[rank])
        return lives

    @cached_property
    def lost_sender(self) -> BoolArray:
        """By push: whether its sender's incarnation was lost, whatever came after."""
        pushes, facts = self.pushes, self.facts
        lost = np.zeros(len(pushes.message), dtype=bool)
        for rank, last in self.incarnation.items():
            lost |= (pushes.rank == rank) & (pushes.incarnation < last)
        gone = set(facts.node[facts.at("lost")].tolist())
        for node, rank in facts.programs.items():
            if node in gone and rank not in self.finished:
                lost |= pushes.rank == rank
        return lost

    @cached_property
    def excused(self) -> BoolArray:
        """By push: never applied, and rightly so.

        It holds no keys; or the shard was cut, and another part of it has them; or an earlier start of its
        worker had ended that clock already (E2b).
        """
        pushes = self.pushes
        excused = pushes.empty | self.parts.elsewhere | self._ended_before
        return excused & ~self.lineages.ever[pushes.message]

    @cached_property
    def dropped(self) -> BoolArray:
        """By push: whether a shard says that it dropped it, under a model that drops old ones (A11)."""
        facts, pushes = self.facts, self.pushes
        rows = facts.at("drop", "drop copy")
        if not (self.promises.collects and rows.size):
            return np.zeros(len(pushes.message), dtype=bool)
        return np.isin(pushes.message, facts.message[rows]) & ~self.lineages.ever[pushes.message]

    @property
    def _ended_before(self) -> BoolArray:
        pushes = self.pushes
        highest = self.ended_clock(acked=False)
        ended = np.zeros(len(pushes.message), dtype=bool)
        again = np.flatnonzero(pushes.incarnation > 0)
        senders = np.stack([pushes.rank[again], pushes.incarnation[again], pushes.shard[again]])
        for rank, incarnation, shard in np.unique(senders, axis=1).T.tolist():
            before = [
                clock for (other, start, place), clock in highest.items()
                if other == rank and start < incarnation and (place == shard or shard in self.split_off)
            ]  # fmt: skip
            own = (pushes.rank == rank) & (pushes.incarnation == incarnation) & (pushes.shard == shard)
            ended |= own & (pushes.clock < max(before, default=-1))
        return ended

    def ended_clock(self, acked: bool) -> dict[tuple[int, int, int], int]:
        """Highest clock that each (rank, incarnation, shard) was told to have ended; `NEVER`: the end.

        With `acked`, of the messages that were acknowledged; else of those that were sent.
        """
        facts, ids = self.facts, self.facts.ids
        rows = facts.at("send", detail=("Clock", "Finish"))
        if acked:
            rows = rows[self.acked[facts.message[rows]] != NEVER]
        clock = np.where(facts.clock[rows] < 0, NEVER, facts.clock[rows])
        codes = facts.message[rows]
        senders = np.stack([ids.rank[codes], ids.incarnation[codes], ids.shard[codes]])
        keys, which = np.unique(senders, axis=1, return_inverse=True)
        highest = np.full(keys.shape[1], -1, dtype=np.int64)
        np.maximum.at(highest, which.ravel(), clock)
        return {(int(a), int(b), int(c)): int(d) for (a, b, c), d in zip(keys.T, highest, strict=True)}
