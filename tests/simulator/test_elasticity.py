"""Servers and workers that come and go while a run goes on: nothing lost, nothing doubled (E4, E8)."""

import numpy as np
import pytest

import psbook as ps
from psbook.errors import InvalidJob

MODELS = [ps.BSP(), ps.SSP(1), ps.ASP(), ps.SSP(1, gate="clock"), ps.BoundedDelay(1)]
ROWS, EPOCHS = 60, 2


async def count(worker):
    """Add one to every number, and one to each row that is worked through."""
    for batch in worker.batches(1, epochs=EPOCHS):
        await worker.pull("numbers")
        await worker.compute(int)
        worker.push("numbers", np.ones(12))
        worker.push("seen", np.ones(1), keys=batch)
        await worker.clock()


def run(model, *faults, safety=None, **options):
    job = ps.Job(count, data=np.arange(ROWS), tables={"numbers": ps.Table(12), "seen": ps.Table(ROWS)})
    cluster = ps.Simulator(
        workers=3, servers=3, compute=ps.Exponential(0.1), network=ps.Network(latency=1e-3),
        faults=ps.Faults(*faults), safety=safety or ps.Safety(), **options,
    )  # fmt: skip
    return job.run(cluster, model)


def assert_all_is_done_once(made):
    assert made.tables["numbers"].tolist() == [ROWS * EPOCHS] * 12
    assert made.tables["seen"].tolist() == [EPOCHS] * ROWS


CHANGES = {
    "a server joins": ((ps.Join("server-3", at=1.0),), {}),
    "a server leaves": ((ps.Leave("server-1", at=1.0),), {}),
    "one joins, one leaves": ((ps.Join("server-3", at=1.0), ps.Leave("server-0", at=1.001)), {"replicas": 1}),
    "all but one leave": ((ps.Leave("server-0", at=0.5), ps.Leave("server-2", at=1.5)), {}),
    "a worker joins": ((ps.Join("worker-3", at=1.0),), {}),
    "two workers join": ((ps.Join("worker-3", at=0.3), ps.Join("worker-4", at=2.0)), {}),
    "a worker leaves": ((ps.Leave("worker-1", at=1.0),), {}),
    "a worker is lost and leaves": (
        (ps.Crash("worker-1", at=1.0),),
        {"lost_workers": "leave", "atomic": True},
    ),
    "with lost messages": ((ps.Join("server-3", at=1.0), ps.Loss(0.01)), {"replicas": 1}),
}


@pytest.mark.parametrize("points", [0, 3], ids=["ranges", "ring"])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.label)
@pytest.mark.parametrize("change", CHANGES)
def test_all_work_is_done_once_whoever_comes_and_goes(change, model, points):
    faults, safety = CHANGES[change]
    assert_all_is_done_once(run(model, *faults, safety=ps.Safety(points=points, **safety)))


@pytest.mark.parametrize("points", [0, 5])
def test_a_newcomer_gets_its_share_of_the_keys_and_nobody_else_gets_any(points):
    """Of n servers' keys about 1/(n+1) move, all of them to the newcomer (B3)."""
    made = run(ps.ASP(), ps.Join("server-3", at=1.0), safety=ps.Safety(points=points))
    serve = made.trace.of("serve")
    started = serve[serve["time"] == 0.0]
    later = serve[(serve["time"] > 0.0) & (serve["detail"] != "")]
    moved = set(later[later["node"] == "server-3"]["shard"])
    assert moved
    for shard, nodes in later.groupby("shard")["node"]:
        before = set(started[started["shard"] == shard]["node"])
        assert set(nodes) <= before | {"server-3"} or shard not in set(started["shard"])
    tables = made.trace.of("apply")
    late = tables[(tables["time"] > 2.0) & (tables["table"] == "numbers")]
    keys = {
        node: sum(b - a for a, b in set(zip(rows["start"], rows["stop"], strict=True)))
        for node, rows in late.groupby("node")
    }
    assert sum(keys.values()) == 12
    assert keys["server-3"] == pytest.approx(12 / 4, abs=0 if points == 0 else 3)


def test_a_worker_that_joins_starts_at_min_and_gets_a_share_of_the_data():
    made = run(ps.SSP(1), ps.Join("worker-3", at=1.0))
    clocks = made.trace.of("clock")
    joined = clocks[clocks["node"] == "worker-3"]
    first = joined.iloc[0]
    others = clocks[(clocks["node"] != "worker-3") & (clocks["time"] < first["time"])]
    slowest = others.groupby("node")["clock"].max().min()
    assert abs(first["clock"] - 1 - slowest) <= 2
    assert len(joined) == pytest.approx((ROWS * EPOCHS - len(others)) / 4, abs=3)


def test_a_server_that_has_left_holds_nothing_and_is_heard_no_more():
    made = run(ps.ASP(), ps.Leave("server-1", at=1.0))
    (left,) = made.trace.of("lost").itertuples()
    assert left.node == "server-1" and "left" in left.detail
    after = made.trace.frame[made.trace.frame["time"] > left.time]
    assert not (after[after["node"] == "server-1"]["kind"].isin(["apply", "answer", "send"])).any()


def test_equal_seeds_give_equal_traces_whatever_changes():
    changes = (ps.Join("server-3", at=1.0), ps.Leave("worker-0", at=1.5), ps.Loss(0.02))
    assert run(ps.SSP(1), *changes).trace.hash() == run(ps.SSP(1), *changes).trace.hash()


@pytest.mark.parametrize("node", ["worker-1", "worker-5", "server-0", "database-1", "coordinator-3"])
def test_a_name_that_no_newcomer_can_have_is_refused(node):
    with pytest.raises(InvalidJob, match=r"Join\('.*'\); required: a new server such as 'server-3'"):
        run(ps.ASP(), ps.Join(node, at=1.0))
