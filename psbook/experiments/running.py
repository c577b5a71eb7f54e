"""Run points of a sweep, by whichever engine can, and return what they gave as two frames."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from psbook.errors import NonFinite, PsbookError, Unsupported
from psbook.experiments.points import SweepPoint
from psbook.simulator import Simulator
from psbook.simulator.compiled import Outcome as CompiledOutcome
from psbook.simulator.compiled import Point, run_batch, why_not
from psbook.trace import Trace, statistics

HISTORY = ("time_s", "iterations", "updates", "loss")


@dataclass(frozen=True)
class Outcome:
    """What a run gave.

    Attributes
    ----------
    summary : mapping
        Quantities of `psbook.trace.statistics.SUMMARY`.
    history : mapping
        Arrays by the names in `HISTORY`, one item an evaluation.
    engine : str
        "messages", "compiled" or "dask".
    why : str
        Why the compiled engine did not run it, if it did not.
    diverged : bool
        Whether the run ended with values that are not finite.
    error : str
        What ended the run; it then has no quantities.
    """

    summary: Mapping[str, float] = field(default_factory=dict)
    history: Mapping[str, Any] = field(default_factory=dict)
    engine: str = ""
    why: str = ""
    diverged: bool = False
    error: str = ""


def why_messages(point: SweepPoint, engine: str) -> str:
    """Return why a point does not go to the compiled engine; "" if it does."""
    if not isinstance(point.cluster, Simulator):
        return "a real cluster"
    wanted = point.cluster.engine if engine == "auto" else engine
    if wanted == "messages":
        return "engine='messages'"
    reason = why_not(point.job, point.cluster, point.model)
    if reason and wanted == "compiled":
        raise Unsupported(f"engine='compiled': {reason}; required: engine='auto' or 'messages'.")
    return reason


def run_compiled(points: Sequence[SweepPoint], fall_back: bool) -> list[Outcome]:
    """Run points by the compiled engine, all in one call.

    With `fall_back`, message by message those that it turns out not to be able to run.
    """
    try:
        found = run_batch([Point(point.job, point.cluster, point.model) for point in points])
    except Exception as error:  # noqa: BLE001  # one point's kernel may take the whole batch down
        if not fall_back:
            return [Outcome(engine="compiled", error=named(error)) for _ in points]
        return [run_by_messages(point, f"the compiled engine raised {named(error)}") for point in points]
    return [_of_compiled(outcome, point, fall_back) for outcome, point in zip(found, points, strict=True)]


def _of_compiled(found: CompiledOutcome | PsbookError, point: SweepPoint, fall_back: bool) -> Outcome:
    if not isinstance(found, PsbookError):
        return _judged(Outcome(found.summary, found.history, found.engine, diverged=found.diverged))
    if fall_back and isinstance(found, Unsupported):
        return run_by_messages(point, str(found))
    return Outcome(engine="compiled", error=named(found))


def run_by_messages(point: SweepPoint, why: str) -> Outcome:
    """Run a point message by message, or for real; its error becomes part of the outcome."""
    real = not isinstance(point.cluster, Simulator)
    engine = "dask" if real else "messages"
    settings: dict[str, Any] = {"trace": "iterations"}
    if not real:
        settings |= {"engine": "messages", "trace_path": None}
    try:
        run = dataclasses.replace(point.cluster, **settings).run(point.job, point.model, _silent)
    except NonFinite as error:
        trace = error.trace
        if trace is None:
            return _judged(Outcome(engine=engine, why=why, diverged=True))
        return _of_trace(trace, engine, why, diverged=True)
    except Exception as error:  # noqa: BLE001  # the other points go on; this one is named in the table
        return Outcome(engine=engine, why=why, error=named(error))
    return _of_trace(run.trace, engine, why)


def _of_trace(trace: Trace, engine: str, why: str, diverged: bool = False) -> Outcome:
    history = statistics.history(trace)
    columns = {name: history[name].to_numpy() for name in HISTORY}
    return _judged(Outcome(dict(statistics.summary(trace)), columns, engine, why, diverged))


def _judged(outcome: Outcome) -> Outcome:
    """Say of a run that diverged that its loss is infinite."""
    losses = np.asarray(outcome.history.get("loss", ()), np.float64)
    if outcome.diverged or (len(losses) and not math.isfinite(losses[-1])):
        return dataclasses.replace(
            outcome, diverged=True, summary={**outcome.summary, "loss_final": math.inf}
        )
    return outcome


def named(error: Exception) -> str:
    """Return an error in a line."""
    return f"{type(error).__name__}: {error}"


def _silent(iterations: int, loss: float | None) -> None:
    """Show nothing: a sweep has one line for all its runs."""


# Frames


def run_chunk(
    points: Sequence[SweepPoint],
    why: Sequence[str],
    fall_back: bool = True,
    told: Callable[[int], object] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Run points and return their rows: quantities, one row a point, and evaluations.

    Parameters
    ----------
    points
        What to run.
    why
        For each why the compiled engine does not run it; "" if it does.
    fall_back
        Whether what the compiled engine gives up may run message by message.
    told
        Called with the number of points that have ended.
    """
    outcomes: dict[int, Outcome] = {}
    compiled = [number for number, reason in enumerate(why) if not reason]
    if compiled:
        outcomes |= zip(
            compiled, run_compiled([points[number] for number in compiled], fall_back), strict=True
        )
    for number, point in enumerate(points):
        if number not in outcomes:
            outcomes[number] = run_by_messages(point, why[number])
            if told is not None:
                told(len(outcomes))
    return frames(points, [outcomes[number] for number in range(len(points))])


def frames(points: Sequence[SweepPoint], outcomes: Sequence[Outcome]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what runs gave as rows that are known by the hash of their point."""
    rows = [
        {
            **point.values,
            "seed": point.seed,
            "engine": outcome.engine,
            "engine_why": outcome.why,
            **{name: float(outcome.summary.get(name, math.nan)) for name in statistics.SUMMARY},
            "diverged": outcome.diverged,
            "error": outcome.error,
            "hash": point.hash,
        }
        for point, outcome in zip(points, outcomes, strict=True)
    ]
    lengths = [len(outcome.history.get("loss", ())) for outcome in outcomes]
    history = pd.DataFrame({"hash": np.repeat([point.hash for point in points], lengths)})
    for name, kind in zip(HISTORY, (np.float64, np.int64, np.int64, np.float64), strict=True):
        parts = [np.asarray(outcome.history.get(name, ())) for outcome in outcomes]
        history[name] = np.concatenate([np.empty(0, kind), *parts]).astype(kind)
    return pd.DataFrame(rows), history


def refusals(points: Sequence[SweepPoint], refused: Mapping[str, PsbookError]) -> pd.DataFrame:
    """Return the rows of points that do not run."""
    outcomes = [Outcome(error=named(refused[point.hash])) for point in points]
    return frames(points, outcomes)[0]
