"""What goes wrong in a run is raised by name, with its cause, its place and the trace so far."""

import asyncio
import re
import traceback
from dataclasses import dataclass

import numpy as np
import pytest

import psbook as ps
from psbook.errors import ForeignAwaitable, InvalidJob, ModelError, NonFinite, NotAwaited, ProgramError
from tests.conformance.scenarios import dawdle, told

TABLES = {"w": ps.Table(4, update=ps.SGD(0.5))}


def run(cluster, program, model=None, **options):
    return ps.Job(program, tables=TABLES, **options).run(cluster(workers=2, servers=2), model or ps.SSP(1))


def test_what_a_program_raises_is_the_cause_with_its_traceback(cluster):
    def explode():
        raise KeyError("lost")

    async def program(worker):
        await worker.clock()
        if worker.rank == 1:
            explode()
        await worker.barrier()

    with pytest.raises(ProgramError, match="program of worker-1, clock 1 raised KeyError") as caught:
        run(cluster, program)
    assert isinstance(caught.value.__cause__, KeyError)
    text = "".join(traceback.format_exception(caught.value))
    assert "in explode" in text and 'raise KeyError("lost")' in text
    assert len(caught.value.trace.of("failure")) == 1


def test_what_a_computation_raises_is_raised_where_it_is_awaited(cluster):
    def compute():
        raise ValueError("bad batch")

    async def program(worker):
        try:
            await worker.compute(compute)
        except ValueError as error:
            return str(error)

    assert set(run(cluster, program).results.values()) == {"bad batch"}

    async def careless(worker):
        await worker.compute(compute)

    with pytest.raises(ProgramError, match="ValueError: bad batch") as caught:
        run(cluster, careless)
    assert isinstance(caught.value.__cause__, ValueError)


def poisoned(value):
    async def program(worker):
        for step in range(3):
            await worker.pull("w")
            gradient = np.ones(4)
            if worker.rank == 1 and step == 2:
                gradient[3] = value
            worker.push("w", gradient)
            await worker.clock()

    return program


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_gradient_that_is_not_finite_ends_the_run(cluster, value):
    with pytest.raises(NonFinite, match=r"worker-1 pushed .* to table 'w' at clock 2"):
        run(cluster, poisoned(value))


def test_or_it_is_left_out_and_reported(cluster):
    done = run(cluster, poisoned(np.nan), aggregate="sum", nonfinite="skip")
    np.testing.assert_array_equal(done.tables["w"], -0.5 * 5)
    reports = done.trace.of("report")
    assert reports[["node", "clock", "detail"]].to_numpy().tolist() == [["worker-1", 2, "skipped"]]


@pytest.mark.parametrize("seconds", [0, 0.001])
def test_asyncios_awaitables_are_refused(cluster, seconds):
    async def program(worker):
        await asyncio.sleep(seconds)

    with pytest.raises(ForeignAwaitable, match="required: psbook's awaitables only"):
        run(cluster, program)


def test_a_dropped_clock_is_named(cluster):
    async def program(worker):
        worker.clock()
        await worker.clock()

    with pytest.raises(NotAwaited, match=r"worker-\d never awaited worker\.clock\(\)"):
        run(cluster, program)


def test_a_wrong_call_is_named_with_its_place(cluster):
    async def program(worker):
        await worker.clock()
        if worker.rank == 1:
            await worker.change_model(ps.ASP())
        await worker.barrier()

    with pytest.raises(InvalidJob, match=r"ASP\(\) cannot follow SSP\(1\)") as caught:
        run(cluster, program)
    assert "in worker-1, clock 1" in told(caught.value)


def test_an_objective_that_raises_ends_the_run(cluster):
    async def program(worker):
        for _ in range(20):
            await dawdle(worker)
            worker.push("w", np.ones(4))
            await worker.clock()

    def objective(w):
        if w[0] < 0:
            raise ArithmeticError("below")
        return 0.0

    with pytest.raises(ProgramError, match="evaluate raised ArithmeticError: below") as caught:
        run(cluster, program, evaluate=objective)
    assert isinstance(caught.value.__cause__, ArithmeticError)


def test_a_run_can_follow_one_that_failed(cluster):
    with pytest.raises(NonFinite):
        run(cluster, poisoned(np.nan))
    assert run(cluster, poisoned(1.0)).tables["w"].tolist() == [-1.5] * 4


@dataclass(frozen=True)
class Broken(ps.Consistency):
    """A model with a mistake in its only line."""

    def may_read(self, rank, clock, clocks):
        return clocks.no_such_thing


def test_a_consistency_model_that_raises_is_named(cluster):
    async def program(worker):
        await worker.pull("w")

    job = ps.Job(program, tables={"w": ps.Table(2)})
    with pytest.raises(ModelError, match=r"Broken\.may_read raised AttributeError") as caught:
        job.run(cluster(workers=2), Broken())
    assert isinstance(caught.value.__cause__, AttributeError)


@pytest.mark.parametrize(
    ("mistake", "text"),
    [
        (lambda worker: worker.send(0.5, 1), "rank 0.5"),
        (lambda worker: worker.sleep("x"), "worker.sleep('x')"),
        (lambda worker: worker.report(loss="a"), "loss='a'"),
    ],
    ids=["send", "sleep", "report"],
)
def test_a_value_of_a_wrong_type_is_named(cluster, mistake, text):
    async def program(worker):
        mistake(worker)

    with pytest.raises(InvalidJob, match=re.escape(text)):
        ps.Job(program, tables={"w": ps.Table(2)}).run(cluster(workers=1))
