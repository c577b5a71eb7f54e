"""How far apart the workers may be: gates at the clock, and one at a time (semantics.md A0, A3, A10)."""

from __future__ import annotations

import numpy as np

from psbook.trace.checks.case import Case
from psbook.trace.checks.verdicts import Finding, Property
from psbook.trace.facts import NEVER, IntArray


def clock_bound(case: Case) -> Finding:
    """A3: with ``gate="clock"``, and under bounded delay τ (A10), "max − min ≤ s+1".

    Reached by each ``clock()`` with which a worker comes to clock s+1 or later: the slowest must have moved.
    """
    promises, facts = case.promises, case.facts
    if not promises.gate or promises.bound is None:
        return Finding(None, f"{promises.label} does not hold workers at their clocks")
    if case.model_changed:
        return Finding(None, "the model was changed during the run, to one that the trace does not tell")
    rows = facts.at("clock")
    workers = [node for node, rank in facts.programs.items() if rank in case.workers]
    rows = rows[np.isin(facts.node[rows], workers)]
    gap = facts.clock[rows] - _slowest(case, rows)
    judged = facts.clock[rows] > promises.bound
    bad = np.flatnonzero(judged & (gap > promises.bound + 1))
    if bad.size:
        row = int(rows[bad[0]])
        return Finding(
            False, f"{facts.say(row)} came to clock {facts.clock[row]}, {gap[bad[0]]} ahead of the slowest; "
            f"{promises.label} allows {promises.bound + 1}", int(judged.sum()), row,
        )  # fmt: skip
    return Finding(True, f"nobody was more than {promises.bound + 1} clocks ahead", int(judged.sum()))


def one_at_a_time(case: Case) -> Finding:
    """A0: "Serial: one worker at a time, (k1,s1),(k2,s1)…": updates lie in the order of (clock, rank)."""
    if case.promises.family != "serial":
        return Finding(None, f"{case.promises.label} does not promise it")
    if case.promises.delivery != "exactly-once":
        return Finding(None, f"{case.promises.delivery} delivery promises no order of pushes")
    facts, reached = case.facts, 0
    for lineage in case.lineages:
        rows = lineage.last.rows
        rank = facts.ids.rank[facts.message[rows]]
        counts = np.isin(rank, list(case.workers))
        rows, rank = rows[counts], rank[counts]
        place = facts.clock[rows] * (1 + int(rank.max(initial=0))) + rank
        reached += int((place[1:] > place[:-1]).sum())
        bad = np.flatnonzero(place[1:] < place[:-1])
        if bad.size:
            row = int(rows[bad[0] + 1])
            return Finding(
                False, f"{facts.say(row)} applied {facts.name(facts.message[row])} of clock "
                f"{facts.clock[row]} out of turn", reached, row,
            )  # fmt: skip
    return Finding(True, "updates came in the order of clock and rank", reached)


PROPERTIES = (
    Property("clock bound", "A3, A10", ("clock",), clock_bound),
    Property("one at a time", "A0", ("apply", "replicate"), one_at_a_time),
)


def _slowest(case: Case, rows: IntArray) -> IntArray:
    """Return the clock of the slowest worker at each of the rows, of those that take part then.

    Rows of real processes may be out of order by as much as their clocks differ: in favour of the run.
    """
    facts, skew = case.facts, case.facts.skew
    now = facts.time[rows] if skew else rows.astype(np.float64)
    slowest = np.full(len(rows), NEVER)
    for node, rank in facts.programs.items():
        if rank not in case.workers:
            continue
        own = facts.at("clock")
        own = own[facts.node[own] == node]
        when = facts.time[own] - skew if skew else own.astype(np.float64)
        # Who joins has a first clock that is not 1, and counts from there on.
        begins = NEVER if own.size and facts.clock[own[0]] > 1 else 0
        at = np.r_[begins, facts.clock[own]][np.searchsorted(when, now, side="right")]
        slowest = np.minimum(slowest, np.where(now >= _leaves(case, node, own), NEVER, at))
    return slowest


def _leaves(case: Case, node: int, clocks: IntArray) -> float:
    """When a worker leaves ``min`` (A8): as it sends its end, or is given up for good."""
    facts = case.facts
    ends = facts.at("send", detail="Finish") if facts.trace.level == "full" else facts.at("finish")
    ends = ends[facts.node[ends] == node]
    if facts.trace.level != "full" and ends.size:
        ends = clocks[-1:]  # the end is written down when the shards have heard of it
    if case.promises.leave:
        lost = facts.at("lost")
        ends = np.concatenate([ends, lost[facts.node[lost] == node]])
    if not ends.size:
        return float("inf")
    row = int(ends.min())
    return float(facts.time[row]) - facts.skew if facts.skew else float(row)
