"""Kinds of table, key sets, shards, server-side functions: the same on every backend."""

import numpy as np
import pytest

import psbook as ps
from psbook.errors import UpdateError
from tests.conformance.scenarios import dawdle, label, told


def run(cluster, program, tables, model=None, workers=3, servers=2, **options):
    return ps.Job(program, tables=tables, **options).run(
        cluster(workers=workers, servers=servers), model or ps.BSP()
    )


@pytest.mark.parametrize("servers", [1, 2, 5])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_key_lists_ranges_and_whole_tables_hit_the_same_rows(cluster, servers, sparse):
    async def program(worker):
        rank = worker.rank
        worker.push("w", np.full((2, 2), 1.0), [rank, rank + 4])
        worker.push("w", np.full((4, 2), 10.0), slice(2, 6))
        if rank == 0:
            worker.push("w", np.full((9, 2), 100.0))
        await worker.clock()
        whole = np.asarray(await worker.pull("w"))
        some = np.asarray(await worker.pull("w", [0, 4, 8]))
        range_ = np.asarray(await worker.pull("w", slice(3, 7)))
        none = np.asarray(await worker.pull("w", []))
        return whole, some, range_, none.shape

    done = run(cluster, program, {"w": ps.Table((9, 2), sparse=sparse)}, servers=servers)
    expected = np.full((9, 2), 100.0)
    for rank in range(3):
        expected[[rank, rank + 4]] += 1
        expected[2:6] += 10
    for whole, some, range_, none in done.results.values():
        np.testing.assert_array_equal(whole, expected)
        np.testing.assert_array_equal(some, expected[[0, 4, 8]])
        np.testing.assert_array_equal(range_, expected[3:7])
        assert none == (0, 2)


def test_a_sparse_table_of_a_huge_key_space_holds_what_was_pushed(cluster):
    def keys_of(rank):
        return np.sort(np.random.default_rng(rank).choice(2**40, 50, replace=False))

    async def program(worker):
        mine = keys_of(worker.rank)
        worker.push("emb", np.full((50, 3), worker.rank + 1.0), mine)
        await worker.clock()
        return np.asarray(await worker.pull("emb", np.union1d(mine, [7])))

    done = run(cluster, program, {"emb": ps.Table.sparse(2**40, 3, init=0.0)})
    keys, values = done.tables["emb"]
    expected = {key: rank + 1.0 for rank in range(3) for key in keys_of(rank).tolist()}
    assert keys.tolist() == sorted(expected)
    assert {key: row.tolist() for key, row in zip(keys.tolist(), values, strict=True)} == {
        key: [value] * 3 for key, value in expected.items()
    }
    for rank in range(3):
        read = done.results[f"worker-{rank}"]
        assert read[0].tolist() == [0.0] * 3 and (read[1:] == rank + 1.0).all()


def test_rows_of_a_table_are_vectors(cluster):
    async def program(worker):
        worker.push("rows", np.arange(8.0).reshape(2, 4), [1, 5])
        await worker.clock()
        return (await worker.pull("rows", [5])).shape

    done = run(cluster, program, {"rows": ps.Table.rows(6, 4)})
    assert set(done.results.values()) == {(1, 4)}
    np.testing.assert_array_equal(done.tables["rows"][5], 3 * np.arange(4.0, 8.0))


@pytest.mark.parametrize("library", ["numpy", "jax"])
def test_a_pytree_is_pulled_pushed_and_left_as_a_pytree(cluster, library):
    import jax.numpy as jnp

    xp = np if library == "numpy" else jnp
    tree = {"layers": [xp.ones((2, 3)), xp.zeros(3)], "scale": xp.full((1,), 2.0)}

    async def program(worker):
        import jax

        for _ in range(2):
            params = await worker.pull("model")
            worker.push("model", jax.tree.map(lambda leaf: leaf + 1.0, params))
            await worker.clock()
        params = await worker.pull("model")
        return jax.tree.map(np.asarray, params)

    tables = {"model": ps.Table.of(tree, update=ps.SGD(0.5))}
    done = run(cluster, program, tables, aggregate="mean")
    expected = {"layers": [np.full((2, 3), -0.5), np.full(3, -0.75)], "scale": np.full(1, -0.25)}
    for found in (done.tables["model"], *done.results.values()):
        np.testing.assert_array_equal(found["layers"][0], expected["layers"][0])
        np.testing.assert_array_equal(found["layers"][1], expected["layers"][1])
        np.testing.assert_array_equal(found["scale"], expected["scale"])


