"""Two engines, one schedule: a compiled run is the message-level run, row by row."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import psbook as ps
from psbook.errors import Stopped
from psbook.trace import statistics
from tests.compiled.comparing import (
    GATED,
    JOBS,
    LAWS,
    ROUNDS,
    X,
    Y,
    assert_same,
    both,
    least_squares,
    mean_square,
)


@pytest.mark.parametrize("latency", [0.0, 0.013])
@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_every_loop_under_every_gated_model(job, latency):
    for law in LAWS[: 1 if latency else 2]:
        for model in GATED[:: 2 if latency else 1]:
            network = ps.Network(latency=latency) if latency else None
            assert_same(*both(job, model, workers=3, servers=2, compute=law, network=network, seed=3))


@pytest.mark.parametrize("law", LAWS, ids=[law.label for law in LAWS])
@pytest.mark.parametrize("name", ["plain", "uneven", "server-side Adam, two tables"])
def test_rounds_of_k_gradients(name, law):
    for model in ROUNDS:
        assert_same(*both(JOBS[name], model, workers=3, compute=law, seed=5))


def test_rounds_on_several_shards():
    """Ids differ there: a worker that hears of a new round tells the shards, which takes a message."""
    for model in ROUNDS:
        assert_same(*both(JOBS["plain"], model, workers=4, servers=3, compute=LAWS[0], seed=6), ids=False)


@settings(max_examples=15)
@given(
    rows=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    size=st.sampled_from([None, 1, 4, 7]),
    iterations=st.integers(1, 6),
    n_fetch=st.integers(1, 3),
    push=st.integers(1, 3).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))),
    local=st.sampled_from([None, 0.01]),
    model=st.sampled_from(GATED),
    latency=st.sampled_from([0.0, 0.02]),
    every=st.integers(1, 7),
    seed=st.integers(0, 2**32),
)
def test_random_loops(rows, size, iterations, n_fetch, push, local, model, latency, every, seed):
    assume(not isinstance(model, ps.PSP) or model.beta < len(rows))
    borders = np.cumsum([0, *rows])
    data = [(X[a:b], Y[a:b]) for a, b in pairwise(borders)]
    loop = ps.Loop(least_squares, n_fetch=n_fetch, n_push=push[0], first_push=push[1], local=local)
    job = ps.Job(loop, tables={"w": ps.Table(5, update=ps.SGD(0.01))}, data=data, batch_size=size,
                 epochs=iterations, evaluate=mean_square, every=every)  # fmt: skip
    network = ps.Network(latency=latency) if latency else None
    assert_same(*both(job, model, workers=len(rows), compute=LAWS[0], network=network, seed=seed))


def test_the_same_kernels_in_the_same_order_give_the_same_bits():
    """Serially, with updates in float32 on both: nothing is left to differ in but the compiler."""
    job = JOBS["plain"]
    for model in (ps.BSP(), ps.ASP()):
        messages, compiled = both(job, model, workers=1, seed=1)
        np.testing.assert_array_max_ulp(compiled.tables["w"], messages.tables["w"], maxulp=8)


@pytest.mark.parametrize(
    "model", [ps.BSP(), ps.SSP(1), ps.KSync(2), ps.BackupWorkers(1)], ids=lambda m: m.label
)
def test_a_summary_needs_no_trace(model):
    from psbook.simulator.compiled import Point, run_batch

    job, cluster = (
        JOBS["plain"],
        ps.Simulator(workers=3, compute=LAWS[2], trace="iterations", engine="messages"),
    )
    (outcome,) = run_batch([Point(job, cluster, model)])
    run = job.run(cluster, model)
    required = statistics.summary(run.trace).drop("bytes_sent")
    found = {name: outcome.summary[name] for name in required.index}
    np.testing.assert_allclose(list(found.values()), required.to_numpy(), rtol=1e-5)
    for name in ("time_s", "iterations", "updates", "loss"):
        np.testing.assert_allclose(outcome.history[name], run.history[name], rtol=1e-5)


def test_the_level_of_the_trace_decides_what_it_keeps():
    job = JOBS["plain"]
    for trace in ("off", "iterations"):
        assert_same(*both(job, ps.SSP(1), workers=3, compute=LAWS[0], trace=trace))


def test_an_equal_seed_gives_an_equal_trace():
    cluster = ps.Simulator(workers=3, compute=LAWS[0], trace="iterations", seed=9)
    assert len({JOBS["plain"].run(cluster, ps.SSP(1)).trace.hash() for _ in range(2)}) == 1


def test_the_stepper_walks_through_the_messages_of_a_compiled_run():
    run = JOBS["plain"].run(ps.Simulator(workers=2, compute=LAWS[0], trace="iterations", seed=3), ps.SSP(1))
    assert run.meta["engine"] == "compiled"
    stepper = run.step()
    assert len(stepper.trace.of("send"))
    assert stepper.trace.end == pytest.approx(run.seconds, rel=1e-12)


def test_a_compiled_run_that_was_stopped_says_so():
    handle = JOBS["plain"].start(ps.Simulator(workers=2, compute=LAWS[0], trace="iterations"), ps.SSP(2))
    handle.stop()
    with pytest.raises(Stopped) as caught:
        handle.result(60)
    assert caught.value.trace.meta["engine"] == "compiled"
