"""`campaign`: the counter test under many random fault schedules; what fails is shrunk and printed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import pandas as pd
from tqdm import tqdm

from psbook.core.layout import DELIVERY
from psbook.errors import InvalidJob
from psbook.experiments.scenarios import Outcome, Scenario, draw

RERUN = 10
"""Every so many seeds a run is made twice, and the traces are compared."""


@dataclass(frozen=True)
class Campaign:
    """What became of many scenarios.

    Attributes
    ----------
    frame : DataFrame
        One row a scenario.
    failures : list of Outcome
        Those in which something was wrong, with the smallest schedule that was found.
    """

    frame: pd.DataFrame
    failures: list[Outcome]

    @property
    def text(self) -> str:
        """The result in words; for each failure the seed, what was wrong, and code to see it again."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.frame["kind"].value_counts().items())
        sums = {name: int(self.frame[name].sum()) for name in ("faults", "restarts", "pulls")}
        reached = "{faults} faults, {restarts} restarts of workers, {pulls} reads checked".format(**sums)
        lines = [f"{len(self.frame)} schedules: {kinds}; {reached}"]
        for failure in self.failures:
            scenario = failure.scenario
            wrong = "\n".join(failure.wrong[:4])
            lines.append(f"\nseed {scenario.seed}: {wrong}\n{scenario.code}")
        return "\n".join(lines)


def campaign(
    seeds: Iterable[int], delivery: str | None = None, shrink: bool = True, check: bool = False
) -> Campaign:
    """Run the counter test under a random schedule for each seed.

    Parameters
    ----------
    seeds
        One for each scenario.
    delivery
        "exactly-once", "at-least-once" or "at-most-once"; by default also drawn.
    shrink
        Look for the smallest schedule that still fails.
    check
        Also judge each trace by `Run.check`, which takes several times as long as the run.

    Returns
    -------
    Campaign
        Outcomes and failures.

    Raises
    ------
    InvalidJob
        If the delivery mode is none.

    Examples
    --------
    >>> campaign(range(3)).failures
    []
    """
    if delivery is not None and delivery not in DELIVERY:
        raise InvalidJob(f"delivery={delivery!r}; required: one of {', '.join(DELIVERY)}.")
    rows, failures = [], []
    for seed in tqdm(seeds, desc="counter test", unit=" schedules", delay=2, leave=False):
        scenario = draw(seed, delivery)
        outcome = judged(scenario, check)
        if outcome.kind == "failed":
            failures.append(smallest(scenario, check) if shrink else outcome)
        rows.append(_row(outcome))
    return Campaign(pd.DataFrame(rows), failures)


def judged(scenario: Scenario, check: bool = False) -> Outcome:
    """Run a scenario; of some, see whether a second run leaves the same trace."""
    outcome = scenario.run(check)
    if scenario.seed % RERUN or outcome.run is None:
        return outcome
    again = scenario.run()
    if again.run is None or again.run.trace.hash() != outcome.run.trace.hash():
        return replace(outcome, kind="failed", wrong=[*outcome.wrong, "a second run left another trace"])
    return outcome


def smallest(scenario: Scenario, check: bool = False, tries: int = 300) -> Outcome:
    """Shrink the schedule of a scenario that fails, as long as it does."""
    failing = judged(scenario, check)
    for _ in range(tries):
        for faults in failing.scenario.faults.simpler():
            outcome = judged(replace(failing.scenario, faults=faults), check)
            if outcome.kind == "failed":
                failing = outcome
                break
        else:
            break
    return failing


def _row(outcome: Outcome) -> dict[str, object]:
    scenario, safety = outcome.scenario, outcome.scenario.safety
    return {
        "seed": scenario.seed,
        "kind": outcome.kind,
        "model": scenario.model.label,
        "delivery": safety.delivery,
        "scheme": safety.scheme if safety.replicas else "",
        "replicas": safety.replicas,
        "workers": scenario.workers,
        "servers": scenario.servers,
        "faults": len(scenario.faults),
        "restarts": max(0, outcome.starts - scenario.workers),
        "pulls": outcome.pulls,
        "seconds": outcome.seconds,
        "wrong": "; ".join(outcome.wrong),
    }
