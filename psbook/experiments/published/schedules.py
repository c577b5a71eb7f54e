"""When the updates of the K family are made."""

from __future__ import annotations

import math

import numpy as np

from psbook.core.consistency import Rounds
from psbook.errors import InvalidJob
from psbook.simulator.compiled.rounds import collected


def update_times(model: Rounds, compute: np.ndarray, updates: int) -> np.ndarray:
    """Return when the first updates are made, without cost of communication.

    Parameters
    ----------
    model
        A model of rounds of K gradients.
    compute : (runs, workers, computations) float
        Seconds of each worker's own computations, in order.
    updates : int
        How many.

    Returns
    -------
    (runs, updates) float64
        Seconds.

    Raises
    ------
    InvalidJob
        If the computations do not suffice for so many.

    Examples
    --------
    >>> from psbook.core.consistency import KSync
    >>> update_times(KSync(1), np.array([[[1.0, 5.0], [2.0, 4.0]]]), 2)
    array([[1., 5.]])
    """
    workers, computations = compute.shape[-2:]
    # Without drops a worker makes K/n of the gradients.
    share = math.ceil(1.25 * updates * model.needed(workers) / workers) + 80
    counts = min(computations, share) if not model.drops else computations
    found = collected(model, compute, np.full(workers, counts))
    ends = [found.run(number).updates()[:updates] for number in range(len(compute))]
    # Nobody may run out before the last update; who waits for its end may have made its last gradient.
    least = found.times.end[..., counts - 1].min(axis=-1)
    until = [
        ([0.0, *each][-2] if model.waits else each[-1]) if len(each) == updates else np.inf for each in ends
    ]
    if (np.array(until) > least).any():
        raise InvalidJob(f"{updates} updates of {counts} computations a worker; required: more computations.")
    return np.stack(ends)
