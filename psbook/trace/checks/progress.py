"""Whether the run came to its end, and where its time went (semantics.md E9, H3)."""

from __future__ import annotations

import numpy as np

from psbook.trace.checks.case import Case
from psbook.trace.checks.verdicts import Finding, Property
from psbook.trace.schema import SPANS

TOLERANCE = 1e-9
"""Relative to the length of the run: times are sums of floating-point numbers."""


def progress(case: Case) -> Finding:
    """E9: "Nothing ever hangs silently": once faults stop, every program ends, or the run says why not."""
    facts = case.facts
    faults = facts.at("fault")
    since = f"after the last fault, at {facts.time[faults[-1]]:g} s, " if faults.size else ""
    heard = [facts.nodes[node] for node in facts.programs]
    names = dict.fromkeys([*(case.trace.meta.get("programs") or ()), *heard])
    ended = {facts.nodes[node] for node in facts.node[facts.at("finish")].tolist()}
    unfinished = [name for name in names if name not in ended]
    if not unfinished:
        return Finding(True, f"{since}all {len(names)} programs ended", len(names))
    failures = facts.at("failure")
    if failures.size:
        why = str(facts.trace.frame["detail"].iloc[int(failures[0])])
        return Finding(True, f"the run says why it ended early: {why}", len(names))
    excused = {facts.nodes[node] for node in facts.node[facts.at("lost")].tolist()}
    silent = [name for name in unfinished if name not in excused]
    if not silent:
        return Finding(
            True, f"{since}all programs ended but {', '.join(unfinished)}, which were lost", len(names)
        )
    nodes = [facts.nodes.index(name) for name in silent if name in facts.nodes]
    own = np.flatnonzero(np.isin(facts.node, nodes))
    row = int(own[-1]) if own.size else -1
    return Finding(
        False, f"{since}{', '.join(silent)} did not end, and nothing in the trace says why", len(names), row
    )


def time_accounted(case: Case) -> Finding:
    """H3: a program's five kinds of time "add up to the run time": its spans cover the run without overlap.

    A program that joins later is accounted for from then on.
    """
    facts = case.facts
    end, worst = case.trace.end, TOLERANCE * max(1.0, case.trace.end)
    rows = facts.at(*SPANS)
    length = facts.trace.frame["duration"].to_numpy(dtype=np.float64)
    programs = np.unique(facts.node[rows]).tolist()
    named = case.trace.meta.get("programs") or ()
    without = [name for name in named if name not in {facts.nodes[node] for node in programs}]
    if without and end > 0:
        return Finding(False, f"no time of {', '.join(without)} is accounted for", len(programs))
    for node in programs:
        own = rows[facts.node[rows] == node]
        own = own[np.argsort(facts.time[own], kind="stable")]
        stops = facts.time[own] + length[own]
        starts = np.r_[facts.time[own], end]
        before = np.r_[_begins(case, node), stops]
        wrong = np.flatnonzero(np.abs(starts - before) > worst)
        if wrong.size:
            at = int(wrong[0])
            row = int(own[min(at, len(own) - 1)])
            what = "not accounted for" if starts[at] > before[at] else "accounted for twice"
            return Finding(
                False, f"{facts.nodes[node]}: {min(before[at], starts[at]):g} to "
                f"{max(before[at], starts[at]):g} s is {what}", len(programs), row,
            )  # fmt: skip
    return Finding(
        True, f"the time of {len(programs)} programs is accounted for, each second once", len(programs)
    )


PROPERTIES = (
    Property("progress", "E9", ("finish", "failure", "lost"), progress),
    Property("time accounted", "H3", SPANS, time_accounted),
)


def _begins(case: Case, node: int) -> float:
    """When a program took part first, in seconds: 0, or when it joined."""
    facts = case.facts
    faults = facts.at("fault")
    faults = faults[facts.node[faults] == node]
    joins = faults[facts.trace.frame["detail"].iloc[faults].str.startswith("join").to_numpy(dtype=bool)]
    return float(facts.time[joins[0]]) if joins.size else 0.0
