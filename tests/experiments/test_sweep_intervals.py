"""Bootstrap intervals cover as often as they say, as far as twenty draws allow."""

import math

import numpy as np
import pytest
import scipy.stats

from psbook.errors import InvalidJob
from psbook.experiments.intervals import bootstrap
from psbook.laws import generator

TRIALS = 2000
DRAWS = {
    "normal": lambda rng, n: 3 + rng.standard_normal(n),
    "exponential": lambda rng, n: rng.standard_exponential(n),
}
COVERAGE = {
    ("normal", "mean"): (3.0, 0.92),
    ("normal", "median"): (3.0, 0.945),
    ("exponential", "mean"): (1.0, 0.905),
    ("exponential", "median"): (math.log(2), 0.945),
}
"""What is estimated, and how often a nominal 95 % interval from 20 draws covers it, as is documented."""


@pytest.mark.parametrize(("law", "statistic"), COVERAGE)
def test_coverage(law, statistic):
    truth, share = COVERAGE[law, statistic]
    rng = generator(11, f"coverage/{law}")
    hits = 0
    for trial in range(TRIALS):
        _, low, high = bootstrap(DRAWS[law](rng, 20), statistic, 0.95, resamples=400, seed=trial)
        hits += low <= truth <= high
    assert abs(hits / TRIALS - share) < 0.02  # three standard errors of 0.0066


@pytest.mark.parametrize("confidence", [0.5, 0.8])
def test_coverage_at_lower_confidence(confidence):
    rng = generator(12, "coverage")
    hits = 0
    for trial in range(TRIALS):
        _, low, high = bootstrap(rng.standard_normal(20), "mean", confidence, resamples=400, seed=trial)
        hits += low <= 0 <= high
    assert abs(hits / TRIALS - confidence) < 0.04  # three standard errors of 0.011, and a little too narrow


def test_the_mean_agrees_with_scipy():
    """Both are BCa; with 20,000 resamples each end wobbles by some 1 % of the width."""
    sample = generator(5, "sample").standard_exponential(25)
    ours = bootstrap(sample, "mean", resamples=20_000)
    theirs = scipy.stats.bootstrap(
        (sample,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.03 * width)


def test_infinite_values_are_values():
    inf = math.inf
    assert bootstrap([inf] * 5) == (inf, inf, inf)
    some = bootstrap([1.0, 2.0, 3.0, inf, inf])
    assert some.value == 3.0 and some.low < 3.0 and some.high == inf
    few = bootstrap([1.0] * 19 + [inf])
    assert few == (1.0, 1.0, 1.0)
    assert bootstrap([1.0, inf], "mean").high == inf


def test_small_samples_say_what_they_do_not_know():
    assert all(map(math.isnan, bootstrap([])))
    one = bootstrap([2.0])
    assert one.value == 2.0 and math.isnan(one.low) and math.isnan(one.high)
    assert bootstrap([2.0, 2.0, 2.0], "mean") == (2.0, 2.0, 2.0)


def test_an_interval_is_a_function_of_its_arguments_and_no_global_luck():
    np.random.seed(1)  # noqa: NPY002  # that this has no effect is what is tested
    first = bootstrap(range(20))
    np.random.seed(2)  # noqa: NPY002
    assert bootstrap(range(20)) == first != bootstrap(range(20), seed=1, resamples=50)


@pytest.mark.parametrize(
    ("values", "options", "text"),
    [
        ([1.0], {"statistic": "mode"}, "'median' or 'mean'"),
        ([1.0], {"confidence": 1.0}, "0 < confidence < 1"),
        ([1.0], {"confidence": 95}, "0 < confidence < 1"),
        ([math.nan], {}, "NaN among them"),
        ([[1.0]], {}, "one row"),
    ],
)
def test_bad_arguments_are_refused(values, options, text):
    with pytest.raises(InvalidJob, match=text):
        bootstrap(values, **options)