def test_several_tables_have_shapes_updates_and_names_of_their_own(cluster):
    async def program(worker):
        a, b = await ps.gather(worker.pull("a"), worker.pull("b", [1]))
        worker.push("a", a + 1.0)
        worker.push("b", b + 2.0, [1])
        worker.push("steps", np.ones(2, np.int64))
        await worker.clock()

    tables = {
        "a": ps.Table(5, update=ps.SGD(1.0), aggregate="sum"),
        "b": ps.Table((3, 2), init=1.0),
        "steps": ps.Table(2, dtype="int64"),
    }
    done = run(cluster, program, tables)
    assert done.tables["a"].tolist() == [-3.0] * 5
    assert done.tables["b"].tolist() == [[1.0, 1.0], [10.0, 10.0], [1.0, 1.0]]
    assert done.tables["steps"].tolist() == [3, 3] and done.tables["steps"].dtype == np.int64


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("keys", [None, [0, 3]])
def test_what_is_pulled_cannot_be_written_to(cluster, keys, cache):
    async def program(worker):
        rows = await worker.pull("w", keys)
        try:
            rows[0] = 7.0
        except ValueError:
            return "read-only"
        return "written"

    done = run(cluster, program, {"w": ps.Table(4, cache=cache)}, ps.SSP(2))
    assert set(done.results.values()) == {"read-only"}


def test_what_is_pushed_or_sent_is_the_programs_own_again_at_once(cluster):
    async def program(worker):
        mine, keys = np.ones(4, np.float32), np.array([0, 1, 2, 3])
        worker.push("w", mine, keys)
        worker.push("w", np.broadcast_to(mine[:1], (4,)))
        worker.send(worker.rank, [mine])
        mine[:], keys[:] = 100.0, 0
        (received,) = await worker.receive(worker.rank)
        await worker.clock()
        return received.tolist()

    done = run(cluster, program, {"w": ps.Table(4)})
    assert done.tables["w"].tolist() == [6.0] * 4
    assert all(received == [1.0] * 4 for received in done.results.values())


@pytest.mark.parametrize("update", [ps.Adam(0.1), ps.Adagrad(0.5), ps.Momentum(0.1, 0.9)], ids=str)
@pytest.mark.parametrize("servers", [1, 3])
def test_the_servers_optimiser_is_that_of_one_machine(cluster, update, servers):
    """H2: its state lives with the shard, whatever the number of shards."""

    async def program(worker):
        for step in range(5):
            w = await worker.pull("w")
            worker.push("w", w - step)
            await worker.clock()

    tables = {"w": ps.Table(7, update=update, init=np.arange(7.0), dtype="float64")}
    done = run(cluster, program, tables, workers=1, servers=servers)
    w = np.arange(7.0)
    state = update.init(np, w)
    for step in range(5):
        w, state = update.apply(np, w, state, w - step)
    np.testing.assert_allclose(done.tables["w"], w, rtol=1e-12)


def test_initial_values_do_not_depend_on_the_number_of_shards(cluster):
    async def program(worker):
        await worker.clock()

    tables = {
        "a": ps.Table((10, 2), init=ps.Normal(1.0)),
        "b": ps.Table(10, init=lambda rng, shape: rng.random(shape)),
    }
    found = [run(cluster, program, tables, servers=servers).tables for servers in (1, 4)]
    for name in tables:
        np.testing.assert_array_equal(found[0][name], found[1][name])
        assert len(np.unique(found[0][name])) == found[0][name].size


