"""Sums and products of laws, and draws that all workers share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from psbook.errors import InvalidJob
from psbook.laws.base import Law, Seconds
from psbook.laws.distributions import Constant
from psbook.laws.streams import Streams
from psbook.laws.validation import require_law


def as_law(value: Law | float) -> Law:
    """A law as it is; a number as `Constant`."""
    return value if isinstance(value, Law) else Constant(value)


def term(law: Law) -> str:
    """How a law reads inside a product."""
    if isinstance(law, Constant):
        return f"{law.seconds:g}"
    return f"({law.label})" if isinstance(law, Sum) else law.label


@dataclass(frozen=True)
class Sum(Law):
    """`left` then `right`, independent of each other; written ``left + right``.

    Examples
    --------
    >>> from psbook.laws import Exponential
    >>> (Exponential(0.1) + 0.05).label
    'Exponential(0.1) + 0.05'
    """

    left: Law
    right: Law
    _own_streams: ClassVar[int] = 0

    def __post_init__(self) -> None:
        require_law(self, "left", self.left, Law)
        require_law(self, "right", self.right, Law)

    def parts(self) -> tuple[Law, ...]:
        """The laws this one is made of."""
        return self.left, self.right

    @property
    def mean(self) -> float:
        """Mean of one iteration, in seconds."""
        return self.mean_of(None)

    @property
    def label(self) -> str:
        """Short text for plots."""
        return " + ".join(f"{p.seconds:g}" if isinstance(p, Constant) else p.label for p in self.parts())

    def mean_of(self, worker: int | None) -> float:
        """Mean seconds of an iteration of one worker in the long run."""
        return self.left.mean_of(worker) + self.right.mean_of(worker)

    def draw(self, worker: int, count: int, streams: Streams) -> Seconds:
        """Seconds of the first `count` iterations."""
        right = self.right.draw(worker, count, streams.after(self.left.streams()))
        return self.left.draw(worker, count, streams) + right


@dataclass(frozen=True)
class Product(Law):
    """`law` times an independent `factor` (a law of a pure number); written ``law * factor``.

    Examples
    --------
    >>> from psbook.laws import Exponential, Gamma
    >>> Exponential(0.1).common(Gamma(1, shape=4)).label
    'Exponential(0.1) × common Gamma(1, 4)'
    """

    law: Law
    factor: Law
    _own_streams: ClassVar[int] = 0

    def __post_init__(self) -> None:
        require_law(self, "law", self.law, Law)
        require_law(self, "factor", self.factor, Law)
        if self.law.measured and self.factor.measured:
            raise InvalidJob(f"Product: {self.law.label} and {self.factor.label} are both measured; "
                             f"required: at most one; the factor is a pure number, use another law for it")

    def parts(self) -> tuple[Law, ...]:
        """The laws this one is made of."""
        return self.law, self.factor

    @property
    def mean(self) -> float:
        """Mean of one iteration, in seconds."""
        return self.mean_of(None)

    @property
    def label(self) -> str:
        """Short text for plots."""
        return f"{term(self.law)} × {term(self.factor)}"

    def mean_of(self, worker: int | None) -> float:
        """Mean seconds of an iteration of one worker in the long run."""
        return self.law.mean_of(worker) * self.factor.mean_of(worker)

    def draw(self, worker: int, count: int, streams: Streams) -> Seconds:
        """Seconds of the first `count` iterations."""
        factor = self.factor.draw(worker, count, streams.after(self.law.streams()))
        return self.law.draw(worker, count, streams) * factor


@dataclass(frozen=True)
class Shared(Law):
    """`law`, drawn once for each iteration and the same for all workers (as worker 0 of its own stream)."""

    law: Law
    _own_streams: ClassVar[int] = 0

    def __post_init__(self) -> None:
        require_law(self, "law", self.law, Law)
        if self.law.measured:
            raise InvalidJob(f"Shared: {self.law.label} is measured; required: a law known ahead of the run, "
                             f"because kernels of different workers are measured apart; use another law")

    def parts(self) -> tuple[Law, ...]:
        """The laws this one is made of."""
        return (self.law,)

    @property
    def mean(self) -> float:
        """Mean of one iteration."""
        return self.law.mean_of(0)

    @property
    def label(self) -> str:
        """Short text for plots."""
        return f"common {term(self.law)}"

    def draw(self, worker: int, count: int, streams: Streams) -> Seconds:
        """Seconds of the first `count` iterations."""
        return self.law.draw(0, count, streams)
