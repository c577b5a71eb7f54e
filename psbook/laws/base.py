"""`Law`: how long iteration c of worker k computes, in seconds.

A law is a description (frozen, picklable, comparable), not a source with a state: the seconds of
(worker, iteration) are a function of law, seed, worker and iteration alone. That is what makes two
policies meet the same luck, lets both engines draw the same times, and lets a run be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from psbook.errors import InvalidJob
from psbook.laws.streams import Streams

if TYPE_CHECKING:
    from psbook.laws.algebra import Product, Sum
    from psbook.laws.stragglers import Delayed, Rotating, Slow, Spells, Swapped

Seconds = NDArray[np.float64]


class Law:
    """Base of all compute-time laws.

    A law has `mean` (seconds, in the long run, for a worker that no rule singles out; may be inf; nan for
    measured times), `label` (short text for plots) and `times`. A new law is a frozen dataclass with `mean`,
    `label` and ``draw(worker, count, streams)``, whose first m values must not depend on `count`.
    """

    _own_streams: ClassVar[int] = 1

    if TYPE_CHECKING:  # subclasses have a field or a property of this name; a dataclass would take a
        # property found here for the field's default

        @property
        def mean(self) -> float:
            """Mean seconds of an iteration in the long run."""

        @property
        def label(self) -> str:
            """Short text for plots."""

    # -- what engines ask ------------------------------------------------------------------------------

    def times(self, worker: int, count: int, seed: int) -> Seconds:
        """Seconds of the first `count` iterations of one worker.

        Parameters
        ----------
        worker : int
            Number of the worker, from 0.
        count : int
            How many iterations; asking for more later repeats these first (prefix-stable).
        seed : int
            The seed of the run, 0 … 2^64−1.

        Returns
        -------
        ndarray, shape (count,), float64
            Seconds.

        Raises
        ------
        InvalidJob
            A negative worker or count, a bad seed, or a law that contains `Measured`.

        Examples
        --------
        >>> from psbook.laws import Exponential
        >>> a, b = Exponential(0.1).times(3, 5, seed=1), Exponential(0.1).times(3, 9, seed=1)
        >>> (a == b[:5]).all()
        np.True_
        """
        return self._checked(worker, count, Streams(seed))

    def matrix(self, workers: int, count: int, seed: int) -> Seconds:
        """Seconds of the first `count` iterations of workers 0 … `workers`−1, shape (workers, count).

        Row k is ``times(k, count, seed)``.
        """
        rows = np.empty((workers, count))
        for worker in range(workers):
            rows[worker] = self.times(worker, count, seed)
        return rows

    def affine(self, worker: int, count: int, seed: int) -> tuple[Seconds, Seconds]:
        """Iteration c takes ``offset[c] + factor[c] · measured`` seconds, for laws that contain `Measured`.

        Returns
        -------
        offset, factor : ndarray, shape (count,), float64
            Seconds, and a pure number. For a law without `Measured` the factor is zero.
        """
        offset = self._checked(worker, count, Streams(seed, measured=0.0))
        return offset, self._checked(worker, count, Streams(seed, measured=1.0)) - offset

    @property
    def measured(self) -> bool:
        """Whether `Measured` is part of the law, so that times are known only while running."""
        return any(part.measured for part in self.parts())

    def mean_of(self, worker: int | None) -> float:
        """Mean seconds of an iteration of one worker in the long run; None: of a worker no rule names."""
        return self.mean

    # -- what users combine ----------------------------------------------------------------------------

    def spells(self, probability: float, factor: float, length: int = 1) -> Spells:
        """Slow spells: an iteration starts one with `probability`; `length` iterations take `factor` times.

        Spells may overlap, which makes nothing slower, and may have begun before the first iteration.
        Independent noise cannot explain the waiting that Li et al. (OSDI 2014, Fig. 13) measured; spells do.
        """
        from psbook.laws.stragglers import Spells

        return Spells(self, probability, factor, length)

    def common(self, factor: Law) -> Product:
        """Times a `factor` (law of a pure number) drawn once for each iteration and shared by all workers."""
        from psbook.laws.algebra import Product, Shared

        return Product(self, Shared(factor))

    def slow(self, factors: Mapping[int, float]) -> Slow:
        """Some workers are permanently slower (or faster): ``{worker: factor}``."""
        from psbook.laws.stragglers import Slow

        return Slow(self, tuple(sorted(factors.items())))

    def rotating(self, delay: float, every: int, workers: int | None = None) -> Rotating:
        """A delay that visits the workers in turn: `delay` seconds on top of worker k's iteration k·`every`.

        With `workers` (how many there are) the round starts again when all have been visited; without,
        each worker is delayed once: N iterations of T seconds then take N·T + d + (n−1)·max(0, d − s·T) under
        staleness s, if the delays are at least d seconds apart.
        """
        from psbook.laws.stragglers import Rotating

        return Rotating(self, delay, every, workers)

    def delayed(self, worker: int, iteration: int, delay: float) -> Delayed:
        """One delay of `delay` seconds, on top of one iteration (from 0) of one worker."""
        from psbook.laws.stragglers import Delayed

        return Delayed(self, worker, iteration, delay)

    def swapped(self, order: Sequence[int]) -> Swapped:
        """Worker k behaves as worker ``order[k]`` of this law, luck included; later workers stay the same."""
        from psbook.laws.stragglers import Swapped

        return Swapped(self, tuple(order))

    def with_mean(self, seconds: float) -> Law:
        """The same law in another unit: rescaled so that its mean is `seconds`.

        Raises
        ------
        InvalidJob
            The mean is infinite, zero or not known.
        """
        if not (isfinite(self.mean) and self.mean > 0):
            raise InvalidJob(f"{self.label} has mean {self.mean:g}; required: a finite positive mean to "
                             f"rescale; multiply the law by a number instead")
        return self * (seconds / self.mean)

    def __add__(self, other: Law | float) -> Sum:
        """Independent parts one after the other, for example reading a batch and computing on it."""
        from psbook.laws.algebra import Sum, as_law

        return Sum(self, as_law(other))

    def __mul__(self, other: Law | float) -> Product:
        """Times an independent factor (a law of a pure number, or a number)."""
        from psbook.laws.algebra import Product, as_law

        return Product(self, as_law(other))

    __radd__ = __add__
    __rmul__ = __mul__

    # -- what laws are made of -------------------------------------------------------------------------

    def parts(self) -> tuple[Law, ...]:
        """The laws this one is made of, inside first."""
        return ()

    def streams(self) -> int:
        """How many random streams the law uses."""
        return self._own_streams + sum(part.streams() for part in self.parts())

    def draw(self, worker: int, count: int, streams: Streams) -> Seconds:
        """Seconds of the first `count` iterations, drawn from `streams`; what a new law defines."""
        raise NotImplementedError(f"{type(self).__name__} must define draw")

    def _checked(self, worker: int, count: int, streams: Streams) -> Seconds:
        if worker < 0 or count < 0:
            raise InvalidJob(f"{self.label}: asked for worker {worker}, {count} iterations; required: both "
                             f"0 or more; workers are numbered from 0")
        return self.draw(worker, count, streams)
