"""Only the rows that were ever written, of a key space that may be huge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from psbook.core.keys import KeyArray, KeyRange, Keys
from psbook.storage.arithmetic import NOTHING, Arithmetic, Given, Values
from psbook.storage.combine import as_array
from psbook.storage.dense import misrouted
from psbook.storage.index import KeyIndex, grown
from psbook.updates import State, Update


class SparseRows:
    """The touched rows of a key range, in the order of their first write; any other reads as its initial
    value.

    Reads copy, so no reader sees a later write. Reading stores nothing.

    Parameters
    ----------
    keys
        The range.
    initial
        From keys to their initial rows.
    update
        The table's update function.
    backend
        What computes the update function; the rows themselves stay in numpy.
    """

    __slots__ = ("_arithmetic", "_index", "_initial", "_state", "_values", "keys")

    def __init__(
        self, keys: KeyRange, initial: Callable[[Keys], Values], update: Update, backend: str
    ) -> None:
        self.keys = keys
        self._initial = initial
        self._index = KeyIndex()
        self._arithmetic = Arithmetic(update, backend)
        self._values: Any = initial(np.empty(0, np.int64))
        self._state: State = self._arithmetic.init(self._values)

    def read(self, keys: Keys) -> Values:
        """Return rows that no later write changes."""
        listed = self._listed(keys)
        slots = self._index.find(listed)
        rows = self._rows(listed, slots)
        rows.flags.writeable = False
        return rows

    def apply(self, keys: Keys, grad: Values, given: Given = NOTHING) -> None:
        """Apply one update to some rows, storing them if they are new."""
        listed = self._listed(keys)
        if not len(listed):
            return
        slots = self._index.find(listed)
        value = self._rows(listed, slots)
        state = self._state_rows(value, slots)
        value.flags.writeable = False
        self._store(listed, slots, *self._arithmetic.apply(value, state, grad, given))

    def put(self, keys: Keys, value: Values, state: State | None = None) -> None:
        """Write rows and, if given, their state; without it, new rows get the state of their initial
        values.
        """
        listed = self._listed(keys)
        slots = self._index.find(listed)
        if state is None:
            state = self._state_rows(self._rows(listed, slots), slots)
        self._store(listed, slots, value, state)

    def _store(self, keys: KeyArray, slots: KeyArray, value: Values, state: State) -> None:
        """Write rows and their state; `slots` are their places, −1 for rows that are not stored yet."""
        absent = np.flatnonzero(slots < 0)
        if absent.size:
            slots[absent] = self._index.insert(keys[absent])
        self._values = grown(self._values, len(self._index))
        self._values[slots] = value
        for name, rows in state.items():
            self._state[name] = grown(self._state[name], len(self._index))
            self._state[name][slots] = rows

    def take(self, keys: Keys | None = None) -> tuple[Keys, Values, State]:
        """Return the stored keys among `keys` (all by default), sorted, their rows and their state."""
        stored, order = self._sorted()
        if keys is not None:
            if isinstance(keys, KeyRange):
                start, stop = np.searchsorted(stored, keys)
                kept = slice(int(start), int(stop))
                stored, order = stored[kept], order[kept]
            else:
                present = np.isin(stored, keys, assume_unique=True)
                stored, order = stored[present], order[present]
        values = self._values[order]
        values.flags.writeable = False
        return stored, values, {name: rows[order] for name, rows in self._state.items()}

    def snapshot(self) -> tuple[Keys, Values]:
        """Return the stored keys, sorted, and their rows."""
        stored, order = self._sorted()
        values = self._values[order]
        values.flags.writeable = False
        return stored, values

    @property
    def nbytes(self) -> int:
        """Bytes of index, values and state, with the room kept for growth."""
        arrays = (self._values, *self._state.values())
        return self._index.nbytes + int(sum(rows.nbytes for rows in arrays))

    def _listed(self, keys: Keys) -> KeyArray:
        listed = as_array(keys)
        if len(listed) and not (self.keys.start <= listed[0] and listed[-1] < self.keys.stop):
            raise misrouted(keys, self.keys)
        return listed

    def _rows(self, keys: KeyArray, slots: KeyArray) -> Values:
        absent = slots < 0
        if not absent.any():
            return np.asarray(self._values[slots])
        rows = np.empty((len(keys), *self._values.shape[1:]), self._values.dtype)
        rows[absent] = self._initial(keys[absent])
        rows[~absent] = self._values[slots[~absent]]
        return rows

    def _state_rows(self, value: Values, slots: KeyArray) -> State:
        absent = slots < 0
        if not absent.any():
            return {name: rows[slots] for name, rows in self._state.items()}
        state = self._arithmetic.init(value)
        for name, rows in state.items():
            rows[~absent] = self._state[name][slots[~absent]]
        return state

    def _sorted(self) -> tuple[KeyArray, KeyArray]:
        order = np.argsort(self._index.keys)
        stored = self._index.keys[order]
        stored.flags.writeable = False
        return stored, order
