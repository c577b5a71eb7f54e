"""What a user says about a table: shape, update function, initial values."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from psbook.core.keys import KeyRange, Keys, check_keys, count
from psbook.errors import InvalidJob, InvalidKeys, ShapeMismatch
from psbook.initial import ByKey, Initial, Seed, initial_rows
from psbook.pytrees import Flattening
from psbook.updates import GIVEN, Add, Update

Aggregate: TypeAlias = Literal["sum", "mean"]


class Table:
    """A named array that lives on the servers, cut along its first axis; a key is an index along that axis.

    Parameters
    ----------
    shape : int or tuple of int
        ``(keys,)`` or ``(keys, ...)``.
    update : Update
        What a server does with a push. By default the pushed value is added.
    dtype : dtype
        Of the values; floating for update functions that take gradients.
    init : float, array or callable
        Initial values: a number, an array of the table's shape, ``(rng, shape) -> array`` for the whole
        table, or `psbook.initial.Normal` / `Uniform`, whose values are a function of the key and thus serve
        sparse tables too.
    sparse : bool
        Store only the rows that were pushed; others read as their initial value. The key space may be huge.
    cache : bool
        Workers keep the rows they have read, and use them while the consistency model allows.
    aggregate : {"sum", "mean"}, optional
        How the workers' pushes are combined. By default the job's for gradients, "sum" otherwise.

    Attributes
    ----------
    size : int
        Number of keys.
    row_shape : tuple of int
        Shape of the value of one key.
    is_sparse : bool
        As given as ``sparse``.

    Raises
    ------
    InvalidJob
        If these do not go together.

    Examples
    --------
    >>> import psbook.updates as rules
    >>> table = Table((4, 3), update=rules.SGD(0.1))
    >>> table.size, table.row_shape, table.dtype
    (4, (3,), dtype('float32'))
    >>> Table((4,), update=rules.SGD(0.1), dtype="int32")
    Traceback (most recent call last):
    psbook.errors.InvalidJob: Table(dtype=int32, update=SGD(rate=0.1)); required: a floating dtype.
    """

    LONGEST: ClassVar[int] = 2**24
    """The longest key range of a sparse table that may be read or written at once."""

    def __init__(
        self,
        shape: int | tuple[int, ...],
        *,
        update: Update | None = None,
        dtype: npt.DTypeLike = "float32",
        init: npt.ArrayLike | ByKey | Callable[[np.random.Generator, tuple[int, ...]], npt.ArrayLike] = 0.0,
        sparse: bool = False,
        cache: bool = False,
        aggregate: Aggregate | None = None,
    ) -> None:
        self.shape = _shape(shape)
        self.update = Add() if update is None else update
        self.dtype: np.dtype[Any] = _dtype(dtype)
        self.is_sparse = sparse
        self.cache = cache
        self.aggregate = aggregate
        self.tree: Flattening | None = None
        self.size = self.shape[0]
        self.row_shape = self.shape[1:]
        self.init: Initial = self._initial(init)
        self._check_update()

    @classmethod
    def of(cls, value: Any, **options: Any) -> Table:
        """Return a table with the shape, dtype and initial values of an array or a JAX pytree.

        Pulls of a whole table made from a pytree return such a tree again, and such a tree may be pushed.

        Parameters
        ----------
        value
            An array (numpy or JAX) of at least one dimension, or a pytree of arrays.
        **options
            As for `Table`, without ``shape`` and ``init``.

        Examples
        --------
        >>> table = Table.of({"w": np.ones((2, 3)), "b": np.zeros(3)}, dtype="float32")
        >>> table.shape, table.decode(np.arange(9.0))["b"]
        ((9,), array([0., 1., 2.]))
        """
        if hasattr(value, "__array__") and np.ndim(value) > 0:
            array = np.asarray(value)
            return cls(array.shape, **{"dtype": array.dtype, "init": array, **options})
        flat = Flattening(value, options.get("dtype"))
        table = cls((flat.size,), **{**options, "dtype": flat.dtype, "init": flat.encode(value)})
        table.tree = flat
        return table

    @classmethod
    def rows(cls, n: int, width: int, **options: Any) -> Table:
        """Return a table of `n` keys whose values are vectors of length `width`."""
        return cls((n, width), **options)

    @classmethod
    def sparse(cls, n: int, width: int | None = None, **options: Any) -> Table:
        """Return a sparse table of `n` keys (``2**40``, say) whose values are numbers, or vectors of length
        `width`.

        Examples
        --------
        >>> Table.sparse(2**40, 8)
        Table((1099511627776, 8), update=Add(), dtype=float32, sparse=True)
        """
        return cls((n,) if width is None else (n, width), sparse=True, **options)

    def aggregation(self, default: Aggregate) -> Aggregate:
        """Return how pushes are combined, given the job's choice for gradients.

        >>> Table(3).aggregation("mean"), Table(3, aggregate="mean").aggregation("sum")
        ('sum', 'mean')
        """
        return self.aggregate or (default if self.update.gradient else "sum")

    @property
    def rate(self) -> float | None:
        """Learning rate of the update function; ``None`` if it has none."""
        name = rate_field(self.update)
        return None if name is None else float(getattr(self.update, name))

    def with_rate(self, rate: float) -> Table:
        """Return the same table with another learning rate, if its update function has one.

        >>> from psbook.updates import SGD
        >>> Table(2, update=SGD(0.1)).with_rate(0.5).rate
        0.5
        """
        name = rate_field(self.update)
        if name is None:
            return self
        table = copy.copy(self)
        table.update = dataclasses.replace(self.update, **{name: rate})  # type: ignore[type-var]  # a dataclass
        return table

    def initial(self, keys: Keys, seed: Seed) -> npt.NDArray[Any]:
        """Return the initial rows of some keys, shape ``(len(keys), *row_shape)``."""
        return initial_rows(self.init, keys, self.shape, self.dtype, seed)

    def check_keys(self, name: str, keys: object) -> Keys:
        """Return `keys` as a `KeyRange` or a sorted unique ``int64`` array; ``None`` is the whole table.

        Raises
        ------
        InvalidKeys
            If they are unsorted, repeated, not integers or outside the table, or too long a range of a sparse
            table.
        """
        checked = check_keys(keys, self.size, name)
        if self.is_sparse and isinstance(checked, KeyRange) and checked.size > self.LONGEST:
            raise InvalidKeys(
                f"table {name!r}: a range of {checked.size} keys of a sparse table; required: at most "
                f"{self.LONGEST} at once. Name the keys: pull({name!r}, keys)."
            )
        return checked

    def check(self, name: str, keys: object, value: object) -> tuple[Keys, npt.NDArray[Any]]:
        """Return the keys and rows of a push in the table's dtype; nothing is broadcast.

        Parameters
        ----------
        name
            The table's name, for errors.
        keys
            As for `check_keys`.
        value
            Rows of shape ``(len(keys), *row_shape)``, a list or an array of any library; for a whole table
            made from a pytree such a tree. Casts within a kind (float64 to float32) and to a wider kind (int
            to float) are made. The result may share memory with it.

        Raises
        ------
        InvalidKeys, ShapeMismatch
            If keys or rows do not fit the table.

        Examples
        --------
        >>> Table(4).check("w", [0, 3], [1.0, 2.0])
        (array([0, 3]), array([1., 2.], dtype=float32))
        >>> Table(4).check("w", [0, 3], 1.0)
        Traceback (most recent call last):
        psbook.errors.ShapeMismatch: table 'w': a value of shape (); required: (2,), one row a key.
        """
        checked = self.check_keys(name, keys)
        if self.tree is not None and keys is None and not isinstance(value, np.ndarray):
            return checked, self.encode(value)
        try:
            rows = np.asarray(value)
        except ValueError as error:
            raise ShapeMismatch(
                f"table {name!r}: not an array ({error}); required: rows of equal shape."
            ) from error
        if rows.shape != (count(checked), *self.row_shape):
            required = (count(checked), *self.row_shape)
            raise ShapeMismatch(
                f"table {name!r}: a value of shape {rows.shape}; required: {required}, one row a key."
            )
        if rows.dtype == self.dtype:
            return checked, rows
        if not np.can_cast(rows.dtype, self.dtype, "same_kind"):
            raise ShapeMismatch(
                f"table {name!r}: a value of dtype {rows.dtype}; required: one that casts to "
                f"{self.dtype} within "
                "its kind. Cast it yourself if that is meant."
            )
        return checked, rows.astype(self.dtype)

    def encode(self, value: Any) -> npt.NDArray[Any]:
        """Return the rows of a whole table from what a user holds: an array or the table's pytree."""
        return self.check("", None, value)[1] if self.tree is None else self.tree.encode(value)

    def decode(self, rows: npt.NDArray[Any]) -> Any:
        """Return what a user gets for the rows of a whole table: the rows, or the table's pytree."""
        return rows if self.tree is None else self.tree.decode(rows)

    def __repr__(self) -> str:
        flags = ", sparse=True" * self.is_sparse + ", cache=True" * self.cache
        aggregate = f", aggregate={self.aggregate!r}" if self.aggregate else ""
        return f"Table({self.shape}, update={self.update!r}, dtype={self.dtype}{flags}{aggregate})"

    def _initial(self, init: Any) -> Initial:
        if isinstance(init, ByKey):
            return init
        if callable(init):
            if self.is_sparse:
                raise InvalidJob(
                    "Table(sparse=True, init=a function); required: initial values that any key has "
                    "by itself. Use "
                    "psbook.initial.Normal or Uniform, or subclass psbook.initial.ByKey."
                )
            return init  # type: ignore[no-any-return]
        array = np.asarray(init)
        whole = array.dtype.kind in "fiub" and array.ndim == 0 and float(array).is_integer()
        casts = whole or np.can_cast(array.dtype, self.dtype, "same_kind")
        if array.shape not in ((), self.shape) or not casts:
            raise InvalidJob(
                f"Table(init=an array of shape {array.shape} and dtype {array.dtype}); required: a "
                "number or an "
                f"array of shape {self.shape} that casts to {self.dtype}."
            )
        return array.item() if array.ndim == 0 else array.astype(self.dtype)

    def _check_update(self) -> None:
        update = self.update
        if not isinstance(update, Update):
            raise InvalidJob(
                f"Table(update={update!r}); required: an update function such as SGD(0.1). Wrap an optax "
                "transformation as Optax(...), or subclass Update."
            )
        try:
            hash(update)
        except TypeError:
            raise InvalidJob(
                f"Table(update={update!r}), which can be changed; required: an immutable one. "
                "Declare its class with @dataclass(frozen=True)."
            ) from None
        if not update.needs <= GIVEN:
            raise InvalidJob(
                f"Table(update={update!r}), which needs {sorted(update.needs)}; required: a subset of "
                f"{sorted(GIVEN)}."
            )
        if self.aggregate not in (None, *get_args(Aggregate)):
            raise InvalidJob(f"Table(aggregate={self.aggregate!r}); required: 'sum', 'mean' or None.")
        floating = np.can_cast(self.dtype, np.float64, "same_kind") and self.dtype.kind not in "biu"
        if update.gradient and not floating:
            raise InvalidJob(f"Table(dtype={self.dtype}, update={update!r}); required: a floating dtype.")
        if self.aggregate == "mean" and (update.combine == "last" or not floating):
            raise InvalidJob(
                f"Table(aggregate='mean', dtype={self.dtype}, update={update!r}); required: "
                "floating values that "
                "are summed. Leave aggregate out."
            )


def rate_field(update: Update) -> str | None:
    """Return the name of an update function's learning rate; ``None`` if it has none."""
    names = ("rate", "alpha")
    return next((name for name in names if isinstance(getattr(update, name, None), float | int)), None)


def _shape(shape: Any) -> tuple[int, ...]:
    """Return a shape as a tuple of positive ints."""
    try:
        lengths = tuple(np.atleast_1d(np.asarray(shape, dtype=object)))
        checked = tuple(int(length.__index__()) for length in lengths)
    except (AttributeError, TypeError, ValueError):
        checked = ()
    if not checked or min(checked) < 1 or checked[0] > 2**62:
        raise InvalidJob(f"Table({shape!r}); required: positive integers (keys, ...), at most 2**62 keys.")
    return checked


def _dtype(dtype: Any) -> np.dtype[Any]:
    """Return a dtype of numbers."""
    try:
        checked: np.dtype[Any] = np.dtype(dtype)
    except TypeError as error:
        raise InvalidJob(f"Table(dtype={dtype!r}); required: a numpy dtype such as 'float32'.") from error
    if not np.can_cast(checked, np.float64, "same_kind"):
        raise InvalidJob(f"Table(dtype={checked}); required: a dtype of numbers such as 'float32'.")
    return checked
