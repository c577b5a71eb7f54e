"""Work handed out piece by piece: every partition once in an epoch, to whoever is free, and again if lost."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import psbook as ps
from psbook.core.queues import Queue
from psbook.errors import InvalidJob, ProgramError
from tests.data.rows import gradient, rows

LAW = ps.Constant(0.1).slow({1: 5})


def count_rows(size=3, **options):
    """Programs that return how often each row came to them."""

    async def look(worker):
        seen = Counter()
        async for batch in worker.batches(size, **options):
            await worker.compute(lambda: None)
            worker.push("n", np.bincount(batch, minlength=24).astype("f4"))
            seen.update(batch.tolist())
            await worker.clock()
        return seen

    return look


def job(program, **options):
    data = ps.Partitions([np.arange(k * 4, k * 4 + 4) for k in range(6)], queue=True)
    return ps.Job(program, tables={"n": ps.Table(24)}, data=data, **options)


def partitions(run):
    """Which partition went to whom, in the order of time."""
    reports = run.trace.frame[lambda f: (f.kind == "report") & (f.detail == "partition")]
    return list(zip(reports.node, reports.value.astype(int), strict=True))


@given(asks=st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=30))
def test_a_queue_hands_out_every_number_once_and_again_what_comes_back(asks):
    queue, numbers, held, done = Queue(), Counter(), {}, []
    for rank, ends in asks:
        if ends:
            queue.give_back(rank)
            held.pop(rank, None)
            numbers[rank] = 0
        else:
            done += [held[rank]] if rank in held else []
            numbers[rank] += 1
            held[rank] = queue.ask(rank, numbers[rank])
            assert queue.ask(rank, numbers[rank]) == held[rank]
    assert sorted([*done, *held.values(), *queue.returned]) == list(range(queue.handed))


@pytest.mark.parametrize("model", [ps.BSP(), ps.SSP(1), ps.ASP()], ids=lambda m: m.label)
def test_every_row_comes_once_in_an_epoch_and_fast_programs_get_more(model):
    run = job(count_rows(epochs=2)).run(ps.Simulator(workers=2, compute=LAW), model)
    assert run.tables["n"].tolist() == [2.0] * 24
    found = partitions(run)
    assert sorted(number for _, number in found[:6]) == list(range(6)) == sorted(n for _, n in found[6:])
    by = Counter(node for node, _ in found)
    if isinstance(model, ps.ASP):
        assert by["worker-0"] > 2 * by["worker-1"]


def test_equal_seeds_hand_out_equally():
    runs = [job(count_rows()).run(ps.Simulator(workers=3, compute=LAW, seed=s), ps.ASP()) for s in (1, 1, 2)]
    first, again, other = map(partitions, runs)
    assert first == again != other


def test_iterations_are_of_each_program():
    run = job(count_rows(iterations=5)).run(ps.Simulator(workers=2), ps.ASP())
    assert (run.trace.frame.kind == "clock").sum() == 10


def test_a_loop_takes_its_work_from_a_queue():
    loop = ps.Loop(kernel=lambda w, batch: (0.0, np.bincount(batch, minlength=24).astype("f4")), pull="n")
    run = job(loop, batch_size=3, aggregate="sum").run(ps.Simulator(workers=2, trace="iterations"), ps.ASP())
    assert run.tables["n"].tolist() == [1.0] * 24


@pytest.mark.parametrize("at", [0.05, 0.15, 0.35, 0.55])
def test_a_program_that_is_started_again_goes_on_with_its_partition(at):
    cluster = ps.Simulator(
        workers=2, servers=2, compute=0.1, safety=ps.Safety(replicas=1, lease=0.2),
        faults=ps.Faults(ps.Crash("worker-1", at=at, restart=0.1)),
    )  # fmt: skip
    run = job(count_rows()).run(cluster, ps.ASP())
    assert (run.trace.frame.kind == "restart").sum() == 1
    assert run.tables["n"].tolist() == [1.0] * 24


def test_what_a_lost_program_has_not_finished_is_handed_out_again():
    cluster = ps.Simulator(
        workers=2, servers=2, compute=0.1, safety=ps.Safety(replicas=1, lease=0.2, lost_workers="leave"),
        faults=ps.Faults(ps.Crash("worker-1", at=0.15)),
    )  # fmt: skip
    run = job(count_rows()).run(cluster, ps.ASP())
    found = partitions(run)
    (lost,) = [number for node, number in found if node == "worker-1"]
    assert ("worker-0", lost) in found
    counts = run.tables["n"].reshape(6, 4)
    assert (counts >= 1).all()  # at least once: what was lost begins anew
    assert (np.delete(counts, lost, axis=0) == 1).all()


def test_a_program_that_joins_asks_the_queue_as_the_others_do():
    cluster = ps.Simulator(
        workers=1, servers=2, compute=0.1, safety=ps.Safety(replicas=1),
        faults=ps.Faults(ps.Join("worker-1", at=0.35)),
    )  # fmt: skip
    run = job(count_rows()).run(cluster, ps.ASP())
    assert run.tables["n"].tolist() == [1.0] * 24
    assert {node for node, _ in partitions(run)} == {"worker-0", "worker-1"}


def test_lost_messages_do_not_lose_work():
    cluster = ps.Simulator(workers=3, safety=ps.Safety(), faults=ps.Faults(ps.Loss(0.2)), seed=3)
    assert job(count_rows()).run(cluster, ps.ASP()).tables["n"].tolist() == [1.0] * 24


def test_a_plain_loop_over_a_queue_is_refused_by_name():
    async def plain(worker):
        for _ in worker.batches(2):
            pass

    with pytest.raises((InvalidJob, ProgramError), match="async for batch in worker"):
        job(plain).run(ps.Simulator(workers=1))


@pytest.mark.dask
def test_on_dask_a_queue_trains_the_same_rows():
    from distributed import Client, LocalCluster

    async def train(worker):
        async for X, y in worker.batches(5, epochs=4):
            w = await worker.pull("w")
            worker.push("w", (await worker.compute(gradient, w, X, y)).astype("f4"))
            await worker.clock()

    data = ps.Partitions([rows(k) for k in range(6)], queue=True)
    trained = ps.Job(train, tables={"w": ps.Table(5, update=ps.SGD(0.2))}, data=data)
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=4, processes=True, memory_limit=0, dashboard_address=":0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        run = trained.run(ps.Dask(client, workers=2), ps.ASP())
        counted = job(count_rows(epochs=2)).run(ps.Dask(client, workers=2), ps.ASP())
    found = Counter(number for _, number in partitions(run))
    assert found == dict.fromkeys(range(6), 4)
    assert counted.tables["n"].tolist() == [2.0] * 24
    expected = trained.run(ps.Simulator(workers=2), ps.ASP()).tables["w"]
    assert run.tables["w"] == pytest.approx(expected, abs=0.3)


def test_a_second_loop_over_a_queue_is_refused_by_name():
    async def twice(worker):
        for _ in range(2):
            async for _ in worker.batches():
                await worker.clock()

    job = ps.Job(
        twice, data=ps.Partitions([np.ones(4)] * 3, queue=True), tables={"w": ps.Table(1)}, batch_size=2
    )
    with pytest.raises(ps.errors.InvalidJob, match=r"a second time .* required: one loop"):
        job.run(ps.Simulator(workers=2))
