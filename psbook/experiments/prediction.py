"""`predict`: what a job would do on a cluster like the recorded one, of another size, under another model."""

from __future__ import annotations

import ast
import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from psbook.core import consistency
from psbook.core.consistency import Consistency
from psbook.errors import InvalidJob
from psbook.experiments.calibration import Calibration, calibrate
from psbook.experiments.intervals import Interval
from psbook.job import Job
from psbook.run import Run
from psbook.trace import Trace
from psbook.trace.statistics import documented, summary, time_to_target

SEEDS = 20
"""Runs behind a prediction."""

AGAINST: dict[str, str] = {
    "quantity": "what was predicted",
    "unit": "its unit",
    "predicted": "median of the simulated runs",
    "low": "lower end of the interval that a run falls into",
    "high": "upper end of the interval that a run falls into",
    "measured": "what the real run gave",
    "error": "predicted / measured − 1",
    "inside": "whether the interval holds what was measured",
}
"""Columns of `Prediction.against`."""


def predict(
    job: Job,
    calibration: Calibration | Run | Trace,
    *,
    workers: int | None = None,
    servers: int | None = None,
    model: Consistency | None = None,
    seeds: int | Sequence[int] = SEEDS,
    confidence: float = 0.95,
    **options: Any,
) -> Prediction:
    """Predict time and convergence of a job on a cluster like a recorded one.

    Parameters
    ----------
    job
        What would run.
    calibration
        What `psbook.calibrate` returns; a run or trace is calibrated.
    workers, servers : int, optional
        How many; as recorded by default.
    model : Consistency, optional
        That of the recorded run by default.
    seeds : int or sequence of int
        How many simulated runs, or the seed of each. Each has its own luck, and parameters of its own, as
        another recording would have given them: a bootstrap over both.
    confidence : float
        Probability with which a run is to fall into the intervals, 0 … 1.
    **options
        Of `psbook.Simulator`, in place of what was fitted.

    Raises
    ------
    InvalidJob
        If an argument makes no sense.

    Notes
    -----
    Every simulated run computes every gradient: with a kernel that takes long, ask for few seeds, or predict
    for a job with a lighter kernel and the same batches.

    Examples
    --------
    >>> import psbook as ps
    >>> from psbook.algorithms import logistic_regression
    >>> from psbook.datasets import load_breast_cancer
    >>> data = load_breast_cancer()
    >>> job = logistic_regression(data.X_train, data.y_train, batch_size=8, iterations=40)
    >>> recorded = job.run(ps.Simulator(workers=2, compute=ps.Gamma(0.1, 4.0)), ps.BSP())
    >>> predict(job, recorded, workers=4, model=ps.ASP(), seeds=5)
    Prediction for 4 workers, ASP: 4.86 simulated s (3.86 … 5.5), 32.9 iterations/s (29.1 … 41.4).
    """
    if not isinstance(calibration, Calibration):
        calibration = calibrate(calibration)
    if not isinstance(job, Job):
        raise InvalidJob(f"predict of {type(job).__name__}; required: a ps.Job.")
    if not 0 < confidence < 1:
        raise InvalidJob(f"confidence={confidence!r}; required: 0 < confidence < 1.")
    numbers = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not numbers:
        raise InvalidJob("seeds=0; required: at least one run.")
    model = recorded_model(calibration.trace) if model is None else model
    runs = []
    for seed in numbers:
        cluster = calibration.resampled(seed).simulator(workers, servers, seed=seed, **options)
        runs.append(cluster.run(job, model, _silent))
    return Prediction(calibration, model, tuple(runs), confidence)


