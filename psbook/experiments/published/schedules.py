"""When the updates of the K family are made, without communication: recursions over rounds."""

from __future__ import annotations

import heapq

import numpy as np

from psbook.core.consistency import BackupWorkers, Consistency, KAsync, KBatchAsync, KSync
from psbook.errors import Unsupported


def update_times(model: Consistency, compute: np.ndarray, updates: int) -> np.ndarray:
    """Return when the first updates are made.

    Parameters
    ----------
    model
        `KSync`, `KAsync`, `KBatchAsync` or `BackupWorkers`.
    compute : (..., workers, computations) float
        Seconds of each worker's own computations, in order.
    updates : int
        How many.

    Returns
    -------
    (..., updates) float64
        Seconds.

    Raises
    ------
    Unsupported
        For another model.

    Examples
    --------
    >>> update_times(KSync(1), np.array([[1.0, 5.0], [2.0, 4.0]]), 2)
    array([1., 5.])
    """
    runs = compute.reshape(-1, *compute.shape[-2:])
    match model:
        case KSync(k):
            ends = np.partition(runs[..., :updates], k - 1, axis=1)[:, k - 1].cumsum(axis=1)
        case KBatchAsync(k):
            ends = np.sort(runs.cumsum(axis=2).reshape(len(runs), -1), axis=1)[:, k - 1 : k * updates : k]
        case KAsync(k):
            ends = _async(runs, k, updates)
        case BackupWorkers():
            ends = np.array([_backed_up(run, model.needed(run.shape[0]), updates) for run in runs])
        case _:
            raise Unsupported(f"updates of {model.label}; required: a model of the K family.")
    return ends.reshape(*compute.shape[:-2], updates)


def _async(runs: np.ndarray, k: int, updates: int) -> np.ndarray:
    """The K first to end make an update and start anew; the others go on."""
    rows = np.arange(len(runs))[:, None]
    finish = runs[..., 0].copy()
    made = np.ones(finish.shape, np.int64)
    ends = np.empty((len(runs), updates))
    for update in range(updates):
        first = np.argpartition(finish, k - 1, axis=1)[:, :k]
        closed = finish[rows, first].max(axis=1)
        finish[rows, first] = closed[:, None] + runs[rows, first, made[rows, first]]
        made[rows, first] += 1
        ends[:, update] = closed
    return ends


def _backed_up(run: np.ndarray, needed: int, updates: int) -> np.ndarray:
    """The late go on; when they end, they read and join the round that is open."""
    workers = len(run)
    queue = [(float(run[worker, 0]), worker, 0) for worker in range(workers)]
    heapq.heapify(queue)
    made = [1] * workers
    ends: list[float] = []
    arrived: list[int] = []
    while len(ends) < updates:
        time, worker, round_of = heapq.heappop(queue)
        if round_of == len(ends):
            arrived.append(worker)
        else:
            heapq.heappush(queue, (time + float(run[worker, made[worker]]), worker, len(ends)))
            made[worker] += 1
        if len(arrived) == needed:
            ends.append(time)
            for each in arrived:
                heapq.heappush(queue, (time + float(run[each, made[each]]), each, len(ends)))
                made[each] += 1
            arrived = []
    return np.array(ends)
