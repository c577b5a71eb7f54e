"""Backup workers: Chen et al., "Revisiting Distributed Synchronous SGD" (2016), Figs. 3 to 6.

A hundred workers. The mean time to collect k of 100 gradients rises slowly up to k = 96 and steeply then;
with the iterations that N gradients an update take to converge, 96 workers and 4 backups are quickest.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from psbook.core.consistency import BSP, BackupWorkers
from psbook.experiments.published.result import FITTED, PREDICTED, SHOWN, Gate, Reproduction, table_of
from psbook.experiments.published.schedules import update_times
from psbook.laws import Constant, Law, LogNormal
from psbook.simulator.compiled.timing import timeline

WORKERS = 100
COLLECT_S = {1: 1.43, 10: 1.49, 20: 1.53, 50: 1.61, 70: 1.66, 90: 1.713, 95: 1.732, 96: 1.746, 97: 1.78,
             98: 1.87, 99: 2.0, 100: 2.62}  # fmt: skip
"""Mean seconds to collect k gradients (±0.01)."""
HOURS = {50: 61.4, 70: 46.0, 90: 39.2, 95: 38.1, 96: 38.0, 97: 38.4, 98: 39.6, 99: 42.7, 100: 55.5}
"""Estimated hours to converge with N of 100 gradients."""
CALIBRATED = (1, 50, 97, 98, 100)


def law_of(mean: float, noise: float, probability: float, slowness: float, spread: float) -> Law:
    """Compute times: log-normal noise, and now and then a slowness that all slow workers of a round share.

    Parameters
    ----------
    mean, noise
        Seconds of an ordinary iteration, and the standard deviation of their logarithm.
    probability
        That a worker is slow in an iteration.
    slowness
        Seconds that this takes on average.
    spread
        Standard deviation of their logarithm; half of its variance is common to all workers.
    """
    half = spread / np.sqrt(2)
    extra = Constant(slowness / 100).spells(probability, 100.0) * LogNormal(1.0, half)
    return LogNormal(mean, noise) + extra.common(LogNormal(1.0, half))


def collection(law: Law, rounds: int, seeds: range) -> np.ndarray:
    """Mean seconds from the beginning of a synchronous round to the k-th gradient, shape (100,)."""
    times = np.stack([law.matrix(WORKERS, rounds, seed) for seed in seeds])
    run = timeline(BSP(), times)
    mean: np.ndarray = np.sort(run.end - run.start, axis=1).mean(axis=(0, 2))
    return mean


def calibrate(rounds: int = 600) -> tuple[float, ...]:
    """Return the law's five numbers, fitted to the time to collect 1, 50, 97, 98 and 100 gradients."""
    targets = np.array([COLLECT_S[k] for k in CALIBRATED])
    places = np.array(CALIBRATED) - 1

    def miss(point: np.ndarray) -> float:
        times = law_of(*np.exp(point)).matrix(WORKERS, rounds, 0)
        found = np.sort(times, axis=0).mean(axis=1)[places]
        return float(np.square(found / targets - 1).sum())

    start = np.log([1.6, 0.045, 0.014, 1.05, 0.7])
    best = minimize(miss, start, method="Nelder-Mead", options={"maxfev": 200, "xatol": 1e-3, "fatol": 1e-7})
    return tuple(float(number) for number in np.exp(best.x))


def iterations_to_converge() -> dict[int, float]:
    """Iterations for each N: published hours over published seconds; straight lines in between."""
    known = {n: 3600 * HOURS[n] / COLLECT_S[n] for n in HOURS}
    every = np.arange(50, WORKERS + 1)
    return dict(zip(every.tolist(), np.interp(every, list(known), list(known.values())), strict=True))


def reproduce(seeds: int = 4, rounds: int = 1000) -> Reproduction:
    """Calibrate compute times on five points of the collection curve; predict the others, and the best N.

    Parameters
    ----------
    seeds, rounds : int
        Of the prediction, whose times are others than those of the calibration.

    Returns
    -------
    Reproduction
        Gates: the best N lies in 95 … 97, and T(100)/T(96) = 1.46 ± 0.05, T hours to converge.
    """
    numbers = calibrate()
    law = law_of(*numbers)
    found = collection(law, rounds, range(1, 1 + seeds))
    needed = iterations_to_converge()
    hours = {n: needed[n] * float(found[n - 1]) / 3600 for n in needed}
    backed = _with_late_workers(law, needed)
    best = min(hours, key=lambda n: hours[n])
    rows = [
        (f"time to collect {k} of 100 gradients, s", number, float(found[k - 1]),
         FITTED if k in CALIBRATED else PREDICTED)
        for k, number in COLLECT_S.items()
    ]  # fmt: skip
    rows += [(f"hours to converge, N={n}", HOURS[n], hours[n], PREDICTED) for n in HOURS]
    rows += [("best N", 96.0, float(best), PREDICTED)]
    rows += [("T(100)/T(96)", 55.5 / 38.0, hours[100] / hours[96], PREDICTED)]
    rows += [(f"hours, N={n}, late workers go on", HOURS[n], backed[n], SHOWN) for n in HOURS if n in backed]
    curve = pd.DataFrame({"k": range(1, WORKERS + 1), "simulated": found})
    curve["published"] = curve["k"].map(COLLECT_S)
    curve["calibrated"] = curve["k"].isin(CALIBRATED)
    time = pd.DataFrame({"n": list(hours), "simulated": list(hours.values())})
    time["published"] = time["n"].map(HOURS)
    time["late_go_on"] = time["n"].map(backed)
    mean, noise, probability, slowness, spread = numbers
    return Reproduction(
        "chen",
        "Backup workers: how many gradients of 100 to wait for",
        "Chen et al. 2016 (arXiv 1604.00981), Figs. 3–6",
        f"an iteration takes {mean:.3f} s, ±{100 * noise:.1f} %, and with probability {probability:.4f} some "
        f"{slowness:.2f} s more (spread {spread:.2f}, half of its variance common to all workers), fitted to "
        f"the time to collect {', '.join(map(str, CALIBRATED))} gradients. Iterations to converge are the "
        "paper's.",
        table_of(rows),
        (
            Gate("N with the fewest hours", best, 95, 97),
            Gate("T(100)/T(96)", hours[100] / hours[96], 1.41, 1.51),
        ),
        {"collect": curve, "hours": time},
    )


def _with_late_workers(law: Law, needed: dict[int, float], rounds: int = 400) -> dict[int, float]:
    """Hours when a late worker ends its computation, as the paper's do, and joins the round it finds open."""
    times = law.matrix(WORKERS, rounds + 100, 1)[None]
    ends = {n: update_times(BackupWorkers(WORKERS - n), times, rounds)[0, -1] for n in range(90, WORKERS + 1)}
    return {n: float(needed[n] * end / rounds / 3600) for n, end in ends.items()}
