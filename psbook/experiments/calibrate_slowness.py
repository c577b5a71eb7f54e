"""What makes workers slow beyond the law of one iteration: the worker, the moment that all share, a spell.

- A worker is slower than others for good: Kruskal and Wallis's test of whether all have one law.
- A factor is common to all workers in an iteration: their logarithms are correlated.
- A spell lasts several iterations: a hidden Markov chain of two states, in one of which times are longer by a
  factor, explains the times better than independent draws do.

References
----------
L. E. Baum, T. Petrie, G. Soules and N. Weiss, "A maximization technique occurring in the statistical analysis
of probabilistic functions of Markov chains", Annals of Mathematical Statistics 41(1), 1970.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import atanh, exp, log, sqrt

import numpy as np
import pandas as pd
from scipy.stats import kruskal

from psbook.experiments.calibrate_compute import Floats, Ints, Work

SURE = 1e-4
"""Probability with which equal workers may be taken for different ones, at most."""

LEAST_DIFFERENCE = 0.01
"""Relative differences between workers below this are left alone."""

COMMON = 3.5
"""Standard errors of a correlation that make it one."""

LEAST_FACTOR = 1.25
"""A spell is slower than the rest by at least this factor."""

ROUNDS = 40
"""Steps of the expectation maximisation."""


@dataclass(frozen=True)
class Spell:
    """Spells of slowness, as `psbook.Law.spells` has them, and which iterations lay in one.

    Attributes
    ----------
    probability, factor, length
        Chance that an iteration starts a spell, how many times as long its iterations take, iterations.
    on : tuple of (n,) arrays of bool
        By worker.
    log_likelihood : float
        Of all times, on the logarithmic scale.
    """

    probability: float
    factor: float
    length: int
    on: tuple[np.ndarray, ...]
    log_likelihood: float = 0.0


def slow_factors(works: Sequence[Work]) -> dict[int, float]:
    """Return how many times as long each worker takes as a typical one, for those that differ.

    >>> rng = np.random.default_rng(0)
    >>> works = [
    ...     Work(f"worker-{k}", np.arange(90), rng.gamma(9, size=90) * (1 + k // 2), rng.random(90))
    ...     for k in range(3)
    ... ]
    >>> {k: round(float(f)) for k, f in slow_factors(works).items()}
    {2: 2}
    """
    if len(works) < 2 or not _differ(works):
        return {}
    typical = [float(np.median(work.seconds)) for work in works]
    usual = sorted(typical)[(len(typical) - 1) // 2]
    found = {}
    for rank, (work, middle) in enumerate(zip(works, typical, strict=True)):
        error = 1.2533 * float(np.log(work.seconds).std()) / sqrt(len(work.seconds))
        if abs(log(middle / usual)) > max(LEAST_DIFFERENCE, 3 * error):
            found[rank] = middle / usual
    return found


def _differ(works: Sequence[Work]) -> bool:
    samples = [work.seconds for work in works]
    if np.ptp(np.concatenate(samples)) == 0:
        return False
    return bool(kruskal(*samples).pvalue < SURE)


def common_sigma(works: Sequence[Work]) -> tuple[float, float]:
    """Return correlation and standard deviation of the logarithm that workers share in an iteration.

    Zeros where there are fewer than two workers, or nothing shared.
    """
    logs = pd.DataFrame({w.worker: pd.Series(np.log(w.seconds), index=w.clocks) for w in works}).dropna()
    if logs.shape[1] < 2 or len(logs) < 20 or (logs.std() < 1e-9).any():
        return 0.0, 0.0
    pairs = np.triu_indices(logs.shape[1], 1)
    covariance = float(logs.cov().to_numpy()[pairs].mean())
    correlation = min(0.999999, max(-0.999999, float(logs.corr().to_numpy()[pairs].mean())))
    error = 1 / sqrt((len(logs) - 3) * len(pairs[0]))
    if atanh(correlation) < COMMON * error or covariance <= 0:
        return 0.0, 0.0
    return correlation, sqrt(covariance)


def find_spells(samples: Sequence[Floats], parameters: int, log_likelihood: float) -> Spell | None:
    """Return spells if they explain the times of several workers better than independent draws do.

    Parameters
    ----------
    samples
        Seconds of each worker, in order, of workers that are alike.
    parameters, log_likelihood
        Of the best law of independent draws; the comparison is Schwarz's (1978), which is stricter than
        Akaike's.

    Examples
    --------
    >>> from psbook.laws import LogNormal
    >>> law = LogNormal(0.1, 0.1).spells(0.03, 4, 5)
    >>> spell = find_spells([law.times(worker, 400, seed=0) for worker in range(2)], 2, 0.0)
    >>> round(spell.factor, 1), spell.length
    (4.0, 5)
    """
    logs = [np.log(sample) for sample in samples]
    every = np.concatenate(logs)
    starts = [np.quantile(every, (0.3, high)) for high in (0.8, 0.95, 0.99)]
    fits = [
        fit for low, high in starts if high > low and (fit := _Chain(float(low), float(high), logs).fit())
    ]
    if not fits:
        return None
    best = max(fits, key=lambda chain: chain.log_likelihood)
    spell = best.spell(samples)
    if spell is None:
        return None
    gain = best.log_likelihood - (
        log_likelihood + float(every.sum())
    )  # densities of ln x are x times those of x
    return spell if gain > 0.5 * (5 - parameters) * log(len(every)) + 3 else None


class _Chain:
    """Two states, each with a mean of the logarithm, one spread for both; by expectation maximisation."""

    def __init__(self, low: float, high: float, logs: Sequence[Floats]) -> None:
        self.logs = logs
        every = np.concatenate(logs)
        middle = (low + high) / 2
        off, on = every[every < middle], every[every >= middle]
        if len(off) < 3 or len(on) < 3:
            off, on = every[every <= np.median(every)], every[every >= np.quantile(every, 0.9)]
        self.means = [float(off.mean()), float(on.mean())]
        self.floor = 1e-4 + 1e-3 * abs(self.means[1] - self.means[0])
        self.sigma = max(self.floor, float(np.concatenate([off - off.mean(), on - on.mean()]).std()))
        self.enter, self.leave = 0.05, 0.3
        self.log_likelihood = -np.inf
        self.slow: list[Floats] = []

    def fit(self) -> _Chain | None:
        """Improve until the likelihood stands still."""
        for _ in range(ROUNDS):
            before = self.log_likelihood
            self._step()
            if not np.isfinite(self.log_likelihood):
                return None
            if self.log_likelihood - before < 1e-3:
                break
        return self

    def _step(self) -> None:
        self.slow, total = [], 0.0
        entered = left = off = on = 0.0
        for logs in self.logs:
            slow, crossed, likelihood = self._expect(logs)
            total += likelihood
            self.slow.append(slow)
            entered, left = entered + crossed[0], left + crossed[1]
            off, on = off + float((1 - slow[:-1]).sum()), on + float(slow[:-1].sum())
        self.log_likelihood = total
        every, slow = np.concatenate(self.logs), np.concatenate(self.slow)
        weights = max(1e-9, float((1 - slow).sum())), max(1e-9, float(slow.sum()))
        self.means = [
            float(((1 - slow) * every).sum()) / weights[0],
            float((slow * every).sum()) / weights[1],
        ]
        spread = (1 - slow) * (every - self.means[0]) ** 2 + slow * (every - self.means[1]) ** 2
        self.sigma = max(self.floor, sqrt(float(spread.mean())))
        self.enter = min(0.9, max(1e-4, entered / max(off, 1e-9)))
        self.leave = min(0.999, max(1e-3, left / max(on, 1e-9)))

    def _expect(self, logs: Floats) -> tuple[Floats, tuple[float, float], float]:
        """Forward and backward: chance that each iteration is slow, expected crossings, log-likelihood."""
        z = (logs[:, None] - np.array(self.means)) / self.sigma
        density = (np.exp(-0.5 * np.minimum(z**2, 1400.0)) / (self.sigma * sqrt(2 * np.pi)) + 1e-290).tolist()
        stay, enter, leave, back = 1 - self.enter, self.enter, self.leave, 1 - self.leave
        share = enter / (enter + leave)
        a, b, forward, total = 1 - share, share, [], 0.0
        for number, (d0, d1) in enumerate(density):
            if number:
                a, b = a * stay + b * leave, a * enter + b * back
            a, b = a * d0, b * d1
            scale = a + b
            a, b, total = a / scale, b / scale, total + log(scale)
            forward.append((a, b))
        p, q, slow = 1.0, 1.0, [0.0] * len(density)
        entered = left = 0.0
        for number in range(len(density) - 1, -1, -1):
            a, b = forward[number]
            weight = a * p + b * q
            slow[number] = b * q / weight
            if number:
                d0, d1 = density[number]
                fore = forward[number - 1]
                paths = (fore[0] * stay * d0 * p, fore[0] * enter * d1 * q,
                         fore[1] * leave * d0 * p, fore[1] * back * d1 * q)  # fmt: skip
                every = sum(paths)
                entered, left = entered + paths[1] / every, left + paths[2] / every
                p, q = stay * d0 * p + enter * d1 * q, leave * d0 * p + back * d1 * q
                p, q = p / (p + q), q / (p + q)
        return np.array(slow), (entered, left), total

    def spell(self, samples: Sequence[Floats]) -> Spell | None:
        """Return what was found as the parameters of spells; ``None`` if it is no slowness."""
        on = tuple(slow > 0.5 for slow in self.slow)
        if exp(self.means[1] - self.means[0]) < LEAST_FACTOR:
            return None
        return spell_of(samples, on, self.log_likelihood)


def spell_of(
    samples: Sequence[Floats], on: Sequence[np.ndarray], log_likelihood: float = 0.0
) -> Spell | None:
    """Return the spells of times of which it is known which lay in one; ``None`` without both kinds.

    The chance that an iteration starts a spell is seen where none is on. Spells overlap, so that
    a share 1 − (1 − p)^L of the iterations is slow.
    """
    before = np.concatenate([each[:-1] for each in on])
    after = np.concatenate([each[1:] for each in on])
    share = float(np.concatenate(list(on)).mean())
    starts = int((~before & after).sum())
    if not starts or not 0 < share < 0.5:
        return None
    p = starts / int((~before).sum())
    length = max(1, round(log(1 - share) / log(1 - p)))
    x, slow = np.concatenate(list(samples)), np.concatenate(list(on))
    factor = exp(float(np.log(x[slow]).mean() - np.log(x[~slow]).mean()))
    return Spell(p, factor, length, tuple(on), log_likelihood)


def without(samples: Sequence[Floats], spell: Spell) -> list[Floats]:
    """Return times with the factor of the spells taken out."""
    return [np.where(on, sample / spell.factor, sample) for sample, on in zip(samples, spell.on, strict=True)]


def lag_correlation(samples: Sequence[Floats]) -> float:
    """Return the correlation of the logarithms of successive times, in standard errors."""
    pairs: list[tuple[Floats, Floats]] = []
    for sample in samples:
        logs = np.log(sample)
        pairs.append((logs[:-1] - logs.mean(), logs[1:] - logs.mean()))
    before, after = (np.concatenate(each) for each in zip(*pairs, strict=True))
    scale = sqrt(float((before**2).sum() * (after**2).sum()))
    return float((before * after).sum()) / scale * sqrt(len(before)) if scale else 0.0


def blocks(rng: np.random.Generator, count: int, length: int) -> Ints:
    """Return places of a circular block bootstrap: so many iterations in runs of `length`.

    D. N. Politis and J. P. Romano, "A circular block-resampling procedure", 1992.

    >>> blocks(np.random.default_rng(1), 6, 3).tolist()
    [2, 3, 4, 3, 4, 5]
    """
    starts = rng.integers(count, size=-(-count // length))
    places: Ints = ((starts[:, None] + np.arange(length)) % count).ravel()[:count]
    return places
