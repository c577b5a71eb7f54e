"""Elementary laws against scipy's distributions, closed-form moments and order statistics.

Each Kolmogorov-Smirnov test is at level 1e-4: a correct law fails it with that probability, once, since
seeds are fixed.
"""

import pickle

import numpy as np
import pytest
from scipy import stats

from psbook.errors import InvalidJob
from psbook.laws import (
    Constant,
    Exponential,
    Gamma,
    LogNormal,
    Measured,
    Pareto,
    ShiftedExponential,
    Uniform,
)

REFERENCES = [
    (Uniform(1, 3), stats.uniform(1, 2)),
    (Exponential(0.1), stats.expon(scale=0.1)),
    (ShiftedExponential(1, 0.5), stats.expon(loc=1, scale=0.5)),
    (Gamma(0.1, 4), stats.gamma(4, scale=0.1 / 4)),
    (Gamma(2, 0.5), stats.gamma(0.5, scale=4)),
    (LogNormal(0.1, 0.3), stats.lognorm(0.3, scale=0.1 * np.exp(-0.045))),
    (Pareto(2, 3), stats.pareto(3, scale=2)),
    (Pareto(1, 0.9), stats.pareto(0.9)),
]
IDS = [law.label for law, _ in REFERENCES]


@pytest.mark.parametrize(("law", "reference"), REFERENCES, ids=IDS)
def test_law_has_its_distribution_within_one_worker_and_across_workers(law, reference):
    along = law.times(worker=5, count=20_000, seed=1)
    across = law.matrix(workers=2_000, count=5, seed=2)
    for iteration in (0, 4):
        assert stats.kstest(across[:, iteration], reference.cdf).pvalue > 1e-4
    assert stats.kstest(along, reference.cdf).pvalue > 1e-4


@pytest.mark.parametrize(("law", "reference"), REFERENCES, ids=IDS)
def test_mean_is_the_distributions(law, reference):
    assert law.mean == pytest.approx(reference.mean(), rel=1e-12)


@pytest.mark.parametrize(("law", "reference"), REFERENCES[:-1], ids=IDS[:-1])
def test_sample_mean_lies_in_its_confidence_interval(law, reference):
    count = 100_000
    error = law.times(0, count, seed=3).mean() - law.mean
    assert abs(error) < 4 * reference.std() / np.sqrt(count)


def test_the_distribution_test_can_fail():
    times = Gamma(0.1, 1.1).times(worker=5, count=20_000, seed=1)
    assert stats.kstest(times, stats.expon(scale=0.1).cdf).pvalue < 1e-4


def test_longest_of_n_exponentials_has_the_harmonic_mean():
    """A BSP round of 100 workers takes H_100 on average; 1 % is 6 standard errors here."""
    rounds = Exponential(1.0).matrix(workers=100, count=6_000, seed=4).max(axis=0)
    assert rounds.mean() == pytest.approx(5.18738, rel=0.01)


def test_longest_of_n_uniforms():
    """a + (b − a)·n/(n + 1)."""
    rounds = Uniform(1.0, 3.0).matrix(workers=10, count=20_000, seed=5).max(axis=0)
    assert rounds.mean() == pytest.approx(1 + 2 * 10 / 11, rel=0.01)


def test_constant():
    assert (Constant(0.25).times(7, 4, seed=0) == 0.25).all()
    assert Constant(0.25).mean == 0.25


@pytest.mark.parametrize("law", [law for law, _ in REFERENCES] + [Constant(1), Measured(2.0)], ids=str)
def test_laws_are_values(law):
    assert pickle.loads(pickle.dumps(law)) == law
    assert len({law, pickle.loads(pickle.dumps(law))}) == 1
    with pytest.raises(AttributeError):
        law.mean = 2.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: Constant(-1),
        lambda: Constant(float("nan")),
        lambda: Exponential(0),
        lambda: Exponential(float("inf")),
        lambda: Exponential("fast"),
        lambda: Uniform(2, 1),
        lambda: Gamma(1, 0),
        lambda: LogNormal(1, -0.1),
        lambda: Pareto(0, 2),
        lambda: ShiftedExponential(-1, 1),
        lambda: Measured(0),
        lambda: Exponential(1).times(-1, 3, seed=0),
        lambda: Exponential(1).times(0, -3, seed=0),
        lambda: Exponential(1).times(0, 3, seed=-1),
        lambda: Exponential(1).times(0, 3, seed=2**64),
        lambda: Exponential(1).times(0, 3, seed=0.5),
    ],
)
def test_wrong_numbers_are_refused_with_a_requirement(make):
    with pytest.raises(InvalidJob, match="required: "):
        make()


def test_mean_can_be_set_unless_it_is_infinite():
    law = Pareto(1, 3).with_mean(0.1)
    assert law.mean == pytest.approx(0.1)
    np.testing.assert_allclose(law.times(0, 9, seed=0), Pareto(0.1 / 1.5, 3).times(0, 9, seed=0))
    with pytest.raises(InvalidJob, match="finite positive mean"):
        Pareto(1, 1).with_mean(0.1)
    with pytest.raises(InvalidJob, match="nan"):
        Measured().with_mean(0.1)
