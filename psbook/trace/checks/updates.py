"""What becomes of pushes: applied once, kept, none invented, in versions that rise by one (D5, E2)."""

from __future__ import annotations

import numpy as np

from psbook.trace.checks.case import Case
from psbook.trace.checks.verdicts import Finding, Property
from psbook.trace.facts import NEVER, BoolArray, IntArray
from psbook.trace.lineage import Lineage


def applied_once(case: Case) -> Finding:
    """D5: "Exactly-once = retry + deduplication by message id"; no push is in what is left twice.

    At-most-once promises the same, at-least-once does not. A push to a shard that was cut has a part in each.
    """
    facts = case.facts
    rows, again = _left(case), np.empty(0, dtype=np.int64)
    if rows.size:
        order = np.argsort(facts.message[rows], kind="stable")
        codes = facts.message[rows][order]
        again = np.sort(rows[order][1:][(codes[1:] == codes[:-1]) & (facts.ids.rank[codes[1:]] >= 0)])
        again = np.sort(np.concatenate([again, _overlapping(case, rows)]))
    reached = len(rows)
    came = facts.message[facts.at("receive", detail="Push")]
    copies = len(came) - len(np.unique(came))
    if case.promises.delivery == "at-least-once":
        return Finding(
            None, f"at-least-once delivery: {len(again)} of {reached} updates are repeats", reached
        )
    if again.size:
        row = int(again[0])
        return Finding(
            False, f"{facts.say(row)} applied {facts.name(facts.message[row])} again; {len(again)} of "
            f"{reached} updates are repeats", reached, row,
        )  # fmt: skip
    return Finding(True, f"{reached} updates, none twice; {copies} pushes arrived more than once", reached)


def acknowledged_kept(case: Case) -> Finding:
    """E2: "an acknowledged push survives"; E5: "the number of updates lost is *reported*".

    An acknowledgement that its sender received promises that the push is among the updates left at the end.
    Pushes that wait for the end of their clock (A4, E2b) are promised when that was acknowledged, too.
    """
    pushes = case.pushes
    acked = (pushes.acked != NEVER) & ~case.excused & ~case.dropped
    owed = acked & _due(case)
    lost = owed & ~case.lineages.kept[pushes.message]
    reached = int(owed.sum())
    if lost.any():
        row = int(pushes.acked[lost].min())
        return Finding(
            False, f"{int(lost.sum())} acknowledged pushes are lost, of {reached}; the first is "
            f"{case.facts.name(case.facts.message[row])}, acknowledged {case.facts.say(row)}", reached, row,
        )  # fmt: skip
    return Finding(True, f"all {reached} acknowledged pushes are among the updates left at the end", reached)


def none_missing(case: Case) -> Finding:
    """E2: "acknowledged ≤ applied ≤ issued, with equality for senders alive at the end".

    Reached by each push of a program that ended. At-most-once does not promise it.
    """
    pushes = case.pushes
    if case.promises.delivery == "at-most-once":
        return Finding(None, "at-most-once delivery does not promise it")
    owed = case.alive & ~case.excused & ~case.dropped
    if case.promises.delivery == "at-least-once":
        owed &= pushes.acked != NEVER  # its end does not wait for the last of them
    lost = owed & ~case.lineages.kept[pushes.message]
    reached = int(owed.sum())
    if lost.any():
        row = int(pushes.sent[lost].min())
        return Finding(
            False, f"{int(lost.sum())} pushes of programs that ended are not among the updates, of {reached}"
            f"; the first is {case.facts.name(case.facts.message[row])}", reached, row,
        )  # fmt: skip
    dropped = f", and {int(case.dropped.sum())} dropped as too old" if case.dropped.any() else ""
    return Finding(True, f"all {reached} pushes of the programs that ended were applied{dropped}", reached)


def none_invented(case: Case) -> Finding:
    """E2: "applied ≤ issued": every update is of a push that was sent before, of the same clock."""
    facts, pushes = case.facts, case.pushes
    rows = facts.at("apply", "replicate")
    place = np.full(len(facts.ids.text), -1)
    place[pushes.message] = np.arange(len(pushes.message))
    push = place[facts.message[rows]]
    known = push >= 0
    sent, clock = np.r_[pushes.sent, 0][push], np.r_[pushes.clock, -1][push]
    early = facts.time[sent] - facts.skew > facts.time[rows] if facts.skew else sent > rows
    bad = known & (early | (clock != facts.clock[rows]))
    bad[~known] = ~case.parts.sibling(facts.message[rows[~known]], pushes.message)
    if bad.any():
        row = int(rows[bad].min())
        return Finding(
            False, f"{facts.say(row)} applied {facts.name(facts.message[row])} of clock {facts.clock[row]}, "
            "which nobody had sent", len(rows), row,
        )  # fmt: skip
    return Finding(True, f"all {len(rows)} updates, on all replicas, are of pushes that were sent", len(rows))


