"""Rows of kept tables, read where they lie: a handler on every worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.protocol import to_serialize

if TYPE_CHECKING:
    from distributed.worker import Worker

LARGE = 2**20
"""Bytes from which on rows are gathered beside the process's loop."""


class Reading(WorkerPlugin):
    """Answers who asks for rows of the values whose Dask keys begin with `name`.

    Rows go as raw arrays; of Dask's data nothing else can be read by this.
    """

    idempotent = True

    def __init__(self, name: str) -> None:
        self.name = name

    def setup(self, worker: Worker) -> None:
        """Take up the handler; called by Dask."""
        self.worker = worker
        worker.handlers[self.name] = self.read

    def teardown(self, worker: Worker) -> None:
        """Take the handler away; called by Dask."""
        worker.handlers.pop(self.name, None)

    async def read(
        self, key: str, start: int = 0, stop: int = 0, wanted: Any = None, everything: bool = False
    ) -> dict[str, Any]:
        """Return rows of a shard: from `start` to `stop`, or those that are `wanted`.

        Parameters
        ----------
        key
            Dask key of the values.
        start, stop
            Rows of a dense shard; keys of a sparse one.
        wanted
            Row numbers, or keys of a sparse shard, int64; instead of a range.
        everything
            All rows of a sparse shard; ``found`` are their keys then.

        Returns
        -------
        dict
            ``rows``, and of a sparse shard ``found``: whether each key that was asked for has a row. Empty if
            the values are not here.
        """
        if not key.startswith(self.name) or key not in self.worker.data:
            return {}
        value: Any = self.worker.data[key]
        if everything:
            return {"rows": to_serialize(value[1]), "found": to_serialize(value[0])}
        if isinstance(value, tuple):
            keys = np.arange(start, stop) if wanted is None else np.asarray(wanted)
            found, rows = await asyncio.to_thread(_sparse, value[0], value[1], keys)
            return {"rows": to_serialize(rows), "found": to_serialize(found)}
        if wanted is None:
            return {"rows": to_serialize(value[start:stop])}
        wanted = np.asarray(wanted)
        if len(wanted) * value[:1].nbytes < LARGE:
            return {"rows": to_serialize(value[wanted])}
        return {"rows": to_serialize(await asyncio.to_thread(value.__getitem__, wanted))}


def _sparse(held: Any, rows: Any, keys: Any) -> tuple[Any, Any]:
    """Return which of some sorted keys have rows, and those rows.

    >>> _sparse(np.array([2, 5]), np.array([0.2, 0.5]), np.array([1, 5]))
    (array([False,  True]), array([0.5]))
    """
    at = np.searchsorted(held, keys)
    found = at < len(held)
    found[found] = held[at[found]] == keys[found]
    return found, rows[at[found]]
