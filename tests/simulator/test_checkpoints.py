"""Checkpoints of a run: a consistent cut, resumed anywhere; what is lost when only one is left (E5, E7b)."""

import numpy as np
import pytest

import psbook as ps
from psbook.checkpoints import CheckpointStore
from psbook.errors import CheckpointError, InvalidJob, NodeFailure
from psbook.recovery import Saved

MODELS = [ps.BSP(), ps.SSP(1), ps.ASP(), ps.SSP(2, gate="clock"), ps.BoundedDelay(1), ps.Serial()]


async def descend(worker):
    """Gradient steps with an optimiser on the server, a random number and a state of the program's own."""
    path = np.zeros(7) if worker.saved is None else worker.saved
    for batch in worker.batches():
        w = await worker.pull("w")
        gradient = await worker.compute(lambda w=w, batch=batch: w * 0.05 + batch.mean())
        path = path + worker.rng.normal(size=7)
        worker.push("w", gradient)
        worker.push("path", path)
        await worker.clock(path)
    return path


def job(iterations=20, program=descend, **options):
    tables = {"w": ps.Table(7, update=ps.Adam(0.1)), "path": ps.Table(7, update=ps.Add())}
    return ps.Job(
        program, data=np.arange(300.0), batch_size=3, iterations=iterations, tables=tables, **options
    )


def cluster(checkpoints=None, servers=3, **options):
    return ps.Simulator(
        workers=3, servers=servers, compute=ps.Exponential(0.1), network=ps.Network(latency=1e-3),
        checkpoints=checkpoints, **options,
    )  # fmt: skip


def equal(one, other):
    return all(np.array_equal(one.tables[name], other.tables[name]) for name in one.tables)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.label)
def test_taking_checkpoints_changes_nothing(model, tmp_path):
    saved = job().run(cluster(ps.Checkpoints(tmp_path, every=5)), model)
    plain = job().run(cluster(), model)
    assert equal(saved, plain)
    assert saved.trace.of("checkpoint")["clock"].tolist() == [5, 10, 15, 20]
    assert saved.seconds == plain.seconds


@pytest.mark.parametrize("servers", [1, 3, 5])
@pytest.mark.parametrize("number", [5, 15])
def test_bsp_resumed_equals_bsp_without_a_break(servers, number, tmp_path):
    """Bit by bit, with any number of servers."""
    whole = job().run(cluster(ps.Checkpoints(tmp_path, every=5, keep=9)), ps.BSP())
    resumed = job().resume(tmp_path, cluster(servers=servers), ps.BSP(), number=number)
    assert equal(whole, resumed)
    assert all(np.array_equal(whole.results[name], resumed.results[name]) for name in whole.results)
    assert resumed.trace.of("clock")["clock"].min() == number + 1


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.label)
def test_a_cut_holds_all_updates_of_the_clocks_before_it_and_no_other(model, tmp_path):
    """Each push adds 100^(worker) to one number: the digits say whose and how many are in."""

    async def program(worker):
        for _ in range(12):
            await worker.pull("w")
            await worker.compute(int)
            worker.push("w", np.full(6, 100.0**worker.rank))
            await worker.clock()

    counted = ps.Job(program, tables={"w": ps.Table(6, dtype="float64")})
    counted.run(cluster(ps.Checkpoints(tmp_path, every=3, keep=9)), model)
    store = CheckpointStore(tmp_path)
    assert store.numbers() == [3, 6, 9, 12]
    for clock in store.numbers():
        saved = Saved(store.read(clock))
        rows = np.concatenate([arrays["w/values"] for _, _, arrays, _ in saved._parts])
        assert rows.tolist() == [clock * (1 + 100 + 100**2)] * 6
        assert set(saved.states) | saved.finished == {0, 1, 2}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.label)
def test_counts_are_exact_after_a_resume_under_every_model(model, tmp_path):
    async def program(worker):
        for batch in worker.batches():
            await worker.pull("w")
            await worker.compute(int)
            worker.push("w", np.ones(3), keys=np.arange(3) + 3 * worker.rank)
            worker.push("seen", np.ones(len(batch)), keys=np.sort(batch))
            await worker.clock()

    tables = {"w": ps.Table(9), "seen": ps.Table(300)}
    counting = ps.Job(program, data=np.arange(300), batch_size=10, tables=tables)
    counting.run(cluster(ps.Checkpoints(tmp_path, every=4)), model)
    resumed = counting.resume(tmp_path, cluster(servers=2), model, number=4)
    assert resumed.tables["w"].tolist() == [10.0] * 9
    assert resumed.tables["seen"].tolist() == [1.0] * 300


def test_a_program_that_had_ended_is_not_run_again(tmp_path):
    async def program(worker):
        for _ in range(4 + 8 * worker.rank):
            await worker.pull("w")
            worker.push("w", np.ones(3))
            await worker.clock()

    uneven = ps.Job(program, tables={"w": ps.Table(3)}, data=None)
    uneven.run(cluster(ps.Checkpoints(tmp_path, every=6)), ps.ASP())
    saved = Saved(CheckpointStore(tmp_path).read(6))
    assert saved.finished == {0}
    resumed = uneven.resume(tmp_path, cluster(), ps.ASP(), number=6)
    assert set(resumed.trace.of("clock")["node"]) == {"worker-1", "worker-2"}


