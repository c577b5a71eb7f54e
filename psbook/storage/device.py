"""Rows of a contiguous key range in a JAX array, which lives on JAX's default device."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from psbook.core.keys import KeyRange, Keys
from psbook.errors import InvalidJob
from psbook.storage.arithmetic import NOTHING, Arithmetic, Given, Values, bucket, checked, padded
from psbook.storage.combine import as_array
from psbook.storage.dense import misrouted
from psbook.updates import State, Update


class DeviceRows:
    """All rows of a key range, in JAX; its arrays are immutable, so whatever a reader holds stays as it is.

    Parameters
    ----------
    keys
        The range.
    values
        Initial rows.
    update
        The table's update function.
    """

    __slots__ = ("_compiled", "_jax", "keys", "state", "values")

    def __init__(self, keys: KeyRange, values: Values, update: Update) -> None:
        import jax

        self.keys = keys
        self._jax: Any = jax
        self._compiled = _compiled(update)
        state = Arithmetic(update, "jax", whole=keys.size).init(values)
        self.values: Any = jax.numpy.array(values)
        self.state: State = {name: jax.numpy.array(rows) for name, rows in state.items()}

    def read(self, keys: Keys) -> Values:
        """Return rows that no later write changes."""
        if isinstance(keys, KeyRange) and keys == self.keys:
            return np.asarray(self.values)
        return self._gathered(keys, self.values)

    def apply(self, keys: Keys, grad: Values, given: Given = NOTHING) -> None:
        """Apply one update to some rows."""
        whole, some, _ = self._compiled
        asked = dict(given)
        if isinstance(keys, KeyRange) and keys == self.keys:
            result = whole(self.values, self.state, grad, asked)
        else:
            at = self._places(keys)
            if "read" in asked:
                asked["read"] = padded(asked["read"], len(at))
            result = some(self.values, self.state, at, padded(grad, len(at)), asked)
        self.values, self.state = self._jax.block_until_ready(result)

    def put(self, keys: Keys, value: Values, state: State | None = None) -> None:
        """Write rows and, if given, their state."""
        at = self._places(keys)[: len(value)]
        self.values = self.values.at[at].set(value)
        self.state |= {name: self.state[name].at[at].set(rows) for name, rows in (state or {}).items()}

    def take(self, keys: Keys | None = None) -> tuple[Keys, Values, State]:
        """Return the stored keys among `keys` (all by default), their rows and their state."""
        keys = self.keys if keys is None else keys
        return keys, self.read(keys), {name: self._gathered(keys, rows) for name, rows in self.state.items()}

    def snapshot(self) -> tuple[Keys, Values]:
        """Return all keys and rows."""
        return self.keys, self.read(self.keys)

    @property
    def nbytes(self) -> int:
        """Bytes of values and state."""
        return int(self.values.nbytes + sum(rows.nbytes for rows in self.state.values()))

    def _gathered(self, keys: Keys, rows: Any) -> Values:
        return np.asarray(self._compiled[2](rows, self._places(keys)))[: len(as_array(keys))]

    def _places(self, keys: Keys) -> Any:
        """Return the keys' places in the arrays, padded with a place outside."""
        at = as_array(keys) - self.keys.start
        if len(at) and not (at[0] >= 0 and at[-1] < self.keys.size):
            raise misrouted(keys, self.keys)
        return np.concatenate([at, np.full(bucket(len(at)) - len(at), self.keys.size)])


def check_jax_dtype(dtype: np.dtype[Any]) -> None:
    """Raise `InvalidJob` if JAX would silently narrow a dtype (float64 by default)."""
    import jax

    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise InvalidJob(
            f"backend='jax' with a table of {dtype}; required: a dtype that JAX has switched on. "
            "Use float32, or jax.config.update('jax_enable_x64', True)."
        )


@lru_cache(maxsize=64)
def _compiled(update: Update) -> tuple[Any, Any, Any]:
    """Return the compiled update of all rows, update of some rows, and read of some rows.

    Places outside the range are padding: reads there are clipped, writes dropped.
    """
    import jax

    def whole(value: Any, state: State, grad: Any, given: dict[str, Any]) -> tuple[Any, State]:
        return checked(update, value, state, update.apply(jax.numpy, value, state, grad, **given))

    def gather(rows: Any, at: Any) -> Any:
        return rows.at[at].get(mode="clip")

    def some(value: Any, state: State, at: Any, grad: Any, given: dict[str, Any]) -> tuple[Any, State]:
        kept = {name: gather(rows, at) for name, rows in state.items()}
        new, kept = whole(gather(value, at), kept, grad, given)
        after = {name: rows.at[at].set(kept[name], mode="drop") for name, rows in state.items()}
        return value.at[at].set(new, mode="drop"), after

    return jax.jit(whole), jax.jit(some), jax.jit(gather)
