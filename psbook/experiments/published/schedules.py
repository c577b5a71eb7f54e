"""When the updates of the K family are made."""

from __future__ import annotations

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
    found = collected(model, compute)
    ends = [found.run(number).updates()[:updates] for number in range(len(compute))]
    if min(map(len, ends)) < updates:
        raise InvalidJob(
            f"{updates} updates of {compute.shape[-1]} computations a worker; required: more computations."
        )
    return np.stack(ends)
