"""Who serves: one head and one tail, one at a time, epochs that rise (semantics.md B4, E1, E6)."""

from __future__ import annotations

import numpy as np

from psbook.trace.checks.case import Case
from psbook.trace.checks.verdicts import Finding, Property
from psbook.trace.facts import NEVER, IntArray

ROLES = ("head", "tail", "both")
"""Roles of servers that may speak to programs."""


def one_primary(case: Case) -> Finding:
    """E6: "Never two servers with a valid lease on one range"; by the map: one head, one tail, per epoch.

    Reached by each shard and epoch that a server took a role in.
    """
    facts, first = case.facts, NEVER
    for roles in (("head", "both"), ("tail", "both")):
        rows = facts.at("serve", detail=roles)
        order = np.lexsort((rows, facts.version[rows], facts.shard[rows]))
        rows = rows[order]
        same = (facts.shard[rows][1:] == facts.shard[rows][:-1]) & (
            facts.version[rows][1:] == facts.version[rows][:-1]
        )
        two = rows[1:][same & (facts.node[rows][1:] != facts.node[rows][:-1])]
        first = min([first, *two.tolist()])
    rows = facts.at("serve", detail=ROLES)
    reached = len(np.unique(np.stack([facts.shard[rows], facts.version[rows]]), axis=1).T)
    if first < NEVER:
        return Finding(
            False, f"{facts.say(first)} is the second server of its role for shard {facts.shard[first]} in "
            f"epoch {facts.version[first]}", reached, first,
        )  # fmt: skip
    return Finding(True, f"{reached} shards and epochs, each with one head and one tail", reached)


def one_answers(case: Case) -> Finding:
    """E6: two servers never answer, or acknowledge, for one shard in turns; a dead one never does.

    Judged by what was sent. Reads are answered by the tail of a chain; a head may acknowledge again what
    every replica has (E1). For either role: when one server has spoken in an epoch, another may only in a
    later one. Reached by each change of the server that speaks.
    """
    facts = case.facts
    rows = facts.at("send", detail=("PullReply", "Ack", "CallReply", "Rejoined"))
    shard = facts.ids.shard[facts.message[rows]]
    serve = _last_serve(case, rows, shard)
    found, reached = [_of_the_dead(case)], 0
    for role in ("head", "tail"):
        has = np.isin(serve, np.r_[facts.at("serve", detail=(role, "both")), -1])
        order = np.lexsort((rows[has], shard[has]))
        mine, of = rows[has][order], shard[has][order]
        epoch = np.where(serve >= 0, facts.version[serve], -1)[has][order]
        other = (of[1:] == of[:-1]) & (facts.node[mine][1:] != facts.node[mine][:-1])
        reached += int(other.sum())
        found.append(mine[1:][other & (epoch[1:] <= epoch[:-1])])
    none = np.isin(serve, facts.at("serve")) & ~np.isin(serve, facts.at("serve", detail=ROLES))
    bad = np.concatenate([*found, rows[none]])
    if bad.size:
        row = int(bad.min())
        place = f"speaks for shard {facts.ids.shard[facts.message[row]]}"
        why = "sent a message though it had crashed" if row in found[0] else (
            f"{place}, but has no role there" if row in rows[none]
            else f"{place}, for which another has spoken in its epoch or a later one"
        )  # fmt: skip
        return Finding(False, f"{facts.say(row)} {why}", max(reached, 1), row)
    if not reached:
        return Finding(True, "no shard was ever taken over by another server")
    return Finding(True, f"{reached} times another server spoke for a shard, each in a later epoch", reached)


def epochs_rise(case: Case) -> Finding:
    """B4: maps carry an epoch; a server takes up the roles of a shard in epochs that only rise.

    Reached by each later epoch that a server took up.
    """
    facts = case.facts
    rows = facts.at("serve")
    starts = np.zeros(len(rows), dtype=np.int64)
    for row in facts.at("restart").tolist():
        starts += (facts.node[rows] == facts.node[row]) & (rows > row)
    order = np.lexsort((rows, facts.shard[rows], starts, facts.node[rows]))
    rows, starts = rows[order], starts[order]
    same = (facts.node[rows][1:] == facts.node[rows][:-1]) & (facts.shard[rows][1:] == facts.shard[rows][:-1])
    same &= starts[1:] == starts[:-1]
    step = np.diff(facts.version[rows])
    maps = facts.at("epoch")
    bad = np.concatenate([rows[1:][same & (step <= 0)], maps[1:][np.diff(facts.version[maps]) <= 0]])
    reached = int((facts.version[rows] > 0).sum())
    if bad.size:
        row = int(bad.min())
        return Finding(
            False,
            f"{facts.say(row)}: epoch {facts.version[row]} came after one as late or later",
            reached,
            row,
        )
    return Finding(True, f"{reached} later epochs were taken up, in order", reached)


PROPERTIES = (
    Property("one primary", "E1, E6", ("serve",), one_primary),
    Property("one answers", "E1, E6", ("serve", "send"), one_answers),
    Property("epochs rise", "B4", ("serve",), epochs_rise),
)


def _last_serve(case: Case, rows: IntArray, shard: IntArray) -> IntArray:
    """Position of the row with which the sender of each row had taken up its role; −1 if there is none."""
    facts = case.facts
    serves = facts.at("serve")
    found = np.full(len(rows), -1)
    if not serves.size or not rows.size:
        return found
    width = 1 + max(int(facts.shard[serves].max()), int(shard.max()))
    taken = facts.node[serves] * width + facts.shard[serves]
    served = facts.node[rows] * width + shard
    for place in np.unique(served).tolist():
        own, mine = serves[taken == place], served == place
        found[mine] = np.r_[-1, own][np.searchsorted(own, rows[mine])]
    return found


def _of_the_dead(case: Case) -> IntArray:
    """Positions of what nodes sent between their crash and their next start."""
    facts = case.facts
    sends, faults = facts.at("send"), facts.at("fault")
    texts = facts.trace.frame["detail"].iloc[faults].str.startswith("crash")
    found = [np.empty(0, dtype=np.int64)]
    for crash in faults[texts.to_numpy(dtype=bool)].tolist():
        node = facts.node[crash]
        starts = facts.at("restart")
        starts = starts[(facts.node[starts] == node) & (starts > crash)]
        until = int(starts.min(initial=facts.size))
        found.append(sends[(facts.node[sends] == node) & (sends > crash) & (sends < until)])
    return np.concatenate(found)
