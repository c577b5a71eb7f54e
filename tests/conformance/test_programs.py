"""Channels, collectives, roles, data and records: the same on every backend."""

import functools
import operator

import numpy as np
import pytest

import psbook as ps
from tests.conformance.scenarios import dawdle

NOTHING = {"unused": ps.Table(3)}


def run(cluster, program, workers=4, servers=1, model=None, tables=None, **options):
    job = ps.Job(program, tables=tables or NOTHING, **options)
    return job.run(cluster(workers=workers, servers=servers), model or ps.ASP())


# Channels


def test_values_come_in_the_order_sent_and_by_tag_and_source(cluster):
    async def program(worker):
        if worker.rank:
            for number in range(3):
                worker.send(0, (worker.rank, number), tag="odd" if number % 2 else "even")
            return None
        odd = [await worker.receive(source, "odd") for source in (2, 1)]
        even = [await worker.receive(1, "even"), await worker.receive(1, "even")]
        rest = [await worker.receive(tag="even"), await worker.receive(tag="even")]
        return odd, even, rest

    result = run(cluster, program, workers=3).results["worker-0"]
    assert result == ([(2, 1), (1, 1)], [(1, 0), (1, 2)], [(2, 0), (2, 2)])


@pytest.mark.parametrize(
    "value",
    [None, 3, "text", b"bytes", {"a": [1, (2.5, None)]}, np.arange(6.0).reshape(2, 3), np.float32(1.5)],
    ids=repr,
)
def test_any_value_may_be_sent(cluster, value):
    async def program(worker):
        if worker.rank == 0:
            worker.send(1, value)
            return value
        return await worker.receive(0)

    received = run(cluster, program, workers=2).results["worker-1"]
    assert type(received) is type(value)
    np.testing.assert_equal(received, value)


# Collectives


@pytest.mark.parametrize("workers", [1, 2, 3, 5, 8])
def test_broadcast_gives_everybody_the_roots_value(cluster, workers):
    async def program(worker):
        results = []
        for root in range(worker.workers):
            mine = np.arange(4.0) + worker.rank if worker.rank == root else None
            results.append(np.asarray(await ps.broadcast(worker, mine, root=root)))
        return results

    for results in run(cluster, program, workers=workers).results.values():
        np.testing.assert_array_equal(results, np.arange(4.0) + np.arange(workers)[:, None])


@pytest.mark.parametrize("workers", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_tree_aggregate_is_the_sum_at_rank_0(cluster, workers, depth):
    async def program(worker):
        await dawdle(worker)
        return await ps.tree_aggregate(worker, 2.0**worker.rank, depth=depth)

    results = run(cluster, program, workers=workers).results
    assert results.pop("worker-0") == 2.0**workers - 1
    assert set(results.values()) <= {None}


def test_tree_aggregate_combines_in_a_fixed_order_by_any_function(cluster):
    async def program(worker):
        await dawdle(worker)
        flat = await ps.tree_aggregate(worker, [worker.rank], operator.add, depth=1)
        deep = await ps.tree_aggregate(worker, {worker.rank}, operator.or_, depth=2)
        return flat, deep

    flat, deep = run(cluster, program, workers=7).results["worker-0"]
    assert flat == list(range(7)) and deep == set(range(7))


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 4)], ids=str)
def test_all_reduce_is_the_sum_at_everybody(cluster, workers, shape):
    def value(rank):
        return np.random.default_rng(rank).integers(0, 100, shape)

    async def program(worker):
        mine = value(worker.rank)
        total = await ps.all_reduce(worker, mine)
        np.testing.assert_array_equal(mine, value(worker.rank))
        return total

    expected = functools.reduce(operator.add, map(value, range(workers)))
    for total in run(cluster, program, workers=workers).results.values():
        np.testing.assert_array_equal(total, expected)
        assert total.shape == shape


# Roles


def test_a_coordinator_hands_out_work_and_adds_up(cluster):
    async def coordinate(worker):
        waiting, total = list(range(10)), 0
        helpers = ["worker-0", "worker-1", "worker-2"]
        for _ in range(10 + len(helpers)):
            name, result = await worker.receive()
            total += result
            worker.send(name, waiting.pop() if waiting else None)
        return total

    async def work(worker):
        done = 0
        worker.send("coordinator-0", (worker.name, 0))
        while (task := await worker.receive("coordinator-0")) is not None:
            await dawdle(worker)
            done += 1
            worker.push("done", np.ones(3))
            await worker.clock()
            worker.send("coordinator-0", (worker.name, task * task))
        return done

    job = ps.Job(roles={"worker": (work, 3), "coordinator": (coordinate, 1)}, tables={"done": ps.Table(3)})
    found = job.run(cluster(), ps.ASP())
    assert found.results["coordinator-0"] == sum(n * n for n in range(10))
    assert sum(found.results[f"worker-{k}"] for k in range(3)) == 10
    assert found.tables["done"].tolist() == [10.0] * 3


