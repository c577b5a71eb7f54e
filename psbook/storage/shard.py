"""Storage: what a server holds of a table, and the four things that can happen to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from psbook.core.keys import KeyArray, KeyRange, Keys, count, within
from psbook.errors import InvalidJob, PsbookError, ShapeMismatch, UpdateError
from psbook.initial import Seed
from psbook.storage.arithmetic import NOTHING, Given
from psbook.storage.combine import Part, as_array, combined
from psbook.storage.dense import DenseRows
from psbook.storage.device import DeviceRows, check_jax_dtype
from psbook.storage.sparse import SparseRows
from psbook.table import Table
from psbook.updates import State

Values = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class NewValues:
    """What a server-side function returns in order to change the shard's values.

    The state of the update function stays as it is.

    Parameters
    ----------
    values : array
        The new rows, the shape of those the function was given.
    result : object
        What the caller gets.
    """

    values: Any
    result: Any = None


@dataclass(frozen=True, eq=False)
class Block:
    """Rows with their state, cut out of a shard for a checkpoint or another server.

    Parameters
    ----------
    keys
        Their keys; of a sparse table only those stored.
    values
        Their rows, read-only.
    state
        Named arrays with one row a key.
    """

    keys: Keys
    values: Values
    state: State

    @property
    def nbytes(self) -> int:
        """Bytes of rows and state."""
        return int(self.values.nbytes + sum(rows.nbytes for rows in self.state.values()))


class Storage:
    """Values and update state of one table on one shard.

    Whatever is read from here is never changed by a later write: neither a reply that is still being sent,
    nor a snapshot. An update function that raises changes nothing. A storage is for one thread at a time.

    Parameters
    ----------
    table : Table
        What the user said about the table.
    keys : KeyRange
        The keys of this shard.
    seed : int or sequence of int
        Of random initial values; the same on all shards of the table.
    backend : {"numpy", "jax"}
        What computes the update function. With "jax" a dense table also lives on JAX's default device; reads
        are numpy arrays in either case. For small tables numpy is many times faster.

    Raises
    ------
    InvalidJob
        If the table cannot be held so.
    UpdateError
        If the update function's ``init`` raises.

    Examples
    --------
    >>> from psbook.updates import SGD
    >>> storage = Storage(Table(6, update=SGD(0.5)), KeyRange(0, 4))
    >>> before = storage.read(KeyRange(0, 4))
    >>> grad = np.ones(4, "float32")
    >>> storage.apply([(KeyRange(0, 4), grad), (KeyRange(0, 4), grad)], scale=0.5)
    >>> storage.read(np.array([1, 3])), before
    (array([-0.5, -0.5], dtype=float32), array([0., 0., 0., 0.], dtype=float32))
    """

    __slots__ = ("_rows", "keys", "table")

    def __init__(self, table: Table, keys: KeyRange, seed: Seed = 0, backend: str = "numpy") -> None:
        if backend not in ("numpy", "jax"):
            raise InvalidJob(f"Storage(backend={backend!r}); required: 'numpy' or 'jax'.")
        if backend == "jax":
            check_jax_dtype(table.dtype)
        self.table = table
        self.keys = keys
        self._rows: DenseRows | DeviceRows | SparseRows
        try:
            if table.is_sparse:
                self._rows = SparseRows(keys, partial(table.initial, seed=seed), table.update, backend)
            else:
                dense = DeviceRows if backend == "jax" else DenseRows
                self._rows = dense(keys, table.initial(keys, seed), table.update)
        except PsbookError:
            raise
        except Exception as error:
            raise UpdateError(
                f"initial values or state of {table!r} raised {type(error).__name__}: {error}; required: "
                "init(xp, value) returns arrays with one row a key."
            ) from error

    def read(self, keys: Keys) -> Values:
        """Return the rows of some keys of this shard, read-only and never changed by a later write.

        Parameters
        ----------
        keys
            A range (a large one is a view) or a sorted array (a copy).

        Returns
        -------
        ndarray
            Shape ``(len(keys), *row_shape)``, the table's dtype.
        """
        return self._rows.read(keys)

    def apply(
        self,
        parts: Sequence[Part],
        scale: float = 1.0,
        staleness: float = 0.0,
        reads: Sequence[Values | None] | None = None,
    ) -> None:
        """Combine several pushes into one update and apply it once.

        Parameters
        ----------
        parts
            Keys and rows of each push, in the order that decides rounding (and for `Assign` who is last).
        scale
            Multiplies the combined rows: 1/n makes a sum of n gradients their mean.
        staleness, reads
            For an update function that asks for them (`psbook.Update.needs`): updates since the rows were
            read, and the rows that each part was computed from, shaped like the part; ``None``: from none.

        Raises
        ------
        UpdateError
            If the update function raises; nothing has changed then.
        """
        keys, grad = combined(parts, self.table.update.combine)
        if scale != 1.0:
            grad = (grad * scale).astype(grad.dtype, copy=False)
        needs = self.table.update.needs
        given = self._given(keys, parts, staleness, reads) if needs else NOTHING
        try:
            self._rows.apply(keys, grad, given)
        except Exception as error:
            raise UpdateError(
                f"{self.table.update!r} raised {type(error).__name__}: {error} on {count(keys)} "
                "rows of shape "
                f"{self.table.row_shape}; nothing has changed. Required: apply(xp, value, state, "
                "grad) is pure and "
                "returns (value, state) of the same shapes."
            ) from error

    def _given(
        self, keys: Keys, parts: Sequence[Part], staleness: float, reads: Sequence[Values | None] | None
    ) -> Given:
        """Return what the update function asks for; what was not read counts as read now."""
        needs = self.table.update.needs
        given: dict[str, Any] = {}
        if "staleness" in needs:
            given["staleness"] = float(staleness)
        if "read" in needs:
            seen = reads or [None] * len(parts)
            rows = [
                self.read(of) if read is None else read for (of, _), read in zip(parts, seen, strict=True)
            ]
            given["read"] = combined([(of, read) for (of, _), read in zip(parts, rows, strict=True)], "last")[
                1
            ]
        return given

    def call(self, function: Callable[..., Any], args: Sequence[Any] = ()) -> Any:
        """Run a function where the values are (Angel's psFunc), and return its result.

        Parameters
        ----------
        function
            ``function(values, *args)``, with the shard's rows in the order of their keys, read-only (of a
            sparse table: the rows stored). It may return `NewValues` to change them.
        args
            Further arguments.

        Raises
        ------
        UpdateError
            If the function raises or its new values do not fit; nothing has changed then.

        Examples
        --------
        >>> storage = Storage(Table(3, init=2.0), KeyRange(0, 3))
        >>> float(storage.call(np.sum))
        6.0
        >>> storage.call(lambda values, factor: NewValues(values * factor, "done"), [3])
        'done'
        >>> float(storage.call(np.sum))
        18.0
        """
        keys, values = self._rows.snapshot()
        name = getattr(function, "__qualname__", repr(function))
        try:
            result = function(values, *args)
            if not isinstance(result, NewValues):
                return result
            new = np.asarray(result.values)
            if new.shape != values.shape or not np.can_cast(new.dtype, values.dtype, "same_kind"):
                raise ShapeMismatch(
                    f"new values of shape {new.shape} and dtype {new.dtype}; required: "
                    f"{values.shape}, {values.dtype}."
                )
        except Exception as error:
            raise UpdateError(
                f"server-side function {name} raised {type(error).__name__}: {error}; nothing has "
                "changed. Required: "
                "function(values, *args) returns a result, or NewValues(values, result)."
            ) from error
        self._rows.put(keys, new)
        return result.result

    def snapshot(self) -> tuple[Keys, Values]:
        """Return keys (of a sparse table those stored, sorted) and rows, never changed by a later write."""
        return self._rows.snapshot()

    def some(self, keys: KeyArray) -> tuple[KeyArray, Values]:
        """Return those of some keys that this shard has, and their rows: copies, so that nothing is lent.

        >>> Storage(Table(4, init=2.0), KeyRange(0, 2)).some(np.array([1, 3]))
        (array([1]), array([2.], dtype=float32))
        """
        ours: Any = within(keys, self.keys.start, self.keys.stop).keys
        return ours, self.read(ours)

    def export(self, keys: Keys | None = None) -> Block:
        """Return rows and state, of the whole shard by default, for a checkpoint or another server."""
        return Block(*self._rows.take(keys))

    def export_range(self, keys: KeyRange) -> Block:
        """Return what is stored of a range: of a sparse table, the touched rows in it.

        Examples
        --------
        >>> Storage(Table(6, init=2.0), KeyRange(0, 6)).export_range(KeyRange(4, 6)).values
        array([2., 2.], dtype=float32)
        """
        if not self.table.is_sparse:
            return self.export(keys)
        stored = as_array(self.snapshot()[0])
        return self.export(stored[(stored >= keys.start) & (stored < keys.stop)])

    def load(self, block: Block) -> None:
        """Overwrite the rows and the state of a block's keys, which this shard must own.

        Examples
        --------
        >>> left, right = (Storage(Table(4, init=v), KeyRange(*r)) for v, r in [(1.0, (0, 4)), (0.0, (2, 4))])
        >>> right.load(left.export(KeyRange(2, 4)))
        >>> right.read(KeyRange(2, 4))
        array([1., 1.], dtype=float32)
        """
        self._rows.put(block.keys, block.values, block.state)

    @property
    def nbytes(self) -> int:
        """Bytes held: values, state and index."""
        return self._rows.nbytes
