"""Many runs through one compiled scan: packed, cut into portions that fit into memory, on all cores."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from psbook.loop import Loop
from psbook.simulator.compiled.batches import Batches
from psbook.simulator.compiled.cores import cores
from psbook.simulator.compiled.fingerprint import fingerprint
from psbook.simulator.compiled.numbers import Entries, Frozen, Shape, scan_of
from psbook.simulator.compiled.order import Order
from psbook.table import Table, rate_field

MEMORY = 2**28
"""Bytes of tables, snapshots and entries that one portion of runs may take."""

PORTIONS = (1, 8, 64)
"""Numbers of runs that a scan is compiled for; the last portion is filled up."""

TOGETHER = 2**14
"""Numbers of tables and batch up to which runs are computed side by side on a CPU: below, the overhead of an
entry is more than its arithmetic."""


@dataclass(frozen=True, eq=False)
class Scanned:
    """The numbers of one run.

    Attributes
    ----------
    snapshots
        Rows of each pushed table at the end of each segment, shape (segments, ...).
    losses
        Loss of the batch of each entry of the order.
    finite
        Whether what each entry pushes, or would, is finite.
    end
        Rows of each pushed table at the end.
    """

    snapshots: dict[str, NDArray[Any]]
    losses: NDArray[np.float32]
    finite: NDArray[np.bool_]
    end: dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Inputs:
    """What the numbers of one run are made from."""

    order: Order
    batches: Batches
    start: Mapping[str, NDArray[Any]]
    rates: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Segments:
    """Where each entry of an order stands among its segments."""

    segment: NDArray[np.int64]
    place: NDArray[np.int64]
    count: int
    longest: int

    @classmethod
    def of(cls, order: Order) -> Segments:
        """Cut behind each state that is evaluated, but the first."""
        entries = np.arange(len(order.worker))
        ends = order.evaluated[1:]
        segment = np.searchsorted(ends, entries, side="left")
        rest = len(entries) and (not len(ends) or ends[-1] < len(entries) - 1)
        lengths = np.bincount(segment, minlength=1)
        place = entries - np.concatenate([[0], np.cumsum(lengths)])[segment]
        return cls(segment, place, max(1, len(ends) + bool(rest)), int(lengths.max()))


def scan(
    loop: Loop, tables: Mapping[str, Table], means: Mapping[str, bool], data: Any, runs: Sequence[Inputs],
    collects: bool,
) -> tuple[list[Scanned], float]:  # fmt: skip
    """Compute the numbers of some runs; return them, and the seconds that compiling took.

    Parameters
    ----------
    loop, tables
        The program and the job's tables.
    means
        Whether a table's pushes are averaged.
    data
        Arrays of all rows.
    runs
        With equal numbers of workers.
    collects
        Whether pushes are summed before they are applied.

    Notes
    -----
    Memory: for each run (workers + segments + state) × table, and entries × (48 + 4 × batch) bytes;
    at most `MEMORY` for each core at a time. The results, (segments + 1) × table a run, are all kept.
    """
    cuts = [Segments.of(run.order) for run in runs]
    count, longest = max(cut.count for cut in cuts), max(cut.longest for cut in cuts)
    sizes = tuple(sorted({size for run in runs for size in run.batches.sizes}, reverse=True))
    used = {name: tables[name] for name in dict.fromkeys((*loop.pulled, *loop.pushed))}
    full = all(len(run.order.worker) == count * longest for run in runs)
    orders = [run.order for run in runs]
    data = jax.tree.map(jnp.asarray, data)
    shape = Shape(
        loop, fingerprint(loop, used, data, sizes[0]), tuple(used),
        tuple(_without_rate(table) for table in used.values()), tuple(means[name] for name in used),
        orders[0].workers, sizes, collects,
        fetches=full and all(order.fetches.all() for order in orders),
        computes=full and all(order.computes.all() for order in orders),
        pushes=all(order.pushes.all() for order in orders) if full else loop.n_push == 1 and all(
            order.computes.all() for order in orders),
        applies=full and all(order.applies.all() for order in orders),
    )  # fmt: skip
    numbers = sum(math.prod(table.shape) for table in used.values())
    one = sum(math.prod(table.shape) * table.dtype.itemsize for table in used.values())
    bytes_a_run = one * (shape.workers + 4 + 2 * count) + count * longest * (48 + 4 * sizes[0]) + 1
    threads = cores() if jax.default_backend() == "cpu" else 1
    portion = _portion(min(MEMORY // bytes_a_run, -(-len(runs) // threads)))
    row = sum(int(np.prod(np.shape(leaf)[1:])) for leaf in jax.tree.leaves(data))
    group = _group(numbers + sizes[0] * row, portion, len(sizes))
    portions = [runs[first : first + portion] for first in range(0, len(runs), portion)]

    def packed(part: Sequence[Inputs]) -> tuple[Any, ...]:
        filled = [*part, *[part[-1]] * (portion - len(part))]
        return _packed(filled, sizes, count, longest)

    wide = jax.enable_x64.value  # a thread's own, where it was set by a context manager
    first = packed(portions[0])
    compiled, seconds = _compiled(shape, Frozen(used), data, first, group)

    def computed(number: int) -> list[Scanned]:
        start, rates, rows, entries = packed(portions[number])
        with jax.enable_x64(wide):
            values, losses, finite, end = jax.tree.map(
                np.asarray, compiled(start, rates, data, rows, entries)
            )
        return [
            Scanned(
                {name: kept[k] for name, kept in values.items()},
                losses[k][cut.segment, cut.place],
                finite[k][cut.segment, cut.place],
                {name: kept[k] for name, kept in end.items()},
            )
            for k, cut in enumerate(cuts[number * portion : number * portion + len(portions[number])])
        ]

    with ThreadPoolExecutor(threads) as pool:
        return [each for part in pool.map(computed, range(len(portions))) for each in part], seconds


def _without_rate(table: Table) -> Any:
    """The update function as part of a key: rates are numbers, and do not make another program."""
    return table.update if rate_field(table.update) is None else table.with_rate(1.0).update


def _portion(most: int) -> int:
    """How many runs to give to one call, of few different numbers, as each has to be compiled for."""
    sizes = PORTIONS if jax.default_backend() == "cpu" else (*PORTIONS, 1024, 8192)
    return max(size for size in sizes if size <= max(1, most))


def _group(numbers: int, portion: int, sizes: int) -> int:
    """How many runs to compute side by side: all of a portion on an accelerator, few on a CPU."""
    if jax.default_backend() != "cpu":
        return portion
    return 1 if sizes > 1 else max(1, min(64, portion, TOGETHER // numbers))


def _packed(runs: Sequence[Inputs], sizes: tuple[int, ...], count: int, longest: int) -> tuple[Any, ...]:
    """Return the arrays of some runs, one behind the other."""
    width = max(run.batches.rows.shape[1] for run in runs)
    length = max(len(run.batches.rows) for run in runs)
    rows = np.zeros((len(runs), length, width), np.int32)
    entries = [np.zeros((len(runs), count, longest), dtype) for dtype in _TYPES]
    entries[Entries._fields.index("keep")][:] = runs[0].order.workers
    for k, run in enumerate(runs):
        rows[k, : len(run.batches.rows), : run.batches.rows.shape[1]] = run.batches.rows
        cut = Segments.of(run.order)
        for array, column in zip(entries, _columns(run, sizes), strict=True):
            array[k, cut.segment, cut.place] = column
    for ahead in (Entries._fields.index("next_worker"), Entries._fields.index("next_place")):
        flat = entries[ahead].reshape(len(runs), -1)
        entries[ahead] = np.roll(flat, -1, axis=1).reshape(entries[ahead].shape)
    start = {name: np.stack([run.start[name] for run in runs]) for name in runs[0].start}
    kinds = {name: rows.dtype if rows.dtype.kind not in "biu" else np.float32 for name, rows in start.items()}
    rates = {name: np.array([run.rates[name] for run in runs], kind) for name, kind in kinds.items()}
    return start, rates, rows, Entries(*entries)


_TYPES = (*[np.int32] * 4, *[bool] * 4, np.float64, np.float32, *[np.int32] * 2)
"""Of the columns of `Entries`."""


def _columns(run: Inputs, sizes: tuple[int, ...]) -> tuple[Any, ...]:
    """Return the columns of `Entries` for the entries of a run."""
    order, batches = run.order, run.batches
    place, keep = order.slots()
    step = np.where(order.computes, order.step, 0)
    batch = np.maximum(batches.number[order.worker, step], 0) if len(step) else step
    numbers = np.array([sizes.index(size) for size in batches.sizes])
    return (
        order.worker, keep, order.worker, place, order.fetches, order.computes, order.pushes & order.accepted,
        order.applies, 1.0 / np.maximum(order.share, 1), order.staleness_of_updates, batch,
        numbers[batches.size[batch]],
    )  # fmt: skip


_executables: dict[Any, Any] = {}
"""The scans that were compiled last, the latest at the end."""

KEPT = 64
"""How many."""

_compiling = threading.Lock()


def _compiled(
    shape: Shape, frozen: Frozen, data: Any, arguments: tuple[Any, ...], group: int
) -> tuple[Any, float]:
    """Return the scan for arguments of these shapes, and the seconds that making it took."""
    start, rates, rows, entries = arguments
    leaves, structure = jax.tree.flatten((data, arguments))
    given = tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)
    key = (shape, frozen, group, jax.enable_x64.value, structure, given)
    with _compiling:
        if key in _executables:
            _executables[key] = _executables.pop(key)
            return _executables[key], 0.0
        for oldest in list(_executables)[: len(_executables) - KEPT + 1]:
            del _executables[oldest]
        begun = time.perf_counter()
        _executables[key] = (
            scan_of(shape, frozen).lower(start, rates, data, rows, entries, group=group).compile()
        )
        return _executables[key], time.perf_counter() - begun
