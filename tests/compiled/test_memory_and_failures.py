"""Batches of runs: more than fit together, some that fail, and what is compiled for them."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

import psbook as ps
from psbook.errors import InvalidJob, ProgramError, Unsupported
from psbook.laws import Law
from psbook.simulator.compiled import Outcome, Point, engine, run_batch, scanning
from tests.compiled.comparing import JOBS, LAWS, SHARDS, X, Y, mean_square, square
from tests.compiled.theory import random

SHORT = square(ps.SGD(0.05), iterations=3)
MODELS = [ps.ASP(), ps.BSP(), ps.SSP(1), ps.SSP(3), ps.PSP(0, beta=1), ps.KSync(2)]


def cluster(seed=0, law=LAWS[0], **options):
    return ps.Simulator(**{"workers": 3, "compute": law, "seed": seed, "trace": "iterations", **options})


def points(job, models, seeds, law=LAWS[0]):
    return [Point(job, cluster(seed, law), model) for model in models for seed in seeds]


def assert_equal(found, required):
    """Whole numbers and times are equal, values to the rounding of sums taken in another order."""
    assert isinstance(found, Outcome)
    for name in ("time_s", "iterations", "updates"):
        np.testing.assert_array_equal(found.history[name], required.history[name])
    np.testing.assert_allclose(found.history["loss"], required.history["loss"], rtol=1e-5)
    for name, value in required.tables.items():
        np.testing.assert_allclose(found.tables[name], value, rtol=1e-5, atol=1e-6)
    assert list(found.summary) == list(required.summary)
    np.testing.assert_allclose(list(found.summary.values()), list(required.summary.values()), rtol=1e-5)
    assert found.seconds == required.seconds


@pytest.fixture
def executables(monkeypatch):
    """What has been compiled, from nothing."""
    monkeypatch.setattr(scanning, "_executables", {})
    return scanning._executables


# More than fit


def test_more_runs_than_are_made_at_once_are_those_of_single_runs():
    seeds = range(engine.RUNS_AT_ONCE + 20)
    found = run_batch(points(SHORT, [ps.SSP(1)], seeds))
    assert len({outcome.seconds for outcome in found}) == len(seeds)
    border = engine.RUNS_AT_ONCE
    for seed in (0, 1, border - 1, border, border + 1, len(seeds) - 1):
        (alone,) = run_batch(points(SHORT, [ps.SSP(1)], [seed]))
        assert_equal(found[seed], alone)
        assert alone.seconds == SHORT.run(cluster(seed), ps.SSP(1)).seconds


def test_any_order_and_mixture_of_runs(monkeypatch):
    monkeypatch.setattr(engine, "RUNS_AT_ONCE", 5)
    jobs = [SHORT, SHORT.with_rate(0.01)]
    every = [point for job in jobs for law in LAWS[:2] for point in points(job, MODELS, [3, 4], law)]
    alone = {}
    for place, point in enumerate(every):
        if place % 7 == 0:
            (alone[place],) = run_batch([point])
    for seed in (1, 2):
        order = random(seed).permutation(len(every))
        found = run_batch([every[place] for place in order])
        for at, place in enumerate(order.tolist()):
            assert isinstance(found[at], Outcome)
            if place in alone:
                assert_equal(found[at], alone[place])


@pytest.mark.parametrize("name", ["plain", "uneven", "accruing", "server-side Adam, two tables"])
def test_portions_that_fit_into_less_memory_give_the_same_numbers(monkeypatch, executables, name):
    some = points(JOBS[name], [ps.SSP(1), ps.ASP(), ps.SSP(0)], [1, 2, 3])
    whole, packed, pack = run_batch(some), [], scanning._packed

    def watched(runs, *rest):
        packed.append(len(runs))
        return pack(runs, *rest)

    monkeypatch.setattr(scanning, "_packed", watched)
    monkeypatch.setattr(scanning, "MEMORY", 1)
    for found, required in zip(run_batch(some), whole, strict=True):
        assert_equal(found, required)
    assert len(packed) >= 9
    assert set(packed) == {1}


def test_no_runs():
    assert run_batch([]) == []


# Failures


@dataclasses.dataclass(frozen=True)
class Broken(Law):
    """Some seconds are not numbers."""

    seconds: float
    mean: float = 1.0
    label: str = "broken"

    def draw(self, worker, count, streams):
        return np.where(np.arange(count) == 1, self.seconds, 1.0)


def refusing(w):
    """An objective that cannot judge large weights."""
    if np.abs(w).max() > 100:
        raise ZeroDivisionError("no loss for such weights")
    return mean_square(w)


def test_a_run_that_fails_is_named_and_keeps_the_others():
    job = square(ps.SGD(0.05))
    job.evaluate = refusing
    good = points(job, [ps.SSP(1)], range(4))
    required = run_batch(good)
    bad = {
        2: (Point(job.with_rate(9.0), cluster(), ps.SSP(1)), ProgramError, "evaluate raised Zero"),
        4: (Point(job, cluster(servers=6), ps.SSP(1)), InvalidJob, "6 servers, but table 'w' has 5 keys"),
        5: (Point(job, cluster(law=0.0), ps.SSP(1)), Unsupported, "iterations that take no time"),
        6: (Point(job, cluster(law=Broken(np.nan)), ps.SSP(1)), Unsupported, "compute times > 0"),
        7: (Point(job, cluster(law=Broken(-1.0)), ps.SSP(1)), Unsupported, "compute times > 0"),
        9: (Point(job, cluster(), ps.KSync(4)), InvalidJob, r"K-sync\(4\) with 3 workers"),
    }  # fmt: skip
    rest = iter(good)
    found = run_batch([bad[place][0] if place in bad else next(rest) for place in range(10)])
    with np.errstate(all="ignore"):
        for place, (_, kind, why) in bad.items():
            assert type(found[place]) is kind
            with pytest.raises(kind, match=why):
                raise found[place]
    for outcome, one in zip([each for each in found if isinstance(each, Outcome)], required, strict=True):
        assert_equal(outcome, one)


CUTS = np.cumsum([0, *range(1, 10)])
APART = {
    "tuples and dicts": ([SHARDS[0], {"a": X}, SHARDS[2]], 3, Unsupported, "shards of different structure"),
    "other widths": ([SHARDS[0], (X[:, :4], Y), SHARDS[2]], 3, Unsupported, "shards of different structure"),
    "too few": (SHARDS[:2], 3, InvalidJob, "a list of 2 shards for 3 workers"),
    "an empty one": ([SHARDS[0], (X[:0], Y[:0]), SHARDS[2]], 3, InvalidJob, "the shard of worker 1"),
    "rows and labels": ((X, Y[:90]), 3, InvalidJob, "required are equal first axes"),
    "nine sizes": ([(X[a:b], Y[a:b]) for a, b in pairwise(CUTS)], 9, Unsupported,
                   "batches of 9 different sizes; required: 8 at most"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "workers", "kind", "why"), APART.values(), ids=APART)
def test_data_that_do_not_fit_together_keep_the_other_jobs(data, workers, kind, why):
    job = square(ps.SGD(0.05), data=data, batch_size=None, iterations=3)
    wrong = [Point(job, cluster(seed, workers=workers), ps.BSP()) for seed in (0, 1)]
    too_many = Point(job, cluster(servers=6, workers=workers), ps.BSP())
    *errors, error, outcome = run_batch([*wrong, too_many, Point(SHORT, cluster(), ps.BSP())])
    for each in errors:
        with pytest.raises(kind, match=why):
            raise each
    assert "6 servers" in str(error)
    assert isinstance(outcome, Outcome)


def test_batches_of_eight_sizes_are_compiled():
    data = [(X[a:b], Y[a:b]) for a, b in pairwise(CUTS[:-1])]
    job = square(ps.SGD(0.02), data=data, batch_size=None, iterations=3)
    compiled, messages = (
        job.run(cluster(workers=8, engine=name), ps.SSP(1)) for name in ("compiled", "messages")
    )
    np.testing.assert_allclose(compiled.tables["w"], messages.tables["w"], rtol=1e-4, atol=1e-5)


# What is compiled


@pytest.mark.parametrize("name", ["plain", "uneven", "rare reads"])
def test_numbers_do_not_compile_again(executables, name):
    """Other staleness, rates, seeds and laws are numbers; another size of batch is not."""
    job = JOBS[name]
    first = run_batch(points(job, [ps.SSP(1)], [1, 2]))
    assert first[0].compile_seconds > 0
    assert first[1].compile_seconds == 0
    assert len(executables) == 1
    for model in (ps.SSP(3), ps.SSP(np.inf), ps.ASP(), ps.BoundedDelay(2), ps.PSP(0, beta=2)):
        for law in LAWS:
            for each in (job, job.with_rate(0.01)):
                again = run_batch(points(each, [model], [5, 9], law))
                assert [outcome.compile_seconds for outcome in again] == [0, 0]
    assert len(executables) == 1
    other = run_batch(points(job.with_batches(size=5), [ps.SSP(1)], [1, 2]))
    assert other[0].compile_seconds > 0
    assert len(executables) == 2


def test_rates_do_not_compile_again_whatever_the_update(executables):
    for update in (ps.Momentum(0.1), ps.Adagrad(0.1), ps.Adam(0.1)):
        begun = len(executables)
        job = square(update)
        losses = [
            run_batch(points(job.with_rate(rate), [ps.SSP(1)], [1]))[0].summary["loss_final"]
            for rate in (0.001, 0.01, 0.1)
        ]
        assert len(set(losses)) == 3
        assert len(executables) == begun + 1


def test_a_run_tells_what_its_compiling_took(executables):
    runs = [SHORT.run(cluster(seed), ps.SSP(1)) for seed in (0, 1)]
    assert runs[0].compile_seconds > 0
    assert runs[1].compile_seconds == 0
    assert len(executables) == 1
