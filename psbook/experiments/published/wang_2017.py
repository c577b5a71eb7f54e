"""Progress of 200 workers: Wang, Catterall and Mortier, "Probabilistic Synchronous Parallel" (2017).

Exponential iterations of mean 1 s; how many does a worker do in 400 s? Without a barrier 400; under
SSP(4) the median is 227. A worker that waits for a sample of the others only lies in between.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from psbook.core.consistency import ASP, BSP, PSP, SSP
from psbook.experiments.published.result import PREDICTED, SHOWN, Gate, Reproduction, table_of
from psbook.laws import Exponential
from psbook.simulator.compiled.timing import timeline

WORKERS, SECONDS, STALENESS = 200, 400.0, 4
ITERATIONS = 520
"""More than anybody gets done: 400 + 6 standard deviations."""
WARM_UP = 400.0
"""Seconds until SSP has forgotten that all workers started abreast."""
BETAS = (1, 2, 4, 16)


def progress(end: np.ndarray) -> np.ndarray:
    """Iterations that each worker has ended after 400 s; `end` in seconds, shape (..., iterations)."""
    done: np.ndarray = (end <= SECONDS).sum(axis=-1)
    return done


def steady(s: int, seeds: int) -> np.ndarray:
    """Iterations of each worker in each of four times 400 s under SSP, once the start is forgotten.

    Returns
    -------
    (seeds, 4, workers) int64
    """
    law, edges = Exponential(1.0), WARM_UP + SECONDS * np.arange(5)
    found = []
    for seed in range(seeds):
        end = timeline(SSP(s), law.matrix(WORKERS, 1300, seed)).end
        done = (end[None] <= edges[:, None, None]).sum(axis=-1)
        found.append(np.diff(done, axis=0))
    return np.stack(found)


def reproduce(seeds: int = 24) -> Reproduction:
    """Simulate 400 s of ASP, BSP and SSP(4), and of PSP with samples of 1, 2, 4 and 16.

    Parameters
    ----------
    seeds : int
        Runs to average over.

    Returns
    -------
    Reproduction
        Gates: the mean under ASP is 400 ± 2, the median under SSP(4) 227 ± 2, both means over seeds.
    """
    law = Exponential(1.0)
    times = np.stack([law.matrix(WORKERS, ITERATIONS, seed) for seed in range(seeds)])
    done = {model.label: progress(timeline(model, times).end) for model in (ASP(), SSP(STALENESS), BSP())}
    for beta in BETAS:
        done[f"PSP({STALENESS}, {beta})"] = np.stack(
            [_psp(times[seed], beta, seed) for seed in range(min(4, seeds))]
        )
    medians = {name: float(np.median(each, axis=1).mean()) for name, each in done.items()}
    mean = float(done["ASP"].mean())
    settled = float(np.median(steady(STALENESS, seeds), axis=2).mean())
    ssp = f"SSP({STALENESS})"
    rows = [
        ("ASP: mean progress in 400 s, iterations", 400.0, mean, PREDICTED),
        ("ASP: variance of progress (Poisson)", 400.0, float(done["ASP"].var(axis=1).mean()), SHOWN),
        (f"{ssp}: median progress in 400 s, iterations", 227.0, settled, PREDICTED),
        (f"{ssp}: the same, all abreast at the start", 227.0, medians[ssp], SHOWN),
    ]
    rows += [(f"{name}: median progress, all abreast at the start", np.nan, median, SHOWN)
             for name, median in medians.items() if name[:3] in ("PSP", "BSP")]  # fmt: skip
    frames = [pd.DataFrame({"model": name, "progress": each.ravel()}) for name, each in done.items()]
    return Reproduction(
        "psp",
        "Progress of 200 workers in 400 s, exp(1)",
        "Wang, Catterall and Mortier 2017 (arXiv 1709.07772)",
        f"nothing. SSP's 227 is its pace in the long run, from {WARM_UP:g} s on; workers that start abreast "
        "get a little further. PSP(s, β): a worker draws β of the others once an iteration, and starts when "
        "none of them lags by more than s; it never draws again for that iteration.",
        table_of(rows),
        (Gate("mean progress of ASP", mean, 398, 402), Gate(f"median progress of {ssp}", settled, 225, 229)),
        {"progress": pd.concat(frames, ignore_index=True)},
    )


def _psp(times: np.ndarray, beta: int, seed: int) -> np.ndarray:
    return progress(timeline(PSP(STALENESS, beta, seed), times).end)
