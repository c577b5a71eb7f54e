"""Stragglers against their definitions, and against the path law of staleness."""

import numpy as np
import pytest

from psbook.errors import InvalidJob
from psbook.laws import Constant, Exponential, Gamma, Law, LogNormal


def makespan(times: np.ndarray, staleness: int) -> float:
    """End of the last iteration under SSP: F[i,c] = max(F[i,c−1], max_j F[j,c−1−s]) + X[i,c]."""
    workers, count = times.shape
    finished = np.zeros((count + 1, workers))
    for c in range(1, count + 1):
        gate = finished[max(c - 1 - staleness, 0)].max()
        finished[c] = np.maximum(finished[c - 1], gate) + times[:, c - 1]
    return float(finished[-1].max())


@pytest.mark.parametrize("staleness", [0, 1, 2, 3, 5, 8])
@pytest.mark.parametrize("delay", [0.5, 2.0, 3.25, 6.0])
def test_one_delay_costs_itself_at_any_staleness(staleness, delay):
    times = Constant(1.0).delayed(worker=2, iteration=4, delay=delay).matrix(workers=4, count=20, seed=0)
    assert makespan(times, staleness) == 20 + delay


@pytest.mark.parametrize("staleness", [0, 1, 2, 3, 5, 8])
@pytest.mark.parametrize("delay", [0.5, 2.0, 3.25, 6.0])
def test_rotating_delay_costs_what_staleness_does_not_hide(staleness, delay):
    """N·T + d + (n − 1)·max(0, d − s·T)."""
    n, count = 5, 60
    times = Constant(1.0).rotating(delay, every=8).matrix(n, count, seed=0)
    assert times.sum() == n * count + n * delay
    assert makespan(times, staleness) == count + delay + (n - 1) * max(0, delay - staleness)


@pytest.mark.parametrize("staleness", [0, 3, 10])
def test_permanently_slow_worker_sets_the_pace(staleness):
    times = Constant(1.0).slow({1: 2.5}).matrix(workers=4, count=30, seed=0)
    assert makespan(times, staleness) == 30 * 2.5


def test_rotation_goes_on_when_the_number_of_workers_is_given():
    extra = Constant(1.0).rotating(3.0, every=2, workers=3).matrix(workers=4, count=14, seed=0) - 1
    hit = [(int(i), int(c)) for c, i in zip(*np.nonzero(extra.T), strict=True)]
    assert hit == [(0, 0), (1, 2), (2, 4), (0, 6), (1, 8), (2, 10), (0, 12)]


def test_rotating_mean():
    law = Constant(1.0).rotating(3.0, every=2, workers=3)
    assert law.mean == law.times(0, 600, seed=0).mean()
    assert Constant(1.0).rotating(3.0, every=2).mean == 1.0


def test_spells_last_and_have_their_share():
    probability, factor, length = 0.02, 4.0, 5
    slow = Constant(1.0).spells(probability, factor, length).matrix(200, 1000, seed=1) == factor
    share = 1 - (1 - probability) ** length
    error = 4 * np.sqrt(share * length / slow.size)  # neighbours within a spell are not independent
    assert slow.mean() == pytest.approx(share, abs=error)
    assert slow[:, 0].mean() == pytest.approx(share, abs=4 * np.sqrt(share / 200))
    edges = np.diff(slow[:, length:].astype(int), axis=1)
    for row in edges:
        starts, ends = np.flatnonzero(row == 1), np.flatnonzero(row == -1)
        ends = ends[ends > starts[0]] if starts.size else ends[:0]
        assert (ends - starts[: ends.size] >= length).all()


def test_spells_of_one_iteration_are_bernoulli():
    """Backup workers: P(more than b of N + b workers are slow) for N = 50, p = .02."""
    for backups, probability in ((0, 0.6358), (1, 0.2717), (2, 0.0859), (4, 0.0045)):
        slow = Constant(1.0).spells(0.02, 2.0).matrix(50 + backups, 40_000, seed=2) == 2.0
        missed = (slow.sum(axis=0) > backups).mean()
        assert missed == pytest.approx(probability, abs=4 * np.sqrt(probability / 40_000))


@pytest.mark.parametrize(
    "law",
    [
        Exponential(0.1).spells(0.1, 3.0, 4),
        Exponential(0.1).common(LogNormal(1, 0.5)),
        Exponential(0.1) * Gamma(2, 4),
        (Exponential(0.1) + Gamma(0.2, 4)).slow({0: 2.0}),
        3 * Exponential(0.1) + 0.1,
    ],
    ids=lambda law: law.label,
)
def test_mean_of_a_combination(law: Law):
    times = law.times(0, 200_000, seed=3)
    assert times.mean() == pytest.approx(law.mean_of(0), rel=0.02)


def test_common_factor_is_the_same_for_all_workers_and_changes_with_iterations():
    times = Constant(1.0).common(Gamma(1, 4)).matrix(workers=6, count=50, seed=4)
    assert (times == times[0]).all()
    assert np.unique(times[0]).size == 50


def test_slow_names_single_workers():
    law = Exponential(1.0).slow({1: 3.0})
    np.testing.assert_array_equal(law.times(1, 9, seed=5), 3 * Exponential(1.0).times(1, 9, seed=5))
    assert (law.mean, law.mean_of(0), law.mean_of(1)) == (1.0, 1.0, 3.0)
    assert law.swapped([1, 0]).mean_of(0) == 3.0


@pytest.mark.parametrize(
    ("law", "label"),
    [
        (Exponential(0.1).spells(0.01, 4, 5), "Exponential(0.1).spells(0.01, 4, 5)"),
        (Exponential(0.1) + 0.05, "Exponential(0.1) + 0.05"),
        ((Exponential(0.1) + 0.05) * 2, "(Exponential(0.1) + 0.05) × 2"),
        (LogNormal(0.1, 0.3).common(Gamma(1, 4)), "LogNormal(0.1, 0.3) × common Gamma(1, 4)"),
        (Exponential(1).slow({3: 2, 1: 1.5}), "Exponential(1).slow({1: 1.5, 3: 2})"),
        (Exponential(1).rotating(2, 10), "Exponential(1).rotating(2, 10)"),
        (Exponential(1).delayed(0, 3, 2), "Exponential(1).delayed(0, 3, 2)"),
    ],
)
def test_labels_read_like_the_code(law, label):
    assert law.label == label


@pytest.mark.parametrize(
    "make",
    [
        lambda law: law.spells(1.5, 2),
        lambda law: law.spells(-0.1, 2),
        lambda law: law.spells(0.1, 0),
        lambda law: law.spells(0.1, 2, 0),
        lambda law: law.spells(0.1, 2, 1.5),
        lambda law: law.slow({-1: 2.0}),
        lambda law: law.slow({0: 0.0}),
        lambda law: law.rotating(-1.0, 2),
        lambda law: law.rotating(1.0, 0),
        lambda law: law.rotating(1.0, 1, workers=0),
        lambda law: law.delayed(0, -1, 1.0),
        lambda law: law.delayed(0, 1, float("nan")),
        lambda law: law.swapped([0, 2]),
        lambda law: law.common(2.0),
        lambda law: law * -1,
        lambda law: law + "slow",
    ],
)
def test_wrong_stragglers_are_refused_with_a_requirement(make):
    with pytest.raises(InvalidJob, match="required: "):
        make(Constant(1.0))
