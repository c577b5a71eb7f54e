"""The ledger of staleness: what is conserved in every run, whatever the times, the delays and the model.

A gradient is *in flight* on a shard from the row "answer" of the pull it was computed from until its row
"apply". Each update that comes in between adds one to its age, which becomes its staleness when it is
applied. So at every instant, per shard and table, in exact integers:

    Σ staleness of the applied + Σ (version now − version read) of those in flight
        = Σ over the updates of the number of *other* gradients in flight at that update.

The left side is what the shard wrote down, the right side is counted from the order of the rows alone.

The pushes of a BSP round are one update; they are not "other" to one another. A pull that feeds several
pushes makes as many gradients, one that feeds none makes none. A push computed from no read is no gradient,
yet its update is crossed by all that are in flight.

A shard's updates are those of its lineage: where another server has taken over, those that it has
(`psbook.trace.lineage`), and rows of two servers are put in the order that their versions tell. A gradient
that was read from a version which is undone takes its age out of the books, and so does one that was read
before its shard was cut off another.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from psbook.errors import DataError
from psbook.trace.facts import NEVER, BoolArray, Facts, FloatArray, IntArray
from psbook.trace.lineage import Lineage, Lineages
from psbook.trace.statistics import documented, require
from psbook.trace.trace import Trace

COLUMNS: dict[str, str] = {
    "time": "when it happened [s]",
    "event": "answer: a gradient's pull was answered; apply: an update was applied",
    "node": "server",
    "shard": "shard; a negative number of the server's own where the trace tells none",
    "table": "table",
    "version": "version of the table on the shard afterwards, by its updates [updates]",
    "in_flight": "gradients in flight afterwards",
    "applied": "sum of the staleness of all gradients applied so far [updates]",
    "ages": "sum of version now − version read over the gradients in flight [updates]",
    "crossings": "sum over the updates so far of the other gradients in flight at each",
    "difference": "applied + ages − crossings: 0 if staleness is conserved",
}
"""Columns of `ledger`."""


def ledger(trace: Trace) -> pd.DataFrame:
    """One row an event, per shard and table: an update, or an answer that a gradient is computed from.

    Between events nothing in the ledger changes, so a difference of 0 in every row is one at every instant.

    Returns
    -------
    DataFrame
        Columns as in `COLUMNS`, all sums int64; in the order of the trace.

    Raises
    ------
    DataError
        If the trace is not of level "full", or a push names a pull that its shard did not answer before.
    """
    return _books(trace)[0]


def conserved(trace: Trace) -> tuple[bool, str]:
    """Return whether staleness is conserved at every instant, and why, in a sentence.

    Raises
    ------
    DataError
        If the trace is not of level "full".

    Examples
    --------
    >>> from psbook.trace import Recorder
    >>> recorder = Recorder()
    >>> for pull in ("r0.0/w/s0#0", "r1.0/w/s0#0"):
    ...     recorder.add(0.0, "server-0", "answer", table="w", version=0, message=pull)
    >>> recorder.add(1.0, "server-0", "apply", table="w", version=1, staleness=0, cause="r0.0/w/s0#0")
    >>> recorder.add(2.0, "server-0", "apply", table="w", version=2, staleness=1, cause="r1.0/w/s0#0")
    >>> conserved(recorder.trace({}))
    (True, '2 updates, 2 gradients: staleness 1 = crossings 1 on every shard and table, at every instant')
    """
    try:
        frame, gradients = _books(trace)
    except _Orphan as error:
        return False, str(error)
    broken = frame[frame["difference"] != 0]
    if len(broken):
        row = broken.iloc[0]
        return False, (
            f"at {row['time']:g} s ({row['event']}), version {row['version']} of {row['table']} on "
            f"{row['node']}: staleness {row['applied']} of the applied + ages {row['ages']} of those in "
            f"flight is not {row['crossings']}, the crossings"
        )
    last = frame.groupby(["shard", "table"], observed=True)[["applied", "crossings"]].last().sum()
    updates = int((frame["event"] == "apply").sum())
    return True, (
        f"{updates} updates, {gradients} gradients: staleness {last['applied']} = crossings "
        f"{last['crossings']} on every shard and table, at every instant"
    )


class _Orphan(DataError):
    """A push names a pull that was not answered before."""


class _Gradients(NamedTuple):
    """Place of each one's push in its lineage, position of the answer it was computed from, version read."""

    push: IntArray
    answer: IntArray
    read: IntArray


def _books(trace: Trace) -> tuple[pd.DataFrame, int]:
    """Keep the books of all shards and tables; also count the gradients."""
    require(trace, "the ledger of staleness", "answer", "apply")
    facts = Facts(trace)
    parts, count = [], 0
    for lineage in Lineages(facts):
        if lineage.last.rows.size:
            gradients = _gradients(facts, lineage)
            parts.append(_of_shard(facts, lineage, gradients))
            count += len(gradients.push)
    frame = pd.concat(parts).sort_index(kind="stable") if parts else pd.DataFrame(columns=list(COLUMNS))
    return documented(frame, COLUMNS), count


