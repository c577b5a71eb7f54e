"""The elementary laws: iterations of one worker are independent and alike. All times in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log, nan
from typing import ClassVar

import numpy as np

from psbook.errors import InvalidJob
from psbook.laws.base import Law, Seconds
from psbook.laws.streams import Streams
from psbook.laws.validation import require


@dataclass(frozen=True)
class Constant(Law):
    """Every iteration takes the same time.

    Examples
    --------
    >>> Constant(0.1).times(0, 3, seed=0)
    array([0.1, 0.1, 0.1])
    """

    seconds: float
    _own_streams: ClassVar[int] = 0

    def __post_init__(self) -> None:
        require(self, "seconds", self.seconds, zero=True)

    @property
    def mean(self) -> float:
        """Mean of one iteration, in seconds."""
        return self.seconds

    @property
    def label(self) -> str:
        """Short text for plots."""
        return f"Constant({self.seconds:g})"

    def draw(self, worker: int, count: int, streams: Streams) -> Seconds:
        """Seconds of the first `count` iterations."""
        return np.full(count, float(self.seconds))


@dataclass(frozen=True)
class Uniform(Law):
    """Uniform on [`low`, `high`] seconds.

    Examples
    --------
    >>> Uniform(1.0, 3.0).mean
    2.0
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        require(self, "low", self.low, zero=True)
        require(self, "high", self.high)
        if self.high < self.low:
            raise InvalidJob(f"Uniform: high is {self.high!r}, below low {self.low!r}; required: low ≤ high; "
                             f"swap them")

    @property
    def mean(self) -> float:
        """Mean of one iteration, in seconds."""
        return (self.low + self.high) / 2

    @property
    def label(self) -> str:
        """Short text for plots."""
        return f"Uniform({self.low:g}, {self.high:g})"

    def draw(self, worker: int, count: int, streams: Streams) -> Seconds:
        """Seconds of the first `count` iterations."""
        return self.low + (self.high - self.low) * streams.rng(worker).random(count)


@dataclass(frozen=True)
class Exponential(Law):
    """Exponential with `mean` seconds: the law of most closed forms of waiting and staleness.

    Examples
    --------
    >>> Exponential(0.1).label
    'Exponential(0.1)'
    """

    mean: float

    def __post_init__(self) -> None:
        require(self, "mean", self.mean)

    @property
    def label(self) -> str:
        """Short text for plots."""
        return f"Exponential({self.mean:g})"

    def draw(self, worker: int, count: int, streams: Streams) -> Seconds:
        """Seconds of the first `count` iterations."""
        return self.mean * streams.rng(worker).standard_exponential(count)


@dataclass(frozen=True)
class ShiftedExponential(Law):
    """`shift` seconds that nothing shortens, plus an exponential part of mean `tail` seconds.

    ``ShiftedExponential(1, 1)`` is the "1 + exp" of Dutta et al. (AISTATS 2018).

    Examples
    --------
    >>> ShiftedExponential(1.0, 0.5).mean
    1.5
    """

    shift: float
    tail: float

    def __post_init__(self) -> None:
        require(self, "shift", self.shift, zero=True)
        require(self, "tail", self.tail)

    @property
    def mean(self) -> float:
        """Mean of one iteration, in seconds: `shift` + `tail`."""
        return self.shift + self.tail

    @property
    def label(self) -> str:
        """Short text for plots."""
        return f"ShiftedExponential({self.shift:g}, {self.tail:g})"

    def draw(self, worker: int, count: int, streams: Streams) -> Seconds:
        """Seconds of the first `count` iterations."""
        return self.shift + self.tail * streams.rng(worker).standard_exponential(count)


