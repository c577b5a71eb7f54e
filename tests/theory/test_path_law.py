"""T7, T10, A3, A8: every end of every iteration, path by path, against a max-plus recursion."""

import math

import numpy as np
import pytest

import psbook as ps
from tests.theory.programs import booked, ends, loop_job, max_plus, run_loop

LAWS = [
    ps.Exponential(1.0),
    ps.Pareto(shape=1.5, scale=0.5),
    ps.LogNormal(1.0, 0.5).spells(0.05, factor=4.0, length=3).slow({1: 1.7}),
]
MODELS = [
    (ps.BSP(), 0),
    *[(ps.SSP(s, gate=gate), s) for s in (0, 1, 3, 7) for gate in ("read", "clock")],
    *[(ps.BoundedDelay(tau), tau) for tau in (0, 2)],
    (ps.ASP(), math.inf),
    (ps.SSP(math.inf), math.inf),
]


@pytest.mark.parametrize(("model", "s"), MODELS, ids=[model.label for model, _ in MODELS])
@pytest.mark.parametrize("law", LAWS, ids=[law.label for law in LAWS])
def test_iterations_end_when_the_max_plus_law_says(model, s, law):
    workers, iterations, seed = 6, 50, 11
    run = run_loop(model, law, workers, iterations, seed=seed, servers=3)
    required = max_plus(law.matrix(workers, iterations, seed), s)
    np.testing.assert_allclose(ends(run), required, rtol=1e-12)
    assert run.seconds == pytest.approx(np.max(required), rel=1e-12)


@pytest.mark.parametrize("s", [0, 2])
@pytest.mark.parametrize("gate", ["read", "clock"])
def test_both_gates_wait_equally_long_and_book_it_in_another_iteration(s, gate):
    """A3: equal times; with gate="clock" the wait belongs to the clock that is ended, which is counted
    already.
    """
    law, workers, iterations = ps.Exponential(1.0), 4, 30
    run = run_loop(ps.SSP(s, gate=gate), law, workers, iterations, seed=2)
    X = law.matrix(workers, iterations, 2)
    F = np.array(max_plus(X, s))
    starts = np.hstack([np.zeros((workers, 1)), F[:, :-1]])
    waits = (F - X - starts).sum(axis=1)
    # Behind the last clock there is nothing to read; a worker that ends its last iteration early still
    # waits there under gate="clock", until the slowest is s clocks behind.
    if gate == "clock":
        waits += np.maximum(0, F[:, iterations - 1 - s].max() - F[:, -1])
    np.testing.assert_allclose(booked(run, "blocked"), waits, rtol=1e-9, atol=1e-9)


def test_a_finished_worker_holds_nobody_up():
    """A8: uneven work; a worker that has ended leaves the minimum."""
    counts = [5, 40, 17, 0, 29]
    law = ps.Exponential(1.0)
    for model, s in [(ps.BSP(), 0), (ps.SSP(1), 1), (ps.SSP(2, gate="clock"), 2), (ps.BoundedDelay(3), 3)]:
        run = run_loop(model, law, len(counts), counts, seed=4)
        X = [law.times(k, count, 4) for k, count in enumerate(counts)]
        for found, required in zip(ends(run), max_plus(X, s), strict=True):
            np.testing.assert_allclose(found, required, rtol=1e-12)


T, N, WORKERS = 1.0, 24, 5


@pytest.mark.parametrize("s", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("delay", [0.5, 2.0, 3.25])
@pytest.mark.parametrize("model", [ps.SSP, ps.BoundedDelay], ids=["SSP", "Delay"])
def test_one_delay_costs_its_length_and_blocks_the_others_for_what_exceeds_the_slack(model, s, delay):
    """T10. All numbers are dyadic, so that equality is exact."""
    law = ps.Constant(T).delayed(worker=2, iteration=N - s - 2, delay=delay)  # from 0
    run = run_loop(model(s), law, WORKERS, N)
    assert max(max(each) for each in ends(run)) == N * T + delay
    blocked = booked(run, "blocked")
    assert blocked.pop(2) == 0.0
    assert blocked == [max(0.0, delay - s * T)] * (WORKERS - 1)


def test_bsp_pays_a_delay_like_ssp_0():
    run = run_loop(ps.BSP(), ps.Constant(T).delayed(2, 7, 3.25), WORKERS, N)
    assert run.seconds == N * T + 3.25
    assert booked(run, "blocked") == [3.25, 3.25, 0.0, 3.25, 3.25]


@pytest.mark.parametrize("s", [0, 1, 2, 4])
def test_a_rotating_delay_costs_its_length_once_and_what_exceeds_the_slack_each_further_time(s):
    """T10: makespan N·T + d + (n−1)·max(0, d − s·T)."""
    delay, every, iterations = 3.0, 6, 40
    law = ps.Constant(T).rotating(delay, every)
    run = run_loop(ps.SSP(s), law, WORKERS, iterations)
    assert run.seconds == iterations * T + delay + (WORKERS - 1) * max(0.0, delay - s * T)


@pytest.mark.parametrize(
    "model", [ps.BSP(), ps.SSP(0), ps.SSP(4), ps.SSP(4, gate="clock"), ps.BoundedDelay(3)]
)
def test_no_finite_staleness_helps_against_a_worker_that_is_always_slow(model):
    """T10: makespan N·k·T."""
    run = run_loop(model, ps.Constant(T).slow({1: 2.5}), WORKERS, N)
    assert run.seconds == N * 2.5 * T


@pytest.mark.parametrize("servers", [1, 4])
def test_the_path_does_not_depend_on_the_level_of_the_trace(servers):
    law = ps.Exponential(1.0)
    job = loop_job(20, keys=4)
    clusters = [ps.Simulator(workers=3, servers=servers, compute=law, trace=level) for level in
                ("off", "iterations", "full")]  # fmt: skip
    assert len({job.run(cluster, ps.SSP(1)).seconds for cluster in clusters}) == 1
