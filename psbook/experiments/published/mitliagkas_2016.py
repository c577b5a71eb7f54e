"""Asynchrony begets momentum: Mitliagkas, Zhang, Hadjis and Ré (2016).

Asynchronous workers act like momentum 1 − 1/M (theory T19), so the best explicit momentum falls as workers
are added, and is negative when there are many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd

from psbook.core.consistency import ASP
from psbook.experiments.published.result import PREDICTED, SHOWN, Gate, Reproduction, table_of
from psbook.experiments.theory import implicit_momentum
from psbook.job import Job
from psbook.laws import Exponential
from psbook.laws.streams import generator
from psbook.loop import Loop
from psbook.simulator import Simulator
from psbook.table import Table
from psbook.updates import Update

WORKERS = (1, 2, 4, 8, 16, 32)
UPDATES = 320
RATE = 0.2
CONDITION, WIDTH, ROWS, BATCH = 10.0, 12, 1024, 64
MOST = 1e6
MOMENTA = tuple(np.round(np.arange(-0.9, 0.951, 0.05), 2).tolist())


@dataclass(frozen=True)
class HeavyBall(Update):
    """v ← μ v + g, w ← w − η v (Polyak 1964); each row (μ, w) brings its own μ, of either sign.

    So one run trains a row for each μ, and all of them meet the same luck.

    Parameters
    ----------
    rate : float
        Learning rate η > 0.

    Examples
    --------
    >>> rule, row = HeavyBall(0.5), np.array([[-0.5, 1.0]])
    >>> rule.apply(np, row, {"velocity": np.array([[0.0, 2.0]])}, np.array([[0.0, 1.0]]))[0]
    array([[-0.5,  1. ]])
    """

    rate: float

    def init(self, xp: Any, value: Any) -> dict[str, Any]:
        """Return zero velocities."""
        return {"velocity": xp.zeros_like(value)}

    def apply(self, xp: Any, value: Any, state: dict[str, Any], grad: Any) -> tuple[Any, dict[str, Any]]:
        """Return the new value and velocity; the gradient of μ is 0, so that it stays."""
        velocity = value[:, :1] * state["velocity"] + grad
        return value - self.rate * velocity, {"velocity": velocity}


def gradient(rows: Any, X: Any) -> tuple[Any, Any]:
    """Loss and gradient of ½·mean (x·w)² over a batch, for each row (μ, w); its minimum is at w = 0.

    Clipped, lest a row that diverges end the run of the others.
    """
    error = rows[:, 1:] @ X.T
    slope = jnp.clip(error @ X / len(X), -MOST, MOST)
    return 0.5 * (error**2).mean(), jnp.concatenate([jnp.zeros_like(slope[:, :1]), slope], axis=1)


def problem(workers: int) -> Job:
    """Return the job: least squares with curvatures from 0.1 to 1, 320 updates in all, from w = 1."""
    start = np.ones((len(MOMENTA), 1 + WIDTH))
    start[:, 0] = MOMENTA
    return Job(
        Loop(gradient),
        tables={"w": Table(start.shape, update=HeavyBall(RATE), init=start)},
        data=features().astype(np.float32),
        batch_size=BATCH,
        iterations=UPDATES // workers,
        aggregate="sum",
        name="least squares",
    )


def features() -> np.ndarray:
    """Return the rows x, whose second moments are the curvatures."""
    curvature = np.geomspace(1 / CONDITION, 1.0, WIDTH)
    rows: np.ndarray = generator(0, "momentum").standard_normal((ROWS, WIDTH)) * np.sqrt(curvature)
    return rows


def losses(workers: int, seeds: int) -> np.ndarray:
    """Return the loss over all rows after 320 updates, shape (seeds, momenta)."""
    X, job = features(), problem(workers)
    found = []
    for seed in range(seeds):
        cluster = Simulator(workers=workers, compute=Exponential(1.0), seed=seed, trace="iterations")
        w = np.asarray(job.run(cluster, ASP()).tables["w"], np.float64)[:, 1:]
        found.append(0.5 * np.square(w @ X.T).mean(axis=1))
    return np.array(found)


def reproduce(seeds: int = 12) -> Reproduction:
    """Find the best explicit momentum for 1 to 32 asynchronous workers.

    Parameters
    ----------
    seeds : int
        Runs of each number of workers and momentum.

    Returns
    -------
    Reproduction
        Gates: the best explicit momentum falls with each doubling of the workers, and is below 0 for 32.
    """
    means = {workers: np.exp(np.log(losses(workers, seeds)).mean(axis=0)) for workers in WORKERS}
    best = {workers: float(MOMENTA[int(np.nanargmin(each))]) for workers, each in means.items()}
    curves = pd.DataFrame(
        [(workers, mu, loss) for workers, each in means.items()
         for mu, loss in zip(MOMENTA, each.tolist(), strict=True)],
        columns=["workers", "momentum", "loss"],
    )  # fmt: skip
    implicit = [implicit_momentum(workers).momentum for workers in WORKERS]
    chosen = np.array([best[workers] for workers in WORKERS])
    rows = [(f"best explicit momentum, M={workers}", np.nan, best[workers], PREDICTED) for workers in WORKERS]
    rows += [(f"implicit momentum 1 − 1/M, M={workers}", np.nan, value, SHOWN)
             for workers, value in zip(WORKERS, implicit, strict=True)]  # fmt: skip
    points = pd.DataFrame({"workers": WORKERS, "best": chosen, "implicit": implicit})
    return Reproduction(
        "momentum",
        "The best explicit momentum falls with the number of asynchronous workers",
        "Mitliagkas, Zhang, Hadjis and Ré 2016 (arXiv 1605.09774)",
        f"nothing: the shape is published for neural networks, the numbers here are of least squares with "
        f"curvatures 0.1 … 1, learning rate {RATE}, {UPDATES} updates in all.",
        table_of(rows),
        (
            Gate("least fall of the best momentum as workers double", float(-np.diff(chosen).max()), 0.01, 2),
            Gate("best momentum with 32 workers", float(chosen[-1]), -1, -0.01),
        ),
        {"best": points, "losses": curves},
    )