# Server-side functions


def test_a_call_runs_on_each_shard_and_merges_in_the_order_of_keys(cluster):
    async def program(worker):
        parts = await worker.call("w", lambda rows: rows.tolist())
        total = await worker.call("w", lambda rows, factor: factor * float(rows.sum()), 2.0, merge=sum)
        return parts, total

    done = run(cluster, program, {"w": ps.Table(5, init=np.arange(5.0))}, servers=2)
    assert all(result == ([[0.0, 1.0], [2.0, 3.0, 4.0]], 20.0) for result in done.results.values())


def test_a_call_may_change_the_values_and_sees_the_callers_own_pushes(cluster):
    async def program(worker):
        if worker.rank == 0:
            worker.push("w", np.ones(6))
            largest = await worker.call(
                "w", lambda rows, by: ps.NewValues(rows * by, float(rows.max())), 3.0, merge=max
            )
            return largest, np.asarray(await worker.pull("w")).tolist()
        return None

    done = run(cluster, program, {"w": ps.Table(6, init=1.0, cache=True)}, ps.ASP(), servers=3)
    assert done.results["worker-0"] == (2.0, [6.0] * 6)


def test_an_update_function_that_raises_is_named_with_its_own_error_as_the_cause(cluster):
    class Fragile(ps.SGD):
        def apply(self, xp, value, state, grad):
            if xp.any(value < 0):
                raise ZeroDivisionError("negative")
            return super().apply(xp, value, state, grad)

    async def program(worker):
        for _ in range(4):
            await worker.pull("w")
            worker.push("w", np.ones(4))
            await worker.clock()

    with pytest.raises(UpdateError, match="raised ZeroDivisionError: negative") as caught:
        run(cluster, program, {"w": ps.Table(4, update=Fragile(0.5))})
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert "on server-" in told(caught.value)


def test_a_server_side_function_that_raises_is_named(cluster):
    def broken(rows):
        raise KeyError("missing")

    async def program(worker):
        await worker.call("w", broken)

    with pytest.raises(UpdateError, match=r"server-side function .*broken raised KeyError") as caught:
        run(cluster, program, {"w": ps.Table(4)})
    assert isinstance(caught.value.__cause__, KeyError)


# Flush and barrier


def test_after_flush_the_shards_have_what_was_pushed(cluster):
    async def program(worker):
        if worker.rank == 0:
            worker.push("w", np.full(6, 5.0))
            await worker.flush()
            worker.send(1, "pushed")
        if worker.rank == 1:
            await worker.receive(0)
            return np.asarray(await worker.pull("w")).tolist()
        return None

    done = run(cluster, program, {"w": ps.Table(6)}, ps.ASP())
    assert done.results["worker-1"] == [5.0] * 6


def test_an_awaited_push_is_acknowledged(cluster):
    async def program(worker):
        if worker.rank == 0:
            await worker.push("w", np.full(6, 5.0))
            worker.send(1, "pushed")
        if worker.rank == 1:
            await worker.receive(0)
            return np.asarray(await worker.pull("w")).tolist()
        return None

    done = run(cluster, program, {"w": ps.Table(6)}, ps.ASP())
    assert done.results["worker-1"] == [5.0] * 6


@pytest.mark.parametrize("model", [ps.SSP(0), ps.SSP(2), ps.BoundedDelay(1), ps.ASP()], ids=label)
def test_a_barrier_separates_what_was_flushed_before_from_what_is_read_after(cluster, model):
    async def program(worker):
        seen = []
        for _ in range(3 + worker.rank):
            await dawdle(worker)
            worker.push("w", np.ones(2))
            await worker.clock()
            await worker.flush()
            await worker.barrier()
            seen.append(float((await worker.pull("w"))[0]))
            await worker.barrier()
        return seen

    done = run(cluster, program, {"w": ps.Table(2)}, model)
    for seen in done.results.values():
        assert seen == [3.0, 6.0, 9.0, 11.0, 12.0][: len(seen)]
