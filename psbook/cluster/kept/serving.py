"""Read tables that a job has left on its cluster: from a client, and inside ordinary Dask tasks."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from distributed import Client
from distributed.protocol import Serialize, to_serialize

from psbook.assembly import SparseRows
from psbook.cluster.joining.connect import Target
from psbook.cluster.kept.keeping import Kept, names, withdraw
from psbook.cluster.reach import reachable, reached
from psbook.core.keys import KeyRange, Slice, count
from psbook.errors import InvalidJob, NodeFailure, UnknownTable
from psbook.storage.combine import as_array
from psbook.table import Table

TRIES = 5
"""How often it is looked where values are, when they are not where they were."""

PAUSE_SECONDS = 0.2
"""Between two tries: Dask learns of a lost worker, and moves the values of one that retires."""


class Served:
    """Tables that outlive their job, made by ``psbook.Dask(…, keep="model")``; from `served`.

    May be passed to Dask tasks, which then read from where they run.

    Attributes
    ----------
    name : str
        Name under which they are served.
    """

    def __init__(self, name: str, client: Client | None, stack: contextlib.ExitStack | None = None) -> None:
        self.name = name
        self._client = client
        self._stack = stack or contextlib.ExitStack()
        self._kept: Kept | None = None
        self._places: dict[str, Sequence[str]] = {}
        self._direct: bool | None = None

    @property
    def tables(self) -> Mapping[str, Table]:
        """The tables by name, with their shapes and dtypes."""
        return self._known.tables

    @property
    def nbytes(self) -> int:
        """Bytes that the workers hold for these tables, copies included."""
        return sum(self.workers.values())

    @property
    def workers(self) -> dict[str, int]:
        """Bytes that each worker holds for these tables, by address."""
        self._look()
        scheduler: Any = self._reach.scheduler
        places = {key: addresses for key, addresses in self._places.items() if addresses}
        sizes = self._reach.sync(scheduler.nbytes, keys=list(places), summary=False)
        found: dict[str, int] = {}
        for key, addresses in places.items():
            for address in addresses:
                found[address] = found.get(address, 0) + sizes[key]
        return found

    def pull(self, table: str, keys: Any = None) -> Any:
        """Return rows of a table; only these rows travel, straight from the workers that hold them.

        Parameters
        ----------
        table
            A table's name.
        keys
            Sorted unique keys, a `KeyRange` or a slice; ``None`` for the whole table.

        Returns
        -------
        numpy.ndarray
            Shape ``(len(keys), *row_shape)``; for a whole table made from a pytree such a tree, for a whole
            sparse one `SparseRows`, of the keys that were ever touched.

        Raises
        ------
        UnknownTable, InvalidKeys
            If table or keys are not there.
        NodeFailure
            If all copies of a shard were lost with their processes.
        InvalidJob
            If the tables are not served any more.
        """
        for attempt in range(TRIES):
            if attempt:
                time.sleep(PAUSE_SECONDS)
            if attempt or not self._places:
                self._look()
            kept = self._known
            if table not in kept.tables:
                known = ", ".join(map(repr, kept.tables))
                raise UnknownTable(f"table {table!r} of {self.name!r}; required: one of {known}.")
            found = self._pulled(kept, table, keys)
            if found is not None:
                return found
        shards = sorted({s for s in range(len(kept.ranges[table])) if not self._holders(kept, table, s)})
        raise NodeFailure(
            f"table {table!r} of {self.name!r}: {f'shards {shards} were' if shards else 'a shard was'} lost "
            "with the processes that held them; required: copies (a run with ps.Safety(replicas=1) keeps two "
            "of each), or the job once more."
        )

    def _pulled(self, kept: Kept, table: str, keys: Any) -> Any:
        spec = kept.tables[table]
        if spec.is_sparse and keys is None:
            return self._all_touched(kept, table)
        checked = spec.check_keys(table, keys)
        slices = kept.partitions[table].split(checked)
        replies = self._reach.sync(self._ask, kept, table, slices)
        if any(reply is None for reply in replies):
            return None
        rows = np.empty((count(checked), *spec.row_shape), spec.dtype)
        for each, reply in zip(slices, replies, strict=True):
            part = rows[each.start : each.stop]
            if "found" in reply:
                there = reply["found"]
                part[there] = reply["rows"]
                part[~there] = spec.initial(as_array(each.keys)[~there], kept.seeds[table])
            else:
                part[:] = reply["rows"]
        return spec.decode(rows) if keys is None else rows

    def _all_touched(self, kept: Kept, table: str) -> SparseRows | None:
        slices = [Slice(shard, keys, 0, 0) for shard, keys in enumerate(kept.ranges[table])]
        replies = self._reach.sync(self._ask, kept, table, slices, everything=True)
        if any(reply is None for reply in replies):
            return None
        return SparseRows(
            np.concatenate([reply["found"] for reply in replies]),
            np.concatenate([reply["rows"] for reply in replies]),
        )

    async def _ask(
        self, kept: Kept, table: str, slices: Sequence[Slice], everything: bool = False
    ) -> list[dict[str, Any] | None]:
        """Ask for all slices at once; ``None`` for one that nobody answers for."""
        if self._direct is None:
            first = next((at for places in self._places.values() for at in places), None)
            self._direct = first is None or await reachable(first, self._reach.security)
        return await asyncio.gather(*(self._slice(kept, table, each, everything) for each in slices))

    async def _slice(self, kept: Kept, table: str, part: Slice, everything: bool) -> dict[str, Any] | None:
        request: dict[str, Any]
        base = 0 if kept.tables[table].is_sparse else kept.ranges[table][part.shard].start
        if everything:
            request = {"everything": True}
        elif isinstance(part.keys, KeyRange):
            request = {"start": part.keys.start - base, "stop": part.keys.stop - base}
        else:
            request = {"wanted": to_serialize(part.keys - base)}
        for key, address in self._holders(kept, table, part.shard):
            with contextlib.suppress(OSError, ValueError):  # it is gone, or knows nothing of these tables
                reply = await self._one(address, {"op": kept.prefix, "key": key, **request})
                if reply:
                    return reply
        return None

    async def _one(self, address: str, message: dict[str, Any]) -> dict[str, Any] | None:
        client: Any = self._reach
        if self._direct:
            reply = await getattr(client.rpc(address), message.pop("op"))(**message)
        else:
            reply = await client.scheduler.proxy(msg=message, worker=address)
        if not isinstance(reply, dict):
            return None
        return {name: each.data if isinstance(each, Serialize) else each for name, each in reply.items()}

    def _holders(self, kept: Kept, table: str, shard: int) -> list[tuple[str, str]]:
        """Return the Dask keys of a shard and who holds each."""
        keys = kept.keys(table, shard)
        return [(key, address) for key in keys for address in self._places.get(key, ())]

    def _look(self) -> None:
        """Ask the scheduler what is served, and where it is."""
        client = self._reach
        self._kept = client.get_dataset(names(self.name)[0], default=None)
        if self._kept is None:
            raise InvalidJob(
                f"no tables are served as {self.name!r}; required: a job that was run with "
                f"ps.Dask(…, keep={self.name!r}), and not unpublished."
            )
        scheduler: Any = client.scheduler
        self._places = client.sync(scheduler.who_has, keys=self._kept.all_keys)

    @property
    def _known(self) -> Kept:
        if self._kept is None:
            self._look()
        kept: Kept = self._kept  # type: ignore[assignment]  # `_look` raises if there is none
        return kept

    @property
    def _reach(self) -> Client:
        if self._client is None:
            self._client = self._stack.enter_context(reached(None))
        return self._client

    def unpublish(self) -> None:
        """Serve the tables no more, and free their memory on the workers."""
        withdraw(self._reach, self.name)

    def close(self) -> None:
        """Let go of the connection, if one was opened for this; the tables are served on."""
        self._stack.close()

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        return Served, (self.name, None)  # whoever reads elsewhere has a client of his own

    def __repr__(self) -> str:
        tables = ", ".join(f"{name} {table.shape} {table.dtype}" for name, table in self.tables.items())
        return f"<Served {self.name!r}: {tables}; {self.nbytes:,} B in {len(self.workers)} workers>"


def served(target: Target, name: str) -> Served:
    """Return the tables that a job has left on its cluster under a name, to read from.

    Parameters
    ----------
    target
        A Dask client, the address of a scheduler, or ``None``: the cluster whose task this is, or the client
        that was made last.
    name
        What the job was given as ``psbook.Dask(…, keep=name)``.

    Raises
    ------
    InvalidJob
        If there are none.

    Examples
    --------
    Inside an ordinary task::

        def score(rows):
            return rows @ ps.served(None, "model").pull("w")
    """
    stack = contextlib.ExitStack()
    found = Served(name, stack.enter_context(reached(target)), stack)
    try:
        found._look()
    except BaseException:
        stack.close()
        raise
    return found


def unpublish(target: Target, name: str) -> None:
    """Serve the tables of a name no more, and free their memory on the workers.

    Raises
    ------
    InvalidJob
        If there are none.
    """
    with reached(target) as client:
        if not withdraw(client, name):
            raise InvalidJob(f"no tables are served as {name!r}; there is nothing to unpublish.")