def versions_rise(case: Case) -> Finding:
    """Words, **version**: "number of updates applied"; each update of a shard's table makes it one more.

    The updates that are left have the versions 1, 2, 3 …, and on each replica they follow one another; those
    of a BSP round share one (A4). What a server answers has the version of its last update before. A shard
    cut off another goes on from its versions.
    """
    facts, lineages = case.facts, case.lineages
    together = case.promises.buffered or case.promises.collects
    reached, bad, why = 0, NEVER, ""
    for lineage in lineages:
        last = lineage.last
        if not last.rows.size:
            continue
        reached += len(np.unique(last.versions))
        at = [] if last.versions[0] == 1 or not _begins_anew(case, lineage) else [int(last.rows[0])]
        for rows in (last.rows, *lineages.of_replicas(lineage)):
            steps = np.diff(facts.version[rows])
            at += rows[1:][(steps != 1) & ~((steps == 0) & together)].tolist()
        if at and min(at) < bad:
            bad = min(at)
            why = (
                f"{facts.say(bad)} made version {facts.version[bad]} of {facts.tables[lineage.table]} on "
                f"shard {lineage.shard}, which does not follow the one before"
            )
    row = _wrong_answer(case)
    if row < bad:
        bad = row
        why = f"{facts.say(row)} answered with version {facts.version[row]}, which it did not have"
    if bad < NEVER:
        return Finding(False, why, reached, bad)
    return Finding(True, f"{reached} versions, each one more than the last", reached)


PROPERTIES = (
    Property("applied once", "D5, A9", ("apply", "replicate", "send"), applied_once),
    Property("acknowledged kept", "E2, E5", ("apply", "replicate", "receive"), acknowledged_kept),
    Property("none missing", "E2", ("apply", "replicate", "send"), none_missing),
    Property("none invented", "E2", ("apply", "replicate", "send"), none_invented),
    Property("versions rise", "words: version", ("apply", "replicate", "answer"), versions_rise),
)


def _left(case: Case) -> IntArray:
    """Positions of the updates that are left at the end."""
    rows = [lineage.last.rows for lineage in case.lineages]
    return np.sort(np.concatenate(rows)) if rows else np.empty(0, dtype=np.int64)


def _overlapping(case: Case, rows: IntArray) -> IntArray:
    """Updates of keys that the same push had changed before, on the shard that this one was cut off."""
    if not case.split_off:
        return np.empty(0, dtype=np.int64)
    facts, ids = case.facts, case.facts.ids
    start = facts.trace.frame["start"].to_numpy(dtype=np.int64)
    stop = facts.trace.frame["stop"].to_numpy(dtype=np.int64)
    code = facts.message[rows]
    order = np.lexsort(
        (start[rows], facts.table[rows], ids.sequence[code], ids.incarnation[code], ids.rank[code])
    )
    at = rows[order]
    one, two = at[:-1], at[1:]
    same = (facts.table[one] == facts.table[two]) & (start[two] < stop[one])
    for part in (ids.rank, ids.incarnation, ids.sequence):
        same &= part[facts.message[one]] == part[facts.message[two]]
    same &= ids.shard[facts.message[one]] != ids.shard[facts.message[two]]
    again: IntArray = np.maximum(one, two)[same]
    return again


def _due(case: Case) -> BoolArray:
    """By push: whether an acknowledgement of it promises that it is applied."""
    pushes, promises = case.pushes, case.promises
    if not (promises.buffered or promises.atomic or promises.collects):
        return np.ones(len(pushes.message), dtype=bool)
    counted = np.isin(pushes.rank, list(case.workers))
    settled = case.alive & case.ended_well
    if promises.collects:  # when its round ended, only the updates tell
        return settled
    ended = case.ended_clock(acked=promises.active)
    senders = zip(pushes.rank.tolist(), pushes.incarnation.tolist(), pushes.shard.tolist(), strict=True)
    highest = np.fromiter((ended.get(sender, -1) for sender in senders), np.int64, len(pushes.message))
    waits = highest > pushes.clock
    if promises.buffered:
        waits &= _closed(case) > pushes.clock
    return settled | ~counted | waits


def _closed(case: Case) -> IntArray:
    """By push: clock up to which the rounds of its shard were closed, as answers and updates show."""
    facts, pushes = case.facts, case.pushes
    closed = np.zeros(len(pushes.message), dtype=np.int64)
    answers = case.lineages.sent_answers
    least = np.where(facts.clock[answers] < 0, NEVER, facts.clock[answers])
    updates = _left(case)
    for shard in np.unique(pushes.shard).tolist():
        seen = [int(least[facts.shard[answers] == shard].max(initial=0))]
        seen.append(1 + int(facts.clock[updates[facts.shard[updates] == shard]].max(initial=-1)))
        closed[pushes.shard == shard] = max(seen)
    return closed


def _wrong_answer(case: Case) -> int:
    """Position of the first answer with a version that its server did not have; `NEVER`: all are right."""
    facts, lineages = case.facts, case.lineages
    answers = lineages.sent_answers
    first = NEVER
    for lineage in lineages:
        here = answers[(facts.shard[answers] == lineage.shard) & (facts.table[answers] == lineage.table)]
        terms = lineage.term_at(here)
        for number in np.unique(terms).tolist():
            rows = here[terms == number]
            own = lineages.of_term(lineage, lineage.terms[number])
            if own.size:
                versions = np.r_[facts.version[own[0]] - 1, facts.version[own]]
                has = versions[np.searchsorted(own, rows)]
            elif number == 0 and _begins_anew(case, lineage):
                has = np.zeros(len(rows), dtype=np.int64)
            else:
                continue  # it has a copy, and no update came to tell of which version
            first = min([first, *rows[has != facts.version[rows]].tolist()])
    return int(first)


def _begins_anew(case: Case, lineage: Lineage) -> bool:
    """Whether a shard's first version is 0: it was neither cut off another, nor loaded from a checkpoint."""
    return lineage.shard not in case.split_off and not case.resumed
