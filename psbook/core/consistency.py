"""Consistency models: when a read is answered and when a clock returns (semantics.md A).

A model is a small immutable object. A shard asks it two questions, each about one worker and the clocks that
the shard has counted: `may_read` and `may_clock`. A model of your own answers them:

>>> from dataclasses import dataclass
>>> @dataclass(frozen=True)
... class LeadersWait(Consistency):
...     '''Only the worker that is ahead of all others waits.'''
...
...     lead: int = 2
...
...     def may_read(self, rank, clock, clocks):
...         return clock - clocks.min <= self.lead or len(clocks) == 1
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

from psbook.core.clocks import Clocks
from psbook.errors import InvalidJob


@dataclass(frozen=True)
class Consistency:
    """Base of all models: nobody ever waits.

    Attributes
    ----------
    buffered : bool
        Pushes are kept aside and applied once, when every worker has clocked (BSP).
    min_only : bool
        The answers depend on the minimum of the clocks only, so that parked requests need looking at
        only when it rises. Leave it ``False`` unless that is so.
    """

    buffered: ClassVar[bool] = False
    min_only: ClassVar[bool] = False

    def may_read(self, rank: int, clock: int, clocks: Clocks) -> bool:
        """Whether a shard may answer a read by worker `rank` at `clock`."""
        return True

    def may_clock(self, rank: int, clock: int, clocks: Clocks) -> bool:
        """Whether call number `clock` of ``clock()`` by worker `rank` may return."""
        return True

    @property
    def gates_clock(self) -> bool:
        """Whether ``clock()`` has to ask the shards at all."""
        return type(self).may_clock is not Consistency.may_clock

    def may_reuse(self, clock: int, row_clock: float) -> bool:
        """Whether a worker at `clock` may use a cached copy that was sent at minimum `row_clock` (A6)."""
        return False

    def push_scale(self, workers: int) -> float:
        """Factor of each push of a table whose gradients are averaged (H1)."""
        return 1.0 if self.buffered else 1.0 / workers

    def check_change(self, new: object) -> None:
        """Raise `InvalidJob` unless a run under this model may go on under `new`.

        Only a parameter may change: not the kind of model, nor whether ``clock()`` waits for the shards.

        Examples
        --------
        >>> SSP(1).check_change(SSP(4))
        >>> SSP(1).check_change(ASP())
        Traceback (most recent call last):
        psbook.errors.InvalidJob: model ASP() cannot follow SSP(1); required: the same kind of model ...
        """
        if type(new) is type(self) and new.gates_clock == self.gates_clock:
            return
        raise InvalidJob(
            f"model {new!r} cannot follow {self.label}; required: the same kind of model and gate, with "
            "another parameter. Start a run of its own for another kind."
        )

    @property
    def family(self) -> str:
        """Short name of the kind of model: one colour and one line style on every plot."""
        return type(self).__name__.lower()

    @property
    def label(self) -> str:
        """Name of this model on plots and in tables."""
        return type(self).__name__


@dataclass(frozen=True)
class Serial(Consistency):
    """One worker at a time, (k1, s1), (k2, s1), …: equals the single-machine run (A0)."""

    def may_read(self, rank: int, clock: int, clocks: Clocks) -> bool:
        """Wait until lower ranks have ended this clock and higher ranks the one before."""
        return all(other == rank or at >= clock + (other < rank) for other, at in clocks.items())

    def push_scale(self, workers: int) -> float:
        """One gradient an update: nothing to average."""
        return 1.0


@dataclass(frozen=True)
class BSP(Consistency):
    """Bulk synchronous parallel: pushes are summed at the end of the clock, then reads are answered (A4)."""

    buffered: ClassVar[bool] = True
    min_only: ClassVar[bool] = True

    def may_read(self, rank: int, clock: int, clocks: Clocks) -> bool:
        """Wait until every worker has ended all earlier clocks."""
        return clocks.min >= clock

    def may_reuse(self, clock: int, row_clock: float) -> bool:
        """A copy of this round is as good as the shard's."""
        return row_clock >= clock


@dataclass(frozen=True)
class ASP(Consistency):
    """Asynchronous parallel: no gate (A5)."""

    min_only: ClassVar[bool] = True


