"""The handle that a program gets: what it copies, what it lets wait, what it counts."""

import numpy as np
import pytest

import psbook as ps
from psbook.worker import detached, shared


def run(program, *, workers=1, model=None, tables=None, **options):
    tables = tables or {"w": ps.Table(4)}
    return ps.Job(program, tables=tables).run(ps.Simulator(workers=workers, **options), model or ps.ASP())


def test_a_worker_knows_its_name_role_clock_and_time():
    async def program(worker):
        before = repr(worker)
        await worker.sleep(1.5)
        count = await worker.clock()
        return (
            before,
            worker.name,
            worker.role,
            worker.rank,
            worker.workers,
            count,
            worker.iteration,
            worker.now,
        )

    results = run(program, workers=2).results
    assert results["worker-1"] == (
        "<worker-1 of 2, clock 0>", "worker-1", "worker", 1, 2, 1, 1, 1.5
    )  # fmt: skip


def test_no_policy_changes_a_workers_random_numbers():
    async def program(worker):
        numbers = []
        for _ in range(3):
            await worker.pull("w")
            numbers.append(worker.rng.random())
            await worker.clock()
        return numbers

    found = [
        run(program, workers=3, model=model, seed=4).results for model in (ps.BSP(), ps.SSP(2), ps.ASP())
    ]
    assert found[0] == found[1] == found[2]
    assert run(program, workers=3, seed=5).results != found[0]


@pytest.mark.parametrize(
    "view",
    [
        lambda mine: mine,
        lambda mine: mine[:4],
        lambda mine: np.broadcast_to(mine[:1], (4,)),
        lambda mine: mine.view(np.recarray),
        memoryview,
    ],
    ids=["itself", "slice", "broadcast", "subclass", "buffer"],
)
def test_what_is_pushed_may_be_overwritten_at_once(view):
    async def program(worker):
        mine = np.ones(4, np.float32)
        worker.push("w", view(mine))
        mine[:] = 99.0
        await worker.clock()

    network = ps.Network(latency=1.0)
    assert run(program, network=network).tables["w"].tolist() == [1.0] * 4


def test_what_nobody_can_write_to_is_not_copied():
    frozen = np.ones(4, np.float32)
    frozen.flags.writeable = False
    assert not shared(frozen, frozen)
    assert not shared(frozen[1:], frozen)
    import jax.numpy as jnp

    array = jnp.ones(4)
    assert not shared(np.asarray(array), array)


def test_detached_copies_arrays_in_containers_and_leaves_the_rest():
    array, other = np.zeros(2), object()
    made = detached({"a": [array, (array, other)]})
    array[:] = 1
    assert made["a"][0].tolist() == [0, 0] and made["a"][1][0].tolist() == [0, 0]
    assert made["a"][1][1] is other


def test_a_pulled_value_stays_as_it_was_read():
    async def program(worker):
        before = await worker.pull("w")
        worker.push("w", np.ones(4))
        await worker.flush()
        return before.tolist(), (await worker.pull("w")).tolist()

    assert run(program).results["worker-0"] == ([0.0] * 4, [1.0] * 4)


def test_a_pull_ahead_hides_its_latency_behind_the_computing():
    async def plain(worker):
        for _ in range(4):
            await worker.pull("w")
            await worker.compute(int)
            await worker.clock()

    async def ahead(worker):
        following = worker.pull("w")
        for _ in range(4):
            await following
            following = worker.pull("w")
            await worker.compute(int)
            await worker.clock()
        await following

    options = {"compute": 1.0, "network": ps.Network(latency=0.25)}
    assert run(plain, **options).seconds == pytest.approx(4 * 1.5 + 0.5)
    assert run(ahead, **options).seconds == pytest.approx(0.5 + 4 * 1.0 + 0.5)


def test_the_time_of_a_wait_is_booked_where_it_was_spent():
    """Latency 1 each way, service 2, two workers at one shard: the second is queued for 2."""

    async def program(worker):
        await worker.pull("w")

    trace = run(program, workers=2, network=ps.Network(latency=1.0), service=2.0).trace
    spans = trace.of("network", "queued", "blocked")
    first = spans[spans["node"] == "worker-0"]
    second = spans[spans["node"] == "worker-1"]
    queued = [float(rows[rows["kind"] == "queued"]["duration"].iloc[0]) for rows in (first, second)]
    assert queued == [2.0, 4.0]
    assert (spans["kind"] == "blocked").sum() == 0
    assert first[first["kind"] == "network"]["duration"].iloc[:2].tolist() == [1.0, 1.0]


def test_time_before_clock_0_is_not_booked_as_computing():
    async def program(worker):
        await worker.clock()

    trace = run(program, workers=2, network=ps.Network(latency=1.0)).trace
    assert trace.of("compute")["duration"].sum() == 0


def test_a_program_held_by_the_bound_on_bytes_is_booked_as_network(monkeypatch):
    """A14."""
    from psbook.core.client import Client

    monkeypatch.setattr(Client.__init__, "__defaults__", (100, 0))

    async def program(worker):
        for _ in range(3):
            worker.push("w", np.ones(4))
            worker.push("w", np.ones(4))
            await worker.clock()
            assert worker._host.client.in_flight <= 100

    made = run(program, network=ps.Network(latency=1.0))
    assert made.tables["w"].tolist() == [6.0] * 4
    network = made.trace.of("network")["duration"].sum()
    assert network == pytest.approx(3 * 2.0 + 2.0) == pytest.approx(made.seconds)


@pytest.mark.parametrize("level", ["iterations", "full"])
def test_sum_of_spans_is_the_length_of_the_run(level):
    async def program(worker):
        for _ in range(1 + worker.rank):
            await worker.pull("w")
            await worker.compute(int)
            await worker.clock()

    made = run(program, workers=3, model=ps.BSP(), compute=ps.Exponential(1.0), trace=level)
    spans = made.trace.of("compute", "network", "blocked", "queued", "idle")
    assert spans.groupby("node")["duration"].sum().tolist() == pytest.approx([made.seconds] * 3)
