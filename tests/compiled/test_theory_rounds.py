"""T2, T3, T20: compiled rounds of K gradients, path by path and in the mean."""

import numpy as np
import pytest
from scipy import stats

import psbook as ps
from psbook.experiments import theory
from psbook.simulator.compiled import timeline
from psbook.simulator.compiled.rounds import collected, rounds_order
from tests.compiled.theory import harmonic, random, replications
from tests.theory.test_rounds import GOING_ON, follow

DRAWS = {
    "exponential": lambda rng, shape: rng.exponential(size=shape),
    "heavy tails": lambda rng, shape: 0.2 * (1 + rng.pareto(1.3, size=shape)),
}

SHAPE = (4, 6, 60)
"""Of all paths that are followed: one shape, compiled once a model."""


def update_times(found, runs):
    """Times of each run's updates, shape (runs, updates of the run with fewest)."""
    each = [found.run(number).updates() for number in range(runs)]
    return np.stack([times[: min(map(len, each))] for times in each])


# Path by path


@pytest.mark.parametrize("k", [1, 3, 6])
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_t2_a_k_sync_round_lasts_as_long_as_its_kth_worker(draw, k):
    """Relative 1e-12; the others are cut short, dropped, and begin anew with it."""
    X = draw(random(1), SHAPE)
    kth = np.sort(X, axis=1)[:, k - 1]
    begin = np.concatenate([np.zeros((4, 1)), np.cumsum(kth, axis=1)], axis=1)
    found = collected(ps.KSync(k), X)
    np.testing.assert_allclose(update_times(found, 4), begin[:, 1:], rtol=1e-12)
    ends = begin[:, None, :-1] + np.minimum(X, kth[:, None])
    np.testing.assert_allclose(found.times.end, ends, rtol=1e-12)
    np.testing.assert_array_equal(found.accepted, kth[:, None] >= X)
    np.testing.assert_allclose(found.times.start, np.broadcast_to(begin[:, None, :-1], X.shape), rtol=1e-12)


@pytest.mark.parametrize(("model", "switches"), GOING_ON, ids=[model.label for model, _ in GOING_ON])
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_t3_updates_come_when_the_kth_gradient_does(model, switches, draw):
    """Against a heap of the workers' ends: times to 1e-12, staleness and drops exactly."""
    X = draw(random(2), SHAPE)
    every = collected(model, X)
    for run in range(4):
        found = every.run(run)
        times, staleness, dropped = follow(X[run], model.needed(6), **switches)
        order = rounds_order(found, np.full(6, 60), model.waits, 0)
        np.testing.assert_allclose(found.updates()[: len(times)], times, rtol=1e-12)
        counts = order.accepted & (order.version[:-1] < len(times))
        assert sorted(order.staleness[counts]) == sorted(staleness)
        late = np.argwhere(~found.accepted)
        late = late[np.argsort(found.number[~found.accepted])][: len(dropped)]
        assert [tuple(each) for each in late.tolist()] == dropped
        assert len(times) > 45


def test_all_of_k_is_bsp_and_one_of_k_is_asp():
    X = random(3).exponential(size=SHAPE)
    for models, gated in (((ps.KSync(6), ps.KAsync(6), ps.BackupWorkers(0)), ps.BSP()),
                          ((ps.KAsync(1), ps.KBatchAsync(1)), ps.ASP())):  # fmt: skip
        for model in models:
            found = collected(model, X)
            np.testing.assert_allclose(found.times.end, timeline(gated, X).end, rtol=1e-12)
            assert found.accepted.all()


# In the mean