def test_who_ended_after_the_cut_goes_on_from_it(tmp_path):
    """A fast worker may have ended when the slowest comes to the cut; its last clocks are not in it."""

    async def program(worker):
        while worker.iteration < 20:
            await worker.compute(int)
            worker.push("w", np.full(3, 100.0**worker.rank))
            await worker.clock()

    fast = ps.Exponential(0.1).slow({2: 50.0})
    counted = ps.Job(program, tables={"w": ps.Table(3, dtype="float64")})
    options = {"workers": 3, "servers": 3, "compute": fast}
    counted.run(ps.Simulator(**options, checkpoints=ps.Checkpoints(tmp_path, every=5, keep=9)), ps.ASP())
    resumed = counted.resume(tmp_path, ps.Simulator(**options), ps.ASP(), number=5)
    assert resumed.tables["w"].tolist() == [20.0 * 10101] * 3


@pytest.mark.parametrize("model", [ps.BSP(), ps.SSP(1), ps.ASP()], ids=lambda model: model.label)
def test_a_shard_without_a_copy_comes_back_from_the_checkpoint_and_the_loss_is_told(model, tmp_path):
    async def program(worker):
        for _ in range(30):
            await worker.pull("w")
            await worker.compute(int)
            worker.push("w", np.ones(9))
            await worker.clock()

    faults = ps.Faults(ps.Crash("server-0", at=1.9))
    made = ps.Job(program, tables={"w": ps.Table(9)}).run(
        cluster(ps.Checkpoints(tmp_path, every=5), faults=faults), model
    )
    values = made.tables["w"]
    assert values[3:].tolist() == [90.0] * 6  # the other servers' keys
    (told,) = made.trace.of("lost").dropna(subset="value").itertuples()
    pushes = 3 if model.buffered else 1
    assert values[:3].tolist() == [90.0 - pushes * told.value] * 3
    assert 0 < told.value <= 6 * 3 and f"{told.value:.0f} updates are lost" in told.detail


def test_without_a_checkpoint_a_shard_that_is_lost_ends_the_run_by_name(tmp_path):
    faults = ps.Faults(ps.Crash("server-1", at=0.2))
    with pytest.raises(NodeFailure, match="No copy of shard 1 is left; required: replicas, or a checkpoint"):
        job().run(cluster(faults=faults), ps.BSP())
    with pytest.raises(NodeFailure, match="no copy of shard 1 is left, and no checkpoint"):
        job().run(cluster(ps.Checkpoints(tmp_path, every=100), faults=faults), ps.BSP())


@pytest.mark.parametrize("stride", [10, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("node", ["server-0", "server-1", "controller", "worker-0"])
def test_a_checkpoint_taken_while_nodes_are_lost_is_whole_or_not_there(node, stride, tmp_path):
    """A node is killed at every tenth event, or at every one, of a run that takes checkpoints."""

    async def program(worker):
        while worker.iteration < 8:
            await worker.pull("w")
            await worker.compute(int)
            worker.push("w", np.full(6, 100.0**worker.rank))
            await worker.clock()

    counted = ps.Job(program, tables={"w": ps.Table(6, dtype="float64")})
    safety = ps.Safety(replicas=1, atomic=True, lease=0.4, resend=0.1)
    quiet = counted.run(cluster(safety=safety), ps.SSP(1))
    for index, at in enumerate(sorted(set(quiet.trace.frame["time"]))[5::stride]):
        place = tmp_path / str(index)
        faults = ps.Faults(ps.Crash(node, at=float(at), restart=0.3))
        made = counted.run(
            cluster(ps.Checkpoints(place, every=2, keep=9), safety=safety, faults=faults), ps.SSP(1)
        )
        assert made.tables["w"].tolist() == [8.0 * 10101] * 6
        store = CheckpointStore(place)
        for clock in store.numbers():
            rows = np.concatenate([arrays["w/values"] for _, _, arrays, _ in Saved(store.read(clock))._parts])
            assert rows.tolist() == [clock * 10101.0] * 6


def test_another_jobs_checkpoint_is_refused(tmp_path):
    job().run(cluster(ps.Checkpoints(tmp_path, every=5)), ps.BSP())
    other = ps.Job(descend, tables={"w": ps.Table(8)}, data=np.arange(300.0))
    with pytest.raises(CheckpointError, match="required: those of the job"):
        other.resume(tmp_path, cluster(), ps.BSP())
    with pytest.raises(CheckpointError, match="Only the number of servers may differ"):
        job().resume(tmp_path, ps.Simulator(workers=2), ps.BSP())


def test_what_is_torn_is_refused_by_name_and_the_good_one_is_told(tmp_path):
    job().run(cluster(ps.Checkpoints(tmp_path, every=5, keep=9)), ps.BSP())
    part = next(tmp_path.glob("checkpoint-20.shard-1*"))
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"checkpoint-20.*newest other checkpoint that is good is 15"):
        job().resume(tmp_path, cluster(), ps.BSP())
    assert equal(job().resume(tmp_path, cluster(), ps.BSP(), number=15), job().run(cluster(), ps.BSP()))


def test_a_state_that_cannot_be_saved_is_refused(tmp_path):
    async def program(worker):
        await worker.clock({"rng": object()})

    with pytest.raises(CheckpointError, match="a program's state holds a object"):
        ps.Job(program, tables={"w": ps.Table(3)}).run(cluster(ps.Checkpoints(tmp_path, every=1)), ps.ASP())


def test_options_that_make_no_sense_are_refused():
    with pytest.raises(InvalidJob, match=r"required: ps.Checkpoints\(url, every=…\)"):
        ps.Simulator(checkpoints="here")
