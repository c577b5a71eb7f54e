"""The contract of an update function."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from numbers import Real
from typing import Any, ClassVar, Literal, TypeAlias

from psbook.errors import InvalidJob

Array: TypeAlias = Any
"""A ``numpy.ndarray`` or a ``jax.Array``."""

State: TypeAlias = dict[str, Any]
"""Named arrays, each with one row a key."""

GIVEN = frozenset({"staleness", "read"})
"""What an update function may ask for; see `Update.needs`."""


class Update(ABC):
    """An update function; subclass it, as a frozen dataclass, to write your own.

    The rule must be *row-wise*: row k of the result depends on row k of value, state and gradient only. Then
    the result does not depend on how the keys are cut into shards, and a push of a few rows is the same rule
    on those rows. Numbers that belong to an optimiser as a whole (a step count, say) are therefore kept one a
    row.

    Attributes
    ----------
    additive : bool
        The value only ever gets something added that depends on the push alone, so a worker may re-apply its
        own unacknowledged pushes to what it reads (semantics.md A2).
    gradient : bool
        What is pushed is a gradient: several are combined as the job's ``aggregate`` says. Otherwise they are
        summed.
    combine : {"sum", "last"}
        How pushes that form one update are combined, and for "last" the one of the last worker wins.
    compiled : bool
        The rule is compiled for the number of rows it gets, so pushes of a few rows are padded to few sizes.
    needs : frozenset of str
        What `apply` asks for besides the gradient, and gets by keyword. ``"staleness"``: how many updates the
        shard's rows have had since they were read for this gradient, a float; 0 if nothing had been read, and
        for an update of several pushes their mean. ``"read"``: the rows that the gradient was computed from,
        shaped like `value`; where nothing had been read, the value itself. Whoever asks for "read" makes each
        server keep what each worker has read last (no copy, but older values stay in memory as long).

    Examples
    --------
    >>> import numpy as np
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class SignSGD(Update):
    ...     rate: float
    ...
    ...     def apply(self, xp, value, state, grad):
    ...         return value - self.rate * xp.sign(grad), state
    >>> value, state = SignSGD(0.5).apply(np, np.array([1.0, 2.0]), {}, np.array([-3.0, 0.1]))
    >>> value
    array([1.5, 1.5])
    """

    additive: ClassVar[bool] = False
    gradient: ClassVar[bool] = True
    combine: ClassVar[Literal["sum", "last"]] = "sum"
    compiled: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()

    def init(self, xp: Any, value: Array) -> State:
        """Return the state that belongs to initial values.

        Parameters
        ----------
        xp
            ``numpy`` or ``jax.numpy``.
        value
            Initial rows, shape ``(n, ...)``.

        Returns
        -------
        dict
            Named arrays, each with leading axis ``n``; empty for a rule without state.
        """
        return {}

    @abstractmethod
    def apply(self, xp: Any, value: Array, state: State, grad: Array) -> tuple[Array, State]:
        """Return the new value and the new state; change no argument in place.

        Parameters
        ----------
        xp
            ``numpy`` or ``jax.numpy``.
        value
            Rows, shape ``(n, ...)``; read-only.
        state
            What `init` or the last `apply` returned for these rows.
        grad
            What was pushed (combined and scaled), the shape of `value`.
        """


def number(owner: object, name: str, low: float, high: float = math.inf, *, closed: bool = False) -> None:
    """Replace a hyper-parameter of a frozen dataclass by its ``float``, or say why that cannot be.

    Parameters
    ----------
    owner, name
        The dataclass instance and the name of its field.
    low, high
        The hyper-parameter must lie between the two; `high` itself is excluded.
    closed
        `low` itself is allowed.

    Raises
    ------
    InvalidJob
        If it is not a real number between the two.
    """
    found = getattr(owner, name)
    valid = isinstance(found, Real) and not isinstance(found, bool)
    if not valid or not (low < found < high or (closed and found == low)):
        interval = f"{'[' if closed else '('}{low:g}, {high:g})"
        raise InvalidJob(
            f"{type(owner).__name__}({name}={found!r}); required: a number in {interval}. Choose "
            f"{name} inside."
        )
    object.__setattr__(owner, name, float(found))
