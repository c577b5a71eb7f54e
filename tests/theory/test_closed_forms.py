"""The closed forms of psbook.experiments.theory give theory.md's numbers, and what brute force gives."""

import math

import numpy as np
import pytest

import psbook as ps
from psbook.errors import InvalidJob
from psbook.experiments import theory
from tests.theory.programs import half_width, max_plus

# T1, T2: order statistics


def test_listed_harmonic_numbers_and_order_statistics():
    assert theory.harmonic(10) == pytest.approx(2.92897, abs=5e-6)
    assert theory.harmonic(100) == pytest.approx(5.18738, abs=5e-6)
    assert theory.kth_of(ps.Exponential(1.0), 10, 20) == pytest.approx(0.66877, abs=5e-6)
    assert theory.kth_of(ps.Exponential(1.0), 19, 20) == pytest.approx(2.59774, abs=5e-6)


LAWS = [
    ps.Exponential(0.5),
    ps.ShiftedExponential(1.0, 0.5),
    ps.Uniform(0.5, 2.0),
    ps.Gamma(2.0, 3.0),
    ps.LogNormal(0.3, 0.6),
    ps.Pareto(1.0, 3.5),
]


@pytest.mark.parametrize("law", LAWS, ids=[law.label for law in LAWS])
def test_order_statistics_are_those_of_sorted_draws(law):
    """99.9 % confidence, every k of 9 workers, 20,000 draws; means of one worker are the law's."""
    n = 9
    draws = np.sort(law.matrix(n, 20_000, seed=5), axis=0)
    for k in range(1, n + 1):
        required = theory.kth_of(law, k, n)
        width = half_width(draws[k - 1])
        assert width < 0.03 * required
        assert draws[k - 1].mean() == pytest.approx(required, abs=1.3 * width)
    assert theory.kth_of(law, 1, 1) == pytest.approx(law.mean, rel=1e-6)
    assert np.mean([theory.kth_of(law, k, n) for k in range(1, n + 1)]) == pytest.approx(law.mean, rel=1e-6)


def test_quadrature_agrees_with_the_closed_forms_it_replaces():
    """Gamma of shape 1 is exponential; a nearly constant log-normal is constant; Pareto has Γ functions."""
    for k in (1, 7, 100):
        exact = theory.kth_of(ps.Exponential(2.0), k, 100)
        assert theory.kth_of(ps.Gamma(2.0, 1.0), k, 100) == pytest.approx(exact, rel=1e-8)
    assert theory.kth_of(ps.LogNormal(3.0, 0.0), 4, 9) == pytest.approx(3.0, rel=1e-6)
    n, shape = 12, 2.5
    largest = math.gamma(n + 1) * math.gamma(1 - 1 / shape) / math.gamma(n + 1 - 1 / shape)
    assert theory.slowest_of(ps.Pareto(1.0, shape), n) == pytest.approx(largest, rel=1e-5)


@pytest.mark.parametrize(
    "law",
    [ps.Exponential(1.0).slow({0: 2.0}), ps.Pareto(1.0, 0.9), ps.Measured(), ps.Constant(1.0).spells(0.1, 2)],
)
def test_laws_without_a_form_are_refused(law):
    with pytest.raises(InvalidJob, match="elementary law"):
        theory.slowest_of(law, 3)


# T5, T6, T21


def test_staleness_of_equal_workers_is_geometric_with_the_listed_moments():
    n, ks = 10, np.arange(2000)
    law = theory.asp_staleness_pmf([1.0] * n, len(ks))
    assert law.sum() == pytest.approx(1.0)
    assert law @ ks == pytest.approx(n - 1)
    assert law @ ks**2 - (n - 1) ** 2 == pytest.approx(theory.asp_staleness_variance(n))


def test_staleness_of_unequal_workers_against_a_race_of_clocks():
    """Count, in a list of who updates when, the updates between two of the same worker."""
    rates = np.array([0.5, 1.0, 2.5])
    who = np.random.default_rng(3).choice(3, 200_000, p=rates / rates.sum())
    gaps = np.concatenate([np.diff(np.flatnonzero(who == k)) - 1 for k in range(3)])
    found = np.bincount(gaps, minlength=40)[:40] / len(gaps)
    required = theory.asp_staleness_pmf(rates, 40)
    spread = np.sqrt(required * (1 - required) / len(gaps))
    assert np.abs(found - required).max() < 5 * spread.max()
    means = [np.diff(np.flatnonzero(who == k)).mean() - 1 for k in range(3)]
    assert theory.asp_staleness_mean(rates) == pytest.approx(means, rel=0.02)
    assert rates / rates.sum() @ theory.asp_staleness_mean(rates) == pytest.approx(2.0)


