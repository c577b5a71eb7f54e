"""Whether the replicas of a shard agree, and whether staleness is conserved on it (semantics.md E1, T4)."""

from __future__ import annotations

import numpy as np

from psbook.trace.checks.case import Case
from psbook.trace.checks.verdicts import Finding, Property
from psbook.trace.conservation import conserved
from psbook.trace.facts import NEVER, IntArray
from psbook.trace.lineage import Lineage


def replicas_agree(case: Case) -> Finding:
    """E1: a push "passes every replica": at equal version all have the same pushes, in the same order.

    A server that was given up, and a backup of one, may have had more in the end; whether anybody was told
    of it, "acknowledged kept" says. Reached by each version that a second server has.
    """
    facts, reached, bad = case.facts, 0, NEVER
    for lineage in case.lineages:
        for mine in case.lineages.of_replicas(lineage):
            count, row = _compare(case, lineage, mine)
            reached, bad = reached + count, min(bad, row)
    if bad < NEVER:
        return Finding(
            False, f"{facts.say(bad)} has {facts.name(facts.message[bad])} as version {facts.version[bad]} "
            f"of shard {facts.shard[bad]}; the shard has another", reached, bad,
        )  # fmt: skip
    return Finding(True, f"{reached} times a second replica had the same pushes as the shard", reached)


def staleness_conserved(case: Case) -> Finding:
    """T4: per shard, Σ staleness applied + Σ ages in flight = Σ other gradients in flight, at any instant."""
    applies = case.facts.at("apply")
    reached = int((case.facts.ids.rank[case.facts.cause[applies]] >= 0).sum())
    holds, why = conserved(case.trace)
    return Finding(holds, why, reached)


PROPERTIES = (
    Property("replicas agree", "E1", ("apply", "replicate"), replicas_agree),
    Property("staleness conserved", "T4", ("apply", "answer"), staleness_conserved),
)


def _compare(case: Case, lineage: Lineage, mine: IntArray) -> tuple[int, int]:
    """Compare what a server has with what is left of the shard: how many agree, first row that does not."""
    facts, last = case.facts, lineage.last
    beyond = facts.version[mine] > int(last.versions.max(initial=-1))
    have = mine[~beyond]
    place = np.searchsorted(last.versions, facts.version[have]) + _ordinal(facts.version[have])
    place = np.minimum(place, len(last.rows) - 1)
    theirs = last.rows[place] if last.rows.size else have
    differs = (facts.message[have] != facts.message[theirs]) | (facts.version[have] != facts.version[theirs])
    compared = int((facts.node[theirs] != facts.node[have]).sum() - differs.sum())
    wrong = np.flatnonzero(differs)
    if not wrong.size or int(theirs[wrong].min()) > _end(case, have[wrong]):
        return max(compared, 0), NEVER
    return max(compared, 0), int(have[wrong[0]])


def _ordinal(versions: IntArray) -> IntArray:
    """Place of each update among those of its version, which are neighbours."""
    if not versions.size:
        return versions
    new = np.r_[True, versions[1:] != versions[:-1]]
    starts = np.flatnonzero(new)
    place: IntArray = np.arange(len(versions)) - starts[np.cumsum(new) - 1]
    return place


def _end(case: Case, rows: IntArray) -> int:
    """Position of the first loss of these rows' server, or of the first values it got anew; else `NEVER`.

    What it alone had, it may lose; the others must not have gone another way before that.
    """
    facts = case.facts
    ends = facts.at("lost")
    if case.lineages.scheme == "primary-backup":  # a new primary gives its backups what it has
        serves = facts.at("serve", detail=("", "tail"))
        ends = np.concatenate([ends, serves[facts.shard[serves] == facts.shard[rows[0]]]])
    ends = ends[(facts.node[ends] == facts.node[rows[0]]) & (ends > rows[0])]
    return int(ends.min(initial=NEVER))
