"""The numbers of runs: one scan over the order of their gradients, with what each worker has read.

The scan carries the tables with their update state, and one place a worker for what it has read
(`Order.slots`). Each entry computes a gradient from its place, has the table's own update function apply it,
and writes the new state to the place of whoever reads it. Nothing here knows consistency models: they are in
the order.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from psbook.errors import ShapeMismatch
from psbook.loop import Loop
from psbook.table import Table, rate_field
from psbook.updates import Update

Rows = Any
"""A JAX array of a table's rows."""


class Entries(NamedTuple):
    """Entries of an `Order` as the scan takes them, in segments: arrays of shape (..., segments, entries).

    `keep` is where the state behind an entry goes, `next_worker` and `next_place` are those of the entry
    after it. A segment ends where the tables are evaluated; shorter ones are filled up with entries that do
    nothing.
    """

    worker: Any
    keep: Any
    next_worker: Any
    next_place: Any
    fetches: Any
    computes: Any
    pushes: Any
    applies: Any
    share: Any
    staleness: Any
    batch: Any
    size: Any


@dataclass(frozen=True)
class Shape:
    """What a scan is compiled for: all that is not a number.

    Attributes
    ----------
    loop
        The program.
    kernel
        What its kernel computes, see `fingerprint`.
    names
        The tables that take part.
    updates
        Their update functions, whose rates are given with the numbers.
    workers
        How many.
    sizes
        Rows of a batch; several if batches differ.
    collects
        Whether pushes are summed before they are applied.
    fetches, computes, pushes, applies
        Whether every entry does so, and nobody need ask.
    """

    loop: Loop
    kernel: str
    names: tuple[str, ...]
    updates: tuple[Update, ...]
    means: tuple[bool, ...]
    workers: int
    sizes: tuple[int, ...]
    collects: bool
    fetches: bool
    computes: bool
    pushes: bool
    applies: bool


class Held(NamedTuple):
    """Rows of several places, and those of the place that the next entry looks at.

    These are taken out behind the write of the entry before. Were they read in front of the next write, XLA
    would copy all places for it, entry by entry.
    """

    rows: dict[str, Rows]
    ahead: dict[str, Rows]

    @classmethod
    def of(cls, count: int, rows: Mapping[str, Rows]) -> Held:
        """Put the same into `count` places."""
        copies = {name: jnp.broadcast_to(each, (count, *each.shape)) for name, each in rows.items()}
        return cls(copies, dict(rows))

    def put(self, at: Any, rows: Mapping[str, Rows], following: Any) -> Held:
        """Write to one place, then look at another. No check: ``.at[].set`` would copy, to be able to."""
        after = {
            name: jax.lax.dynamic_update_index_in_dim(held, rows[name], at, 0)
            for name, held in self.rows.items()
        }
        return Held(after, {name: _row(held, following) for name, held in after.items()})


class Carry(NamedTuple):
    """What the scan carries on; ``None`` for what this program does not need."""

    values: dict[str, Rows]
    states: dict[str, dict[str, Rows]]
    places: Held
    local: Held | None
    accrued: Held | None
    collected: dict[str, Rows] | None


def decoded(table: Table, rows: Rows) -> Any:
    """Return rows as a program gets them: as they are, or as the table's pytree."""
    return rows if table.tree is None else table.tree.unflatten(rows)


def encoded(table: Table, value: Any) -> Rows:
    """Return the rows of what a program pushes, in the table's dtype.

    Raises
    ------
    ShapeMismatch
        If they do not fit, as `Table.check` says.
    """
    rows = jnp.asarray(value if table.tree is None else table.tree.flatten(value))
    if rows.shape != table.shape or not np.can_cast(rows.dtype, table.dtype, "same_kind"):
        raise ShapeMismatch(
            f"a value of shape {rows.shape} and dtype {rows.dtype}; required: {table.shape}, {table.dtype}."
        )
    return rows.astype(table.dtype)


def gradients(loop: Loop, tables: Mapping[str, Table], rows: Mapping[str, Rows], batch: Any) -> Any:
    """Return loss and pushed rows of one batch, from rows that were read."""
    loss, found = loop.kernel(*[decoded(tables[name], rows[name]) for name in loop.pulled], batch)
    parts = found if len(loop.pushed) > 1 else (found,)
    pushed = {name: encoded(tables[name], part) for name, part in zip(loop.pushed, parts, strict=True)}
    return jnp.asarray(loss, jnp.float32).reshape(()), pushed


@lru_cache(maxsize=64)
def scan_of(shape: Shape, frozen: Frozen) -> Any:
    """Return the compiled scan: ``(tables at the start, rates, data, batches, entries) -> results``.

    All but the data have a leading axis, one item a run; `group` runs are computed side by side.
    """
    one = partial(_scan, shape, frozen.tables)

    def many(start: Any, rates: Any, data: Any, batches: Any, entries: Entries, group: int) -> Any:
        def run(inputs: Any) -> Any:
            start, rates, batches, entries = inputs
            return one(start, rates, data, batches, entries)

        # One by one, an operation has no axis of runs at all: a group of one would have one, and be slower.
        together = {} if group == 1 else {"batch_size": group}
        return jax.lax.map(run, (start, rates, batches, entries), **together)

    return jax.jit(many, static_argnames="group")


