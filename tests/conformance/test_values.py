"""Closed forms: what tables hold, whoever was late."""

import numpy as np
import pytest

import psbook as ps
from tests.conformance.scenarios import MODELS, dawdle, label

N, ITERATIONS = 4, 5


async def count(worker):
    """Worker r adds r+1 to every key in each iteration; returns what it read."""
    seen = []
    for _ in range(ITERATIONS):
        rows = await worker.pull("w")
        seen.append(rows.tolist())
        await dawdle(worker)
        worker.push("w", np.full(6, worker.rank + 1.0))
        await worker.clock()
    return seen


@pytest.mark.parametrize("servers", [1, 3])
def test_after_i_bsp_rounds_a_pull_is_i_times_the_sum_of_all_pushes(cluster, servers):
    run = ps.Job(count, tables={"w": ps.Table(6)}).run(cluster(workers=N, servers=servers), ps.BSP())
    for i in range(ITERATIONS):
        assert {tuple(seen[i]) for seen in run.results.values()} == {(i * N * (N + 1) / 2,) * 6}
    np.testing.assert_array_equal(run.tables["w"], ITERATIONS * N * (N + 1) / 2)


@pytest.mark.parametrize("model", MODELS, ids=label)
def test_every_push_is_applied_once_under_every_model(cluster, model):
    run = ps.Job(count, tables={"w": ps.Table(6)}).run(cluster(workers=N, servers=2), model)
    np.testing.assert_array_equal(run.tables["w"], ITERATIONS * N * (N + 1) / 2)


def gradients(table="w"):
    async def program(worker):
        for _ in range(ITERATIONS):
            await worker.pull(table)
            worker.push(table, np.full(4, worker.rank + 1.0))
            await worker.clock()

    return program


@pytest.mark.parametrize("model", [ps.BSP(), ps.SSP(1), ps.ASP(), ps.BoundedDelay(1)], ids=label)
@pytest.mark.parametrize(("aggregate", "each_round"), [("sum", N * (N + 1) / 2), ("mean", (N + 1) / 2)])
def test_gradients_are_summed_or_averaged_exactly(cluster, model, aggregate, each_round):
    """H1: n workers summed is n times the learning rate. All numbers here are exact in binary."""
    tables = {"w": ps.Table(4, update=ps.SGD(0.5))}
    run = ps.Job(gradients(), tables=tables, aggregate=aggregate).run(cluster(workers=N, servers=2), model)
    np.testing.assert_array_equal(run.tables["w"], -0.5 * ITERATIONS * each_round)


def test_serial_averages_nothing(cluster):
    tables = {"w": ps.Table(4, update=ps.SGD(0.5))}
    run = ps.Job(gradients(), tables=tables, aggregate="mean").run(cluster(workers=N), ps.Serial())
    np.testing.assert_array_equal(run.tables["w"], -0.5 * ITERATIONS * N * (N + 1) / 2)


def test_what_is_no_gradient_is_summed_unless_the_table_says_otherwise(cluster):
    tables = {"w": ps.Table(4), "m": ps.Table(4, aggregate="mean")}

    async def program(worker):
        worker.push("w", np.full(4, worker.rank + 1.0))
        worker.push("m", np.full(4, worker.rank + 1.0))
        await worker.clock()

    run = ps.Job(program, tables=tables, aggregate="mean").run(cluster(workers=N), ps.BSP())
    assert run.tables["w"].tolist() == [10.0] * 4 and run.tables["m"].tolist() == [2.5] * 4


def test_the_mean_of_a_bsp_round_is_over_its_active_workers(cluster):
    """Two workers, then one: the round of one divides by one."""

    async def program(worker):
        for _ in range(3 - 2 * worker.rank):
            worker.push("w", np.full(1, 8.0))
            await worker.clock()
            await worker.pull("w")

    tables = {"w": ps.Table(1, update=ps.SGD(1.0))}
    run = ps.Job(program, tables=tables).run(cluster(workers=2), ps.BSP())
    assert run.tables["w"].tolist() == [-24.0]


def test_of_several_assignments_in_a_round_the_last_workers_counts(cluster):
    async def program(worker):
        await dawdle(worker)
        worker.push("w", np.full(2, worker.rank + 1.0))
        await worker.clock()

    tables = {"w": ps.Table(2, update=ps.Assign())}
    run = ps.Job(program, tables=tables).run(cluster(workers=N), ps.BSP())
    assert run.tables["w"].tolist() == [4.0, 4.0]


def test_serial_equals_the_single_machine_run(cluster):
    """A0: w ← w − η·(w − target of worker r), in order of clock and rank; the order shows in the result."""

    async def program(worker):
        for _ in range(ITERATIONS):
            w = await worker.pull("w")
            await dawdle(worker)
            worker.push("w", w - np.float32(worker.rank))
            await worker.clock()

    tables = {"w": ps.Table(3, update=ps.SGD(0.5), init=16.0, dtype="float64")}
    run = ps.Job(program, tables=tables, aggregate="sum").run(cluster(workers=3, servers=2), ps.Serial())
    w = 16.0
    for _ in range(ITERATIONS):
        for rank in range(3):
            w -= 0.5 * (w - rank)
    np.testing.assert_array_equal(run.tables["w"], w)


@pytest.mark.parametrize("model", [ps.SSP(1), ps.ASP()], ids=label)
def test_versions_count_updates_and_bsp_has_one_a_round(cluster, model):
    for each, updates in ((model, ITERATIONS * N), (ps.BSP(), ITERATIONS)):
        run = ps.Job(count, tables={"w": ps.Table(6)}).run(cluster(workers=N), each)
        applied = run.trace.of("apply")
        assert len(applied) == ITERATIONS * N
        assert sorted(set(applied["version"])) == list(range(1, updates + 1))
        if each == ps.BSP():
            assert set(applied["staleness"]) == {0}
