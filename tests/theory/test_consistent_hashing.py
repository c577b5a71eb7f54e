"""T14: how evenly consistent hashing places keys, and how few of them move when servers join and leave.

n servers of v points cut the ring at n v uniform positions, so a server owns v of n v uniform spacings:
its share is Beta(v, (n−1)v), with mean 1/n and squared coefficient of variation (n−1)/(n v+1). Servers of
one ring depend on each other, rings of different seeds do not: statistical tests demand theory within
Student's confidence interval at 99.9 % of independent rings, and a half-width below the percentage named.
"""

import functools

import numpy as np
import pytest
from scipy import stats

from psbook.core.ring import POSITIONS, Ring, position
from tests.theory.programs import half_width

RINGS = 4000
SIZES = [(4, 1), (10, 1), (10, 4), (20, 16), (10, 64)]  # n, v


def names(count):
    return [f"server-{index}" for index in range(count)]


@functools.cache
def shares(n, v):
    """Shares of the servers of independent rings, shape (RINGS, n)."""
    return np.array([list(Ring(names(n), v, seed).shares().values()) for seed in range(RINGS)])


def check_mean(samples, required, percent):
    width = half_width(samples)
    assert width < percent / 100 * required
    assert np.mean(samples) == pytest.approx(required, abs=width)


def check_rms(squares, required, percent):
    """A root has half the relative error of its square."""
    check_mean(squares, required**2, 2 * percent)
    assert np.sqrt(np.mean(squares)) == pytest.approx(required, rel=percent / 100)


def squared_cv(parts):
    """Squared coefficient of variation about the mean 1/n of what n servers have, by ring."""
    return ((parts.shape[-1] * parts - 1) ** 2).mean(axis=-1)


@pytest.mark.parametrize(("n", "v"), SIZES)
def test_the_cv_of_a_servers_share(n, v):
    check_rms(squared_cv(shares(n, v)), np.sqrt((n - 1) / (n * v + 1)), percent=2)


@pytest.mark.parametrize(("n", "v"), SIZES)
def test_a_servers_share_is_a_beta_variable(n, v):
    one = shares(n, v)[:, 0]
    assert stats.kstest(one, stats.beta(v, (n - 1) * v).cdf).pvalue > 0.001


@pytest.mark.parametrize("n", [4, 10])
def test_of_servers_with_one_point_the_largest_has_the_harmonic_number_of_mean_shares(n):
    harmonic = sum(1 / i for i in range(1, n + 1))
    check_mean(n * shares(n, 1).max(axis=1), harmonic, percent=2)


def placed(n, keys, seed, ring=None):
    """Part of the keys that each of n servers gets; without a ring, of equal parts of the positions."""
    at = [position(key, seed) for key in range(keys)]
    if ring is None:
        owners = [where * n // POSITIONS for where in at]
    else:
        owners = [ring.servers.index(ring.owner(where)) for where in at]
    return np.bincount(owners, minlength=n) / keys


@pytest.mark.parametrize(("n", "keys"), [(10, 200), (16, 1000)])
def test_keys_hashed_over_equal_servers(n, keys):
    parts = np.array([placed(n, keys, seed) for seed in range(2500)])
    check_rms(squared_cv(parts), np.sqrt((n - 1) / keys), percent=2)


@pytest.mark.parametrize(("n", "v", "keys"), [(10, 4, 50), (10, 16, 200)])
def test_keys_hashed_on_a_ring_have_both_variances(n, v, keys):
    """Given its share a server has binomially many keys: (n−1)/K + (1−1/K)(n−1)/(nv+1)."""
    parts = np.array([placed(n, keys, seed, Ring(names(n), v, seed)) for seed in range(3000)])
    required = (n - 1) / keys + (1 - 1 / keys) * (n - 1) / (n * v + 1)
    check_rms(squared_cv(parts), np.sqrt(required), percent=2)


def moving(moves):
    """Part of the ring, exactly."""
    return sum(move.stop - move.start for move in moves) / POSITIONS


@pytest.mark.parametrize(("n", "v"), [(4, 8), (10, 16)])
def test_a_joiner_gets_its_part_and_keys_move_only_to_it(n, v):
    gained = []
    for seed in range(1500):
        before = Ring(names(n), v, seed)
        after = before.with_server("joiner")
        moves = before.moved(after)
        assert {move.new for move in moves} == {"joiner"}
        assert moving(moves) == after.shares()["joiner"]
        gained.append(moving(moves))
    check_mean(gained, 1 / (n + 1), percent=4)
    check_rms(((n + 1) * np.array(gained) - 1) ** 2, np.sqrt(n / ((n + 1) * v + 1)), percent=8)


@pytest.mark.parametrize("leaver", ["server-0", "server-6"])
def test_a_leaver_moves_exactly_its_share_and_nothing_else(leaver):
    for seed in range(50):
        before = Ring(names(10), 16, seed)
        after = before.without(leaver)
        moves = before.moved(after)
        assert {move.old for move in moves} == {leaver}
        assert moving(moves) == before.shares()[leaver]
        at = [position(key, seed) for key in range(200)]
        moved = [where for where in at if before.owner(where) != after.owner(where)]
        assert moved == [where for where in at if before.owner(where) == leaver]
        assert all(after.owner(where) == before.chain(where, 1)[1] for where in moved)