@dataclass(frozen=True)
class Gamma(Law):
    """Gamma with `mean` seconds; `shape` 1 is exponential, larger is steadier (CV = 1/√shape).

    Examples
    --------
    >>> Gamma(0.1, shape=4).mean
    0.1
    """

    mean: float
    shape: float

    def __post_init__(self) -> None:
        require(self, "mean", self.mean)
        require(self, "shape", self.shape, unit="a pure number")

    @property
    def label(self) -> str:
        """Short text for plots."""
        return f"Gamma({self.mean:g}, {self.shape:g})"

    def draw(self, worker: int, count: int, streams: Streams) -> Seconds:
        """Seconds of the first `count` iterations."""
        return self.mean / self.shape * streams.rng(worker).standard_gamma(self.shape, count)


@dataclass(frozen=True)
class LogNormal(Law):
    """Log-normal with `mean` seconds; `sigma` is the standard deviation of the logarithm (≈ CV when small).

    Examples
    --------
    >>> LogNormal(0.1, sigma=0.05).mean
    0.1
    """

    mean: float
    sigma: float

    def __post_init__(self) -> None:
        require(self, "mean", self.mean)
        require(self, "sigma", self.sigma, zero=True, unit="a pure number")

    @property
    def label(self) -> str:
        """Short text for plots."""
        return f"LogNormal({self.mean:g}, {self.sigma:g})"

    def draw(self, worker: int, count: int, streams: Streams) -> Seconds:
        """Seconds of the first `count` iterations."""
        centre = log(self.mean) - self.sigma**2 / 2
        return np.exp(centre + self.sigma * streams.rng(worker).standard_normal(count))


@dataclass(frozen=True)
class Pareto(Law):
    """Pareto: never below `scale` seconds, P(X > x) = (scale/x)^shape.

    The mean is infinite for shape ≤ 1, the variance for shape ≤ 2. For a law of given mean write
    ``Pareto(1, shape).with_mean(0.1)``.

    Examples
    --------
    >>> Pareto(1.0, shape=3.0).mean, Pareto(1.0, shape=1.0).mean
    (1.5, inf)
    """

    scale: float
    shape: float

    def __post_init__(self) -> None:
        require(self, "scale", self.scale)
        require(self, "shape", self.shape, unit="a pure number")

    @property
    def mean(self) -> float:
        """Mean of one iteration, in seconds; inf for shape ≤ 1."""
        return self.scale * self.shape / (self.shape - 1) if self.shape > 1 else inf

    @property
    def label(self) -> str:
        """Short text for plots."""
        return f"Pareto({self.scale:g}, {self.shape:g})"

    def draw(self, worker: int, count: int, streams: Streams) -> Seconds:
        """Seconds of the first `count` iterations."""
        return self.scale * np.exp(streams.rng(worker).standard_exponential(count) / self.shape)


@dataclass(frozen=True)
class Measured(Law):
    """Marker: an iteration takes the time its kernel really takes on this machine, times `scale`.

    It combines like any law: ``Measured().slow({3: 2.0})`` makes worker 3 twice as slow as it was measured.
    Such laws have no `times` ahead of the run; `affine` and `Draws` turn measured seconds into the law's.

    Examples
    --------
    >>> offset, factor = (Measured() + 0.5).slow({3: 2.0}).affine(worker=3, count=2, seed=0)
    >>> offset, factor
    (array([1., 1.]), array([2., 2.]))
    """

    scale: float = 1.0
    _own_streams: ClassVar[int] = 0

    def __post_init__(self) -> None:
        require(self, "scale", self.scale, unit="a pure number")

    @property
    def measured(self) -> bool:
        """True."""
        return True

    @property
    def mean(self) -> float:
        """Not a number: unknown before the run."""
        return nan

    @property
    def label(self) -> str:
        """Short text for plots."""
        return "measured" if self.scale == 1 else f"measured × {self.scale:g}"

    def draw(self, worker: int, count: int, streams: Streams) -> Seconds:
        """Seconds of the first `count` iterations."""
        if streams.measured is None:
            raise InvalidJob("times of a law with Measured() were asked for ahead of the run; required: "
                             "times known beforehand; use another law, or give measured seconds to Draws")
        return np.full(count, self.scale * streams.measured)
