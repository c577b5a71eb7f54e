"""Compute-time laws: how long iteration c of worker k takes, the same in the simulator and on Dask.

A law is a frozen description. Its times are a function of (seed, worker, iteration) alone, so a policy
never changes anybody's luck. Elementary laws combine: ``Exponential(0.1).spells(0.01, 4, 5).slow({3: 2})``.
"""

from psbook.laws.algebra import Product, Shared, Sum
from psbook.laws.base import Law
from psbook.laws.distributions import (
    Constant,
    Exponential,
    Gamma,
    LogNormal,
    Measured,
    Pareto,
    ShiftedExponential,
    Uniform,
)
from psbook.laws.draws import Draws
from psbook.laws.empirical import Empirical, Recorded
from psbook.laws.parse import parse
from psbook.laws.stragglers import Delayed, Rotating, Slow, Spells, Swapped
from psbook.laws.streams import generator

__all__ = [
    "Constant",
    "Delayed",
    "Draws",
    "Empirical",
    "Exponential",
    "Gamma",
    "Law",
    "LogNormal",
    "Measured",
    "Pareto",
    "Product",
    "Recorded",
    "Rotating",
    "Shared",
    "ShiftedExponential",
    "Slow",
    "Spells",
    "Sum",
    "Swapped",
    "Uniform",
    "generator",
    "parse",
]
