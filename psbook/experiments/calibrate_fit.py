"""The compute law of a run: slowness taken apart, the rest fitted, all put together again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import exp, sqrt

import numpy as np

from psbook.experiments.calibrate_compute import Floats, Work
from psbook.experiments.calibrate_laws import SAME, Fit, candidates, distance, fit_law
from psbook.experiments.calibrate_slowness import (
    Spell,
    blocks,
    common_sigma,
    find_spells,
    lag_correlation,
    slow_factors,
    spell_of,
    without,
)
from psbook.laws import Constant, Empirical, Law, LogNormal, generator
from psbook.laws.empirical import Replay

ONE = 0.98
"""Correlation between workers from which on all that varies is common to them."""

ASTRAY = 2.5
"""√n times the distance of all times from the law put together beyond which the recording stands for it."""

LASTING = 4.0
"""Standard errors of the correlation of successive times beyond which their order is kept."""


@dataclass(frozen=True)
class Compute:
    """What was fitted to the compute times.

    Attributes
    ----------
    slow : mapping
        How many times as long each worker takes as a typical one; those that differ.
    common : float
        Standard deviation of the logarithm of a factor that all workers share in an iteration; 0: none.
    spell : Spell or None
        Spells of slowness.
    base : Fit
        Law of what is left.
    samples : tuple of (n,) arrays
        What is left, by worker [s].
    """

    slow: Mapping[int, float]
    common: float
    spell: Spell | None
    base: Fit
    samples: tuple[Floats, ...]

    @property
    def law(self) -> Law:
        """Seconds of an iteration, all put together."""
        law = self.base.law
        if self.spell is not None:
            law = law.spells(self.spell.probability, self.spell.factor, self.spell.length)
        if self.common:
            law = law.common(LogNormal(1.0, self.common))
        return law.slow(self.slow) if self.slow else law

    def parameters(self) -> dict[str, float]:
        """Return the fitted numbers by name; those of laws in seconds or pure, as the law has them."""
        found = dict(_numbers(self.base.law))
        if self.spell is not None:
            found |= {"spell probability": self.spell.probability, "spell factor": self.spell.factor,
                      "spell length": float(self.spell.length)}  # fmt: skip
        if self.common:
            found["common sigma"] = self.common
        return found | {f"slow factor of worker {rank}": factor for rank, factor in self.slow.items()}

    def resampled(self, seed: int) -> Compute:
        """Return what another run of the same length would have given: a parametric bootstrap.

        B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, section 6.5.
        """
        rng = generator(seed, "calibration")
        count = sum(map(len, self.samples))
        if isinstance(self.base.law, Empirical):
            length = max(1, round(count ** (1 / 3)))
            parts = [each[blocks(rng, len(each), length)] for each in self.samples]
            base = _empirical(parts, self.base.law.replay)
        else:
            drawn = self.base.law.times(0, count, int(rng.integers(2**62)))
            base = fit_law(drawn, self.base.family)
        sigma = float(np.log(np.concatenate(self.samples)).std())
        each = sqrt(len(self.samples) / count) * sigma
        slow = {rank: factor * exp(each * rng.standard_normal()) for rank, factor in self.slow.items()}
        clocks = count / len(self.samples)
        common = self.common * sqrt(rng.chisquare(clocks) / clocks)
        if self.common:  # the mean is over as many draws of the common factor as there are iterations
            scale = exp(self.common * rng.standard_normal() / sqrt(clocks))
            base = replace(base, law=base.law.with_mean(scale * base.law.mean))
        return replace(self, slow=slow, common=common, base=base, spell=self._other_spell(rng, sigma))

    def _other_spell(self, rng: np.random.Generator, sigma: float) -> Spell | None:
        if self.spell is None:
            return None
        length = 10 * self.spell.length
        on = [each[blocks(rng, len(each), length)] for each in self.spell.on]
        ones = [np.ones(len(each)) for each in on]
        found = spell_of(ones, on)
        if found is None:
            return self.spell
        slow = int(np.concatenate(on).sum())
        factor = self.spell.factor * exp(sigma * rng.standard_normal() / sqrt(max(1, slow)))
        return replace(found, factor=factor, on=self.spell.on)


def fit_compute(works: Sequence[Work]) -> Compute:
    """Fit the compute times of all workers.

    Examples
    --------
    >>> law = LogNormal(0.1, 0.2).slow({1: 3.0})
    >>> works = [
    ...     Work(f"worker-{k}", np.arange(200), law.times(k, 200, 0), law.times(k, 200, 0)) for k in (0, 1)
    ... ]
    >>> fit_compute(works).law.label
    'Gamma(0.0957314, 25.7862).slow({1: 3.09059})'
    """
    slow = slow_factors(works)
    samples = [work.seconds / slow.get(rank, 1.0) for rank, work in enumerate(works)]
    every = np.concatenate(samples)
    if float(every.std()) <= SAME * float(every.mean()):
        return Compute(slow, 0.0, None, fit_law(every), tuple(samples))
    best = min(candidates(every), key=lambda fit: fit.aic, default=None)
    spell = find_spells(samples, *((best.parameters, best.log_likelihood) if best else (2, -np.inf)))
    rest = samples if spell is None else without(samples, spell)
    alike = [replace(work, seconds=seconds) for work, seconds in zip(works, rest, strict=True)]
    correlation, sigma = common_sigma(alike)
    found = Compute(slow, sigma, spell, _base(rest, correlation, sigma), tuple(rest))
    if isinstance(found.base.law, Empirical) or distance(every, _alone(found)) * sqrt(len(every)) > ASTRAY:
        # No law is near: the recording itself keeps what lasts, and what is common.
        order: Replay = "in order" if sigma or spell or lag_correlation(samples) > LASTING else "bootstrap"
        return Compute(slow, 0.0, None, _empirical(samples, order), tuple(samples))
    return found


def _alone(found: Compute) -> Law:
    """Return the law of a worker that is not slow."""
    return replace(found, slow={}).law


def _base(samples: Sequence[Floats], correlation: float, sigma: float) -> Fit:
    """Return the law of what is left, without what is common."""
    every = np.concatenate(samples)
    if not sigma:
        base = fit_law(every)
        lasts = base.family != "Constant" and lag_correlation(samples) > LASTING
        return _empirical(samples, "in order") if lasts else base
    mean, rest = float(every.mean()), sqrt(max(0.0, float(np.log(every).var()) - sigma**2))
    if correlation > ONE:
        return Fit("Constant", Constant(mean), 0.0, 1)
    return Fit("LogNormal", LogNormal(mean, rest), 0.0, 2)


def _empirical(samples: Sequence[Floats], replay: Replay) -> Fit:
    law = Empirical(tuple(samples) if replay == "in order" else np.concatenate(samples), replay)
    return Fit("Empirical", law, 0.0, sum(map(len, samples)))


def _numbers(law: Law) -> Iterator[tuple[str, float]]:
    if isinstance(law, Empirical):
        yield "Empirical mean", law.mean
        return
    for part in law.parts():
        yield from _numbers(part)
    for field in fields(law):  # type: ignore[arg-type]  # every law is a dataclass
        value = getattr(law, field.name)
        if isinstance(value, float):
            yield f"{type(law).__name__} {field.name}", value