def batch_async(workers, k, seconds):
    """Mean staleness of K-batch-async by brute force: gradients in order of arrival, K an update."""
    events = sorted((t, i) for i, row in enumerate(np.cumsum(seconds, axis=1)) for t in row)
    version, pending, read, ages = 0, [], [0] * workers, []
    for _, i in events[: workers * seconds.shape[1] // 2]:
        pending.append(read[i])
        if len(pending) == k:
            ages += [version - seen for seen in pending]
            version, pending = version + 1, []
        read[i] = version
    return np.mean(ages[len(ages) // 20 :])


@pytest.mark.parametrize("k", [1, 3, 8])
def test_mean_staleness_of_batches(k):
    seconds = ps.Gamma(1.0, 2.0).matrix(8, 4000, seed=1)
    assert batch_async(8, k, seconds) == pytest.approx(theory.mean_staleness("kbatchasync", 8, k), rel=0.01)


def test_means_that_are_listed():
    assert theory.mean_staleness("asp", 8) == theory.mean_staleness("kbatchasync", 8, 1) == 7
    assert theory.mean_staleness("kasync", 20, 20) == theory.mean_staleness("ksync", 20, 3) == 0
    assert theory.missing_updates(3, 8) == 21
    with pytest.raises(InvalidJob, match="one of"):
        theory.mean_staleness("dssp", 3)


# T8, T9


def test_listed_rates_of_ssp():
    listed = {4: (0.48000, 0.65998, 0.74819, 0.80018), 16: (0.29579, 0.48079, 0.59302, 0.66627)}
    for n, values in listed.items():
        assert [theory.ssp_rate(n, s) for s in range(4)] == pytest.approx(values, abs=6e-6)
    assert [theory.ssp_rate(2, s) for s in range(5)] == pytest.approx(
        [theory.ssp_rate_of_two(s) for s in range(5)]
    )
    for n in (2, 9, 40):
        assert theory.ssp_rate(n, 0) == pytest.approx(1 / theory.harmonic(n))


def test_two_unequal_workers_by_the_formula_as_listed():
    for s, fast in [(0, 2.0), (3, 1.1), (2, 4.0)]:
        rho, lead = fast, s + 1
        listed = fast * (1 - rho ** (2 * lead) * (rho - 1) / (rho ** (2 * lead + 1) - 1))
        assert theory.ssp_rate_of_two(s, fast) == pytest.approx(listed)
    assert theory.ssp_rate_of_two(10**6, 2.0) == pytest.approx(1.0)


@pytest.mark.parametrize(("n", "s"), [(3, 1), (6, 2)])
def test_ssp_rate_against_the_max_plus_recursion(n, s):
    rates = []
    for seed in range(12):
        ends = np.max(max_plus(ps.Exponential(1.0).matrix(n, 1500, seed), s), axis=0)
        rates.append(1200 / (ends[-1] - ends[299]))
    assert half_width(rates) < 0.03 * np.mean(rates)
    assert np.mean(rates) == pytest.approx(theory.ssp_rate(n, s), abs=half_width(rates))


def test_a_chain_too_large_is_refused():
    with pytest.raises(InvalidJob, match="states; required"):
        theory.ssp_rate(100, 4)


def test_rates_by_model():
    law, n = ps.Exponential(0.2), 4
    assert theory.iteration_rate(ps.ASP(), law, n) == pytest.approx(20)
    assert theory.iteration_rate(ps.SSP(math.inf), law.slow({0: 2}), n) == pytest.approx(17.5)
    assert theory.iteration_rate(ps.BoundedDelay(2), law, n) == pytest.approx(20 * theory.ssp_rate(n, 2))
    assert theory.iteration_rate(ps.BSP(), ps.Constant(0.5), n) == 8
    assert theory.update_rate(ps.BSP(), ps.Constant(0.5), n) == 2
    two = theory.iteration_rate(ps.SSP(1), ps.Exponential(1.0).slow({1: 0.5}), 2)
    assert two == pytest.approx(2 * theory.ssp_rate_of_two(1, 2.0))
    unknown = [(ps.SSP(1), ps.Gamma(1, 2)), (ps.SSP(1), law.slow({0: 2})), (ps.BSP(), ps.Measured())]
    assert all(math.isnan(theory.iteration_rate(model, other, n)) for model, other in unknown)
    assert theory.seconds_of_updates(100, 4, ps.Pareto(1, 3), 8) == pytest.approx(75)


# T10


def test_delays_against_the_max_plus_recursion():
    T, N, n, s, d = 1.0, 30, 4, 2, 5.0
    once = np.array(max_plus(ps.Constant(T).delayed(1, 10, d).matrix(n, N, 0), s))
    assert once.max() == theory.delayed_makespan(N, T, d)
    assert once[0, -1] - N * T == theory.blocked_by_delay(s, T, d) == 3.0
    around = np.array(max_plus(ps.Constant(T).rotating(d, 6).matrix(n, N, 0), s))
    assert around.max() == theory.rotating_makespan(N, T, d, s, n)
    slow = np.array(max_plus(ps.Constant(T).slow({2: 1.75}).matrix(n, N, 0), s))
    assert slow.max() == theory.slow_makespan(N, T, 1.75)


# T11, T12


def test_listed_values_of_queues():
    throughput, response, queue = theory.closed_queue(10, 1.0, 0.1)
    assert (throughput, response) == pytest.approx((7.85418, 0.273208), rel=1e-6)
    assert queue == pytest.approx(throughput * response)
    assert theory.deterministic_throughput(12, 1.0, 0.125) == 8
    assert theory.open_response(0.5, 1.0, 0.25) == pytest.approx(1 + 0.5 * 1.25 / (2 * 0.5))
    with pytest.raises(InvalidJob, match="load"):
        theory.open_response(2.0, 0.5, 1.0)


def test_closed_queue_against_its_birth_and_death_chain():
    """Machine repair: n at the server with weight N!/(N−n)!·(S/Z)^n."""
    N, Z, S = 7, 2.0, 0.5
    weights = np.array([math.perm(N, n) * (S / Z) ** n for n in range(N + 1)])
    share = weights / weights.sum()
    assert theory.closed_queue(N, Z, S).throughput == pytest.approx((1 - share[0]) / S)
    assert theory.closed_queue(N, Z, S).queue == pytest.approx(share @ np.arange(N + 1))


def test_collectives_step_by_step():
    n, S, B, a = 6, 1200.0, 400.0, 0.1
    assert theory.ring_all_reduce(n, S, B, a) == pytest.approx(sum(S / n / B + a for _ in range(2 * (n - 1))))
    reached, steps = 1, 0
    while reached < n:
        reached, steps = 2 * reached, steps + 1
    assert theory.binomial_broadcast(n, S, B, a) == pytest.approx(steps * (a + S / B))
    assert theory.gather_scatter(n, S, B) == 36.0
    assert theory.pull_push(8, 2, S, B, B) == 2 * theory.pull_push(8, 2, S, B, B, overlap=True) == 24.0


# T19, T20


@pytest.mark.parametrize("workers", [1, 4, 10])
def test_the_mean_path_is_that_of_gradients_with_geometric_staleness(workers):
    """T19: Monte-Carlo over independent staleness; 4,000 paths, 99.99 %, and exactly as a recursion."""
    rate, curvature, steps, paths = 0.3, 0.5, 60, 4000
    required = theory.mean_path(workers, rate, curvature, steps)
    p = 1 / workers
    mean = [1.0]
    for t in range(steps):
        seen = sum(p * (1 - p) ** k * mean[t - k] for k in range(t + 1)) + (1 - p) ** (t + 1)
        mean.append(mean[-1] - rate * curvature * seen)
    assert required == pytest.approx(np.array(mean))
    rng = np.random.default_rng(workers)
    w = np.ones((steps + 1, paths))
    for t in range(steps):
        read = np.maximum(t - (rng.geometric(p, paths) - 1), 0)
        w[t + 1] = w[t] - rate * curvature * w[read, np.arange(paths)]
    width = 4.5 * w.std(axis=1) / math.sqrt(paths) + 1e-12
    assert (np.abs(w.mean(axis=1) - required) <= width).all()


def test_backups():
    assert [theory.stalled(50, b, 0.02) for b in (0, 1, 2, 4)] == pytest.approx(
        [0.6358, 0.2717, 0.0859, 0.0045], abs=5e-5
    )
    slow = np.random.default_rng(0).random((40_000, 23)) < 0.1
    found = (slow.sum(axis=1) > 3).mean()
    assert found == pytest.approx(theory.stalled(20, 3, 0.1), abs=4 * math.sqrt(0.25 / 40_000))
    with pytest.raises(InvalidJob, match="0 … 1"):
        theory.stalled(3, 1, 1.5)


def test_the_regret_bound_falls_with_the_root_of_the_updates():
    bound = theory.regret_bound(3, 4, np.array([100.0, 400.0]), F=2.0, L=0.5)
    assert bound[0] == pytest.approx(4 * 2 * 0.5 * math.sqrt(2 * 4 * 4 / 100))
    assert bound[1] == pytest.approx(bound[0] / 2)
