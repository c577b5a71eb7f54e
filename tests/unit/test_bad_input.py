"""Wrong input ends at the earliest moment, with what was found, what is required and what to do."""

import asyncio
import functools
import traceback

import numpy as np
import pytest

import psbook as ps
from psbook.errors import (
    Deadlock,
    ForeignAwaitable,
    InvalidJob,
    InvalidKeys,
    NonFinite,
    NotAwaited,
    ProgramError,
    ShapeMismatch,
    UnknownTable,
)

TABLES = {"w": ps.Table(4, update=ps.SGD(0.1))}


async def idle(worker):
    await worker.clock()


def run(program, *, model=None, workers=2, tables=None, **options):
    job = ps.Job(program, tables=tables or TABLES, **options)
    return job.run(ps.Simulator(workers=workers), model or ps.SSP(1))


# The job, when it is described


async def generator(worker):
    yield worker


@pytest.mark.parametrize(
    "program", [print, lambda worker: None, 3, "train", generator, functools.partial(len)]
)
def test_a_program_is_a_coroutine_function(program):
    with pytest.raises(InvalidJob, match=r"not a coroutine function; required: `async def program\(worker\)"):
        ps.Job(program, tables=TABLES)


def test_coroutine_functions_in_all_their_forms_are_programs():
    class Trainer:
        async def __call__(self, worker):
            pass

        async def train(self, worker):
            pass

    for program in (idle, functools.partial(idle), Trainer(), Trainer().train, ps.Loop(kernel=len)):
        assert ps.Job(program, tables=TABLES)


@pytest.mark.parametrize("program", [ps.Loop, type("Mine", (), {"__call__": idle})])
def test_a_class_is_no_program(program):
    with pytest.raises(InvalidJob, match=rf"is the class {program.__name__}; .* as {program.__name__}\(…\)"):
        ps.Job(program, tables=TABLES)


def test_a_job_has_a_program_or_roles():
    for given in ({}, {"program": idle, "roles": {"worker": (idle, 1)}}):
        with pytest.raises(InvalidJob, match="exactly one of them"):
            ps.Job(**given, tables=TABLES)


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({"a b": (idle, 1)}, "'a b'; required: a name"),
        ({"worker": idle}, r"required: \(program, count\)"),
        ({"worker": (idle, 0)}, "0 programs; required: a whole number >= 1"),
        ({"worker": (idle, True)}, "True programs"),
        ({"worker": (idle, 1.5)}, "1.5 programs"),
        ({"worker": (print, 1)}, "role 'worker' is <built-in function print>, not a coroutine"),
    ],
)
def test_roles_are_checked(roles, message):
    with pytest.raises(InvalidJob, match=message):
        ps.Job(roles=roles, tables=TABLES)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({}, "at least one"),
        ({"w": np.zeros(3)}, r"table 'w' is ndarray; required: ps.Table"),
        ({"w": ps.Table}, "table 'w' is type"),
        ({"my table": ps.Table(1)}, "required: a name"),
        ({1: ps.Table(1)}, "table name 1"),
    ],
)
def test_tables_are_checked(tables, message):
    with pytest.raises(InvalidJob, match=message):
        ps.Job(idle, tables=tables)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("aggregate", "average"),
        ("nonfinite", "ignore"),
        *[
            (name, value)
            for name in ("every", "batch_size", "epochs", "iterations")
            for value in (0, 1.5, True)
        ],
    ],
)
def test_options_are_checked(option, value):
    with pytest.raises(InvalidJob, match=rf"{option}={value!r}; required"):
        ps.Job(idle, tables=TABLES, **{option: value})


@pytest.mark.parametrize(
    "evaluate", [lambda weights: 0.0, lambda w, v: 0.0, lambda: 0.0, functools.partial(lambda x: 0.0)]
)
def test_evaluate_takes_the_tables_by_name(evaluate):
    with pytest.raises(InvalidJob, match=r"evaluate cannot take the tables .* required: evaluate\(w\)"):
        ps.Job(idle, tables=TABLES, evaluate=evaluate)


@pytest.mark.parametrize("model", [ps.SSP, ps.BSP, "bsp", 3])
def test_a_model_is_an_instance(model):
    with pytest.raises(InvalidJob, match=r"required: a psbook\.Consistency"):
        ps.Job(idle, tables=TABLES).run(ps.Simulator(), model)


def test_the_remedy_for_a_class_as_model_is_its_call():
    with pytest.raises(InvalidJob, match=r"write ASP\(\)"):
        ps.Job(idle, tables=TABLES).run(ps.Simulator(), ps.ASP)


@pytest.mark.parametrize("cluster", [ps.BSP(), ps.Simulator, None, "tcp://localhost:8786"])
@pytest.mark.parametrize("method", ["run", "start"])
def test_a_cluster_is_a_backend(cluster, method):
    with pytest.raises(InvalidJob, match=r"required: a backend first, as job\.run\(ps\.Simulator"):
        getattr(ps.Job(idle, tables=TABLES), method)(cluster)


# Job and cluster together, before anything runs


