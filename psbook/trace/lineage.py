"""What became of each shard: the updates that the servers which answer for it have, in order (E1-E6).

An update has a row "apply" at the replica that answers, and a row "replicate" at each of the others. When
the one that answered is lost, another takes over with the updates that *it* has: those are the shard's from
then on. Updates that only the lost one had are undone; if the protocol is right, nobody was told of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from psbook.trace.facts import NEVER, BoolArray, Facts, IntArray


@dataclass(frozen=True)
class Term:
    """A server answers for a table of a shard.

    Attributes
    ----------
    start : int
        Position of the first row that says so.
    node : int
        The server's code.
    rows : array of int
        Positions of the updates that it has, in their order: where its predecessors had them, too, the rows
        of those who answered then.
    versions : array of int
        Their versions, rising.
    """

    start: int
    node: int
    rows: IntArray
    versions: IntArray


@dataclass(frozen=True)
class Lineage:
    """One table of one shard, from the first server that answers to the last."""

    facts: Facts
    shard: int
    table: int
    terms: tuple[Term, ...]

    @property
    def last(self) -> Term:
        """What is left at the end."""
        return self.terms[-1]

    def term_at(self, rows: IntArray) -> IntArray:
        """Number of the term that each position lies in."""
        starts = np.array([term.start for term in self.terms])
        return np.maximum(np.searchsorted(starts, rows, side="right") - 1, 0)

    def version_of(self, term: Term, messages: IntArray) -> IntArray:
        """Version in which each message was applied first; `NEVER` if it was not."""
        ids = self.facts.message[term.rows]
        order = np.argsort(ids, kind="stable")
        known = ids[order]
        if not known.size:
            return np.full(len(messages), NEVER)
        place = np.minimum(np.searchsorted(known, messages), len(known) - 1)
        return np.where(known[place] == messages, term.versions[order][place], NEVER)


class Lineages:
    """Every table of every shard; see the module.

    Parameters
    ----------
    facts
        The trace.
    """

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        rows = facts.at("apply", "replicate")
        order = np.lexsort((rows, facts.table[rows], facts.shard[rows]))
        self._updates = _groups(facts, rows[order])
        self._evidence = _groups(facts, self._all_evidence())
        self.all: list[Lineage] = []
        for place in sorted({*self._updates, *(place for place in self._evidence if place[1] >= 0)}):
            terms = self._terms(place)
            if terms:
                self.all.append(Lineage(facts, *place, terms))

    def __iter__(self) -> Iterator[Lineage]:
        return iter(self.all)

    def of_replicas(self, lineage: Lineage) -> Iterator[IntArray]:
        """Yield the updates of each server, in each of its lives, as its rows tell them."""
        rows = self._updates.get((lineage.shard, lineage.table), np.empty(0, dtype=np.int64))
        lives = self.facts.node[rows] * (1 + int(self.life.max(initial=0))) + self.life[rows]
        for life in np.unique(lives).tolist():
            yield rows[lives == life]

    def of_term(self, lineage: Lineage, term: Term) -> IntArray:
        """Return the updates of the server of a term, as its own rows tell them."""
        rows = self._updates.get((lineage.shard, lineage.table), np.empty(0, dtype=np.int64))
        own = (self.facts.node[rows] == term.node) & (self.life[rows] == self.life[term.start])
        told: IntArray = rows[own]
        return told

    @cached_property
    def sent_answers(self) -> IntArray:
        """Positions of the answers whose reply was sent: a primary holds back what may be undone (E1)."""
        facts = self.facts
        answers, sends = facts.at("answer"), facts.at("send", detail="PullReply")
        if not sends.size:
            return answers
        width = int(facts.message.max()) + 1
        keys = facts.node[sends] * width + facts.message[sends]
        order = np.argsort(keys, kind="stable")
        known, last = keys[order], sends[order]
        wanted = facts.node[answers] * width + facts.message[answers]
        place = np.searchsorted(known, wanted, side="right") - 1
        sent: IntArray = answers[(place >= 0) & (known[place] == wanted) & (last[place] >= answers)]
        return sent

    @cached_property
    def life(self) -> IntArray:
        """How often each row's node had got its shard's values anew, before the row.

        It was started, or took a copy of the shard; or a new primary has copied what it has to its backups.
        """
        facts = self.facts
        lives = np.zeros(facts.size, dtype=np.int64)
        rows = facts.at("apply", "replicate", "answer", "serve")
        _count(lives, rows, facts.node, facts.at("restart"))
        place = facts.node * (2 + int(facts.shard.max(initial=0))) + facts.shard
        _count(lives, rows, place, facts.at("receive", detail="Install"))
        if self.scheme == "primary-backup":
            _count(lives, rows, place, facts.at("serve", detail=("", "tail")))
        return lives

    @property
    def scheme(self) -> str:
        """How the replicas work together, see `psbook.Safety`; empty if the trace does not tell."""
        return str((self.facts.meta.get("safety") or {}).get("scheme", ""))

    @property
    def answering(self) -> tuple[str, ...]:
        """Roles of the server that answers, as rows "serve" name them."""
        roles = {"chain": ("tail", "both"), "primary-backup": ("head", "both")}
        return roles.get(self.scheme, ("both",))

    def _all_evidence(self) -> IntArray:
        """Rows that say who answers for a shard: its updates, its answers, the role that it takes up."""
        facts = self.facts
        serves = facts.at("serve", detail=self.answering)
        rows = np.concatenate([facts.at("apply"), self.sent_answers, serves])
        table = np.where(np.isin(rows, serves), -1, facts.table[rows])
        return rows[np.lexsort((rows, table, facts.shard[rows]))]

    def _terms(self, place: tuple[int, int]) -> tuple[Term, ...]:
        facts, (shard, _) = self.facts, place
        none = np.empty(0, dtype=np.int64)
        evidence = np.concatenate([self._evidence.get(place, none), self._evidence.get((shard, -1), none)])
        evidence.sort()
        updates = self._updates.get(place, none)
        if not evidence.size:
            return ()
        server = facts.node[evidence] * (int(self.life.max()) + 1) + self.life[evidence]
        terms: list[Term] = []
        kept, versions = none, none
        changes = np.flatnonzero(server[1:] != server[:-1]) + 1
        ends = [*evidence[changes].tolist(), facts.size]
        for said, end in zip(np.split(evidence, changes.tolist()), ends, strict=True):
            row, told = int(said[0]), said[facts.table[said] == place[1]]
            own = updates[(facts.node[updates] == facts.node[row]) & (self.life[updates] == self.life[row])]
            own = own[own < end]  # what it takes in behind its term, as a replica, another tells
            if own.size:
                has = facts.version[own]
                before = versions < has[0]
                own = _as_told(facts, own, kept[~before])
                kept, versions = np.concatenate([kept[before], own]), np.concatenate([versions[before], has])
            elif told.size:  # a copy that was never updated; its answers tell of which version it is
                before = versions <= facts.version[told[0]]
                kept, versions = kept[before], versions[before]
            terms.append(Term(row, int(facts.node[row]), kept, versions))
        return tuple(terms)

    @cached_property
    def kept(self) -> BoolArray:
        """By message: whether it is among the updates that are left at the end."""
        return self._among(lambda lineage: [lineage.last])

    @cached_property
    def ever(self) -> BoolArray:
        """By message: whether it was among the updates of a server that answered, at any time."""
        return self._among(lambda lineage: lineage.terms)

    def _among(self, terms: Callable[[Lineage], Iterable[Term]]) -> BoolArray:
        found = np.zeros(len(self.facts.ids.text), dtype=bool)
        for lineage in self.all:
            for term in terms(lineage):
                found[self.facts.message[term.rows]] = True
        return found


def _count(lives: IntArray, rows: IntArray, places: IntArray, anew: IntArray) -> None:
    """Add to each row how many of the rows `anew` of its place come before it."""
    for place in np.unique(places[anew]).tolist():
        own = rows[places[rows] == place]
        lives[own] += np.searchsorted(anew[places[anew] == place], own)


def _as_told(facts: Facts, own: IntArray, others: IntArray) -> IntArray:
    """Return a server's updates; those that agree with its predecessors' are told by these."""
    common = min(len(own), len(others))
    mine, theirs = own[:common], others[:common]
    same = (facts.message[mine] == facts.message[theirs]) & (facts.version[mine] == facts.version[theirs])
    return np.concatenate([np.where(same, theirs, mine), own[common:]])


def _groups(facts: Facts, rows: IntArray) -> dict[tuple[int, int], IntArray]:
    """Split rows, sorted by shard and table, into those of each; −1 stands for all tables of a shard."""
    if not rows.size:
        return {}
    serve = np.isin(rows, facts.at("serve"))
    shard, table = facts.shard[rows], np.where(serve, -1, facts.table[rows])
    starts = np.flatnonzero(np.r_[True, (shard[1:] != shard[:-1]) | (table[1:] != table[:-1])])
    return {
        (int(shard[at]), int(table[at])): part
        for at, part in zip(starts.tolist(), np.split(rows, starts[1:].tolist()), strict=True)
    }
