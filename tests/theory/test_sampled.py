"""PSP: the max-plus law with gates that are drawn by lot."""

import numpy as np
import pytest

import psbook as ps
from psbook.core.sampling import sample
from tests.theory.programs import ends, run_loop

LAWS = [ps.Exponential(1.0), ps.Pareto(shape=1.5, scale=0.5)]


def sampled_max_plus(X, s, beta, seed):
    """F[i, c] = max(F[i, c−1], max over the sample of (i, c) of F[j, c−1−s]) + X[i, c]."""
    workers, count = X.shape
    F = np.zeros((workers, count))
    drawn = sample(seed, np.arange(workers)[:, None], np.arange(count), workers, beta)
    for c in range(count):
        for i in range(workers):
            gate = max((F[j, c - 1 - s] for j in drawn[i, c]), default=0.0) if c > s else 0.0
            F[i, c] = max(F[i, c - 1] if c else 0.0, gate) + X[i, c]
    return F


@pytest.mark.parametrize(("s", "beta"), [(0, 1), (1, 2), (3, 4)])
@pytest.mark.parametrize("law", LAWS, ids=[law.label for law in LAWS])
def test_psp_waits_for_its_sample_alone(law, s, beta):
    workers, count = 8, 50
    run = run_loop(ps.PSP(s, beta, seed=5), law, workers, count, seed=3, servers=2)
    required = sampled_max_plus(law.matrix(workers, count, 3), s, beta, 5)
    np.testing.assert_allclose(ends(run), required, rtol=1e-12)


def test_samples_of_all_others_are_ssp_and_of_nobody_asp():
    for s in (0, 2):
        run = run_loop(ps.PSP(s, beta=5), LAWS[0], 6, 40, seed=1)
        np.testing.assert_array_equal(ends(run), ends(run_loop(ps.SSP(s), LAWS[0], 6, 40, seed=1)))
    run = run_loop(ps.PSP(0, beta=0), LAWS[0], 6, 40, seed=1)
    np.testing.assert_array_equal(ends(run), ends(run_loop(ps.ASP(), LAWS[0], 6, 40, seed=1)))


def test_larger_samples_wait_longer_and_another_seed_waits_for_others():
    waits = [run_loop(ps.PSP(1, beta), LAWS[0], 12, 60).seconds for beta in (0, 1, 4, 11)]
    assert waits == sorted(waits) and waits[0] < waits[-1]
    one, two = (run_loop(ps.PSP(1, 3, seed=seed), LAWS[0], 12, 60) for seed in (0, 1))
    assert not np.array_equal(ends(one), ends(two))


def test_who_has_finished_holds_nobody_up():
    run = run_loop(ps.PSP(0, 3), LAWS[0], 4, [3, 30, 30, 30])
    assert [len(each) for each in ends(run)] == [3, 30, 30, 30]


def test_p7_at_a_fifth_of_its_size():
    """P7: ASP makes Poisson(t) iterations by t (z = 4, 40 workers), larger samples make fewer."""
    law, until = ps.Exponential(1.0), 60.0
    counts = {}
    for model in (ps.ASP(), ps.PSP(4, 1), ps.PSP(4, 10), ps.SSP(4)):
        run = run_loop(model, law, 40, 120, seed=2)
        counts[model.label] = np.mean([(each <= until).sum() for each in ends(run)])
    assert counts["ASP"] == pytest.approx(until, abs=4 * np.sqrt(until / 40))
    assert list(counts.values()) == sorted(counts.values(), reverse=True)
    assert counts["PSP(4, β=10)"] < 0.9 * counts["ASP"]