@pytest.mark.parametrize(("k", "mean"), [(10, 0.66877), (19, 2.59774)])
def test_t2_k_sync_rounds_of_exponential_times(k, mean):
    """T2: (H_P − H_{P−K})/μ within 1 % at 99.9 %."""
    expected = harmonic(20) - harmonic(20 - k)
    assert expected == pytest.approx(mean, rel=1e-5)
    assert theory.kth_of(ps.Exponential(1.0), k, 20) == pytest.approx(expected)
    rounds = replications(np.sqrt(harmonic(20, 2) - harmonic(20 - k, 2)) / expected, 0.01)
    runs = 256
    X = random(4).exponential(size=(runs, 20, -(-rounds // runs)))
    seconds = update_times(collected(ps.KSync(k), X), runs)
    assert seconds.shape == (runs, X.shape[2])
    assert seconds[:, -1].mean() / X.shape[2] == pytest.approx(mean, rel=0.01)


def check_rate(model, X, k, seconds, deviation, tolerance=0.005):
    """Compare the mean seconds between updates in the middle halves of some runs."""
    runs = len(X)
    times = update_times(collected(model, X), runs)
    finish = int(0.8 * times.shape[1])
    first, last = finish // 4, finish
    assert runs * (last - first) >= replications(deviation / np.sqrt(k), tolerance)
    found = (times[:, last] - times[:, first]).mean() / (last - first)
    assert found == pytest.approx(seconds, rel=tolerance)


T3 = {
    "exp(1)": (lambda rng, shape: rng.exponential(size=shape), 1.0, 1.0),
    "1 + exp(1)": (lambda rng, shape: 1 + rng.exponential(size=shape), 2.0, 0.5),
    "U[1/2, 5/2]": (lambda rng, shape: rng.uniform(0.5, 2.5, shape), 1.5, 3**-0.5 / 1.5),
}
"""Draws, mean, and deviation in units of the mean."""


@pytest.mark.parametrize(("draw", "mean", "deviation"), T3.values(), ids=T3)
def test_t3_k_batch_async_updates_at_k_over_p_of_the_mean(draw, mean, deviation):
    """T3: J updates of K gradients take J·K·E[X]/P for any law, within .5 % at 99.9 %."""
    workers, k = 10, 4
    seconds = theory.seconds_of_updates(1, k, ps.Constant(mean), workers)
    assert seconds == k * mean / workers
    iterations = int(replications(deviation, 0.005) / (0.55 * 128 * workers)) + 20
    check_rate(ps.KBatchAsync(k), draw(random(5), (128, workers, iterations)), k, seconds, deviation)


def test_k_batch_sync_rounds_of_exponential_times_last_k_over_p():
    """Dutta et al. 2018, Lemma 3: memoryless times, so cutting short costs nothing; within 1 % at 99.9 %."""
    X = random(6).exponential(size=(160, 8, 400))
    check_rate(ps.KBatchSync(4), X, 4, 0.5, 1.0, tolerance=0.01)


@pytest.mark.parametrize("b", [0, 1, 2, 4])
def test_t20_a_round_is_slow_if_more_are_slow_than_are_spare(b):
    """T20: every round by its own draws; how many, P(Bin(N+b, p) > b), by an exact test at 0.1 %."""
    n, p, runs, rounds = 50, 0.02, 128, 40
    X = np.where(random(7 + b).random((runs, n + 4, rounds)) < p, 1.5, 1.0)
    counts = np.where(np.arange(n + 4) < n + b, rounds, 0)  # the others are not there: one shape for all b
    lengths = np.diff(update_times(collected(ps.KSync(n), X, counts), runs), prepend=0.0)
    slow = (X[:, : n + b] > 1).sum(axis=1) > b
    np.testing.assert_array_equal(lengths, np.where(slow, 1.5, 1.0))
    expected = {0: 0.6358, 1: 0.2717, 2: 0.0859, 4: 0.0045}[b]
    assert theory.stalled(n, b, p) == pytest.approx(expected, abs=5e-5)
    assert stats.binomtest(int((lengths > 1).sum()), lengths.size, theory.stalled(n, b, p)).pvalue > 0.001


def test_t20_a_late_backup_worker_is_late_for_ever_and_holds_nobody_up():
    """Times 1, and once 1.5: behind its round from then on. A second late one holds all up, once."""
    X = np.ones((3, 8))
    X[2, 0] = 1.5
    found = collected(ps.BackupWorkers(1), X[None]).run(0)
    assert found.updates()[:7].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    assert np.argwhere(~found.accepted).tolist()[:6] == [[2, clock] for clock in range(6)]
    X[1, 4] = 1.25
    assert collected(ps.BackupWorkers(1), X[None]).run(0).updates()[4:6].tolist() == [5.25, 6.25]