@dataclass(frozen=True)
class SSP(Consistency):
    """Stale synchronous parallel (Ho et al. 2013; A1, A3).

    A read at clock c returns every update of clocks ≤ c−s−1 of every worker.

    Parameters
    ----------
    s
        Staleness in clocks, ``>= 0``; ``math.inf`` behaves as `ASP`.
    gate
        ``"read"``: reads wait. ``"clock"``: call number c of ``clock()`` returns when c − min ≤ s.

    Raises
    ------
    InvalidJob
        If `s` is negative or not whole, or `gate` is unknown.

    Examples
    --------
    >>> clocks = Clocks([0, 1, 2])
    >>> SSP(1).may_read(0, 2, clocks), SSP(1).may_read(1, 1, clocks)
    (False, True)
    """

    s: float = 0
    gate: Literal["read", "clock"] = "read"
    min_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_bound("staleness s", self.s)
        if self.gate not in ("read", "clock"):
            raise InvalidJob(f"gate={self.gate!r}; required: 'read' or 'clock'.")

    def may_read(self, rank: int, clock: int, clocks: Clocks) -> bool:
        """Wait until ``min >= clock - s``."""
        return clocks.min >= clock - self.s

    def may_clock(self, rank: int, clock: int, clocks: Clocks) -> bool:
        """With ``gate="clock"``, wait until ``clock - min <= s``."""
        return self.gate == "read" or clocks.min >= clock - self.s

    @property
    def gates_clock(self) -> bool:
        """Only with ``gate="clock"``."""
        return self.gate == "clock"

    def may_reuse(self, clock: int, row_clock: float) -> bool:
        """A copy may be used iff its clock is at least ``max(0, clock - s)``."""
        return math.isfinite(self.s) and row_clock >= max(0, clock - self.s)

    @property
    def label(self) -> str:
        """``SSP(3)``, or ``SSP(3, gate=clock)``."""
        s = "∞" if math.isinf(self.s) else str(int(self.s))
        return f"SSP({s})" if self.gate == "read" else f"SSP({s}, gate=clock)"


@dataclass(frozen=True)
class BoundedDelay(Consistency):
    """Bounded delay τ (Li et al. 2014, §3.5; A10).

    Iteration t starts only after all iterations < t−τ have finished on every worker; ``clock()``, which ends
    iteration t−1, is where it waits. τ may be changed while a run goes on (``worker.change_model``).

    Parameters
    ----------
    tau
        Delay in iterations, ``>= 0``; 0 is sequential, ``math.inf`` eventual consistency.

    Raises
    ------
    InvalidJob
        If `tau` is negative or not whole.
    """

    tau: float = 0
    min_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_bound("delay tau", self.tau)

    def may_read(self, rank: int, clock: int, clocks: Clocks) -> bool:
        """Nothing more than what starting the iteration has already waited for."""
        return clocks.min >= clock - self.tau

    def may_clock(self, rank: int, clock: int, clocks: Clocks) -> bool:
        """Wait until all iterations before ``clock - tau`` have ended everywhere."""
        return clocks.min >= clock - self.tau

    @property
    def label(self) -> str:
        """``Delay(2)``."""
        return f"Delay({'∞' if math.isinf(self.tau) else int(self.tau)})"


def check_bound(name: str, value: float) -> None:
    """Raise `InvalidJob` unless `value` is a whole number >= 0 or infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise InvalidJob(f"{name} is {value!r}; required: a whole number >= 0, or math.inf.")
    if math.isfinite(value) and value != int(value):
        raise InvalidJob(f"{name} is {value!r}; required: a whole number >= 0, or math.inf.")


_PARSERS: dict[str, Callable[[str], Consistency]] = {
    "serial": lambda _: Serial(),
    "bsp": lambda _: BSP(),
    "asp": lambda _: ASP(),
    "ssp": lambda bound: SSP(float(bound or 0)),
    "delay": lambda bound: BoundedDelay(float(bound or 0)),
}


def parse_model(text: str) -> Consistency:
    """Read a model from its short form, as on the command line.

    Raises
    ------
    InvalidJob
        If the name or the bound is not understood.

    Examples
    --------
    >>> [parse_model(m).label for m in ("bsp", "ssp:3", "asp", "delay:2")]
    ['BSP', 'SSP(3)', 'ASP', 'Delay(2)']
    """
    name, _, bound = text.strip().lower().partition(":")
    if name not in _PARSERS or (bound and name in ("serial", "bsp", "asp")):
        raise InvalidJob(f"model {text!r}; required: one of serial, bsp, asp, ssp:<s>, delay:<tau>.")
    try:
        return _PARSERS[name](bound)
    except ValueError as error:
        if isinstance(error, InvalidJob):
            raise
        raise InvalidJob(
            f"model {text!r}: bound {bound!r}; required: a whole number, as in {name}:3."
        ) from error
