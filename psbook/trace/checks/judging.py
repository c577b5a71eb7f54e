"""All properties, and their verdicts on a trace."""

from __future__ import annotations

from psbook.trace.checks import clocks, failover, progress, reads, replicas, updates
from psbook.trace.checks.case import Case
from psbook.trace.checks.verdicts import Answer, Property, Verdict, Verdicts
from psbook.trace.schema import LEVELS
from psbook.trace.trace import Trace

PROPERTIES: tuple[Property, ...] = (
    *reads.PROPERTIES, *clocks.PROPERTIES, *updates.PROPERTIES, *failover.PROPERTIES, *replicas.PROPERTIES,
    *progress.PROPERTIES,
)  # fmt: skip
"""Every property, in the order in which verdicts are given."""

OF_ALL_ROWS = {"none invented", "staleness conserved", "time accounted"}
"""Properties that a missing row breaks: what a lost process had not sent home proves nothing."""


def check(trace: Trace) -> Verdicts:
    """Judge a trace, of either backend, by what its run promised.

    Costs about a second for 100 000 rows; only rows of the trace are believed, not how the run went on.

    Parameters
    ----------
    trace
        Of a run, or of the error that ended one.

    Returns
    -------
    Verdicts
        One a property; "unknown" where the state in which it could break was never reached, where the level
        of the trace leaves out the rows that would tell, or where a process was lost with them.

    Examples
    --------
    >>> from psbook.trace import Recorder
    >>> recorder = Recorder()
    >>> recorder.add(0.0, "worker-0", "compute", duration=2.0, clock=0)
    >>> recorder.add(3.0, "worker-0", "finish", clock=1)
    >>> verdicts = check(recorder.trace({"programs": ["worker-0"], "end": 3.0}))
    >>> verdicts["progress"].verdict, verdicts["time accounted"].why
    ('true', 'worker-0: 2 to 3 s is not accounted for')
    """
    case = Case(trace)
    meta = trace.meta
    title = f"{meta.get('model_label', 'trace')} on {meta.get('backend', 'unknown')}, {len(trace)} rows"
    return Verdicts([_verdict(case, each) for each in PROPERTIES], title)


def _verdict(case: Case, each: Property) -> Verdict:
    level = case.trace.level
    lacking = sorted(set(each.needs) - LEVELS[level])
    if lacking:
        why = f'a trace of level "{level}" has no rows {", ".join(lacking)}; run again with trace="full"'
        return Verdict(each.name, "unknown", why, rule=each.rule)
    found = each.judge(case)
    answer: Answer = "unknown"
    why = found.why
    if found.holds is False:
        answer = "false"
        if each.name in OF_ALL_ROWS and (silent := case.trace.meta.get("silent")):
            answer = "unknown"
            why = f"rows of {', '.join(silent)} were lost with the process, so it cannot be told; else: {why}"
    elif found.holds and found.reached:
        answer = "true"
    elif found.holds:
        why = f"never put to the test: {why}"
    return Verdict(each.name, answer, why, int(found.first), int(found.reached), each.rule)