def _gradients(facts: Facts, lineage: Lineage) -> _Gradients:
    rows, versions = lineage.last.rows, lineage.last.versions
    staleness = facts.trace.frame["staleness"].to_numpy(dtype=np.int64)[rows]
    push = np.flatnonzero(facts.ids.text[facts.cause[rows]] != "")
    cause = facts.cause[rows[push]]
    answers = facts.at("answer")
    answers = answers[(facts.shard[answers] == lineage.shard) & (facts.table[answers] == lineage.table)]
    # A pull that is sent again is answered again: the answer that counts had the version that was read.
    width = 2 + int(max(versions.max(), facts.version[answers].max(initial=0)))
    told = np.clip(versions[push] - 1 - staleness[push], -1, width - 2) + 1
    answer = _find(facts.message[answers] * width + facts.version[answers] + 1, answers, cause * width + told)
    answer = np.where(answer < NEVER, answer, _find(facts.message[answers], answers, cause))
    elsewhere = (answer == NEVER) & (lineage.shard >= 0) & (facts.ids.shard[cause] != lineage.shard)
    known = ~elsewhere & ~_undone(facts, lineage, answer)
    judged = facts.node[np.minimum(answer, facts.size - 1)] == facts.node[rows[push]]
    judged |= (answer == NEVER) | (facts.skew == 0.0)
    late = judged & (answer >= rows[push])
    orphans = np.flatnonzero(known & late)
    if orphans.size:
        row = int(rows[push[orphans[0]]])
        server, worker = facts.nodes[facts.node[row]], facts.nodes[facts.peer[row]]
        raise _Orphan(
            f"{server} applied push {facts.name(facts.message[row])} of {worker}, computed from pull "
            f"{facts.name(facts.cause[row])}, which it had not answered; required: the row of that answer "
            "before the update. The trace is incomplete, or the protocol is broken."
        )
    push, answer = push[known], answer[known]
    return _Gradients(push, answer, facts.version[answer])


def _find(keys: IntArray, rows: IntArray, wanted: IntArray) -> IntArray:
    """Return the first of `rows` with each wanted key; `NEVER` where there is none."""
    order = np.argsort(keys, kind="stable")
    known = np.r_[keys[order], NEVER]
    place = np.searchsorted(known, wanted)
    return np.where(known[place] == wanted, np.r_[rows[order], NEVER][place], NEVER)


def _undone(facts: Facts, lineage: Lineage, answers: IntArray) -> BoolArray:
    """Whether an answer showed an update that is not among those left."""
    undone = np.zeros(len(answers), dtype=bool)
    known = np.flatnonzero(answers < NEVER)
    terms = lineage.term_at(answers[known])
    last = lineage.last
    for number in np.unique(terms).tolist():
        term, mine = lineage.terms[number], known[terms == number]
        common = min(len(term.rows), len(last.rows))
        differ = np.flatnonzero(facts.message[term.rows[:common]] != facts.message[last.rows[:common]])
        if differ.size:
            undone[mine] = facts.version[answers[mine]] >= term.versions[differ[0]]
    return undone


def _moments(facts: Facts, rows: IntArray, versions: IntArray, gradients: _Gradients) -> FloatArray:
    """Return where each update stands among the answers: at its row, or where other servers' answers say.

    A server that took over may have had an update before, or after, the one that answered then.
    """
    moments = rows.astype(np.float64)
    answers = np.unique(gradients.answer)
    for node in np.unique(facts.node[rows]).tolist():
        others = answers[facts.node[answers] != node]
        if not others.size:
            continue
        order = np.argsort(facts.version[others], kind="stable")
        others = others[order].astype(np.float64)
        mine = facts.node[rows] == node
        split = np.searchsorted(facts.version[answers[facts.node[answers] != node]][order], versions[mine])
        without = np.r_[-np.inf, np.maximum.accumulate(others)][split]
        shown = np.r_[np.minimum.accumulate(others[::-1])[::-1], np.inf][split]
        moments[mine] = np.maximum(np.minimum(moments[mine], shown - 0.5), without + 0.5)
    return np.maximum.accumulate(moments)


def _of_shard(facts: Facts, lineage: Lineage, gradients: _Gradients) -> pd.DataFrame:
    """Keep the books of one table on one shard; indexed by the moment of each event in the trace."""
    rows, versions = lineage.last.rows, lineage.last.versions
    first = np.flatnonzero(np.r_[True, versions[1:] != versions[:-1]])  # of a round, which is one update
    updates = rows[first]
    answers = np.unique(gradients.answer)
    moments = np.concatenate(
        [_moments(facts, updates, versions[first], gradients), answers.astype(np.float64)]
    )
    order = np.lexsort((np.concatenate([versions[first], np.zeros_like(answers)]), moments))
    at = np.empty(len(order), dtype=np.int64)
    at[order] = np.arange(len(order))
    is_update = order < len(updates)
    done = np.cumsum(is_update)
    version = np.r_[versions[0] - 1, versions[first]][done]
    begin = at[len(updates) + np.searchsorted(answers, gradients.answer)]
    end = at[np.searchsorted(first, gradients.push, side="right") - 1]

    def so_far(place: IntArray, amounts: IntArray) -> IntArray:
        """Sum of the amounts up to each event."""
        total = np.zeros(len(order), dtype=np.int64)
        np.add.at(total, place, amounts)
        return np.cumsum(total)

    one = np.ones_like(gradients.push)
    staleness = facts.trace.frame["staleness"].to_numpy(dtype=np.int64)[rows[gradients.push]]
    in_flight = so_far(begin, one) - so_far(end, one)
    applied = so_far(end, staleness)
    ages = version * in_flight - (so_far(begin, gradients.read) - so_far(end, gradients.read))
    crossings = np.cumsum(np.where(is_update, in_flight, 0))
    events = np.concatenate([updates, answers])[order]
    names = facts.trace.frame.iloc[events][["time", "node", "table"]]
    frame = names.assign(
        event=np.where(is_update, "apply", "answer"), shard=lineage.shard, version=version,
        in_flight=in_flight, applied=applied, ages=ages, crossings=crossings,
        difference=applied + ages - crossings,
    )[list(COLUMNS)]  # fmt: skip
    return frame.set_axis(moments[order], axis=0)
