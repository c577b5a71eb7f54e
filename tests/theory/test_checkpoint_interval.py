"""T17: work that fails at random, from scratch and with checkpoints, against simulation, limits and scans.

The statistical tests demand the closed form within Student's confidence interval at 99.9 % of independent
runs, and a half-width below the percentage named.
"""

import math

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar
from scipy.special import lambertw

from psbook.errors import InvalidJob
from psbook.experiments.checkpoint_interval import (
    COLUMNS,
    best_interval,
    expected_time,
    interval_curve,
    simulate_time,
    young_interval,
)
from tests.theory.programs import half_width

# work, rate, restart, every, cost: seconds. With e^{λL} − 1 failures a segment from .03 to 19.
JOBS = {
    "from scratch, a failure in half the runs": (100.0, 0.004, 5.0, None, 0.0),
    "from scratch, 19 failures": (100.0, 0.03, 5.0, None, 0.0),
    "from scratch, long restart": (100.0, 0.01, 200.0, None, 0.0),
    "rare failures": (1000.0, 0.001, 10.0, 25.0, 1.0),
    "near the best interval": (86400.0, 1 / 7200, 120.0, 900.0, 60.0),
    "far too long": (1000.0, 0.01, 3.0, 250.0, 10.0),
    "far too short": (100.0, 0.05, 2.0, 0.5, 4.0),
    "one segment with a checkpoint": (100.0, 0.01, 0.0, 100.0, 30.0),
    "free checkpoints": (100.0, 0.05, 1.0, 4.0, 0.0),
}


def check_simulation(job, runs, percent):
    seconds = simulate_time(*job, runs=runs, seed=17)
    expected, width = expected_time(*job), half_width(seconds)
    assert width < percent / 100 * expected
    assert np.mean(seconds) == pytest.approx(expected, abs=width)


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_the_closed_form_is_the_mean_of_the_simulated_process(job):
    """20,000 runs, 99.9 %, within 3 %."""
    check_simulation(job, 20_000, 3)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_the_closed_form_within_one_percent(job):
    """400,000 runs, 99.9 %, within 1 %."""
    check_simulation(job, 400_000, 1)


def by_the_clock(work, restart, every, cost, ups):
    """Seconds of one run second by second: nothing but additions, for whole numbers."""
    now = saved = 0
    for up in ups:
        since = 0
        for _ in range(int(up)):
            now, since = now + 1, since + 1
            if since == min(every, work - saved) + cost:
                saved, since = min(saved + every, work), 0
                if saved == work:
                    return now
        now += restart
    raise AssertionError("the run needs more failures")


@pytest.mark.parametrize("every", [10, 9, 7, 30], ids="every {}".format)
def test_a_run_is_what_its_failures_make_of_it(monkeypatch, every):
    """Path by path, also where the last segment is shorter; ups in half seconds tie with no checkpoint."""
    work, restart, cost = 30, 4, 2
    ups = np.random.default_rng(5).integers(1, 60, (400, 8)) + 0.5

    class Failures:
        rows = iter(ups)

        def standard_exponential(self, count):
            return next(self.rows) / 64

    monkeypatch.setattr("psbook.experiments.checkpoint_interval.generator", lambda *_: Failures())
    # A failure rate of 1/64 only scales the ups back, exactly.
    found = simulate_time(work, 1 / 64, restart, every, cost, runs=8)
    required = [by_the_clock(2 * work, 2 * restart, 2 * every, 2 * cost, 2 * ups[:, run]) for run in range(8)]
    assert (2 * found).tolist() == required
    assert len(set(required)) > 3


def uneven(work, rate, restart, every, cost):
    """Expected seconds, segment by segment, the last one shorter."""
    whole, rest = divmod(work, every)
    lengths = [every] * int(whole) + [rest] * (rest > 0)
    return sum((1 / rate + restart) * math.expm1(rate * (length + cost)) for length in lengths)


@pytest.mark.parametrize("every", [70.0, 30.0, 12.0])
def test_an_interval_that_does_not_divide_the_work(every):
    job = (100.0, 0.01, 5.0, every, 3.0)
    seconds = simulate_time(*job, runs=60_000, seed=4)
    assert np.mean(seconds) == pytest.approx(uneven(*job), abs=half_width(seconds))
    assert half_width(seconds) < 0.02 * uneven(*job)
    # What the fraction of a segment in the closed form may hide is one checkpoint, at most.
    one_checkpoint = (1 / 0.01 + 5.0) * math.expm1(0.01 * 3.0)
    assert uneven(*job) - expected_time(*job) < one_checkpoint
    assert uneven(*job) != pytest.approx(expected_time(*job), rel=1e-4)


