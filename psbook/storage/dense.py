"""Rows of a contiguous key range, in one numpy array that is never changed while a reader may hold it."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from psbook.core.keys import KeyRange, Keys, count, span
from psbook.errors import ProtocolError
from psbook.storage.arithmetic import NOTHING, Arithmetic, Given, Values
from psbook.updates import State, Update

Where: TypeAlias = slice | npt.NDArray[np.int64]


class DenseRows:
    """All rows of a key range, in numpy.

    Between two calls every array here is read-only. Reads of at least half of the range are views; the first
    write *into* an array that has been lent so copies it, and a write of the whole range puts a new array in
    its place.

    Parameters
    ----------
    keys
        The range.
    values
        Initial rows; now owned by this object.
    update
        The table's update function.
    """

    __slots__ = ("_arithmetic", "_lent", "keys", "state", "values")

    def __init__(self, keys: KeyRange, values: Values, update: Update) -> None:
        self.keys = keys
        self.values = values
        self._arithmetic = Arithmetic(update, "numpy", whole=keys.size)
        values.flags.writeable = False
        self.state: State = self._arithmetic.init(values)
        self._lent = False

    def read(self, keys: Keys) -> Values:
        """Return rows that no later write changes."""
        if isinstance(keys, KeyRange):
            if keys == self.keys:
                self._lent = True
                return self.values[:]
            rows = self.values[self._where(keys)]
            if 2 * len(rows) >= len(self.values):
                self._lent = True
                return rows
            rows = rows.copy()
        else:
            rows = _gathered(self.values, self._where(keys))
        rows.flags.writeable = False
        return rows

    def apply(self, keys: Keys, grad: Values, given: Given = NOTHING) -> None:
        """Apply one update to some rows."""
        if isinstance(keys, KeyRange) and keys == self.keys:
            seen = [grad, given["read"]] if "read" in given else [grad]
            self._replace(seen, *self._arithmetic.apply(self.values, self.state, grad, given))
            return
        where = self._where(keys)
        state = {name: _gathered(rows, where) for name, rows in self.state.items()}
        value, state = self._arithmetic.apply(_gathered(self.values, where), state, grad, given)
        self._put(where, value, state)

    def put(self, keys: Keys, value: Values, state: State | None = None) -> None:
        """Write rows and, if given, their state."""
        self._put(self._where(keys), value, state)

    def _put(self, where: Where, value: Values, state: State | None) -> None:
        self.values = _written(self.values, where, value, self._lent)
        self._lent = False
        for name, rows in (state or {}).items():
            self.state[name] = _written(self.state[name], where, rows, False)

    def take(self, keys: Keys | None = None) -> tuple[Keys, Values, State]:
        """Return the stored keys among `keys` (all by default), their rows and their state."""
        keys = self.keys if keys is None else keys
        where = self._where(keys)
        return keys, self.read(keys), {name: rows[where].copy() for name, rows in self.state.items()}

    def snapshot(self) -> tuple[Keys, Values]:
        """Return all keys and rows."""
        return self.keys, self.read(self.keys)

    @property
    def nbytes(self) -> int:
        """Bytes of values and state."""
        return int(self.values.nbytes + sum(rows.nbytes for rows in self.state.values()))

    def _replace(self, given: list[Values], value: Values, state: State) -> None:
        """Take over new arrays; those an update function took from its arguments are copied."""
        seen = [*given, self.values, *self.state.values()]
        if value is not self.values:
            value = _apart(value, seen)
            self.values, self._lent = value, False
            seen.append(value)
        for name, rows in state.items():
            if rows is not self.state[name]:
                self.state[name] = rows = _apart(rows, seen)
                seen.append(rows)

    def _where(self, keys: Keys) -> Where:
        start, stop = self.keys
        if not count(keys):
            return slice(0, 0)
        if isinstance(keys, KeyRange):
            if start <= keys.start and keys.stop <= stop:
                return slice(keys.start - start, keys.stop - start)
        elif keys[0] >= start and keys[-1] < stop:
            return keys - start if start else keys
        raise misrouted(keys, self.keys)


def misrouted(keys: Keys, owned: KeyRange) -> ProtocolError:
    """Return the error for keys that another shard owns."""
    found = span(keys)
    return ProtocolError(f"keys {found.start}:{found.stop} came to the shard of {owned.start}:{owned.stop}.")


def _gathered(array: Values, where: Where) -> Values:
    """Return some rows: a view of a slice; of a list a copy, a third faster than by ``array[where]``."""
    return array[where] if isinstance(where, slice) else array.take(where, axis=0)


def _apart(array: Values, others: list[Any]) -> Values:
    """Return an array that shares no memory with others, read-only."""
    if array.flags.owndata:
        if any(array is other for other in others):
            array = array.copy()
    elif any(np.may_share_memory(array, other) for other in others):
        array = array.copy()
    array.flags.writeable = False
    return array


def _written(array: Values, where: Where, rows: Values, lent: bool) -> Values:
    """Return `array` with some rows replaced: itself, unless someone may hold it."""
    if lent or not array.flags.owndata:
        array = array.copy()
    array.flags.writeable = True
    array[where] = rows
    array.flags.writeable = False
    return array