@pytest.mark.parametrize("count", [0, -1, 1.5, True, "2"])
@pytest.mark.parametrize("what", ["workers", "servers"])
def test_counts_of_a_cluster_are_whole_numbers(what, count):
    with pytest.raises(InvalidJob, match=rf"{what}={count!r}; required: a whole number >= 1"):
        ps.Simulator(**{what: count})


def test_more_servers_than_keys_are_refused_with_the_tables_name():
    tables = {"w": ps.Table(9), "bias": ps.Table(1)}
    with pytest.raises(InvalidJob, match="2 servers, but table 'bias' has 1 keys"):
        ps.Job(idle, tables=tables).run(ps.Simulator(servers=2))


@pytest.mark.parametrize("shards", [1, 3])
def test_a_list_of_data_has_one_shard_a_worker(shards):
    with pytest.raises(InvalidJob, match=f"a list of {shards} shards for 2 workers"):
        run(idle, data=[np.arange(3)] * shards)


def test_more_workers_than_rows_are_refused():
    with pytest.raises(InvalidJob, match="1 rows for 2 workers"):
        run(idle, data=np.arange(1))


def test_a_cluster_of_another_size_than_the_first_role_is_refused():
    job = ps.Job(roles={"worker": (idle, 3)}, tables=TABLES)
    with pytest.raises(InvalidJob, match="2 workers, the job's first role 3"):
        job.run(ps.Simulator(workers=2))


# Programs, at the call


def program_of(use):
    async def program(worker):
        await worker.clock()
        result = use(worker)
        if result is not None:
            await result

    return program


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda w: w.pull("v"), UnknownTable, "table 'v'; required: one of the job's tables, 'w'"),
        (lambda w: w.push("v", np.zeros(4)), UnknownTable, "table 'v'"),
        (lambda w: w.call("v", len), UnknownTable, "table 'v'"),
        (lambda w: w.pull("w", [2, 1]), InvalidKeys, "table 'w': keys are not sorted at position 1"),
        (lambda w: w.pull("w", [1, 1]), InvalidKeys, "table 'w': keys are repeated"),
        (lambda w: w.push("w", [1.0, 2.0], [2, 2]), InvalidKeys, "repeated"),
        (lambda w: w.pull("w", [4]), InvalidKeys, "key 4; required: 0 <= key < 4"),
        (lambda w: w.push("w", np.zeros(3)), ShapeMismatch, r"shape \(3,\); required: \(4,\)"),
        (lambda w: w.push("w", 1.0), ShapeMismatch, r"shape \(\); required: \(4,\)"),
        (lambda w: w.push("w", np.zeros(4, complex)), ShapeMismatch, "dtype complex128"),
        (lambda w: w.push("w", ["a"] * 4), ShapeMismatch, "dtype <U1"),
        (lambda w: w.push("w", [[1], [1, 2]]), ShapeMismatch, "rows of equal shape"),
        (lambda w: w.compute(3), InvalidJob, "worker.compute got int; required: a function, not its result"),
        (lambda w: w.compute(idle), InvalidJob, "the coroutine function idle"),
        (lambda w: w.call("w", 3), InvalidJob, "worker.call got 3"),
        (lambda w: w.sleep(-1), InvalidJob, r"worker.sleep\(-1\); required: seconds >= 0"),
        (lambda w: w.sleep(float("nan")), InvalidJob, "sleep"),
        (lambda w: w.send(2, 0), InvalidJob, r"rank 2 of role 'worker'; required: 0 <= rank < 2"),
        (lambda w: w.send("boss", 0), InvalidJob, "no program 'boss'; required: one of worker-0, worker-1"),
        (lambda w: w.receive(-1), InvalidJob, "rank -1"),
        (lambda w: w.batches(), InvalidJob, "without data"),
        (lambda w: w.change_model(ps.SSP), InvalidJob, r"required: a model such as ps\.SSP\(3\)"),
        (lambda w: w.change_model(ps.ASP()), InvalidJob, r"ASP\(\) cannot follow SSP\(1\)"),
        (lambda w: ps.broadcast(w, 1, root=5), InvalidJob, "root=5"),
        (lambda w: ps.tree_aggregate(w, 1, depth=0), InvalidJob, "depth=0"),
    ],
)
def test_a_wrong_call_ends_the_run_with_its_own_error_and_says_where(use, error, message):
    with pytest.raises(error, match=message) as caught:
        run(program_of(use))
    assert "in worker-0, clock 1" in caught.value.__notes__
    assert caught.value.trace is not None


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_is_named_with_worker_table_and_clock(dtype, bad):
    import ml_dtypes

    async def program(worker):
        await worker.clock()
        if worker.rank == 1:
            worker.push("emb", np.array([1.0, bad], kind))

    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    tables = {"emb": ps.Table(2, update=ps.SGD(0.1), dtype=kind)}
    with pytest.raises(NonFinite, match=r"worker-1 pushed .*1 .*of 2 .*table 'emb' at clock 1"):
        run(program, tables=tables)


# Programs that forget to await


def dropped(use):
    async def program(worker):
        use(worker)
        await worker.clock()

    return program


