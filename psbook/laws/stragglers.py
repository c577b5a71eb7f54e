"""The stragglers of the literature: laws that slow down some iterations of another law."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from psbook.errors import InvalidJob
from psbook.laws.algebra import term
from psbook.laws.base import Law, Seconds
from psbook.laws.streams import Streams
from psbook.laws.validation import require, require_count, require_law


@dataclass(frozen=True)
class _Around(Law):
    """What the laws share that change some iterations of one other law."""

    law: Law
    _own_streams: ClassVar[int] = 0

    def __post_init__(self) -> None:
        require_law(self, "law", self.law, Law)

    def parts(self) -> tuple[Law, ...]:
        """The laws this one is made of."""
        return (self.law,)

    @property
    def mean(self) -> float:
        """Mean of one iteration of a worker that no rule names, in seconds."""
        return self.mean_of(None)

    def mean_of(self, worker: int | None) -> float:
        """Mean seconds of an iteration of one worker in the long run."""
        return self.law.mean_of(worker)


@dataclass(frozen=True)
class Spells(_Around):
    """Slow spells of several iterations; see `Law.spells`.

    Whether a spell is on has the same probability, 1 − (1 − probability)^length, in every iteration.

    Examples
    --------
    >>> from psbook.laws import Constant
    >>> round(Constant(1.0).spells(0.5, factor=3.0, length=2).mean, 6)
    2.5
    """

    probability: float
    factor: float
    length: int = 1
    _own_streams: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "probability", self.probability, zero=True, unit="a pure number")
        if self.probability > 1:
            raise InvalidJob(f"Spells: probability is {self.probability!r}; required: 0 … 1; it is the "
                             f"chance that an iteration starts a spell, for example 0.01")
        require(self, "factor", self.factor, unit="a pure number")
        require_count(self, "length", self.length, least=1)

    @property
    def label(self) -> str:
        """Short text for plots."""
        return f"{term(self.law)}.spells({self.probability:g}, {self.factor:g}, {self.length})"

    def mean_of(self, worker: int | None) -> float:
        """Mean seconds of an iteration of one worker in the long run."""
        on = 1 - (1 - self.probability) ** self.length
        return self.law.mean_of(worker) * (1 + on * (self.factor - 1))

    def draw(self, worker: int, count: int, streams: Streams) -> Seconds:
        """Seconds of the first `count` iterations."""
        own = streams.after(self.law.streams()).rng(worker)
        starts = own.random(count + self.length - 1) < self.probability  # from iteration 1 − length on
        started = np.concatenate(([0], np.cumsum(starts)))
        on = started[self.length :] > started[: started.size - self.length]
        return np.where(on, self.factor, 1.0) * self.law.draw(worker, count, streams)


@dataclass(frozen=True)
class Slow(_Around):
    """Permanently slower workers; see `Law.slow`.

    Examples
    --------
    >>> from psbook.laws import Constant
    >>> Constant(0.1).slow({3: 2.0}).times(3, 2, seed=0)
    array([0.2, 0.2])
    """

    factors: tuple[tuple[int, float], ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        for worker, factor in self.factors:
            require_count(self, "worker", worker, least=0)
            require(self, f"factor of worker {worker}", factor, unit="a pure number")

    @property
    def label(self) -> str:
        """Short text for plots."""
        listed = ", ".join(f"{worker}: {factor:g}" for worker, factor in self.factors)
        return f"{term(self.law)}.slow({{{listed}}})"

    def mean_of(self, worker: int | None) -> float:
        """Mean seconds of an iteration of one worker in the long run."""
        return self.law.mean_of(worker) * self._factor(worker)

    def _factor(self, worker: int | None) -> float:
        return next((factor for named, factor in self.factors if named == worker), 1.0)

    def draw(self, worker: int, count: int, streams: Streams) -> Seconds:
        """Seconds of the first `count` iterations."""
        return self._factor(worker) * self.law.draw(worker, count, streams)


@dataclass(frozen=True)
class Rotating(_Around):
    """A delay that visits the workers in turn; see `Law.rotating`.

    Examples
    --------
    >>> from psbook.laws import Constant
    >>> Constant(1.0).rotating(delay=5.0, every=2).matrix(workers=2, count=4, seed=0)
    array([[6., 1., 1., 1.],
           [1., 1., 6., 1.]])
    """

    delay: float
    every: int
    workers: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "delay", self.delay, zero=True)
        require_count(self, "every", self.every, least=1)
        if self.workers is not None:
            require_count(self, "workers", self.workers, least=1)

    @property
    def label(self) -> str:
        """Short text for plots."""
        again = "" if self.workers is None else f", {self.workers}"
        return f"{term(self.law)}.rotating({self.delay:g}, {self.every}{again})"

    def mean_of(self, worker: int | None) -> float:
        """Mean seconds of an iteration of one worker in the long run."""
        rate = 0.0 if self.workers is None else 1 / (self.workers * self.every)
        return self.law.mean_of(worker) + rate * self.delay

    def draw(self, worker: int, count: int, streams: Streams) -> Seconds:
        """Seconds of the first `count` iterations."""
        times = self.law.draw(worker, count, streams)
        if self.workers is None:
            times[worker * self.every :][:1] += self.delay
        elif worker < self.workers:
            times[worker * self.every :: self.workers * self.every] += self.delay
        return times


@dataclass(frozen=True)
class Delayed(_Around):
    """One delay in one iteration of one worker; see `Law.delayed`.

    Examples
    --------
    >>> from psbook.laws import Constant
    >>> Constant(1.0).delayed(worker=1, iteration=2, delay=5.0).times(1, 4, seed=0)
    array([1., 1., 6., 1.])
    """

    worker: int
    iteration: int
    delay: float

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count(self, "worker", self.worker, least=0)
        require_count(self, "iteration", self.iteration, least=0)
        require(self, "delay", self.delay, zero=True)

    @property
    def label(self) -> str:
        """Short text for plots."""
        return f"{term(self.law)}.delayed({self.worker}, {self.iteration}, {self.delay:g})"

    def draw(self, worker: int, count: int, streams: Streams) -> Seconds:
        """Seconds of the first `count` iterations."""
        times = self.law.draw(worker, count, streams)
        if worker == self.worker:
            times[self.iteration :][:1] += self.delay
        return times


@dataclass(frozen=True)
class Swapped(_Around):
    """Workers exchanged together with their luck; see `Law.swapped`.

    Examples
    --------
    >>> from psbook.laws import Constant
    >>> Constant(1.0).slow({0: 2.0}).swapped([1, 0]).times(1, 2, seed=0)
    array([2., 2.])
    """

    order: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if sorted(self.order) != list(range(len(self.order))):
            raise InvalidJob(f"Swapped: order is {self.order!r}; required: each of 0 … {len(self.order) - 1} "
                             f"once; order[k] is the worker whose times worker k gets")

    @property
    def label(self) -> str:
        """Short text for plots."""
        return f"{term(self.law)}.swapped({list(self.order)})"

    def mean_of(self, worker: int | None) -> float:
        """Mean seconds of an iteration of one worker in the long run."""
        return self.law.mean_of(None if worker is None else self._origin(worker))

    def _origin(self, worker: int) -> int:
        return self.order[worker] if worker < len(self.order) else worker

    def draw(self, worker: int, count: int, streams: Streams) -> Seconds:
        """Seconds of the first `count` iterations."""
        return self.law.draw(self._origin(worker), count, streams)
