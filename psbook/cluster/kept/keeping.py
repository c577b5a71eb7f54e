"""Tables that outlive their job: its shards stay, as Dask's own data, in the processes that held them.

Dask counts them, shows their memory, hands them on when a worker retires and frees them when they are
unpublished; only the reading of single rows is psbook's (`psbook.cluster.kept.reading`).
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from distributed import Client, Future, wait

from psbook.cluster.joining.connect import processes
from psbook.cluster.kept.reading import Reading
from psbook.core.keys import KeyRange, Partition
from psbook.evaluation import Piece
from psbook.storage.combine import as_array
from psbook.table import Table
from psbook.updates import Add

if TYPE_CHECKING:
    from distributed.worker import Worker

Place = tuple[str, int, int]
"""A shard at the end of a run: its server, its number in the order of keys, its first position."""


@dataclass(frozen=True)
class Kept:
    """What is known of kept tables; published beside their values.

    Attributes
    ----------
    name : str
        Name under which they are served.
    prefix : str
        What the Dask keys of the values, and the handler that reads them, begin with.
    tables : dict
        The tables, without update functions and initial arrays.
    seeds : dict
        Seeds of initial values by table, for keys of sparse tables that no one has touched.
    ranges : dict
        The keys of each shard, in order, by table.
    copies : int
        How many copies each value has.
    """

    name: str
    prefix: str
    tables: Mapping[str, Table]
    seeds: Mapping[str, tuple[int, int]]
    ranges: Mapping[str, Sequence[KeyRange]]
    copies: int = 1
    partitions: dict[str, Partition] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        for name, ranges in self.ranges.items():
            self.partitions[name] = Partition(self.tables[name].size, list(enumerate(ranges)))

    def keys(self, table: str, shard: int) -> list[str]:
        """Return the Dask keys of a shard's values and of their copies."""
        return [data_key(self.prefix, table, shard, number) for number in range(self.copies)]

    @property
    def all_keys(self) -> list[str]:
        """The Dask keys of all values."""
        return [
            key for table, ranges in self.ranges.items() for shard in range(len(ranges))
            for key in self.keys(table, shard)
        ]  # fmt: skip


def data_key(prefix: str, table: str, shard: int, number: int = 0) -> str:
    """Return the Dask key of a shard's values, or of a copy of them.

    >>> data_key("psbook-kept-3fa9", "w", 1)
    'psbook-kept-3fa9-w-1'
    """
    return f"{prefix}-{table}-{shard}" + (f"-copy-{number}" if number else "")


def names(name: str) -> tuple[str, str]:
    """Return the names of the two data sets that Dask publishes: what is known, and the values.

    >>> names("model")
    ('psbook-kept-model', 'psbook-values-model')
    """
    return f"psbook-kept-{name}", f"psbook-values-{name}"


def bare(table: Table) -> Table:
    """Return a table without what a reader has no need of: update function and initial array."""
    found = copy.copy(table)
    found.update = Add()
    if not table.is_sparse:
        found.init = 0.0
    return found


def put(
    worker: Worker,
    prefix: str,
    sparse: Sequence[str],
    places: Sequence[Place],
    pieces: Mapping[str, Sequence[Piece]],
) -> dict[str, int]:
    """Keep shards in this process, as Dask data; return the bytes of each by key; on the process's loop."""
    data: dict[Any, Any] = {}
    for server, number, start in places:
        piece = next(piece for piece in pieces[server] if piece.start == start)
        for table, (keys, rows) in piece.values.items():
            held = (as_array(keys), rows) if table in sparse else rows
            data[data_key(prefix, table, number)] = held
    nbytes: dict[str, int] = worker.update_data(data)["nbytes"]
    return nbytes


def publish(client: Client, kept: Kept, found: Mapping[str, Mapping[str, int]]) -> None:
    """Serve what workers have put aside; tables of the same name before are let go of.

    Parameters
    ----------
    client
        A synchronous client.
    kept
        What is served.
    found
        Bytes by Dask key, by the address of the worker that holds it.
    """
    info, values = names(kept.name)
    futures: list[Any] = client.sync(_tell, client, found)
    there = processes(client)
    holders = [address for address, keys in found.items() for _ in keys]
    for number in range(1, kept.copies):
        for future, address in zip(list(futures), holders, strict=False):
            others = [other for other in there if other != address]
            if number <= len(others):
                copied = f"{future.key}-copy-{number}"
                at = others[number - 1]
                futures.append(client.submit(_same, future, key=copied, workers=[at], pure=False))
    with client.as_current():
        wait(futures)  # a copy that is promised is there
    before = client.get_dataset(info, default=None)
    client.register_plugin(Reading(kept.prefix))
    client.publish_dataset({info: kept, values: futures}, override=True)
    if before is not None:
        _read_no_more(client, before.prefix)


async def _tell(client: Client, found: Mapping[str, Mapping[str, int]]) -> list[Future[Any]]:
    """Tell the scheduler what its workers hold, as `Client.scatter` does."""
    who_has = {key: [address] for address, keys in found.items() for key in keys}
    nbytes = {key: size for keys in found.values() for key, size in keys.items()}
    scheduler: Any = client.scheduler
    await scheduler.update_data(who_has=who_has, nbytes=nbytes, client=client.id)
    futures: list[Future[Any]] = [Future(key, client) for key in who_has]
    for future in futures:
        client.futures[future.key].finish()
    return futures


def _same(value: Any) -> Any:
    return value


def withdraw(client: Client, name: str) -> bool:
    """Let go of kept tables; return whether there were any."""
    info, values = names(name)
    kept = client.get_dataset(info, default=None)
    if kept is None:
        return False
    client.unpublish_dataset(info)
    client.unpublish_dataset(values)
    _read_no_more(client, kept.prefix)
    return True


FORGET_SECONDS = 5.0
"""How long a worker that has just died may keep others from being told."""


def _read_no_more(client: Client, plugin: str) -> None:
    """Take the reading handler off the workers; one that has just died has none any more."""
    client.run_on_scheduler(_forget, plugin)


async def _forget(plugin: str, dask_scheduler: Any) -> None:
    dask_scheduler.worker_plugins.pop(plugin, None)
    remove = {"op": "plugin-remove", "name": plugin}
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(dask_scheduler.broadcast(msg=remove, on_error="ignore"), FORGET_SECONDS)
