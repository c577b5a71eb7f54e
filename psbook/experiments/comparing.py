"""`compare`: one job under several consistency models, with equal data and equal luck."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from psbook.core.consistency import Consistency
from psbook.core.layout import Safety
from psbook.errors import InvalidJob, NonFinite, Unsupported
from psbook.experiments.comparison import Comparison, Entry
from psbook.job import Job, check_model
from psbook.progress import ProgressBar
from psbook.run import Run
from psbook.simulator import Simulator
from psbook.simulator.faults import Faults
from psbook.trace import statistics

TUNING_SEED = 1_000_003
"""Added to the first seed for runs that only choose a learning rate, so that no reported run was chosen."""


def compare(
    job: Job,
    cluster: Any,
    models: Sequence[Consistency],
    *,
    seeds: int | Sequence[int] = 3,
    target: float | None = None,
    tune: Sequence[float] | None = None,
    faults: Faults | None = None,
) -> Comparison:
    """Run a job under several consistency models and put the runs side by side.

    Each model sees the same data, the same initial values and the same compute times, seed by seed. Learning
    rates are tuned for each model if candidates are given; otherwise the result says "untuned", because
    then the comparison favours the model whose best rate happens to be nearest.

    Parameters
    ----------
    job
        What is trained; it needs an objective, ``Job(evaluate=…)``.
    cluster
        `psbook.Simulator` or `psbook.Dask`.
    models
        Consistency models.
    seeds
        How many seeds, from the cluster's own on; or the seeds themselves.
    target
        Loss whose time is measured; by default nine tenths of the best model's way down.
    tune
        Candidate learning rates. For each model the one with the lowest final loss within the shortest
        run's time, on a seed of its own, is taken.
    faults
        What goes wrong; only on the simulator. Each model then runs twice a seed, without the faults and
        with them, and meets the same luck in both. Both runs have the safety of the cluster, or
        ``Safety(replicas=1)`` if it names none, so that a lost server costs time and nothing else; what
        differs between them is the cost of the faults, not that of the safety.

    Returns
    -------
    Comparison
        ``.table``, ``.plot()``, ``.runs``, ``.save(folder)``.

    Raises
    ------
    InvalidJob
        If there is no model or seed, two models of one name, no objective, or faults come twice.
    Unsupported
        If there are faults, and the cluster is a real one.
    NodeFailure
        If a run does not survive the faults.

    Notes
    -----
    Costs ``len(models) × (seeds + candidates)`` runs, and ``len(models) × seeds`` more with faults.

    Examples
    --------
    >>> import psbook as ps
    >>> from psbook.algorithms import logistic_regression
    >>> from psbook.datasets import load_breast_cancer
    >>> data = load_breast_cancer()
    >>> job = logistic_regression(data.X_train, data.y_train, data.X_test, data.y_test, epochs=2)
    >>> result = ps.compare(job, ps.Simulator(workers=4), [ps.BSP(), ps.ASP()], seeds=2)
    >>> result.table["model"].tolist()
    ['BSP', 'ASP']

    What a lost server costs:

    >>> cluster = ps.Simulator(workers=4, servers=2, safety=ps.Safety(replicas=1, lease=0.5))
    >>> crash = ps.Faults(ps.Crash("server-1", at=0.5))
    >>> ps.compare(job, cluster, [ps.BSP()], seeds=1, faults=crash).table["faults"].tolist()
    ['without', 'with']
    """
    chosen = [check_model(model) for model in models]
    labels = [model.label for model in chosen]
    if not chosen or len(set(labels)) != len(labels):
        raise InvalidJob(f"models {labels}; required: at least one, each once.")
    if job.evaluate is None:
        raise InvalidJob("a job without objective; required for a comparison: Job(evaluate=…).")
    numbers = [cluster.seed + k for k in range(seeds)] if isinstance(seeds, int) else list(seeds)
    if not numbers or len(set(numbers)) != len(numbers):
        raise InvalidJob(f"seeds={seeds!r}; required: at least one, each once.")
    if tune is not None and (not tune or any(not rate > 0 for rate in tune)):
        raise InvalidJob(f"tune={tune!r}; required: learning rates > 0.")
    if tune is not None and job.rate is None:
        raise InvalidJob("tune=… for a job none of whose update functions has a learning rate.")
    kinds = [("", cluster)] if faults is None else with_and_without(cluster, faults)

    total = len(chosen) * (len(kinds) * len(numbers) + len(tune or ()))
    label = f"comparing {len(chosen)} models, {total} runs"
    with ProgressBar(label, "runs") as bar, contextlib.ExitStack() as stack:
        opened = [(name, stack.enter_context(each.opened())) for name, each in kinds]
        rates = tuned(job, opened[0][1], chosen, tune, numbers[0] + TUNING_SEED) if tune else {}
        entries: list[Entry] = []
        for model in chosen:
            of_model = job.with_rate(rates[model.label]) if rates else job
            for name, each in opened:
                runs = []
                for seed in numbers:
                    runs.append(attempt(of_model, dataclasses.replace(each, seed=seed), model))
                    bar(len(entries) * len(numbers) + len(runs), None)
                entries.append(Entry(model, of_model.rate, runs, name))
    return Comparison(entries, numbers, target, tuned=tune is not None, faults=faults)


def with_and_without(cluster: Any, faults: Faults) -> list[tuple[str, Simulator]]:
    """Return the cluster without faults and with them, equally safe.

    Raises
    ------
    Unsupported
        If it is not simulated.
    InvalidJob
        If it has faults of its own, or these are none.
    """
    if not isinstance(faults, Faults) or not faults.faults:
        raise InvalidJob(f"faults={faults!r}; required: ps.Faults(ps.Crash(…), …).")
    if not isinstance(cluster, Simulator):
        raise Unsupported(
            f"faults=… on {type(cluster).__name__}; required: a ps.Simulator. On a real cluster faults are "
            "real: kill a process while the job runs."
        )
    if cluster.faults is not None:
        raise InvalidJob("faults=… for a cluster that has faults itself; required: them in one place.")
    safe = dataclasses.replace(cluster, safety=cluster.safety or Safety(replicas=1))
    return [("without", safe), ("with", dataclasses.replace(safe, faults=faults))]


def attempt(job: Job, cluster: Any, model: Consistency) -> Run:
    """Run a job; a run that diverges to NaN counts up to there instead of ending the comparison."""
    try:
        return job.start(cluster, model).result()
    except NonFinite as error:
        if error.trace is None:
            raise
        error.trace.meta["diverged"] = str(error)
        return Run({}, {}, error.trace)


def tuned(
    job: Job, cluster: Any, models: Sequence[Consistency], rates: Sequence[float], seed: int
) -> dict[str, float]:
    """Return the best of the candidate rates for each model, at one budget of time for all."""
    tuning = dataclasses.replace(cluster, seed=seed)
    runs = {
        (model.label, rate): attempt(job.with_rate(rate), tuning, model) for model in models for rate in rates
    }
    budget = min(run.seconds for run in runs.values() if "diverged" not in run.meta) if runs else math.inf
    return {
        model.label: min(rates, key=lambda rate: _loss_within(runs[model.label, rate], budget))
        for model in models
    }


def _loss_within(run: Run, seconds: float) -> float:
    """Last loss within a time; infinite for a run that diverged."""
    history = statistics.history(run.trace)
    losses = history.loc[history["time_s"] <= seconds, "loss"]
    last = float(losses.iloc[-1]) if len(losses) else math.inf
    return math.inf if "diverged" in run.meta or math.isnan(last) else last
