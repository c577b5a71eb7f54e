"""The same job on real processes: values, trace, errors by name, and a cluster that stays clean."""

import os
import signal
import sys
import threading
import time

import numpy as np
import pytest

import psbook as ps
from psbook.errors import (
    Deadlock,
    InvalidJob,
    NodeFailure,
    NonFinite,
    NotAwaited,
    ProgramError,
    ShapeMismatch,
    Stopped,
    Unsupported,
    UpdateError,
)
from psbook.trace.schema import SPANS

pytestmark = [pytest.mark.dask, pytest.mark.usefixtures("clean")]


async def count(worker):
    for _ in range(5):
        rows = await worker.pull("w")
        worker.push("w", np.full(6, 1.0 + 0.0 * rows[0]))
        await worker.clock()
    return worker.iteration


def run(client, program, model=None, tables=None, **options):
    job = options.pop("job", {})
    backend = ps.Dask(client, **{"workers": 4, "servers": 2, **options})
    tables = {"w": ps.Table(6)} if tables is None else tables
    return ps.Job(program, tables=tables, **job).run(backend, model or ps.SSP(1))


@pytest.mark.parametrize("model", [ps.BSP(), ps.SSP(0), ps.SSP(2), ps.ASP()], ids=lambda model: model.label)
def test_every_push_is_counted_once(client, model):
    done = run(client, count, model)
    np.testing.assert_array_equal(done.tables["w"], 20.0)
    assert done.results == {f"worker-{k}": 5 for k in range(4)}


def test_two_runs_follow_each_other_and_one_beside_the_other(client):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(run(client, count).tables["w"])) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    found.append(run(client, count).tables["w"])
    assert [rows.tolist() for rows in found] == [[20.0] * 6] * 3


async def descend(worker):
    for X, y in worker.batches():
        w = await worker.pull("w")
        error = await worker.compute(lambda w, X, y: X @ w - y, w, X, y)
        worker.push("w", (X.T @ error / len(y)).astype(np.float32))
        await worker.clock()


def least_squares(**options):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(64, 5))
    y = X @ np.arange(1.0, 6.0)
    objective = lambda w: float(np.mean((X @ w - y) ** 2))  # noqa: E731
    return ps.Job(
        descend, tables={"w": ps.Table(5, update=ps.SGD(0.2))}, data=(X, y), batch_size=8, epochs=6,
        evaluate=objective, **options,
    )  # fmt: skip


def test_bsp_equals_the_simulator(client):
    """A BSP round does not depend on timing, so two worlds give one result (up to summation order: none)."""
    real = least_squares().run(ps.Dask(client, workers=4, servers=2, seed=3), ps.BSP())
    simulated = least_squares().run(ps.Simulator(workers=4, servers=2, seed=3), ps.BSP())
    np.testing.assert_array_equal(real.tables["w"], simulated.tables["w"])
    np.testing.assert_allclose(real.history["loss"], simulated.history["loss"], rtol=1e-6)
    assert real.loss < 0.1 * real.history["loss"].iloc[0]


def test_the_objective_is_taken_at_the_iterations_asked_for(client):
    done = least_squares(every=16).run(ps.Dask(client, workers=4, servers=2), ps.SSP(1))
    taken = done.trace.frame.query("kind == 'loss'")["clock"].tolist()
    assert taken == list(range(0, 48 + 1, 16))


def test_spans_cover_the_whole_run_without_gap_or_overlap(client):
    trace = run(client, count, compute=0.01).trace
    for node, spans in trace.frame.query("kind in @SPANS", local_dict={"SPANS": SPANS}).groupby("node"):
        spans = spans.sort_values("time")
        ends = (spans["time"] + spans["duration"]).to_numpy()
        assert spans["time"].iloc[0] == 0.0, node
        np.testing.assert_allclose(spans["time"].to_numpy()[1:], ends[:-1], atol=1e-9)
        np.testing.assert_allclose(ends[-1], trace.meta["end"], atol=1e-9)


def test_causes_precede_effects_across_processes(client):
    frame = run(client, count).trace.frame
    sent = frame.query("kind == 'send' and message != ''").set_index(["message", "detail"])["time"]
    received = frame.query("kind == 'receive' and message != ''").set_index(["message", "detail"])["time"]
    assert len(received) > 100
    assert sent.index.is_unique
    assert set(received.index) == set(sent.index)
    assert (received - sent.reindex(received.index)).min() >= 0.0


