"""Samples: subsets, equally likely, the same whoever asks and in whatever order."""

import itertools

import numpy as np
import pytest
from scipy import stats

from psbook.core.sampling import sample, sample_of


@pytest.mark.parametrize(("workers", "beta"), [(2, 1), (5, 0), (5, 4), (30, 7), (1000, 3)])
def test_a_sample_is_a_set_of_others(workers, beta):
    ranks, clocks = np.arange(workers)[:, None], np.arange(20)
    drawn = sample(11, ranks, clocks, workers, beta)
    assert drawn.shape == (workers, 20, beta)
    assert drawn.size == 0 or (drawn.min() >= 0 and drawn.max() < workers)
    assert not (drawn == ranks[..., None]).any()
    ordered = np.sort(drawn, axis=-1)
    assert not (ordered[..., 1:] == ordered[..., :-1]).any()


def test_all_subsets_are_equally_likely():
    """χ² at 0.1 % for each of a few drawing workers: 10 subsets of 2 of the 5 others."""
    clocks = np.arange(20_000)
    for rank in (0, 3, 5):
        drawn = np.sort(sample(7, rank, clocks, 6, 2), axis=-1)
        others = [other for other in range(6) if other != rank]
        found = [int((drawn == pair).all(axis=-1).sum()) for pair in itertools.combinations(others, 2)]
        assert sum(found) == len(clocks)
        assert stats.chisquare(found).pvalue > 0.001


def test_samples_of_neighbours_have_nothing_to_do_with_one_another():
    """Of seeds, ranks and clocks next to each other: shared members are hypergeometric (z = 4)."""
    clocks = np.arange(5000)
    one = sample(1, 4, clocks, 101, 10)
    for seed, rank, later in [(2, 4, 0), (1, 5, 0), (1, 4, 1)]:
        other = sample(seed, rank, clocks + later, 101, 10)
        shared = (one[:, :, None] == other[:, None, :]).sum(axis=(1, 2))
        assert np.mean(shared) == pytest.approx(1.0, abs=4 * np.std(shared) / np.sqrt(len(shared)) + 0.02)


def test_a_sample_depends_on_its_own_place_alone():
    everything = sample(9, np.arange(8)[:, None], np.arange(200), 8, 3)
    for rank, clock in [(0, 0), (7, 199), (3, 64), (3, 63)]:
        assert sample_of(9, rank, clock, 8, 3) == everything[rank, clock].tolist()
    assert not np.array_equal(everything, sample(10, np.arange(8)[:, None], np.arange(200), 8, 3))
    assert sample(2**64 - 1, 0, 0, 5, 2).shape == (2,)
