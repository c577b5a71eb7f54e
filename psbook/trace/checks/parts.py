"""The pushes of a run, and what becomes of those to a shard that is cut (semantics.md C1, E4).

A push that is under way when its shard is cut is cut, too: by its sender, who sends the parts, or by the
shard, which keeps them aside. Each part has the number of the whole, and the shard that it goes to.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from psbook.trace.facts import BoolArray, Facts, IntArray
from psbook.trace.lineage import Lineages


@dataclass(frozen=True)
class Pushes:
    """Every push that was sent, once, in the order of sending.

    Attributes
    ----------
    message : array of int
        Codes of the ids.
    sent, acked : array of int
        Positions of the first row "send", and of the first "receive" of the acknowledgement, else `NEVER`.
    clock : array of int
        Clock that it belongs to.
    """

    message: IntArray
    sent: IntArray
    acked: IntArray
    clock: IntArray
    rank: IntArray
    incarnation: IntArray
    shard: IntArray
    sequence: IntArray
    table: IntArray
    """Codes of the tables, as in the rows."""
    empty: BoolArray
    """Whether it holds no keys, or did at last: its shard was cut, and they lie in another part."""


class Parts:
    """Pushes that are parts of one, and shards that were cut off one another.

    Parameters
    ----------
    facts, lineages, pushes
        The trace.
    split_off
        Shards that were not there at the start.
    """

    def __init__(self, facts: Facts, lineages: Lineages, pushes: Pushes, split_off: frozenset[int]) -> None:
        self._facts = facts
        self._lineages = lineages
        self._pushes = pushes
        self._split_off = split_off

    @cached_property
    def _family(self) -> dict[int, int]:
        """A shard that each shard has an origin in common with: parts take up their roles in one epoch."""
        facts = self._facts
        rows = facts.at("serve")
        shard, epoch = facts.shard[rows], facts.version[rows]
        family = {number: number for number in np.unique(shard).tolist()}
        for part in sorted(self._split_off):
            others = np.unique(shard[epoch == epoch[shard == part].min()]).tolist()
            joined = {family[number] for number in others}
            family = {number: min(joined) if of in joined else of for number, of in family.items()}
        return family

    def related(self, one: int, other: int) -> bool:
        """Whether two shards are parts of one."""
        family = self._family
        return one != other and one in family and family[one] == family.get(other)

    def sibling(self, messages: IntArray, others: IntArray) -> BoolArray:
        """Whether each message has another part among `others`: the same push, to a related shard."""
        found = np.zeros(len(messages), dtype=bool)
        if not self._split_off:
            return found
        ids = self._facts.ids
        parts: dict[tuple[int, int, str, int], set[int]] = {}
        for code in others.tolist():
            parts.setdefault(self._sender(code), set()).add(int(ids.shard[code]))
        for number, code in enumerate(messages.tolist()):
            shards = parts.get(self._sender(code), ())
            found[number] = any(self.related(int(ids.shard[code]), shard) for shard in shards)
        return found

    def _sender(self, code: int) -> tuple[int, int, str, int]:
        ids = self._facts.ids
        return int(ids.rank[code]), int(ids.incarnation[code]), str(ids.table[code]), int(ids.sequence[code])

    @property
    def elsewhere(self) -> BoolArray:
        """By push: its keys went to another part of its shard; or it was applied before the cut (C1)."""
        pushes, facts = self._pushes, self._facts
        found = np.zeros(len(pushes.message), dtype=bool)
        if not self._split_off:
            return found
        applied = facts.first(facts.at("apply", "replicate"))
        parts: dict[tuple[int, int, str, int], list[int]] = {}
        for code in np.flatnonzero(self._lineages.ever).tolist():
            parts.setdefault(self._sender(code), []).append(code)
        sent = set(pushes.message.tolist())
        serves = facts.at("serve")
        for push in np.flatnonzero(~self._lineages.ever[pushes.message]).tolist():
            shard = int(pushes.shard[push])
            begins = int(serves[facts.shard[serves] == shard].min(initial=facts.size))
            for code in parts.get(self._sender(int(pushes.message[push])), ()):
                if self.related(shard, int(facts.ids.shard[code])):
                    found[push] |= code not in sent or bool(applied[code] < begins)
        return found
