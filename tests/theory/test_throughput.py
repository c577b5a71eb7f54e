"""T1, T3, T8, T9: rates in the long run, against closed forms and a Markov chain solved here.

Every estimate is the mean of independent seeds (or rounds). The tests demand theory's value within Student's
confidence interval at 99.9 %: as often a right simulator would pass, and the seeds are fixed, so it always
will. That the half-width itself stays below the percentage that is named keeps the tests from passing by
noise.
"""

import itertools

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import spsolve

import psbook as ps
from tests.theory.programs import ends, half_width, run_loop


def harmonic(n):
    return sum(1 / i for i in range(1, n + 1))


ROUNDS = [
    (ps.Exponential(1.0), harmonic),
    (ps.ShiftedExponential(1.0, 1.0), lambda n: 1 + harmonic(n)),
    (ps.Uniform(0.5, 2.0), lambda n: 0.5 + 1.5 * n / (n + 1)),
    (ps.Constant(0.75), lambda n: 0.75),
]


def bsp_rounds(law, workers, rounds):
    """Seconds of each round: they are independent."""
    finished = np.array(ends(run_loop(ps.BSP(), law, workers, rounds, seed=7)))
    return np.diff(finished.max(axis=0), prepend=0.0)


@pytest.mark.parametrize(("law", "expected"), ROUNDS, ids=[law.label for law, _ in ROUNDS])
def test_a_bsp_round_takes_as_long_as_its_slowest_worker(law, expected):
    """T1: E[max of n]; n = 10: 800 rounds, 99.9 %, within 8 %."""
    lengths = bsp_rounds(law, 10, 800)
    width = half_width(lengths)
    assert width < 0.08 * expected(10)
    assert np.mean(lengths) == pytest.approx(expected(10), abs=width + 1e-9)


def test_the_listed_values_of_t1_are_the_harmonic_numbers():
    assert harmonic(10) == pytest.approx(2.92897, abs=5e-6)
    assert harmonic(100) == pytest.approx(5.18738, abs=5e-6)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_workers_wait_for_the_hundredth():
    """T1 at n = 100: 6000 rounds, within 1 % of H_100."""
    lengths = bsp_rounds(ps.Exponential(1.0), 100, 6000)
    assert np.mean(lengths) == pytest.approx(5.18738, rel=0.01)


@pytest.mark.parametrize("law", [ps.Exponential(1.0), ps.Gamma(1.0, 4.0), ps.Uniform(0.5, 1.5)])
def test_nobody_waits_under_asp(law):
    """T3 with K = 1: J updates of P workers take J·E[X]/P, 99.9 %, within 5 %."""
    workers, iterations = 8, 800
    finished = np.array(ends(run_loop(ps.ASP(), law, workers, iterations, seed=3)))
    width = half_width(np.diff(finished, axis=1).ravel())
    assert width < 0.05
    updates = int(np.sum(finished <= finished[:, -1].min()))  # while everybody works
    assert finished[:, -1].min() == pytest.approx(updates / workers, rel=width)


# T8, T9: SSP


def two_workers(s, fast=1.0, slow=1.0):
    """Iterations a second of the slower worker (T8)."""
    if fast == slow:
        return slow * (2 * s + 2) / (2 * s + 3)
    rho, lead = fast / slow, s + 1
    return fast * (1 - rho ** (2 * lead) * (rho - 1) / (rho ** (2 * lead + 1) - 1))


def occupancy_chain(n, s):
    """Iterations a second a worker under SSP(s) with exp(1) work: the stationary chain of leads (T9).

    A state counts the workers that are 0 … s+1 iterations ahead of the slowest; those s+1 ahead are held.
    Each other one moves up with rate 1; when nobody is left at 0, all move down.
    """
    states = [
        (*(b - a - 1 for a, b in itertools.pairwise((-1, *bars, n + s + 1))),)
        for bars in itertools.combinations(range(n + s + 1), s + 1)
    ]
    states = [state for state in states if state[0]]
    index = {state: at for at, state in enumerate(states)}
    Q = sparse.lil_matrix((len(states), len(states)))
    for state, at in index.items():
        for lead in range(s + 1):
            rate = state[lead]
            if rate:
                after = list(state)
                after[lead] -= 1
                after[lead + 1] += 1
                if not after[0]:
                    after = [*after[1:], 0]
                Q[index[tuple(after)], at] += rate
                Q[at, at] -= rate
    Q[0, :] = 1.0
    target = np.zeros(len(states))
    target[0] = 1.0
    stationary = spsolve(Q.tocsc(), target)
    working = np.array([n - state[-1] for state in states])
    return float(stationary @ working) / n


def test_the_chain_gives_the_listed_values_and_the_two_worker_formula():
    listed = {4: (0.48000, 0.65998, 0.74819, 0.80018), 16: (0.29579, 0.48079, 0.59302, 0.66627)}
    for n, values in listed.items():
        assert [occupancy_chain(n, s) for s in range(4)] == pytest.approx(values, abs=6e-6)
    assert [occupancy_chain(2, s) for s in range(4)] == pytest.approx([two_workers(s) for s in range(4)])
    assert occupancy_chain(7, 0) == pytest.approx(1 / harmonic(7))


def ssp_rates(s, workers, iterations, law, seeds):
    """Iterations a second a worker, after a start-up of a quarter, one value a seed."""
    rates = []
    for seed in range(seeds):
        slowest = np.array(ends(run_loop(ps.SSP(s), law, workers, iterations, seed=seed))).max(axis=0)
        first, last = iterations // 4, iterations - 1
        rates.append((last - first) / (slowest[last] - slowest[first]))
    return rates


def check_rate(expected, percent, s, workers, iterations, law, seeds):
    rates = ssp_rates(s, workers, iterations, law, seeds)
    width = half_width(rates)
    assert width < percent / 100 * expected
    assert np.mean(rates) == pytest.approx(expected, abs=width)


@pytest.mark.parametrize("s", [0, 1, 3])
def test_two_equal_workers(s):
    """T8: 10 seeds of 500 iterations, 99.9 %, within 8 %."""
    check_rate(two_workers(s), 8, s, 2, 500, ps.Exponential(1.0), 10)


@pytest.mark.parametrize("s", [0, 2])
def test_two_unequal_workers(s):
    """T8: worker 0 is twice as fast, and held back to the other's rate."""
    law = ps.Exponential(1.0).slow({0: 0.5})
    check_rate(two_workers(s, fast=2.0), 8, s, 2, 500, law, 10)


@pytest.mark.parametrize(("n", "s"), [(4, 0), (4, 3), (16, 1)])
def test_more_workers(n, s):
    """T9: 12 seeds of 120 to 300 iterations, 99.9 %, within 8 %."""
    check_rate(occupancy_chain(n, s), 8, s, n, 120 if n > 4 else 300, ps.Exponential(1.0), 12)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("s", [0, 1, 2, 3])
@pytest.mark.parametrize("n", [2, 4, 16])
def test_ssp_rates_within_one_percent(n, s):
    """T8, T9: the mean of the seeds lies within 1 %, and 99.9 % confidence within 2 %."""
    seeds, iterations = 24, 2500 if n < 16 else 1200
    rates = ssp_rates(s, n, iterations, ps.Exponential(1.0), seeds)
    assert half_width(rates) < 0.02 * occupancy_chain(n, s)
    assert np.mean(rates) == pytest.approx(occupancy_chain(n, s), rel=0.01)
