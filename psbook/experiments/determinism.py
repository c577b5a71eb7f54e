"""`check_determinism`: whether a job gives the same trace twice, row by row."""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from psbook.core.consistency import Consistency
from psbook.errors import PsbookError, Unsupported
from psbook.job import Job, check_model
from psbook.simulator import Simulator
from psbook.trace import Trace
from psbook.trace.schema import NAMES


class NotDeterministic(PsbookError, AssertionError):
    """Two runs with equal arguments left different traces; the message names the first row that differs."""


@dataclass(frozen=True)
class Determinism:
    """Two runs of a job left one and the same trace.

    Attributes
    ----------
    hash : str
        SHA-256 of the trace, see `Trace.hash`.
    rows : int
        Rows that were compared.
    label : str
        The consistency model.
    """

    hash: str
    rows: int
    label: str

    def __repr__(self) -> str:
        return f"<Determinism: {self.label}, {self.rows} rows equal in two runs, {self.hash[:12]}…>"


def check_determinism(job: Job, cluster: Simulator, model: Consistency | None = None) -> Determinism:
    """Run a job twice, once in memory and once streamed to a file, and compare the traces.

    Parameters
    ----------
    job
        The job; it is run twice, so a program must not leave anything behind.
    cluster
        A simulator; both runs are traced in full.
    model
        Consistency model, `BSP` by default.

    Returns
    -------
    Determinism
        The hash of both traces, and how many rows they have.

    Raises
    ------
    NotDeterministic
        If the traces differ.
    Unsupported
        If the cluster is no simulator: real time never repeats.

    Examples
    --------
    >>> import numpy as np, psbook as ps
    >>> async def count(worker):
    ...     await worker.compute(lambda: None)
    ...     worker.push("total", np.ones(1))
    ...     await worker.clock()
    >>> job = ps.Job(count, tables={"total": ps.Table(1)})
    >>> check_determinism(job, ps.Simulator(workers=2), ps.ASP()).label
    'ASP'
    """
    if not isinstance(cluster, Simulator):
        raise Unsupported(
            f"check_determinism on {type(cluster).__name__}; required: a ps.Simulator, because real time "
            "never repeats."
        )
    model = check_model(model)
    first = job.run(dataclasses.replace(cluster, trace="full", trace_path=None), model).trace
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.parquet"
        job.run(dataclasses.replace(cluster, trace="full", trace_path=path), model)
        second = Trace.load(path)
    if first.hash() != second.hash():
        raise NotDeterministic(first_difference(first, second))
    return Determinism(first.hash(), len(first), model.label)


def first_difference(first: Trace, second: Trace) -> str:
    """Say where two traces differ first, and what may make a program differ from itself."""
    shorter = min(len(first), len(second))
    left, right = (trace.frame.loc[: shorter - 1, list(NAMES)] for trace in (first, second))
    unequal = (left != right) & ~(left.isna() & right.isna())
    rows = unequal.any(axis=1)
    if rows.any():
        at = int(rows.to_numpy().argmax())
        columns = [name for name in NAMES if unequal.at[at, name]]
        told = [_told(frame, at, columns) for frame in (left, right)]
        found = f"row {at}: {told[0]} in the first run, {told[1]} in the second"
    else:
        longer = first if len(first) > shorter else second
        found = f"row {shorter} is in the {'first' if longer is first else 'second'} run only: " + _told(
            longer.frame, shorter, []
        )
    return (
        f"{found}; required: equal traces. Look for a wall clock, a global random generator, Measured() "
        "times, or state that a program or kernel keeps between runs; worker.rng and worker.now are portable."
    )


def _told(frame: pd.DataFrame, at: int, columns: list[str]) -> str:
    row: dict[Any, Any] = frame.loc[at].to_dict()
    values = "".join(f", {name} {row[name]!r}" for name in columns if name not in ("time", "node", "kind"))
    return f"{row['kind']} at {row['node']}, {row['time']!r} s{values}"
