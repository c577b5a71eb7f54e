"""What every consistency model answers (semantics.md A)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from psbook.core.clocks import Clocks
from psbook.errors import InvalidJob


@dataclass(frozen=True)
class Consistency:
    """Base of all models: nobody ever waits.

    Attributes
    ----------
    buffered : bool
        Pushes are kept aside and applied once, when every worker has clocked (BSP).
    collects : bool
        Gradients are kept aside and applied some at a time, whoever they are of (`Rounds`).
    timed : bool
        The clocks are to note the times at which they came.
    eager : bool
        Shards send unasked what was read before, each time that ``min`` rises (`ESSP`).
    normed : bool
        Pushes carry the largest magnitude of their value (`VAP`).
    min_only : bool
        The answers depend on the minimum of the clocks only, so that parked requests need looking at
        only when it rises. Leave it ``False`` unless that is so.
    """

    buffered: ClassVar[bool] = False
    collects: ClassVar[bool] = False
    timed: ClassVar[bool] = False
    eager: ClassVar[bool] = False
    normed: ClassVar[bool] = False
    min_only: ClassVar[bool] = False

    def check(self, workers: int) -> None:
        """Raise `InvalidJob` if the parameters make no sense with so many workers."""

    def may_read(self, rank: int, clock: int, clocks: Clocks) -> bool:
        """Whether a shard may answer a read by worker `rank` at `clock`."""
        return True

    def may_clock(self, rank: int, clock: int, clocks: Clocks) -> bool:
        """Whether call number `clock` of ``clock()`` by worker `rank` may return."""
        return True

    def held_by(self, rank: int, clock: int, clocks: Clocks) -> list[int]:
        """Return whom a request that has to wait waits for, to say why."""
        return [other for other in clocks.slowest() if other != rank]

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
        >>> from psbook.core.consistency import ASP, SSP
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
