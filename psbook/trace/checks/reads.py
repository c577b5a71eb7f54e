"""What a read returns: the bounds of the models, one's own writes, a minimum that rises (semantics.md A)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from psbook.trace.checks.case import Case
from psbook.trace.checks.parts import Pushes
from psbook.trace.checks.verdicts import Finding, Property
from psbook.trace.facts import NEVER, BoolArray, IntArray
from psbook.trace.lineage import Lineage, Term


def read_bound(case: Case) -> Finding:
    """A1: "a shard may answer iff its min ≥ c−s"; so BSP and Serial with s = 0 (A4), bounded delay with τ.

    Reached by each read at a clock c > s, which has something to wait for.
    """
    if (unjudged := _unbounded(case)) is not None:
        return unjudged
    facts, reads, bound = case.facts, case.reads, case.promises.bound or 0
    least = _minimum(case, reads.row)
    judged = reads.clock > bound
    bad = np.flatnonzero(judged & (least < reads.clock - bound))
    if bad.size:
        row, clock = int(reads.row[bad[0]]), int(reads.clock[bad[0]])
        return Finding(
            False,
            f"{facts.say(row)} answered a read of clock {clock} with its min at {least[bad[0]]}; "
            f"{case.promises.label} requires {clock - bound}",
            int(judged.sum()),
            row,
        )
    return Finding(True, f"every read at clock c saw a min of at least c − {bound}", int(judged.sum()))


def reads_complete(case: Case) -> Finding:
    """A1: "a read by a worker at clock c returns every update of clocks ≤ c−s−1 of every worker".

    Not the shard's word is taken, but the updates that it had applied when it answered. Under Serial (A0) a
    read returns those of clock c, too, of all workers before the reader.
    """
    if (unjudged := _unbounded(case) or _unordered(case)) is not None:
        return unjudged
    facts, bound, serial = case.facts, case.promises.bound or 0, case.promises.family == "serial"
    reached, found = 0, _First()
    for part in _of_lineages(case):
        reached += int((part.clock + serial > bound).sum())
        for rank, pushes in part.by_worker():
            due = part.clock - bound - 1 + (serial & (rank < part.rank))
            missing = part.first_missing(pushes)
            late = np.flatnonzero(missing <= due)
            if late.size:
                at = late[np.argmin(part.row[late])]
                found.note(int(part.row[at]), (rank, int(missing[at]), int(part.clock[at])))
    if found.row < NEVER:
        rank, lacked, clock = found.what
        return Finding(
            False,
            f"{facts.say(found.row)} answered a read of clock {clock} without an update of clock {lacked} "
            f"of rank {rank}",
            reached,
            found.row,
        )
    what = "in turn" if serial else f"of clocks up to c − {bound + 1}"
    return Finding(True, f"every read at clock c had all updates {what} of every worker", reached)


def missing_updates(case: Case) -> Finding:
    """A13, T21 (Ho et al. 2013): "a read by P workers under SSP(s) misses at most s(P−1) updates".

    An update is what a worker pushes to a table of a shard in one clock. Reached by each read at a clock ≥ 1.
    """
    if (unjudged := _unbounded(case) or _unordered(case)) is not None:
        return unjudged
    facts, bound = case.facts, case.promises.bound or 0
    limit = bound * (len(case.workers) - 1)
    most, reached, found = 0, 0, _First()
    for part in _of_lineages(case):
        missing = np.zeros(len(part.row), dtype=np.int64)
        for rank, pushes in part.by_worker():
            clocks = np.unique(part.pushes.clock[pushes])
            behind = np.searchsorted(clocks, part.clock)
            behind -= np.searchsorted(clocks, part.first_missing(pushes))
            missing += np.where(part.rank == rank, 0, np.maximum(behind, 0))
        reached += int((part.clock > 0).sum())
        most = max(most, int(missing.max(initial=0)))
        over = np.flatnonzero(missing > limit)
        if over.size:
            at = over[np.argmin(part.row[over])]
            found.note(int(part.row[at]), (int(missing[at]), int(part.clock[at])))
    if found.row < NEVER:
        missed, clock = found.what
        return Finding(
            False,
            f"{facts.say(found.row)} answered a read of clock {clock} without {missed} updates of others; "
            f"at most s(P−1) = {limit} may be missing",
            reached,
            found.row,
        )
    return Finding(True, f"a read missed {most} updates of others at most; s(P−1) = {limit}", reached)


def read_my_writes(case: Case) -> Finding:
    """A2: "a worker's own updates, also unflushed ones, are in what it reads".

    "BSP and bounded delay have none." Reached by each read of a shard that its reader had pushed to before.
    If deliveries are not exactly-once, only acknowledged pushes count; with atomic clocks, only those of the
    clocks before (E2b).
    """
    facts, promises = case.facts, case.promises
    if promises.family not in ("serial", "asp", "ssp"):
        return Finding(None, f"{promises.label} does not promise it")
    reached, found = 0, _First()
    for part in _of_lineages(case):
        for rank, pushes in part.by_worker():
            own = np.flatnonzero(part.rank == rank)
            starts = facts.ids.incarnation[facts.message[part.row[own]]]
            for start in np.unique(starts).tolist():
                reads = own[starts == start]
                mine = pushes[part.pushes.incarnation[pushes] == start]
                owed = _owed(case, part, mine, reads)
                reached += int((owed > 0).sum())
                late = reads[np.flatnonzero(owed > facts.version[part.row[reads]])]
                if late.size:
                    found.note(int(part.row[late].min()), (int(rank),))
    if found.row < NEVER:
        return Finding(
            False, f"{facts.say(found.row)} answered rank {found.what[0]} without a push of its own that "
            "came before", reached, found.row,
        )  # fmt: skip
    return Finding(True, "every read had its reader's own earlier pushes", reached)


def min_rises(case: Case) -> Finding:
    """A7: "min only rises". Reached by each rise that the answers of a shard show."""
    facts = case.facts
    rows = case.lineages.sent_answers
    rows = rows[np.lexsort((rows, facts.shard[rows]))]
    least = _minimum(case, rows)
    same = facts.shard[rows][1:] == facts.shard[rows][:-1]
    reached = int((same & (least[1:] > least[:-1])).sum())
    falls = np.flatnonzero(same & (least[1:] < least[:-1]))
    if falls.size:
        at = falls[np.argmin(rows[falls + 1])]
        row = int(rows[at + 1])
        before = "∞" if least[at] == NEVER else least[at]
        return Finding(
            False, f"{facts.say(row)}: the min of shard {facts.shard[row]} fell from {before} to "
            f"{least[at + 1]}", reached, row,
        )  # fmt: skip
    return Finding(True, "no shard's min ever fell", reached)


PROPERTIES = (
    Property("read bound", "A1, A4, A10", ("answer", "send"), read_bound),
    Property("reads complete", "A0, A1, A4", ("answer", "send"), reads_complete),
    Property("missing updates", "A13, T21", ("answer", "send"), missing_updates),
    Property("read my writes", "A2", ("answer", "send"), read_my_writes),
    Property("min rises", "A7", ("answer", "send"), min_rises),
)


class _First:
    """The first row at fault, and what is to be said of it."""

    def __init__(self) -> None:
        self.row = NEVER
        self.what: tuple[int, ...] = ()

    def note(self, row: int, what: tuple[int, ...]) -> None:
        if row < self.row:
            self.row, self.what = row, what


class _Part(NamedTuple):
    """The reads that one server answered, of one table of a shard, and the pushes to it."""

    row: IntArray
    asked: IntArray
    rank: IntArray
    clock: IntArray
    read: IntArray
    """Version that each read had."""
    pushes: Pushes
    chosen: IntArray
    """Which of the pushes are to this table of the shard, in the order of sending."""
    applied: IntArray
    """Version with which each of the pushes was applied; `NEVER` if it was not."""

    def by_worker(self) -> Iterator[tuple[int, IntArray]]:
        """Yield each worker's rank and pushes, in the order of their clocks."""
        ranks = self.pushes.rank[self.chosen]
        for rank in np.unique(ranks).tolist():
            mine = self.chosen[ranks == rank]
            yield rank, mine[np.argsort(self.pushes.clock[mine], kind="stable")]

    def first_missing(self, pushes: IntArray) -> IntArray:
        """Return the first clock of which each read lacks one of these pushes; `NEVER` if it has all."""
        reached = np.maximum.accumulate(self.applied[pushes])
        clocks = np.r_[self.pushes.clock[pushes], NEVER]
        missing: IntArray = clocks[np.searchsorted(reached, self.read, side="right")]
        return missing