def test_the_consistency_bound_holds_on_real_processes(client):
    """SSP(s): an answer to a read at clock c was given when min was at least c - s (semantics A1)."""
    law = ps.Constant(0.002).slow({0: 8.0})

    async def uneven(worker):
        for _ in range(8):
            await worker.pull("w")
            await worker.compute(int)
            worker.push("w", np.ones(6))
            await worker.clock()

    frame = run(client, uneven, ps.SSP(1), compute=law).trace.frame
    asked = frame.query("kind == 'send' and detail == 'Pull'").set_index("message")["clock"]
    answers = frame.query("kind == 'answer' and clock >= 0").set_index("message")["clock"]
    assert (answers >= asked.reindex(answers.index) - 1).all()
    assert (frame["kind"] == "park").any()


def test_a_law_pads_computing_to_its_time(client):
    seconds = 0.03

    async def compute(worker):
        for _ in range(6):
            await worker.compute(int)
            await worker.clock()

    trace = run(client, compute, ps.ASP(), compute=seconds).trace
    # With the program's own moments before it: the step begins while they still last.
    spans = trace.frame.query("kind == 'compute' and clock < 6").groupby(["node", "clock"])["duration"].sum()
    assert len(spans) == 24
    assert spans.min() >= seconds - 1e-6
    assert spans.median() < seconds + 0.02


def test_placement_is_shown_and_followed(client):
    trace = run(client, count, placement="apart").trace
    where = list(trace.meta["processes"].values())
    assert sorted(len(nodes) for nodes in where) == [1, 5] or sorted(map(len, where)) == [2, 4]
    assert all(len({node.split("-")[0] for node in nodes}) == 1 for nodes in where)