class Frozen:
    """Tables as a key: equal if shapes, dtypes and trees are the same objects."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self.tables = tables
        self._key = tuple(
            (name, table.shape, str(table.dtype), id(table.tree)) for name, table in tables.items()
        )

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frozen) and self._key == other._key


def _scan(shape: Shape, tables: Mapping[str, Table], start: Any, rates: Any, data: Any, batches: Any,
          entries: Entries) -> Any:  # fmt: skip
    """Compute one run: tables at the end of each segment, losses, whether pushes are finite, the end."""
    loop = shape.loop
    updates = {
        name: with_rate(update, rates[name]) for name, update in zip(shape.names, shape.updates, strict=True)
    }
    states = {name: updates[name].init(jnp, start[name]) for name in loop.pushed}
    read = {name: start[name] for name in loop.pulled}
    nothing = {name: jnp.zeros_like(start[name]) for name in loop.pushed}
    carry = Carry(
        {name: start[name] for name in loop.pushed},
        states,
        Held.of(shape.workers + 1, read),
        Held.of(shape.workers, read) if loop.local and not shape.fetches else None,
        None if shape.pushes else Held.of(shape.workers, nothing),
        nothing if shape.collects else None,
    )
    step = partial(_step, shape, tables, updates, start, data, batches)

    def segment(carry: Carry, entries: Entries) -> tuple[Carry, Any]:
        carry, of_entries = jax.lax.scan(step, carry, entries)
        return carry, (carry.values, *of_entries)

    end, (values, losses, finite) = jax.lax.scan(segment, carry, entries)
    return values, losses, finite, end.values


def _row(array: Any, at: Any) -> Rows:
    """Return one item along the first axis, which is there: no check, as indexing by brackets has."""
    return jax.lax.dynamic_index_in_dim(array, at, keepdims=False)


def with_rate(update: Update, rate: Any) -> Update:
    """Return an update function with a rate that is only known when the scan runs; ``None``: as it is."""
    name = rate_field(update)
    if name is None:
        return update
    changed = copy.copy(update)
    object.__setattr__(changed, name, rate)
    return changed


def _step(
    shape: Shape, tables: Mapping[str, Table], updates: Mapping[str, Update], start: Any, data: Any,
    batches: Any, carry: Carry, entry: Entries,
) -> tuple[Carry, Any]:  # fmt: skip
    """Compute one entry."""
    loop, worker = shape.loop, entry.worker
    read, local, accrued = carry.places.ahead, carry.local, carry.accrued
    used = read
    if local is not None:
        used = {name: jnp.where(entry.fetches, rows, local.ahead[name]) for name, rows in read.items()}
    loss, pushed = _of_batch(shape, tables, used, data, _row(batches, entry.batch), entry.size)
    if not shape.computes:
        pushed = {name: jnp.where(entry.computes, rows, 0) for name, rows in pushed.items()}
    if local is not None:
        stepped = {name: used[name] - loop.local * pushed[name] for name in used}
        local = local.put(worker, stepped, entry.next_worker)
    if accrued is not None:
        pushed = {name: accrued.ahead[name] + rows for name, rows in pushed.items()}
        kept = {name: jnp.where(entry.pushes, 0, rows) for name, rows in pushed.items()}
        accrued = accrued.put(worker, kept, entry.next_worker)
    finite = jnp.stack([jnp.isfinite(rows).all() for rows in pushed.values()]).all()
    collected = carry.collected
    if collected is not None:
        pushed = {name: _combined(updates[name], collected[name], rows, entry.pushes)
                  for name, rows in pushed.items()}  # fmt: skip
        collected = {name: jnp.where(entry.applies, 0, rows) for name, rows in pushed.items()}
    values, states = {}, {}
    for name, rows in pushed.items():
        mean = shape.means[shape.names.index(name)]
        scaled = rows * entry.share.astype(rows.dtype) if mean else rows
        before = carry.values[name], carry.states[name]
        values[name], states[name] = _applied(shape, updates[name], *before, scaled,
                                              entry, read.get(name))  # fmt: skip
    shown = {name: values.get(name, start[name]) for name in loop.pulled}
    places = carry.places.put(entry.keep, shown, entry.next_place)
    return Carry(values, states, places, local, accrued, collected), (loss, finite)


def _of_batch(shape: Shape, tables: Mapping[str, Table], rows: Any, data: Any, batch: Any, size: Any) -> Any:
    """Return loss and pushed rows of the batch that an entry is for."""

    def compute(length: int) -> Any:
        taken = jax.tree.map(lambda array: array[batch[:length]], data)
        return gradients(shape.loop, tables, rows, taken)

    if len(shape.sizes) == 1:
        return compute(shape.sizes[0])
    return jax.lax.switch(size, [partial(compute, length) for length in shape.sizes])


def _combined(update: Update, sum_: Rows, rows: Rows, pushes: Any) -> Rows:
    """Return what has been collected with one more push."""
    return jnp.where(pushes, rows if update.combine == "last" else sum_ + rows, sum_)


def _applied(
    shape: Shape, update: Update, value: Rows, state: Any, grad: Rows, entry: Entries, read: Any
) -> Any:
    """Return a table's value and state after an entry."""
    known = {"staleness": entry.staleness, "read": read}
    wanted = {name: known[name] for name in update.needs}
    new, after = update.apply(jnp, value, state, grad, **wanted)
    new = new.astype(value.dtype)
    after = {name: rows.astype(state[name].dtype) for name, rows in after.items()}
    if shape.applies:
        return new, after
    chosen = {name: jnp.where(entry.applies, rows, state[name]) for name, rows in after.items()}
    return jnp.where(entry.applies, new, value), chosen
