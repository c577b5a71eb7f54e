"""`what_if`: a recorded run made again with the same compute times, and one thing changed."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from psbook.core.consistency import Consistency
from psbook.errors import InvalidJob
from psbook.experiments.calibrate_compute import Floats
from psbook.experiments.calibration import Calibration, calibrate
from psbook.experiments.prediction import recorded_model
from psbook.job import Job
from psbook.laws import Constant, Empirical, Law
from psbook.run import Run
from psbook.simulator import Simulator
from psbook.trace import Trace
from psbook.trace.statistics import SUMMARY, documented, summary

OWN = ("model", "slow", "no_stragglers")
"""Changes besides the fields of `psbook.Simulator`."""


def what_if(source: Run | Trace | Calibration, job: Job, **changes: Any) -> WhatIf:
    """Make a recorded run again in the simulator, with its own compute times and something changed.

    Parameters
    ----------
    source : Run, Trace or Calibration
        What was recorded.
    job
        The job that ran.
    **changes
        ``model=ps.SSP(3)``; ``slow={2: 4.0}``, workers, by rank or name, that take so many times as long, or
        less with a factor below 1; ``no_stragglers=True``, every iteration takes the median of all;
        or any field of `psbook.Simulator`: ``network=``, ``service=``, ``workers=``, ``servers=``,
        ``compute=``, ``faults=ps.Faults(ps.Crash("server-0", at=1.0))`` with ``safety=``, …

    Returns
    -------
    WhatIf
        The run as it was recorded, made again without the change, and with it.

    Raises
    ------
    InvalidJob
        Without a change, or with one that is not known.

    Notes
    -----
    Iteration c of worker k takes what it took; of iterations that were compiled in, or were a real worker's
    first, the worker's median stands. Workers that were not there play recorded ones, from a place of their
    own.

    Examples
    --------
    >>> import psbook as ps
    >>> from psbook.algorithms import logistic_regression
    >>> from psbook.datasets import load_breast_cancer
    >>> data = load_breast_cancer()
    >>> job = logistic_regression(data.X_train, data.y_train, batch_size=8, iterations=40)
    >>> recorded = job.run(ps.Simulator(workers=4, compute=ps.Exponential(0.1)), ps.BSP())
    >>> what_if(recorded, job, model=ps.ASP())
    What if model = ASP: 5.23 in place of 9.75 simulated s (-46 %); recorded were 9.75.
    """
    calibration = source if isinstance(source, Calibration) else calibrate(source)
    known = {field.name for field in dataclasses.fields(Simulator)} | set(OWN)
    if not changes or set(changes) - known:
        found = ", ".join(sorted(set(changes) - known)) or "no change"
        raise InvalidJob(f"what_if with {found}; required: some of {', '.join(sorted(known))}.")
    model = recorded_model(calibration.trace)
    seed = int(calibration.trace.meta.get("seed", 0))
    law = recorded_law(calibration)
    before = calibration.simulator(compute=law, trace="full", engine="messages", seed=seed)
    after = dataclasses.replace(before, **{k: v for k, v in changes.items() if k not in OWN})
    if "workers" in changes or "servers" in changes:
        again = calibration.simulator(after.workers, after.servers)
        kept: dict[str, Any] = {"network": again.network, "hosts": again.hosts}
        after = dataclasses.replace(after, **{k: v for k, v in kept.items() if k not in changes})
    after = dataclasses.replace(after, compute=_changed(after.compute, calibration, changes))
    new = changes.get("model", model)
    if not isinstance(new, Consistency):
        raise InvalidJob(f"model={new!r}; required: a consistency model such as ps.SSP(3).")
    return WhatIf(calibration, changes, before.run(job, model, _silent), after.run(job, new, _silent))


def _silent(iterations: int, loss: float | None) -> None:
    """Show nothing."""


def recorded_law(calibration: Calibration) -> Empirical:
    """Return the law by which each worker takes in each iteration what it took when it was recorded."""
    clocks = calibration.trace.of("clock").groupby("node", observed=True)["clock"].max()
    samples: list[Floats] = []
    for work in calibration.works:
        seconds = np.full(int(clocks[work.worker]), float(np.median(work.seconds)))
        seconds[work.clocks] = work.seconds
        samples.append(seconds)
    return Empirical(tuple(samples), "in order")


def _changed(law: Law | float, calibration: Calibration, changes: Mapping[str, Any]) -> Law | float:
    """Return the compute law with slow workers, or without stragglers."""
    if changes.get("no_stragglers") and "compute" not in changes:
        law = Constant(float(np.median(np.concatenate([work.seconds for work in calibration.works]))))
    slow = changes.get("slow")
    if not slow:
        return law
    names = [work.worker for work in calibration.works]
    ranks = {names.index(who) if who in names else who: float(factor) for who, factor in slow.items()}
    if not all(isinstance(rank, int) for rank in ranks):
        raise InvalidJob(f"slow={slow!r}; required: ranks, or some of {', '.join(names)}.")
    return (law if isinstance(law, Law) else Constant(float(law))).slow(ranks)


@dataclass(frozen=True, eq=False, repr=False)
class WhatIf:
    """A run as it was, and as it would have been.

    Attributes
    ----------
    calibration : Calibration
        Of the recorded run.
    changes : mapping
        What was changed.
    old : Run
        The recorded run, made again in the simulator without a change: how near it comes to what was recorded
        tells how far the other is to be trusted.
    new : Run
        With the change.
    """

    calibration: Calibration
    changes: Mapping[str, Any]
    old: Run
    new: Run

    @property
    def recorded(self) -> Trace:
        """What was recorded."""
        return self.calibration.trace

    def table(self) -> pd.DataFrame:
        """Return the quantities of `psbook.trace.statistics.SUMMARY` of the three runs side by side."""
        frame = pd.DataFrame(
            {
                "recorded": summary(self.recorded),
                "old": summary(self.old.trace),
                "new": summary(self.new.trace),
            }
        )
        frame["change"] = frame["new"] / frame["old"] - 1
        meaning = frame.index.map(SUMMARY)
        frame = frame.rename_axis("quantity").reset_index().assign(meaning=meaning)
        columns = {
            "quantity": "name", "recorded": "as it was recorded", "old": "made again without the change",
            "new": "made again with it", "change": "new / old − 1", "meaning": "what it is, and its unit",
        }  # fmt: skip
        return documented(frame, columns)

    def plot(self) -> Any:
        """Draw the three runs side by side: losses, where time went, how stale updates were."""
        view = importlib.import_module("psbook.view.comparison")
        rows = [
            ("recorded", self.recorded),
            ("made again", self.old.trace),
            (f"with {self.said}", self.new.trace),
        ]
        traces = [(label, str(trace.meta["model"]), [trace]) for label, trace in rows]
        figure = view.plot_comparison(traces, title=f"What if {self.said}", untuned=False)
        figure.psbook_sentence = f"{self} {figure.psbook_sentence}"
        return figure

    @property
    def said(self) -> str:
        """The changes in words."""
        return ", ".join(f"{name} = {_named(value)}" for name, value in self.changes.items())

    def __repr__(self) -> str:
        old, new = self.old.seconds, self.new.seconds
        return (
            f"What if {self.said}: {new:.3g} in place of {old:.3g} {self.old.meta['time_unit']} "
            f"({100 * (new / old - 1):+.0f} %); recorded were {self.recorded.end:.3g}."
        )


def _named(value: Any) -> str:
    return str(getattr(value, "label", value))