def test_large_tables_and_data_travel_whole(client):
    size = 500_000

    async def copy(worker):
        for _ in range(3):
            w = await worker.pull("w")
            assert np.ptp(w[: size // 2]) == 0.0
            await worker.push("w", worker.data[0].astype("float32"))
            await worker.clock()

    job = ps.Job(copy, tables={"w": ps.Table(size)}, data=[(np.ones(size),)] * 4)
    done = job.run(ps.Dask(client, workers=4, servers=2), ps.BSP())
    np.testing.assert_array_equal(done.tables["w"], 12.0)


def test_channels_calls_and_barriers_cross_processes(client):
    async def talk(worker):
        worker.send((worker.rank + 1) % worker.workers, {"from": worker.rank, "x": np.arange(3)}, "ring")
        parcel = await worker.receive((worker.rank - 1) % worker.workers, "ring")
        await worker.barrier()
        await worker.push("w", np.ones(6))
        await worker.barrier()
        return parcel["from"], await worker.call("w", np.sum, merge=sum)

    done = run(client, talk, ps.ASP())
    assert done.results == {f"worker-{k}": ((k - 1) % 4, 24.0) for k in range(4)}


def test_bytes_are_not_counted_less_by_the_level(client):
    for level, kinds in (("off", set()), ("iterations", {"clock", "apply"}), ("full", {"send", "answer"})):
        frame = run(client, count, trace=level).trace.frame
        assert kinds <= set(frame["kind"])
        assert "finish" in set(frame["kind"])
        assert ("send" in set(frame["kind"])) == (level == "full")


# What goes wrong


async def divide(worker):
    await worker.pull("w")
    if worker.rank == 2:
        raise ZeroDivisionError("in the third program")
    await worker.sleep(60)


def test_an_error_in_a_program_comes_home_with_its_traceback(client):
    began = time.monotonic()
    with pytest.raises(ProgramError, match=r"worker-2, clock 0.*ZeroDivisionError") as caught:
        run(client, divide)
    assert time.monotonic() - began < 5
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    names = [entry.name for entry in caught.traceback] + _frames(caught.value.__cause__)
    assert "divide" in names
    assert set(caught.value.trace.frame.query("kind == 'failure'")["node"]) == {"worker-2"}
    np.testing.assert_array_equal(run(client, count).tables["w"], 20.0)


def _frames(error):
    names, trace = [], error.__traceback__
    while trace is not None:
        names.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    return names


class Raises(ps.Update):
    """Refuses large updates."""

    def apply(self, xp, value, state, grad):
        if grad[0] > 0.6:
            raise FloatingPointError("too large")
        return value + grad, state


def test_an_error_in_an_update_function_comes_home(client):
    async def grow(worker):
        for step in range(5):
            worker.push("w", np.full(6, float(step)))
            await worker.clock()
            await worker.pull("w")

    with pytest.raises(UpdateError, match=r"too large.*\n?.*server-") as caught:
        run(client, grow, tables={"w": ps.Table(6, update=Raises())})
    assert isinstance(caught.value.__cause__, FloatingPointError)


async def forgets(worker):
    worker.clock()
    await worker.clock()


async def awaits_other(worker):
    import asyncio

    await asyncio.sleep(0)


async def cancels(worker):
    import asyncio

    raise asyncio.CancelledError


async def exits(worker):
    sys.exit(3)


async def wrong_shape(worker):
    worker.push("w", np.ones(3))


async def pushes_nan(worker):
    worker.push("w", np.full(6, np.nan))


async def wrong_model(worker):
    await worker.change_model(ps.ASP())


async def raises_stubborn(worker):
    raise Stubborn(1, 2)


class Stubborn(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


@pytest.mark.parametrize(
    ("program", "error", "said"),
    [
        (forgets, NotAwaited, "never awaited"),
        (awaits_other, ps.errors.ForeignAwaitable, "psbook's awaitables only"),
        (cancels, ps.errors.PsbookError, "CancelledError"),
        (exits, ps.errors.PsbookError, "SystemExit"),
        (wrong_shape, ShapeMismatch, r"\(3,\)"),
        (pushes_nan, NonFinite, "6 NaN"),
        (wrong_model, InvalidJob, "cannot follow"),
        (raises_stubborn, ProgramError, "1 and 2"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_mistakes_are_named_and_leave_a_clean_cluster(client, program, error, said):
    began = time.monotonic()
    with pytest.raises(error, match=said):
        run(client, program)
    assert time.monotonic() - began < 5
    client.wait_for_workers(2, timeout=30)


async def makes_a_lock(worker):
    return threading.Lock()


def test_a_result_that_cannot_be_sent_is_named(client):
    with pytest.raises(ProgramError, match="worker-0 returned lock"):
        run(client, makes_a_lock)


def test_programs_that_wait_for_each_other_are_a_named_deadlock(client):
    async def wait(worker):
        await worker.receive(tag="never")

    with pytest.raises(Deadlock, match=r"worker-0 waits for worker.receive"):
        run(client, wait, patience=1.0, lease=2.0)


def test_a_killed_process_is_a_named_failure(client):
    async def die(worker):
        for step in range(10**6):
            await worker.pull("w")
            if worker.rank == 1 and step == 20:
                os.kill(os.getpid(), signal.SIGKILL)
            await worker.clock()

    began = time.monotonic()
    with pytest.raises(NodeFailure, match="worker-1") as caught:
        run(client, die)
    assert time.monotonic() - began < 6
    assert len(caught.value.trace)
    client.wait_for_workers(2, timeout=30)
    np.testing.assert_array_equal(run(client, count).tables["w"], 20.0)


async def for_ever(worker):
    while True:
        await worker.pull("w")
        await worker.compute(time.sleep, 0.01)
        await worker.clock()


def test_a_started_run_shows_progress_and_stops_within_a_second(client):
    job = ps.Job(for_ever, tables={"w": ps.Table(6)})
    handle = job.start(ps.Dask(client, workers=4, servers=2), ps.SSP(1))
    deadline = time.monotonic() + 20
    while handle.iterations < 20 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert handle.iterations >= 20
    began = time.monotonic()
    handle.stop()
    with pytest.raises(Stopped) as caught:
        handle.result(10)
    assert time.monotonic() - began < 2.0
    assert (caught.value.trace.frame["kind"] == "clock").sum() >= 20


async def never_yields(worker):
    while True:
        _ = worker.rng


async def computes_for_ever(worker):
    def spin():
        while True:
            pass

    await worker.compute(spin)


@pytest.mark.parametrize("program", [never_yields, computes_for_ever])
def test_programs_that_never_yield_are_ended_too(client, program):
    handle = ps.Job(program, tables={"w": ps.Table(6)}).start(
        ps.Dask(client, workers=2, trace="off"), ps.ASP()
    )
    time.sleep(1.0)
    handle.stop()
    with pytest.raises(Stopped):
        handle.result(10)


# What is refused


def test_what_only_the_simulator_has_is_refused_by_name():
    with pytest.raises(Unsupported, match=r"ps.Simulator"):
        ps.Dask(network=ps.Network(latency=0.1))


@pytest.mark.parametrize(
    "options",
    [{"lease": 0}, {"seed": -1}, {"trace": "all"}, {"target": 3}, {"servers": 0}, {"compute": "fast"}],
)
def test_senseless_options_are_refused(options):
    with pytest.raises(InvalidJob):
        ps.Dask(**options)