def _of_lineages(case: Case) -> Iterator[_Part]:
    """Yield the reads by table, shard and term of a server."""
    facts, reads, pushes = case.facts, case.reads, case.pushes
    counts = np.isin(pushes.rank, list(case.workers)) & ~case.excused & ~_died_unheard(case)
    for lineage in case.lineages:
        mine = (facts.shard[reads.row] == lineage.shard) & (facts.table[reads.row] == lineage.table)
        here = np.flatnonzero(mine)
        chosen = np.flatnonzero(counts & (pushes.shard == lineage.shard) & (pushes.table == lineage.table))
        terms = lineage.term_at(reads.row[here])
        for number in np.unique(terms).tolist():
            at = here[terms == number]
            applied = _applied(lineage, lineage.terms[number], pushes, chosen)
            yield _Part(
                reads.row[at], reads.asked[at], reads.rank[at], reads.clock[at],
                facts.version[reads.row[at]], pushes, chosen, applied,
            )  # fmt: skip


def _applied(lineage: Lineage, term: Term, pushes: Pushes, chosen: IntArray) -> IntArray:
    versions = np.full(len(pushes.message), NEVER)
    versions[chosen] = lineage.version_of(term, pushes.message[chosen])
    return versions


def _died_unheard(case: Case) -> BoolArray:
    """By push: never applied, or undone unacknowledged, of a sender that was lost (E2, E2b)."""
    lineages, pushes = case.lineages, case.pushes
    undone = ~lineages.kept[pushes.message] & (pushes.acked == NEVER)
    unheard: BoolArray = (undone | ~lineages.ever[pushes.message]) & ~case.alive & case.lost_sender
    return unheard


def _owed(case: Case, part: _Part, mine: IntArray, reads: IntArray) -> IntArray:
    """Return the version that each read must have at least, for its reader's own pushes to be in it."""
    pushes, promises = part.pushes, case.promises
    known = pushes.sent[mine] if promises.delivery == "exactly-once" else pushes.acked[mine]
    order = np.argsort(known, kind="stable")
    before = np.searchsorted(known[order], part.asked[reads])
    if promises.atomic:
        before = np.minimum(before, np.searchsorted(pushes.clock[mine][order], part.clock[reads]))
    owed: IntArray = np.r_[0, np.maximum.accumulate(part.applied[mine][order])][before]
    return owed


def _minimum(case: Case, rows: IntArray) -> IntArray:
    clock = case.facts.clock[rows]
    return np.where(clock < 0, NEVER, clock)


def _unbounded(case: Case) -> Finding | None:
    if case.promises.bound is None:
        return Finding(None, case.promises.why_unbounded)
    if case.model_changed:
        return Finding(None, "the model was changed during the run, to one that the trace does not tell")
    return None


def _unordered(case: Case) -> Finding | None:
    if case.promises.delivery == "exactly-once":
        return None
    return Finding(None, f"{case.promises.delivery} delivery promises no order of pushes and clocks")