@pytest.mark.parametrize(
    "use",
    [
        lambda w: w.clock(),
        lambda w: w.flush(),
        lambda w: w.barrier(),
        lambda w: w.sleep(1),
        lambda w: w.receive(),
        lambda w: w.compute(len, ()),
        lambda w: w.change_model(ps.SSP(2)),
        lambda w: w.pull("w"),
    ],
    ids=["clock", "flush", "barrier", "sleep", "receive", "compute", "change_model", "pull"],
)
def test_what_is_never_awaited_is_named(use, request):
    what = request.node.callspec.id
    with pytest.raises(
        NotAwaited, match=rf"worker-\d never awaited worker\.{what}\(.*required: `await worker"
    ):
        run(dropped(use))


def test_a_clock_that_ends_the_program_unawaited_is_named():
    async def program(worker):
        worker.clock()

    with pytest.raises(NotAwaited, match=r"never awaited worker\.clock\(\)"):
        run(program)


def test_a_pull_used_without_await_is_named():
    async def program(worker):
        worker.push("w", -worker.pull("w"))

    with pytest.raises(NotAwaited, match=r"worker\.pull\('w'\) was used without await"):
        run(program)


def test_a_pushed_pull_is_named_too():
    async def program(worker):
        worker.push("w", worker.pull("w"))

    with pytest.raises(NotAwaited, match="was used without await"):
        run(program)


def test_a_pull_may_be_awaited_iterations_later():
    async def program(worker):
        ahead = worker.pull("w")
        for _ in range(3):
            await worker.clock()
        await ahead

    assert run(program)


@pytest.mark.parametrize("seconds", [0, 1])
def test_asyncios_awaitables_are_refused_by_name(seconds):
    async def program(worker):
        await asyncio.sleep(seconds)

    with pytest.raises(ForeignAwaitable, match=r"worker-\d awaited .*required: psbook's awaitables only"):
        run(program)


def test_a_coroutine_of_the_programs_own_may_be_awaited():
    async def step(worker):
        await worker.clock()
        return worker.iteration

    async def program(worker):
        return await step(worker) + await step(worker)

    assert run(program).results == {"worker-0": 3, "worker-1": 3}


# Programs that raise


def test_what_a_program_raises_is_the_cause_with_its_own_traceback():
    async def program(worker):
        await worker.clock()
        explode()

    def explode():
        raise KeyError("lost")

    with pytest.raises(
        ProgramError, match="the program of worker-0, clock 1 raised KeyError: 'lost'"
    ) as caught:
        run(program)
    cause = caught.value.__cause__
    assert isinstance(cause, KeyError)
    frames = [frame.name for frame in traceback.extract_tb(cause.__traceback__)]
    assert frames[-2:] == ["program", "explode"]


def test_an_objective_that_raises_is_named():
    with pytest.raises(ProgramError, match=r"evaluate raised ZeroDivisionError.* after 0 worker iterations"):
        run(idle, evaluate=lambda w: 1 / 0)


def test_an_objective_that_returns_no_number_is_named():
    with pytest.raises(ProgramError, match=r"evaluate raised TypeError"):
        run(idle, evaluate=lambda w: None)


def test_a_finally_that_awaits_does_not_hide_the_error():
    async def program(worker):
        try:
            await worker.receive()
        finally:
            await worker.clock()

    async def failing(worker):
        raise ValueError("first")

    job = ps.Job(roles={"worker": (program, 2), "other": (failing, 1)}, tables=TABLES)
    with pytest.raises(ProgramError, match="ValueError: first"):
        job.run(ps.Simulator())


# Deadlocks


def test_a_receive_without_a_send_is_named():
    async def program(worker):
        if worker.rank == 0:
            await worker.receive(1, "order")

    with pytest.raises(
        Deadlock, match=r"worker-0 \(clock 0\) waits for worker\.receive\(1, 'order'\)"
    ) as caught:
        run(program)
    assert "every receive has its send" in str(caught.value)


def test_a_read_that_waits_for_who_never_clocks_is_named_with_both():
    async def program(worker):
        if worker.rank == 0:
            for _ in range(3):
                await worker.pull("w")
                await worker.clock()
        else:
            await worker.receive()

    with pytest.raises(Deadlock) as caught:
        run(program)
    text = str(caught.value)
    assert "worker-0 (clock 2) waits for worker.pull('w')" in text
    assert "worker-0 reads at clock 2; SSP(1) makes it wait: worker-1 at clock 0" in text


def test_a_barrier_that_not_everybody_reaches_is_named():
    async def program(worker):
        if worker.rank == 0:
            await worker.barrier()
        else:
            await worker.receive()

    with pytest.raises(Deadlock, match=r"worker-0 \(clock 0\) waits for worker\.barrier\(\)"):
        run(program)


def test_sums_of_rounds_are_refused_under_a_model_without_rounds():
    job = ps.Job(idle, tables={"w": ps.Table(4)})
    cluster = ps.Simulator(workers=2, servers=2, safety=ps.Safety(replicas=1, aggregate=True))
    with pytest.raises(InvalidJob, match=r"aggregate=True under SSP\(1\); required: a model of rounds"):
        job.run(cluster, ps.SSP(1))


async def idle(worker):
    await worker.clock()
