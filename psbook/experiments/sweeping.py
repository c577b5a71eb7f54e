"""`sweep`: a job at every combination of parameters, over seeds; one call for one machine or many."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import pandas as pd

from psbook.errors import InvalidJob, PsbookError
from psbook.experiments.points import Grid, SweepPoint, lay_out, told
from psbook.experiments.running import (
    frames,
    refusals,
    run_chunk,
    why_messages,
)
from psbook.experiments.store import FORMAT, Frames, Store, keep
from psbook.experiments.swept import Sweep
from psbook.progress import ProgressBar
from psbook.simulator import Simulator
from psbook.versions import versions

COMPILED_CHUNK = 1024
"""Points in one call of the compiled engine: enough to fill it, and what a killed process loses at most."""

MESSAGE_CHUNK = 8
"""Points run message by message before they are written."""

Piece = tuple[list[SweepPoint], list[str]]
"""Points that run together, and for each why the compiled engine does not run it."""


def sweep(
    job: Any,
    cluster: Any,
    over: Mapping[str, object],
    seeds: int | Iterable[int] = 20,
    *,
    target: float | None = None,
    path: str | os.PathLike[str] | None = None,
    client: Any = None,
    engine: Literal["auto", "compiled", "messages"] = "auto",
    on_error: Literal["keep", "raise"] = "keep",
) -> Sweep:
    """Run a job at every combination of parameters and every seed.

    Parameters
    ----------
    job : Job or function
        What is trained, or ``job(**parameters) -> Job``. Without an objective there are times and no losses.
    cluster : Simulator, Dask or function
        Where, or ``cluster(**parameters)``. On `psbook.Dask` the runs are real, one after the other.
    over : mapping
        Values by parameter: a list, or a mapping from labels to values. Parameters are ``"model"``
        (consistency models; `BSP` by default), ``"rate"``, ``"batch_size"``, ``"epochs"`` (of the job), any
        field of the cluster (``"workers"``, ``"compute"``, …), and the arguments of `job` and `cluster` where
        these are functions.
    seeds : int or iterable of int
        How many, from the cluster's own on; or the seeds themselves. All points meet the same luck.
    target : float, optional
        Loss whose time is measured, in the column ``time_to_target_s``.
    path : path, optional
        A folder. What has run is written there as it ends; a sweep that was killed, or that gets more values
        or seeds, runs only what is missing or failed.
    client : distributed.Client or str, optional
        A Dask cluster, or the address of its scheduler, that the runs are spread over; the table is the same.
    engine : {"auto", "compiled", "messages"}
        "auto" compiles what can be; the table says what was not, and why.
    on_error : {"keep", "raise"}
        Whether a point that fails, or whose parts do not fit together, is kept by name in ``.errors``, or
        ends the sweep.

    Returns
    -------
    Sweep
        ``.table``, ``.history``, ``.errors``, ``.summary()``, ``.plot()``, ``.save(path)``.

    Raises
    ------
    InvalidJob
        Before anything runs: an unknown parameter, a wrong value, or a path that holds another sweep.
    PsbookError
        With ``on_error="raise"``, or when no point can run.

    Notes
    -----
    Runs are traced at the level "iterations": ``bytes_sent`` is not known, hence NaN. Memory is that of the
    histories, and of one chunk of runs.

    Examples
    --------
    >>> import psbook as ps
    >>> from psbook.algorithms import logistic_regression
    >>> from psbook.datasets import load_breast_cancer
    >>> data = load_breast_cancer()
    >>> job = logistic_regression(data.X_train, data.y_train, data.X_test, data.y_test, epochs=1)
    >>> cluster = ps.Simulator(workers=4, compute=ps.Exponential(0.1))
    >>> result = ps.sweep(job, cluster, {"model": [ps.BSP(), ps.ASP()], "rate": [0.1, 1.0]}, seeds=2)
    >>> len(result.table), result.errors.empty
    (8, True)
    """
    if on_error not in ("keep", "raise"):
        raise InvalidJob(f"on_error={on_error!r}; required: 'keep' or 'raise'.")
    if target is not None and not isinstance(target, int | float):
        raise InvalidJob(f"target={target!r}; required: a loss, or None.")
    grid = lay_out(job, cluster, over, seeds, engine)
    reasons = _reasons(grid, engine)
    if grid.refused and (on_error == "raise" or len(grid.refused) == len(grid.points)):
        _refuse(grid)
    if client is not None and not all(isinstance(point.cluster, Simulator) for point in grid.points):
        raise InvalidJob(
            "client= spreads simulated runs; on ps.Dask each run has the whole cluster. Leave it out."
        )
    meta = _meta(grid)
    store = None if path is None else Store(path)
    done, others = None, None
    if store is not None:
        store.open({**meta, "target": target})
        meta = {name: value for name, value in store.meta().items() if name != "target"}
        done, others = keep(store.read(), [point.hash for point in grid.points])
    missing = _missing(grid, done)
    parts: list[Frames] = [] if done is None else [done]
    label = f"sweep, {len(missing)} runs" + (f" of {len(grid.points)}" if done is not None else "")
    with ProgressBar(label, "runs") as bar:
        for found in _run(missing, reasons, engine != "compiled", client, bar):
            if store is not None:
                store.add(*found)
            if on_error == "raise":
                _raise_first(found[0])
            parts.append(found)
    if grid.refused:
        parts.append((refusals([p for p in grid.points if p.hash in grid.refused], grid.refused), _nothing()))
    result = _in_order(grid, parts, meta, target)
    if store is not None:
        rest = [] if others is None or others[0].empty else [others]
        whole = Sweep(*_joined([(result.table, result.history), *rest]), meta, target)
        store.finish(whole.table, whole.history, {**meta, "target": target})
    return result


def _reasons(grid: Grid, engine: str) -> dict[str, str]:
    """Ask for each point why the compiled engine does not run it; the seed makes no difference."""
    known: dict[tuple[int, str, str], str] = {}
    reasons = {}
    for point in grid.points:
        if point.hash in grid.refused:
            continue
        key = id(point.job), repr(dataclasses.replace(point.cluster, seed=0)), repr(point.model)
        try:
            if key not in known:
                known[key] = why_messages(point, engine)
            reasons[point.hash] = known[key]
        except PsbookError as error:
            grid.refused[point.hash] = error
    return reasons


def _refuse(grid: Grid) -> None:
    point = next(point for point in grid.points if point.hash in grid.refused)
    error = grid.refused[point.hash]
    raise InvalidJob(f"point {point.label}: {error}") from error


def _raise_first(table: pd.DataFrame) -> None:
    """Raise `PsbookError` for the first run that failed."""
    failed = table[table["error"] != ""]
    if len(failed):
        row = failed.iloc[0]
        names = list(table.columns)
        where = told({name: row[name] for name in names[: names.index("seed") + 1]})
        raise PsbookError(f"point {where} failed: {row['error']}; on_error='keep' goes on with the others.")


def _meta(grid: Grid) -> dict[str, Any]:
    first = grid.points[0]
    return {
        "format": FORMAT,
        "job": first.job.name,
        "time_unit": "simulated s" if isinstance(first.cluster, Simulator) else "s",
        "parameters": {parameter.name: parameter.texts for parameter in grid.parameters},
        "configuration": grid.configuration,
        "versions": [versions()],
    }


def _missing(grid: Grid, done: Frames | None) -> list[SweepPoint]:
    """Return the points that have not run to their end."""
    ended = set() if done is None else set(done[0].loc[done[0]["error"] == "", "hash"])
    return [point for point in grid.points if point.hash not in ended and point.hash not in grid.refused]


def _run(
    points: Sequence[SweepPoint], reasons: Mapping[str, str], fall_back: bool, client: Any, bar: ProgressBar
) -> Iterator[Frames]:
    """Run points in chunks and give the rows of each as it ends."""
    compiled = [point for point in points if not reasons[point.hash]]
    others = [point for point in points if reasons[point.hash]]
    pieces = [*_cut(compiled, COMPILED_CHUNK, reasons), *_cut(others, MESSAGE_CHUNK, reasons)]
    ended = 0
    if client is not None:
        from psbook.experiments.spreading import spread

        pieces = [*_cut(compiled, COMPILED_CHUNK // 8, reasons), *_cut(others, MESSAGE_CHUNK, reasons)]
        for found in spread(pieces, fall_back, client):
            ended += len(found[0])
            bar(ended, None)
            yield found
        return
    with contextlib.ExitStack() as stack:
        nodes = max((point.cluster.workers or 4) + point.cluster.servers for point in points) if points else 0
        opened: dict[str, Any] = {}
        for chunk, why in pieces:
            chunk = [_opened(point, nodes, opened, stack) for point in chunk]
            yield run_chunk(chunk, why, fall_back, functools.partial(_advance, bar, ended))
            ended += len(chunk)
            bar(ended, None)


def _opened(point: SweepPoint, nodes: int, opened: dict[str, Any], stack: contextlib.ExitStack) -> SweepPoint:
    """Return the point with its real cluster kept open: all runs on one cluster share its processes."""
    if isinstance(point.cluster, Simulator):
        return point
    target = point.cluster.target
    if str(target) not in opened:
        opened[str(target)] = stack.enter_context(point.cluster.opened(nodes)).target
    return dataclasses.replace(point, cluster=dataclasses.replace(point.cluster, target=opened[str(target)]))


def _advance(bar: ProgressBar, before: int, count: int) -> None:
    bar(before + count, None)


def _cut(points: Sequence[SweepPoint], size: int, reasons: Mapping[str, str]) -> list[Piece]:
    chunks = (list(points[first : first + size]) for first in range(0, len(points), size))
    return [(chunk, [reasons[point.hash] for point in chunk]) for chunk in chunks]


def _nothing() -> pd.DataFrame:
    return frames([], [])[1]


def _joined(parts: Sequence[Frames]) -> Frames:
    tables, histories = zip(*parts, strict=True)
    filled = [history for history in histories if len(history)] or [_nothing()]
    return pd.concat(tables, ignore_index=True), pd.concat(filled, ignore_index=True)


def _in_order(grid: Grid, parts: Sequence[Frames], meta: Mapping[str, Any], target: float | None) -> Sweep:
    """Put the rows in the order of the grid; of two rows of a point the later one counts."""
    table, history = _joined(parts)
    table = table.drop_duplicates("hash", keep="last").set_index("hash")
    table = table.loc[[point.hash for point in grid.points]].reset_index()
    columns = [
        *meta["parameters"],
        *(name for name in table if name not in (*meta["parameters"], "hash")),
        "hash",
    ]
    return Sweep(table[columns], history, meta, target)
