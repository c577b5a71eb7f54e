"""Spread the runs of a sweep over the processes of a Dask cluster."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import pandas as pd
from distributed import Client, Future, as_completed

from psbook.cluster.joining.connect import check_versions, connected, processes
from psbook.errors import ClusterError
from psbook.experiments.points import SweepPoint
from psbook.experiments.running import run_chunk
from psbook.job import Job
from psbook.versions import VERSION

Piece = tuple[list[SweepPoint], list[str]]


def spread(
    pieces: Sequence[Piece], fall_back: bool, target: Any
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Run each piece as a task on a Dask cluster and give its rows as they come home.

    The jobs, data included, travel once to each process. If a process is lost, Dask runs its pieces again
    elsewhere; a run is a function of its point, so that nothing else changes.

    Parameters
    ----------
    pieces
        Points that run together, and for each why the compiled engine does not run it.
    fall_back
        Whether what the compiled engine gives up may run message by message.
    target
        A `distributed.Client`, or the address of a scheduler.

    Raises
    ------
    ClusterError
        If the cluster cannot run psbook, or a piece was lost with one process after the other.
    """
    if not pieces:
        return
    with connected(target, len(pieces)) as client:
        check_versions(client, processes(client), VERSION)
        futures = _submit(client, pieces, fall_back)
        try:
            for future in as_completed(futures, loop=client.loop):  # type: ignore[no-untyped-call]
                if future.status != "finished":
                    error = future.exception()
                    raise ClusterError(
                        f"a chunk of the sweep came back with {type(error).__name__}: {error}; what had come "
                        "before is kept. Run the sweep again with the same path."
                    ) from error
                yield future.result()
                future.release()
        finally:
            client.cancel(futures)  # type: ignore[no-untyped-call]


def _submit(client: Client, pieces: Sequence[Piece], fall_back: bool) -> list[Future[Any]]:
    """Make a task of each piece; the jobs are a task too, which the scheduler can have made again."""
    jobs = {id(point.job): point.job for points, _ in pieces for point in points}
    places = {key: place for place, key in enumerate(jobs)}
    packed = cloudpickle.dumps(list(jobs.values()))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
        sent = client.submit(bytes, packed, key=f"psbook-sweep-jobs-{_digest(packed)}")
        tasks = [
            cloudpickle.dumps(([_light(point, places[id(point.job)]) for point in points], why, fall_back))
            for points, why in pieces
        ]
        return [client.submit(_run_piece, sent, task, key=f"psbook-sweep-{_digest(task)}") for task in tasks]


def _light(point: SweepPoint, place: int) -> dict[str, Any]:
    """Return a point with the place of its job in the list of jobs."""
    return {**{field.name: getattr(point, field.name) for field in fields(point)}, "job": place}


def _run_piece(jobs: bytes, piece: bytes) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Run a piece in a process of the cluster."""
    light, why, fall_back = cloudpickle.loads(piece)
    unpacked = _unpack(jobs)
    return run_chunk([SweepPoint(**{**each, "job": unpacked[each["job"]]}) for each in light], why, fall_back)


@lru_cache(maxsize=2)
def _unpack(jobs: bytes) -> list[Job]:
    """Unpack the jobs once in a process, so that what they compile serves all pieces."""
    unpacked: list[Job] = cloudpickle.loads(jobs)
    return unpacked


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
