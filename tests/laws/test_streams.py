"""Common random numbers: a time is a function of (seed, worker, iteration) and of nothing else."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psbook.errors import InvalidJob
from psbook.laws import (
    Draws,
    Empirical,
    Exponential,
    Gamma,
    LogNormal,
    Measured,
    Pareto,
    ShiftedExponential,
    Uniform,
    generator,
)

LEAVES = [
    Uniform(1, 3),
    Exponential(0.1),
    ShiftedExponential(1, 1),
    Gamma(0.1, 0.7),
    Gamma(0.1, 4),
    LogNormal(0.1, 0.3),
    Pareto(1, 1.5),
    Empirical([[0.1, 0.2, 0.3], [1.0, 2.0]], "in order"),
    Empirical([[0.1, 0.2, 0.3], [1.0, 2.0]], "bootstrap"),
    Empirical([[0.1, 0.2, 0.3], [1.0, 2.0]], "one each"),
]
WRAPS = [
    lambda law: law.spells(0.1, 3.0, 4),
    lambda law: law.common(Gamma(1, 2)),
    lambda law: law.slow({1: 2.0}),
    lambda law: law.rotating(5.0, every=3, workers=4),
    lambda law: law.rotating(5.0, every=3),
    lambda law: law.delayed(1, 7, 5.0),
    lambda law: law.swapped([2, 0, 1]),
    lambda law: law + Exponential(1.0),
    lambda law: law * LogNormal(1.0, 0.5),
]
laws = st.builds(
    lambda leaf, wraps: [leaf := wrap(leaf) for wrap in wraps][-1] if wraps else leaf,
    st.sampled_from(LEAVES),
    st.lists(st.sampled_from(WRAPS), max_size=3),
)
workers = st.integers(0, 20)
seeds = st.integers(0, 2**64 - 1)


@settings(max_examples=200, deadline=None)
@given(laws, workers, seeds, st.integers(0, 300), st.integers(0, 300))
def test_asking_for_more_repeats_the_beginning(law, worker, seed, few, more):
    first = law.times(worker, few, seed)
    again = law.times(worker, few + more, seed)
    assert first.shape == (few,) and first.dtype == np.float64
    np.testing.assert_array_equal(first, again[:few])
    assert (again > 0).all()


@settings(max_examples=50, deadline=None)
@given(laws, seeds, st.lists(workers, min_size=1, max_size=6))
def test_draws_agree_with_times_in_any_order_of_workers(law, seed, order):
    draws = Draws(law, seed)
    seen = {worker: [] for worker in order}
    for worker in order * 30:
        seen[worker].append(draws.next(worker))
    for worker, times in seen.items():
        np.testing.assert_array_equal(times, law.times(worker, len(times), seed))


def test_draws_by_iteration_leave_the_cursor_alone():
    law, draws = Exponential(1.0), Draws(Exponential(1.0), seed=9)
    assert draws.at(3, 1000) == law.times(3, 1001, seed=9)[1000]
    assert draws.next(3) == law.times(3, 1, seed=9)[0]
    assert type(draws.next(3)) is float


@pytest.mark.parametrize("law", LEAVES, ids=lambda law: law.label)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda law: law.spells(0.3, 2.0, 2),
        lambda law: law.common(Gamma(1, 2)),
        lambda law: law + Uniform(0, 1),
    ],
)
def test_wrapping_changes_nobodys_luck(law, wrap):
    """What is left after taking the wrapper's own effect away is the wrapped law's draws, bit for bit."""
    bare = law.times(2, 500, seed=3)
    twice = wrap(law).slow({5: 2.0}).delayed(7, 0, 1.0)
    np.testing.assert_array_equal(twice.times(2, 500, seed=3), wrap(law).times(2, 500, seed=3))
    ratio = law.spells(0.3, 2.0, 2).times(2, 500, seed=3) / bare
    assert set(np.round(ratio, 12)) == {1.0, 2.0}


def test_parts_of_one_law_have_streams_of_their_own():
    law = Exponential(1.0)
    left = law.times(0, 20_000, seed=1)
    for right in ((law + law).times(0, 20_000, seed=1) - left, (law * law).times(0, 20_000, seed=1) / left):
        assert right.mean() == pytest.approx(1, abs=4 / np.sqrt(20_000))
        assert abs(np.corrcoef(left, right)[0, 1]) < 4 / np.sqrt(20_000)


def test_nested_spells_are_independent():
    inner = Exponential(1.0).spells(0.3, 2.0)
    bare = Exponential(1.0).times(0, 20_000, seed=1)
    first = inner.times(0, 20_000, seed=1) / bare > 1.5
    both = inner.spells(0.3, 5.0).times(0, 20_000, seed=1) / bare
    assert np.mean(both > 9) == pytest.approx(0.09, abs=4 * np.sqrt(0.09 / 20_000))
    np.testing.assert_array_equal(first, np.isclose(both, 2) | np.isclose(both, 10))


def test_workers_and_iterations_are_uncorrelated():
    """All pairs of 20 workers, and neighbours in time: |r| < 4.5/√N fails for 1 in 700 correct generators."""
    times = Exponential(1.0).matrix(workers=20, count=20_000, seed=7)
    bound = 4.5 / np.sqrt(times.shape[1])
    correlations = np.corrcoef(times)[np.triu_indices(20, k=1)]
    assert np.abs(correlations).max() < bound
    for row in times:
        assert abs(np.corrcoef(row[:-1], row[1:])[0, 1]) < bound


def test_streams_never_meet():
    """64 streams of 1000 64-bit words have no word in common (a chance of 1e-10 for independent ones)."""
    words = [
        generator(seed, component, worker, second).bit_generator.random_raw(1000)
        for seed in (0, 1)
        for component in ("compute/0", "compute/1")
        for worker in range(8)
        for second in range(2)
    ]
    assert np.unique(np.concatenate(words)).size == 64 * 1000


def test_permuting_workers_with_their_streams_permutes_the_times():
    law = Exponential(0.1).spells(0.05, 4, 3).slow({0: 2.0}).common(Gamma(1, 3))
    order = [3, 1, 0, 2]
    np.testing.assert_array_equal(
        law.swapped(order).matrix(6, 50, seed=2), law.matrix(6, 50, seed=2)[[*order, 4, 5]]
    )


def test_adding_workers_changes_nobodys_luck():
    law = Exponential(0.1).rotating(1.0, 5, workers=4).common(Gamma(1, 3))
    np.testing.assert_array_equal(law.matrix(3, 50, seed=2), law.matrix(9, 50, seed=2)[:3])


def test_streams_are_the_same_in_another_process():
    code = "from psbook.laws import Exponential; print(Exponential(1.0).times(3, 5, seed=8).tobytes().hex())"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.strip() == Exponential(1.0).times(3, 5, seed=8).tobytes().hex()


def test_measured_is_scaled_delayed_and_slowed_like_any_law():
    law = (Measured(2.0) + 0.5).slow({1: 3.0}).delayed(1, 1, 10.0) * Uniform(1, 2)
    draws, luck = Draws(law, seed=4), (Uniform(1, 2) * 1).times(1, 2, seed=4)
    assert law.measured
    assert draws.next(1, measured=0.25) == pytest.approx(3 * (0.5 + 0.5) * luck[0])
    assert draws.next(1, measured=0.75) == pytest.approx((3 * (1.5 + 0.5) + 10) * luck[1])


def test_measured_has_no_times_ahead_of_the_run():
    with pytest.raises(InvalidJob, match="ahead of the run"):
        Measured().slow({0: 2.0}).times(0, 1, seed=0)
    with pytest.raises(InvalidJob, match="measured seconds were not given"):
        Draws(Measured(), seed=0).next(0)
    with pytest.raises(InvalidJob, match="both measured"):
        Measured() * Measured()
    with pytest.raises(InvalidJob, match="measured apart"):
        Exponential(1).common(Measured())
