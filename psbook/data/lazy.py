"""Dask's collections, delayed objects and futures as partitions: each with its own part of the graph.

A partition is computed by the process that reads it, in its own thread; futures are fetched from the process
where they lie. Neither passes through the scheduler or the client. Only what a graph itself holds, as that
of ``from_array``, travels with it.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from psbook.data.structure import each, leaves
from psbook.errors import DataError, InvalidJob

LONG = 60
"""Characters of a key in a label."""


@dataclass(frozen=True)
class Leaf:
    """Where the rows of one array come from: the key of its partition; from a bag they are a list."""

    key: Hashable
    kind: str = "array"
    target: str | None = None

    def rows(self, value: Any) -> Any:
        """Return the rows of a value: of a bag a list, of a frame with a target X and y."""
        if self.kind == "bag":
            return list(value)
        if self.target is None:
            return value
        y = value[self.target].to_numpy()
        return value.drop(columns=self.target).to_numpy(np.float32), y


@dataclass(eq=False)
class Lazy:
    """A partition that Dask's graph describes.

    Attributes
    ----------
    label : str
        What it is called.
    tree
        A `Leaf` for each array, in the structure of the rows.
    graph : dict
        Tasks that make these leaves, and no others.
    remote : dict
        By key, the keys of futures.
    here : dict
        The futures themselves, of this process; see `at`.
    """

    label: str
    tree: Any
    graph: dict[Hashable, Any]
    remote: dict[Hashable, Any] = field(default_factory=dict)
    here: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "here": {}}  # a future belongs to a client; elsewhere its key is looked up

    def read(self) -> Any:
        """Compute the partition in this thread."""
        import dask
        from dask._task_spec import DataNode  # a list or tuple as it is would be taken for tasks

        values = self._fetched()
        keys = [leaf.key for _, leaf in leaves(self.tree)]
        tasks = [key for key in keys if key not in values]
        if tasks:
            graph = {**self.graph, **{key: DataNode(key, value) for key, value in values.items()}}
            values.update(zip(tasks, dask.get(graph, tasks), strict=True))
        return each(lambda leaf: leaf.rows(values[leaf.key]), self.tree)

    def at(self, client: Any) -> Lazy:
        """Return the partition with futures of another client, which hold the values where they are."""
        from distributed import Future

        here: dict[Hashable, Any] = {key: Future(name, client) for key, name in self.remote.items()}
        # As a future says that arrives from elsewhere: the scheduler tells this client of it from now on.
        wanted = {"op": "client-desires-keys", "keys": list(self.remote.values()), "client": client.id}
        client._send_to_scheduler(wanted)
        return replace(self, here=here)

    def _fetched(self) -> dict[Hashable, Any]:
        """Return the values of the futures, from the processes where they lie."""
        try:
            return {key: self.here[key].result() for key in self.remote}
        except Exception as error:
            raise DataError(
                f"{self.label}: what the future {next(iter(self.remote.values()))!r} stood for cannot be had "
                f"({type(error).__name__}: {error}); required: a result that is somewhere on the cluster. "
                "Scattered data is lost with its process: scatter it with replicas, or give the job the lazy "
                "collection."
            ) from error


def is_lazy(data: Any) -> bool:
    """Whether data is a Dask collection or a future, or holds one.

    Examples
    --------
    >>> import dask
    >>> is_lazy([1, 2]), is_lazy([dask.delayed([1, 2])])
    (False, True)
    """
    if isinstance(data, list | tuple):
        return any(map(is_lazy, data))
    if isinstance(data, dict):
        return any(map(is_lazy, data.values()))
    return hasattr(type(data), "__dask_graph__") or _is_future(data)


def partitions(data: Any, target: str | None = None) -> list[Lazy]:
    """Cut Dask collections into their partitions.

    Parameters
    ----------
    data
        As of `psbook.data.Partitions`, as far as it is of Dask.
    target
        Column of a dataframe.

    Raises
    ------
    InvalidJob
        Something else than Dask's among it, unequal partitions, or no such column.

    Examples
    --------
    >>> import dask.array as da
    >>> X, y = da.ones((6, 2), chunks=(4, 2)), da.zeros(6, chunks=4)
    >>> [len(y) for X, y in (part.read() for part in partitions((X, y)))]
    [4, 2]
    """
    trees, collections = _of_list(data, target) if isinstance(data, list) else _of_collections(data, target)
    graph = _graph(collections)
    futures = {key: value for key, value in graph.items() if _is_future(value)}
    return [_partition(number, tree, graph, futures) for number, tree in enumerate(trees)]


def _partition(
    number: int, tree: Any, graph: Mapping[Hashable, Any], futures: Mapping[Hashable, Any]
) -> Lazy:
    """Cut its own part out of the graph."""
    from dask.optimization import cull

    keys = [leaf.key for _, leaf in leaves(tree)]
    own = cull(graph, keys)[0]
    here = {key: futures[key] for key in own if key in futures}
    tasks = {key: task for key, task in own.items() if key not in here}
    name = str(keys[0])
    label = f"partition {number} ({name if len(name) < LONG else name[: LONG - 1] + '…'})"
    return Lazy(label, tree, tasks, {key: future.key for key, future in here.items()}, here)


def _of_list(data: list[Any], target: str | None) -> tuple[list[Any], list[Any]]:
    """Delayed objects and futures: one for each partition, or a tuple or dict of them."""
    from dask.delayed import Delayed

    parts = [part for tree in data for _, part in leaves(tree)]
    for part in parts:
        if not isinstance(part, Delayed) and not _is_future(part):
            raise InvalidJob(
                f"a {type(part).__name__} in a list of partitions; required: delayed objects or futures. A "
                "Dask collection is given as it is, or several as one by da.concatenate."
            )
    parts = _optimized(parts)
    found = iter([Leaf(part.key, target=target) for part in parts])
    return [each(lambda part: next(found), tree) for tree in data], parts


def _of_collections(data: Any, target: str | None) -> tuple[list[Any], list[Any]]:
    """Collections with equal partitions of rows."""
    from dask.core import flatten
    from dask.delayed import Delayed

    named = dict(leaves(data))
    for name, part in named.items():
        if isinstance(part, Delayed) or not hasattr(type(part), "__dask_graph__"):
            raise InvalidJob(
                f"{name} is {type(part).__name__}, where a Dask collection is wanted; required: all in "
                "partitions, as da.from_array(y, chunks=X.chunks[0]); or a list of delayed objects or "
                "futures, one for each partition."
            )
    whole = {name: _in_rows(name, part) for name, part in named.items()}
    _check_equal(whole)
    collections = _optimized(list(whole.values()))
    columns = [
        [Leaf(key, _kind(part), _target(name, part, target)) for key in flatten(best.__dask_keys__())]
        for (name, part), best in zip(whole.items(), collections, strict=True)
    ]
    return [_tree(data, row) for row in zip(*columns, strict=True)], collections


def _tree(data: Any, row: Sequence[Leaf]) -> Any:
    found = iter(row)
    return each(lambda part: next(found), data)


def _optimized(collections: list[Any]) -> list[Any]:
    """Optimize, unless there are futures among the tasks: they would be built into others."""
    import dask

    lazy = [part for part in collections if not _is_future(part)]
    if any(map(_is_future, _graph(lazy).values())):
        return collections
    best = iter(dask.optimize(*[part for part in lazy if _kind(part) != "frame"]))
    return [
        part if _is_future(part) else part.optimize() if _kind(part) == "frame" else next(best)
        for part in collections
    ]


def _graph(collections: Sequence[Any]) -> dict[Hashable, Any]:
    """Return the tasks of all collections, which may share a graph, and futures by their keys."""
    futures = {part.key: part for part in collections if _is_future(part)}
    shared = {id(graph): graph for part in collections if not _is_future(part)
              for graph in [part.__dask_graph__()]}  # fmt: skip
    return {key: task for graph in shared.values() for key, task in graph.items()} | futures


def _in_rows(name: str, part: Any) -> Any:
    """Return a collection whose partitions are rows: an array with one chunk in every other axis."""
    if _kind(part) != "array":
        return part
    if not part.ndim:
        raise InvalidJob(f"{name} is a dask array without rows; required: at least one axis.")
    if any(blocks > 1 for blocks in part.numblocks[1:]):
        return part.rechunk(dict.fromkeys(range(1, part.ndim), -1))
    return part


def _check_equal(named: Mapping[str, Any]) -> None:
    """Raise unless partition i of each has the rows of the same examples, as far as that is known."""
    numbers = {name: part.npartitions for name, part in named.items()}
    if len(set(numbers.values())) > 1:
        found = ", ".join(f"{name} has {n} partitions" for name, n in numbers.items())
        raise InvalidJob(
            f"{found}; required are equally many: y.rechunk(…) or df.repartition(…) as the first"
        )
    known = {name: part.chunks[0] for name, part in named.items()
             if _kind(part) == "array" and not np.isnan(part.chunks[0]).any()}  # fmt: skip
    for i, lengths in enumerate(zip(*known.values(), strict=True)):
        if len(set(lengths)) > 1:
            found = ", ".join(f"{name} has {n} rows" for name, n in zip(known, lengths, strict=True))
            raise InvalidJob(
                f"partition {i}: {found}; required are equal partitions: y.rechunk({{0: X.chunks[0]}})"
            )


def _kind(part: Any) -> str:
    from dask.delayed import Delayed

    # Asked of types: frames have an attribute for each column, delayed objects have every one.
    for kind, attribute in (("array", "numblocks"), ("frame", "divisions")):
        if hasattr(type(part), attribute):
            return kind
    return "delayed" if isinstance(part, Delayed) else "bag"


def _target(name: str, part: Any, target: str | None) -> str | None:
    columns = list(getattr(part, "columns", ())) if _kind(part) == "frame" else []
    if target is not None and target not in columns:
        raise InvalidJob(
            f"target={target!r}, and {name} has the columns {columns}; required: a column of a dataframe, or "
            "no target."
        )
    return target


def _is_future(data: Any) -> bool:
    distributed = sys.modules.get("distributed")
    return distributed is not None and isinstance(data, distributed.Future)
