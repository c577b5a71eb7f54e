"""The held-out objective on the states that a compiled run has kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psbook.errors import ProgramError
from psbook.job import Job

Rows = NDArray[Any]


def evaluate(job: Job, states: Sequence[Mapping[str, Rows]]) -> list[float]:
    """Return the loss of each state.

    An objective with a method ``many(**tables) -> array``, which takes tables with one more axis in front, is
    asked once; any other state by state.

    Parameters
    ----------
    job
        With an objective.
    states
        Rows of every table.

    Raises
    ------
    ProgramError
        If the objective raises.
    """
    if job.evaluate is None or not states:
        return []
    many = getattr(job.evaluate, "many", None)
    try:
        if many is not None and not any(table.tree for table in job.tables.values()):
            stacked = {name: np.stack([state[name] for state in states]) for name in job.tables}
            losses = [float(loss) for loss in many(**stacked)]
            if len(losses) != len(states):
                raise ValueError(f"many() returned {len(losses)} losses for {len(states)} states")
            return losses
        return [
            float(job.evaluate(**{n: table.decode(state[n].copy()) for n, table in job.tables.items()}))
            for state in states
        ]
    except Exception as error:
        raise ProgramError(
            f"evaluate raised {type(error).__name__}: {error}; required: evaluate({', '.join(job.tables)}) "
            "returns a number."
        ) from error