def recorded_model(trace: Trace) -> Consistency:
    """Return the consistency model of a recorded run.

    Raises
    ------
    InvalidJob
        If the trace does not tell it.

    Examples
    --------
    >>> from psbook.trace import Recorder
    >>> recorded_model(Recorder().trace({"model_repr": "SSP(3)"}))
    SSP(s=3, gate='read')
    """
    told = str(trace.meta.get("model_repr", ""))
    try:
        call = ast.parse(told, mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise ValueError(told)
        family = getattr(consistency, call.func.id)
        places = [_value(argument) for argument in call.args]
        model = family(*places, **{str(each.arg): _value(each.value) for each in call.keywords})
    except (SyntaxError, ValueError, AttributeError, TypeError) as error:
        raise InvalidJob(
            f"the trace's model is {told!r}, which cannot be read; required: model=…."
        ) from error
    if not isinstance(model, Consistency):
        raise InvalidJob(f"the trace's model is {told!r}, which is none; required: model=….")
    return model


def _value(node: ast.expr) -> Any:
    return math.inf if isinstance(node, ast.Name) and node.id == "inf" else ast.literal_eval(node)


def _silent(iterations: int, loss: float | None) -> None:
    """Show nothing: one prediction is many runs."""


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """What a job would do: time, speed and convergence, with the interval that a run falls into.

    Attributes
    ----------
    calibration : Calibration
        Of the cluster.
    model : Consistency
        Consistency model.
    runs : tuple of Run
        Simulated runs behind it.
    confidence : float
        Of the intervals.
    """

    calibration: Calibration
    model: Consistency
    runs: tuple[Run, ...]
    confidence: float

    @property
    def workers(self) -> int:
        """How many workers."""
        return len(self.runs[0].meta["workers"])

    @property
    def seconds(self) -> Interval:
        """Length of the run [s]."""
        return self._interval([run.seconds for run in self.runs])

    @property
    def iterations_per_second(self) -> Interval:
        """Worker iterations ended a second, of all workers together [1/s]."""
        return self._interval([float(summary(run.trace)["iterations_per_s"]) for run in self.runs])

    def time_to(self, loss: float) -> Interval:
        """Return seconds to the first evaluation whose loss is at most `loss`; inf where a run never gets
        there.

        Raises
        ------
        InvalidJob
            If the job has no objective.
        """
        if not len(self.runs[0].history):
            raise InvalidJob(f"time_to({loss!r}), but the job has no objective; required: Job(evaluate=…).")
        times = [time_to_target(run.trace, loss) for run in self.runs]
        return self._interval([math.inf if math.isnan(time) else time for time in times])

    @property
    def history(self) -> pd.DataFrame:
        """One row an evaluation of a run: ``run``, ``time_s`` [s], ``iterations``, ``updates``, ``loss``."""
        parts = [run.history.assign(run=number) for number, run in enumerate(self.runs)]
        return pd.concat(parts, ignore_index=True)

    def against(self, run: Run, loss: float | None = None) -> pd.DataFrame:
        """Return the prediction beside a run that was made; columns are in `AGAINST`.

        Parameters
        ----------
        run
            The same job, for real.
        loss : float, optional
            Compare the time to this loss, too.
        """
        rows: list[tuple[str, str, Interval, float]] = [
            ("time", "s", self.seconds, run.seconds),
            (
                "speed",
                "iterations/s",
                self.iterations_per_second,
                float(summary(run.trace)["iterations_per_s"]),
            ),
        ]
        if loss is not None:
            rows.append(
                (f"time to loss {loss:.4g}", "s", self.time_to(loss), time_to_target(run.trace, loss))
            )
        frame = pd.DataFrame(
            {"quantity": name, "unit": unit, "predicted": found.value, "low": found.low, "high": found.high,
             "measured": measured, "error": found.value / measured - 1 if measured else math.nan,
             "inside": found.low <= measured <= found.high}
            for name, unit, found, measured in rows
        )  # fmt: skip
        return documented(frame, AGAINST)

    def plot(self, run: Run | None = None, loss: float | None = None) -> Any:
        """Draw the convergence that is predicted, with its band, and, if given, that of a real run."""
        return importlib.import_module("psbook.view.prediction").plot_prediction(self, run, loss)

    def _interval(self, values: Sequence[float]) -> Interval:
        found: npt.NDArray[np.float64] = np.asarray(values, np.float64)
        tails = ((1 - self.confidence) / 2, 0.5, (1 + self.confidence) / 2)
        # No interpolation: between a number and infinity there is nothing.
        low, middle, high = np.quantile(found, tails, method="inverted_cdf")
        return Interval(float(middle), float(low), float(high))

    def __repr__(self) -> str:
        time, speed = self.seconds, self.iterations_per_second
        unit = self.runs[0].meta["time_unit"]
        return (
            f"Prediction for {self.workers} worker{'s' if self.workers > 1 else ''}, {self.model.label}: "
            f"{time.value:.3g} {unit} ({time.low:.3g} … {time.high:.3g}), {speed.value:.3g} iterations/s "
            f"({speed.low:.3g} … {speed.high:.3g})."
        )
