"""Iterations and updates a second of a model, where theory has a form (theory T1, T2, T3, T8, T9)."""

from __future__ import annotations

import math

from psbook.core.consistency import Consistency
from psbook.errors import InvalidJob
from psbook.experiments.theory.leads import ssp_rate, ssp_rate_of_two
from psbook.experiments.theory.rounds import kth_of, slowest_of
from psbook.experiments.theory.validation import whole
from psbook.laws import Exponential, Law, Slow


def seconds_of_updates(updates: int, k: int, law: Law, workers: int) -> float:
    """Seconds of J updates of K gradients each when nobody ever waits: J·K·E[X]/P (T3).

    Parameters
    ----------
    updates : int
        J.
    k : int
        K: 1 under ASP, else K-batch-async.
    law : Law
        Compute time X of one iteration, the same for all workers, of any shape.
    workers : int
        P.

    Returns
    -------
    float
        Seconds; Dutta et al. (AISTATS 2018), Lemma 4.

    Examples
    --------
    >>> from psbook.laws import ShiftedExponential
    >>> seconds_of_updates(2000, 5, ShiftedExponential(1.0, 1.0), 20)
    1000.0
    """
    whole("updates", updates)
    whole("k", k, least=1)
    whole("workers", workers, least=1)
    return updates * k * law.mean / workers


def iteration_rate(model: Consistency, law: Law, workers: int) -> float:
    """Worker iterations a second in the long run, of all workers, without cost of communication.

    Parameters
    ----------
    model : Consistency
        Any; the forms below are known.
    law : Law
        Compute times.
    workers : int
        n.

    Returns
    -------
    float
        ASP: Σ 1/E[X_i] for any law (T3). BSP, SSP(0), bounded delay 0: n/E[max] for elementary laws (T1).
        SSP and bounded delay s > 0: the chain of leads for exponential times of equal rate (T9), or for two
        workers of unequal rate (T8). K-sync: gradients that are applied, K/E[X₍K₎] (T2). K-batch-async: as
        ASP. NaN where no form is known.

    Examples
    --------
    >>> from psbook.core.consistency import ASP, BSP, SSP
    >>> [round(iteration_rate(model, Exponential(0.1), 4), 4) for model in (BSP(), SSP(1), ASP())]
    [19.2, 26.3992, 40.0]
    """
    whole("workers", workers, least=1)
    if law.measured:
        return math.nan
    family = model.family
    try:
        if family in ("asp", "kbatchasync"):
            return math.fsum(1 / law.mean_of(worker) for worker in range(workers))
        if family == "ksync":
            k = min(int(getattr(model, "k", 0)), workers)
            return k / kth_of(law, k, workers)
        if family == "serial":
            return 1 / law.mean
        bound = {"bsp": 0.0, "ssp": getattr(model, "s", 0.0), "boundeddelay": getattr(model, "tau", 0.0)}
        return _bounded(bound[family], law, workers) if family in bound else math.nan
    except InvalidJob:
        return math.nan


def _bounded(s: float, law: Law, workers: int) -> float:
    if math.isinf(s):
        return math.fsum(1 / law.mean_of(worker) for worker in range(workers))
    if workers == 2 and isinstance(law, Slow) and isinstance(law.law, Exponential):
        return 2 * ssp_rate_of_two(int(s), *(1 / law.mean_of(worker) for worker in range(2)))
    if s == 0:
        return workers / slowest_of(law, workers)
    return workers * ssp_rate(workers, int(s)) / law.mean if isinstance(law, Exponential) else math.nan


def update_rate(model: Consistency, law: Law, workers: int) -> float:
    """Updates a second of a table in the long run; NaN where no form is known.

    A BSP round is one update, one of K gradients under the K family; each push is one elsewhere.

    Examples
    --------
    >>> from psbook.core.consistency import BSP
    >>> round(update_rate(BSP(), Exponential(1.0), 4), 4)
    0.48
    """
    gradients = iteration_rate(model, law, workers)
    family = model.family
    if family == "bsp":
        return gradients / workers
    if family in ("ksync", "kbatchasync"):
        return gradients / min(int(getattr(model, "k", 1)), workers)
    return gradients
