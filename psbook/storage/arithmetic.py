"""Running an update function on some rows, and holding it to its contract."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from psbook.errors import InvalidJob, ShapeMismatch
from psbook.updates import Array, State, Update

Values = npt.NDArray[Any]

Given: TypeAlias = Mapping[str, Any]
"""What an update function asks for by name: its staleness, and the rows that were read."""

NOTHING: Given = MappingProxyType({})


class Arithmetic:
    """An update function on numpy rows, computed by numpy or by JAX.

    Rows for compiled code are padded to a power of two, so that pushes of ever changing size compile only a
    few times; the whole of a dense shard, whose length never changes, is not.

    Parameters
    ----------
    update
        The update function.
    backend
        "numpy" or "jax".
    whole
        Number of rows that is not padded, -1 for none.
    """

    __slots__ = ("_apply", "_padded", "_update", "_whole", "_xp")

    def __init__(self, update: Update, backend: str, whole: int = -1) -> None:
        self._update = update
        self._apply: Any = update.apply
        self._xp: Any = np
        if backend == "jax":
            import jax

            self._apply, self._xp = jitted(update), jax.numpy
        self._padded = backend == "jax" or update.compiled
        self._whole = whole

    def init(self, value: Values) -> State:
        """Return the state of some rows, in arrays of its own."""
        n = len(value)
        state = {name: np.array(rows) for name, rows in self._update.init(self._xp, self._pad(value)).items()}
        for name, rows in state.items():
            if rows.shape[:1] != (n if n == self._whole or not self._padded else bucket(n),):
                raise InvalidJob(
                    f"{self._update!r}: init gives the state {name!r} the shape {rows.shape}; "
                    "required: one row a key, "
                    "as many as value has. Repeat a number that belongs to the whole in every row."
                )
        return {name: rows[:n] for name, rows in state.items()}

    def apply(self, value: Values, state: State, grad: Values, given: Given) -> tuple[Values, State]:
        """Return new rows and their new state; shapes and dtypes are those of the old."""
        if not self._padded:
            grad = grad.view()
            for rows in (value, grad, *state.values()):
                rows.flags.writeable = (
                    False  # an update function that is not pure fails loudly, and everywhere
                )
            return checked(self._update, value, state, self._apply(np, value, state, grad, **given))
        n = len(value)
        value, grad, state = self._pad(value), self._pad(grad), {k: self._pad(v) for k, v in state.items()}
        if "read" in given:
            given = {**given, "read": self._pad(given["read"])}
        new, after = checked(self._update, value, state, self._apply(self._xp, value, state, grad, **given))
        return np.asarray(new)[:n], {name: np.asarray(rows)[:n] for name, rows in after.items()}

    def _pad(self, rows: Values) -> Values:
        if not self._padded or len(rows) == self._whole:
            return rows
        return padded(rows, bucket(len(rows)))


def checked(update: Update, value: Array, state: State, result: tuple[Array, State]) -> tuple[Array, State]:
    """Return what an update function returned, cast to the dtypes of the old rows.

    Raises
    ------
    ShapeMismatch
        If a shape or the names in the state have changed.
    """
    new, after = result
    if new.shape != value.shape:
        raise ShapeMismatch(f"{update!r} turns the shape {value.shape} into {new.shape}; required: the same.")
    if new.dtype != value.dtype:
        new = new.astype(value.dtype)
    if not state and not after:
        return new, after
    if after.keys() != state.keys():
        raise ShapeMismatch(
            f"{update!r} turns the state {sorted(state)} into {sorted(after)}; required: the same."
        )
    kept: State = {}
    for name, old in state.items():
        rows = after[name]
        if rows.shape != old.shape:
            raise ShapeMismatch(
                f"{update!r} turns the state {name!r} of shape {old.shape} into {rows.shape}; "
                "required: the same."
            )
        kept[name] = rows if rows.dtype == old.dtype else rows.astype(old.dtype)
    return new, kept


def bucket(n: int) -> int:
    """Return the least power of two that is at least `n`, and at least 8.

    >>> bucket(3), bucket(8), bucket(9)
    (8, 8, 16)
    """
    return max(8, 1 << (n - 1).bit_length())


def padded(rows: Values, length: int) -> Values:
    """Return `rows` followed by zeros up to `length`."""
    extra = length - len(rows)
    return np.concatenate([rows, np.zeros((extra, *rows.shape[1:]), rows.dtype)]) if extra else rows


@lru_cache(maxsize=64)
def jitted(update: Update) -> Any:
    """Return the compiled ``apply`` of an update function, one for all its shards."""
    import jax

    return jax.jit(update.apply, static_argnums=0)