def test_limits():
    work, restart, every, cost = 120.0, 7.0, 8.0, 0.5
    failure_free = work + 15 * cost
    assert expected_time(work, 0.0, restart, every, cost) == failure_free
    assert expected_time(work, 1e-12, restart, every, cost) == pytest.approx(failure_free, rel=1e-9)
    assert expected_time(work, 0.0, restart) == work
    assert (simulate_time(work, 0.0, restart, every, cost, runs=3) == failure_free).all()
    for rate in (0.001, 0.05):
        scratch = (1 / rate + restart) * (math.exp(rate * work) - 1)
        assert expected_time(work, rate, restart) == pytest.approx(scratch, rel=1e-12)
        assert expected_time(work, rate, restart, every=work) == expected_time(work, rate, restart)
        # Free checkpoints all the time: nothing but the restarts is lost.
        assert expected_time(work, rate, restart, 1e-9, 0.0) == pytest.approx(work * (1 + rate * restart))
    assert expected_time(1e6, 1.0) == math.inf


@pytest.mark.parametrize("saving", [1e-8, 1e-5, 1e-3, 0.02, 0.3, 3.0, 60.0])
@pytest.mark.parametrize("rate", [1e-6, 0.5])
def test_the_best_interval_is_the_minimum(rate, saving):
    """Three ways: a scan, the closed form with Lambert's W, and a search of the expected time."""
    cost, work, restart = saving / rate, 1e9 / rate, 2 / rate
    best = best_interval(work, rate, restart, cost)
    lowest = expected_time(work, rate, restart, best, cost)
    scan = best * np.concatenate([np.geomspace(1e-3, 0.99, 500), np.geomspace(1.01, 600, 500)])
    assert min(expected_time(work, rate, restart, every, cost) for every in scan) > lowest
    if saving >= 1e-5:  # its argument −e^{−1−λC} has lost the digits of a smaller λC
        lambert = (1 + lambertw(-math.exp(-1 - saving)).real) / rate
        assert best == pytest.approx(lambert, rel=1e-10)
    found = minimize_scalar(
        lambda log: math.log(expected_time(work, rate, restart, math.exp(log), cost)),
        bounds=(math.log(best) - 3, math.log(best) + 2),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert math.exp(found.x) == pytest.approx(best, rel=1e-3)
    assert math.exp(found.fun) == pytest.approx(lowest, rel=1e-9)


def test_the_best_interval_knows_work_but_no_restart():
    assert best_interval(1e6, 0.01, 0.0, 2.0) == best_interval(1e6, 0.01, 500.0, 2.0)
    assert best_interval(5.0, 0.01, 0.0, 2.0) == 5.0
    scan = [expected_time(5.0, 0.01, 0.0, every, 2.0) for every in np.linspace(0.5, 5.0, 40)]
    assert np.argmin(scan) == 39
    assert best_interval(1e9, 0.5, 0.0, 1e16) == 2.0  # 1/λ, where a checkpoint never ends


def test_the_best_whole_number_of_segments_is_a_neighbour():
    rng = np.random.default_rng(3)
    for _ in range(50):
        work, rate, cost = rng.uniform(10, 500), 10 ** rng.uniform(-4, -0.5), 10 ** rng.uniform(-2, 1)
        times = [expected_time(work, rate, 1.0, work / m, cost) for m in range(1, 3000)]
        ideal = work / best_interval(work, rate, 1.0, cost)
        assert 1 + int(np.argmin(times)) in (math.floor(ideal), math.ceil(ideal))


@pytest.mark.parametrize(("minutes", "printed", "digits"), [(1440, 117, 0), (360, 57, 0), (15, 9.1, 1)])
def test_the_intervals_that_daly_prints(minutes, printed, digits):
    """Captions of Figs. 3–5, checkpoints of 5 min: his series, and the minimum it approximates to .3 %."""
    cost = 5.0
    small = cost / (2 * minutes)
    series = math.sqrt(2 * cost * minutes) * (1 + math.sqrt(small) / 3 + small / 9) - cost
    assert round(series, digits) == printed
    assert best_interval(500 * 60, 1 / minutes, 10, cost) == pytest.approx(series, rel=3e-3)


def test_youngs_interval_is_one_and_a_half_to_five_percent_too_long_for_checkpoints_of_this_cost():
    """The 1.5–5 % of T17 are percent of the interval, not of the time."""

    def off(saving):
        """Relative error of the interval and of the time at rate 1."""
        best, young = best_interval(1e6, 1.0, 0.0, saving), young_interval(1.0, saving)
        longer = expected_time(1e6, 1.0, 0.0, young, saving) / expected_time(1e6, 1.0, 0.0, best, saving)
        return young / best - 1, longer - 1

    for share, saving in ((0.015, 0.00099), (0.05, 0.01046)):
        assert brentq(lambda c, share=share: off(c)[0] - share, 1e-5, 1.0) == pytest.approx(saving, rel=1e-3)
        assert off(saving)[1] < 2e-4
    for share, saving in ((0.015, 0.220), (0.05, 0.497)):
        assert brentq(lambda c, share=share: off(c)[1] - share, 1e-3, 1.9) == pytest.approx(saving, rel=1e-3)
    for saving in np.geomspace(1e-6, 1.0, 40):
        assert off(saving)[0] > 0
    # First terms: √(2λC)/3 of the interval, (2λC)^{3/2}/18 of the time.
    assert off(1e-6)[0] == pytest.approx(math.sqrt(2e-6) / 3, rel=1e-2)
    assert off(1e-4)[1] == pytest.approx(2e-4**1.5 / 18, rel=5e-2)


def test_runs_meet_the_same_failures_at_every_interval():
    job = (400.0, 0.01, 5.0)
    assert (simulate_time(*job, 40.0, 2.0, seed=3) == simulate_time(*job, 40.0, 2.0, seed=3)).all()
    assert (simulate_time(*job, 40.0, 2.0, seed=3) != simulate_time(*job, 40.0, 2.0, seed=4)).any()
    a, b = (simulate_time(*job, every, 2.0, runs=4000, seed=3) for every in (40.0, 50.0))
    assert np.std(a - b) < 0.6 * np.hypot(np.std(a), np.std(b))


def test_a_quotient_above_a_whole_number_by_rounding_is_no_other_segment():
    every = 0.7 / 7 * (1 - 2e-16)
    assert 0.7 / every > 7
    assert simulate_time(0.7, 0.0, 0.0, every, 1.0, runs=1)[0] == pytest.approx(7.7)


def test_the_curve_documents_itself_and_covers_the_closed_form():
    curve = interval_curve(86400, 1 / 7200, 120, 60, runs=500, seed=2)
    assert list(curve.columns) == list(curve.attrs["columns"]) == list(COLUMNS)
    assert curve.attrs["job"] == {"work": 86400, "rate": 1 / 7200, "restart": 120, "cost": 60}
    assert curve["every_s"].is_monotonic_increasing
    assert curve["expected_s"].max() < 2.1 * curve["expected_s"].min()
    assert curve["expected_s"].min() == pytest.approx(
        expected_time(86400, 1 / 7200, 120, best_interval(86400, 1 / 7200, 120, 60), 60), rel=1e-3
    )
    simulated = curve[curve["runs"] > 0]
    assert len(simulated) == 12
    assert (simulated["segments"] % 1 == 0).all()
    assert ((simulated["simulated_s"] - simulated["expected_s"]).abs() < simulated["half_width_s"]).all()
    assert curve.loc[curve["runs"] == 0, ["simulated_s", "half_width_s"]].isna().all(axis=None)
    row = interval_curve(86400, 1 / 7200, 120, 60, segments=[96], runs=50, seed=2).query("runs > 0").iloc[0]
    seconds = simulate_time(86400, 1 / 7200, 120, 900, 60, runs=50, seed=2)
    assert row["simulated_s"] == pytest.approx(np.mean(seconds))
    assert row["half_width_s"] == pytest.approx(half_width(seconds))


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf, "1", None, True])
@pytest.mark.parametrize("name", ["work", "rate", "restart", "cost", "every"])
def test_bad_numbers_are_named(name, bad):
    good = {"work": 10.0, "rate": 0.1, "restart": 1.0, "cost": 0.5}
    if name == "every" and bad is None:
        assert expected_time(**good, every=None) == expected_time(10.0, 0.1, 1.0)
        return
    calls = [expected_time, simulate_time]
    if name != "every":
        calls += [best_interval, interval_curve]
    for call in calls:
        if bad == 0.0 and (name == "restart" or (name in ("rate", "cost") and call in calls[:2])):
            call(**{**good, name: bad})  # no restart, no failure, free checkpoints
            continue
        with pytest.raises(InvalidJob, match=name):
            call(**{**good, name: bad})


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: expected_time(10.0, 0.1, every=11.0), "every=11.0 with work=10.0"),
        (lambda: young_interval(0.0, 1.0), "rate"),
        (lambda: young_interval(1.0, 0.0), "cost"),
        (lambda: simulate_time(10.0, 0.1, runs=0), "runs=0"),
        (lambda: simulate_time(10.0, 0.1, runs=2.5), r"runs=2\.5"),
        (lambda: simulate_time(10.0, 0.1, seed=-1), "seed"),
        (lambda: simulate_time(100.0, 1.0), r"2\.69e\+43 failures"),
        (lambda: simulate_time(1e6, 1.0), "inf failures"),
        (lambda: interval_curve(10.0, 0.1, 0.0, 0.1, runs=1), "runs=1"),
        (lambda: interval_curve(10.0, 0.1, 0.0, 0.1, segments=[2, 0]), "segments"),
        (lambda: interval_curve(10.0, 0.1, 0.0, 0.1, segments=[2.5]), "segments"),
    ],
)
def test_what_cannot_be_is_refused(call, match):
    with pytest.raises(InvalidJob, match=match):
        call()