def test_only_the_clocks_of_the_first_role_count_unless_a_role_says_otherwise(cluster):
    async def work(worker):
        for _ in range(4):
            await worker.pull("w")
            worker.push("w", np.ones(2))
            await worker.clock()

    async def watch(worker):
        first = np.asarray(await worker.pull("w"))
        await worker.clock()
        return first.shape, worker.rank, worker.workers, worker.role

    job = ps.Job(roles={"worker": (work, 2), "watcher": (watch, 2)}, tables={"w": ps.Table(2)})
    found = job.run(cluster(), ps.BSP())
    assert found.results["watcher-1"] == ((2,), 1, 2, "watcher")
    assert found.meta["workers"] == ["worker-0", "worker-1"]
    counted = ps.Job(
        roles={"worker": (work, 2), "other": ps.Role(work, 1, clocked=True)}, tables={"w": ps.Table(2)}
    ).run(cluster(), ps.BSP())
    assert counted.meta["workers"] == ["worker-0", "worker-1", "other-0"]
    assert set(counted.trace.of("apply")["version"]) == {1, 2, 3, 4}


# Data, random numbers, records, results


def test_each_worker_has_its_shard_its_batches_and_its_luck(cluster):
    async def program(worker):
        rows = list(worker.batches())
        return worker.data, rows, worker.rng.random(3).tolist()

    X = np.arange(20)
    found = run(cluster, program, workers=4, data=X, batch_size=2, epochs=3)
    shards = [found.results[f"worker-{k}"][0] for k in range(4)]
    assert sorted(np.concatenate(shards).tolist()) == X.tolist()
    for data, rows, _ in found.results.values():
        assert sorted(np.concatenate(rows).tolist()) == sorted(data.tolist() * 3)
    assert len({tuple(luck) for _, _, luck in found.results.values()}) == 4
    reference = run(functools.partial(ps.Simulator), program, workers=4, data=X, batch_size=2, epochs=3)
    for name, (data, rows, luck) in reference.results.items():
        np.testing.assert_array_equal(found.results[name][0], data)
        np.testing.assert_array_equal(np.concatenate(found.results[name][1]), np.concatenate(rows))
        assert found.results[name][2] == luck


def test_a_list_gives_each_worker_its_own_data(cluster):
    async def program(worker):
        return len(worker.data)

    shards = [np.arange(n) for n in (5, 1, 3)]
    assert run(cluster, program, workers=3, data=shards).results == {
        "worker-0": 5, "worker-1": 1, "worker-2": 3
    }  # fmt: skip


def test_reports_are_in_the_trace_with_worker_clock_and_name(cluster):
    async def program(worker):
        for step in range(3):
            worker.report(step=step, double=2 * step)
            await worker.clock()

    rows = run(cluster, program, workers=2).trace.of("report")
    found = sorted(zip(rows["node"], rows["clock"], rows["detail"], rows["value"], strict=True))
    assert found == sorted(
        (f"worker-{k}", step, name, value)
        for k in range(2)
        for step in range(3)
        for name, value in (("step", step), ("double", 2 * step))
    )


@pytest.mark.parametrize("servers", [1, 2])
def test_the_objective_is_evaluated_on_the_servers_tables_after_so_many_iterations(cluster, servers):
    """Under BSP the snapshot behind worker iteration i·n holds exactly i rounds."""

    async def program(worker):
        for _ in range(4):
            await worker.pull("w")
            await dawdle(worker)
            worker.push("w", np.ones(3))
            await worker.clock()

    found = run(
        cluster, program, workers=2, servers=servers, model=ps.BSP(), tables={"w": ps.Table(3)},
        evaluate=lambda w: float(w.sum()), every=2,
    )  # fmt: skip
    history = found.history
    assert found.trace.of("loss")["clock"].tolist() == [0, 2, 4, 6, 8]
    assert history["loss"].tolist() == [0.0, 6.0, 12.0, 18.0, 24.0]
    assert found.loss == 24.0
    assert set(history.attrs["columns"]) >= set(history.columns)


def test_what_programs_return_is_in_the_results(cluster):
    async def program(worker):
        return {"rank": worker.rank, "array": np.full(2, worker.rank)}

    results = run(cluster, program, workers=3).results
    assert list(results) == ["worker-0", "worker-1", "worker-2"]
    for rank, name in enumerate(results):
        assert results[name]["rank"] == rank and results[name]["array"].tolist() == [rank, rank]


def test_operations_go_on_side_by_side(cluster):
    async def program(worker):
        ahead = worker.pull("w")
        for _ in range(3):
            w = await ahead
            ahead = worker.pull("w")
            result = await worker.compute(lambda w: float(w.sum()), w)
            worker.push("w", np.ones(4))
            await worker.clock()
        await ahead
        return result

    found = run(cluster, program, workers=2, tables={"w": ps.Table(4)})
    assert found.tables["w"].tolist() == [6.0] * 4
