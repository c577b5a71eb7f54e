"""What replication costs: bytes after aggregation (T16), latency and capacity of a chain (T18)."""

import numpy as np
import pytest

import psbook as ps
from psbook.core.layout import Safety
from psbook.simulator.service import Service

MESSAGE, UPDATE, COPY, QUERY = 0.001, 0.050, 0.020, 0.005
"""Seconds of a message, an update at the head and at another replica, a query (van Renesse and Schneider)."""

REPLICAS = 3
"""The head and two others."""

COSTS = {"head": UPDATE, "replica": COPY, "read": QUERY}
NEVER = {"lease": 1e3, "resend": 1e3}


# T16: bytes


def forwarded(keys, workers, replicas, scheme, aggregate, iterations=4):
    """Bytes of the pushes and of what is passed on to replicas, in a run of BSP on dense float64 vectors."""

    async def train(worker):
        for _ in range(iterations):
            await worker.pull("w")
            await worker.compute(int)
            worker.push("w", np.ones(keys))
            await worker.clock()
        await worker.pull("w")  # nobody leaves before the last round is closed

    job = ps.Job(train, tables={"w": ps.Table(keys, dtype="float64")})
    safety = Safety(replicas, scheme, aggregate, **NEVER)
    run = job.run(ps.Simulator(workers=workers, servers=3, safety=safety), ps.BSP())
    np.testing.assert_array_equal(run.tables["w"], workers * iterations)
    sent = run.trace.of("send").groupby("detail", observed=True)["bytes"].sum()
    return int(sent["Push"]), int(sent["Forward"])


@pytest.mark.parametrize("scheme", ["chain", "primary-backup"])
@pytest.mark.parametrize(("workers", "replicas"), [(2, 1), (4, 1), (4, 2), (5, 2)])
def test_t16_replication_after_aggregation_is_k_nths_of_the_pushes(workers, replicas, scheme):
    small, large = 30, 90
    value_bytes = (large - small) * 8  # what more keys cost: headers and key ranges drop out
    for aggregate, copies in ((False, workers * replicas), (True, replicas)):
        pushes, forwards = np.subtract(
            forwarded(large, workers, replicas, scheme, aggregate),
            forwarded(small, workers, replicas, scheme, aggregate),
        )
        assert pushes == 4 * workers * value_bytes
        assert forwards == 4 * copies * value_bytes


# T18: a chain under load


def chain(program, workers, iterations=1, seed=0):
    async def run(worker):
        await program(worker, iterations)

    job = ps.Job(run, tables={"w": ps.Table(3)})
    safety = Safety(REPLICAS - 1, "chain", **NEVER)
    cluster = ps.Simulator(
        workers, REPLICAS, network=ps.Network(latency=MESSAGE), service=COSTS, safety=safety, seed=seed
    )
    return job.run(cluster, ps.ASP())


def test_t18_an_update_takes_94_ms_and_a_query_7_ms():
    times = {}

    async def ask(worker, _):
        begin = worker.now
        await worker.push("w", np.ones(1), keys=[0])
        times["update"] = worker.now - begin
        begin = worker.now
        await worker.pull("w", keys=[0])
        times["query"] = worker.now - begin

    chain(ask, workers=1)
    t = REPLICAS
    assert times["update"] == pytest.approx((t + 1) * MESSAGE + UPDATE + (t - 1) * COPY, rel=1e-12)
    assert times["update"] == pytest.approx(0.094, rel=1e-12)
    assert times["query"] == pytest.approx(2 * MESSAGE + QUERY, rel=1e-12) == pytest.approx(0.007, rel=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 1.0])
def test_t18_capacity_is_that_of_the_head_or_of_the_tail(share):
    workers, each = 40, 60

    async def load(worker, requests):
        for i in range(requests):
            turn = i + worker.rank  # evenly spread, over time and over workers
            if int((turn + 1) * share) > int(turn * share):
                await worker.push("w", np.ones(1), keys=[0])
            else:
                await worker.pull("w", keys=[0])

    frame = chain(load, workers, each).trace.frame
    done = frame[(frame["kind"] == "send") & (frame["node"] == "server-2")]
    done = done[done["detail"].isin(["Ack", "PullReply"])]
    done = done[done["message"].str.contains("/w/")]  # the tail of shard 0, without the ends of programs
    times = np.sort(done["time"].to_numpy())
    assert len(times) == workers * each
    middle = times[len(times) // 5 : -len(times) // 5]
    rate = (len(middle) - 1) / (middle[-1] - middle[0])
    head, tail = share * UPDATE, share * COPY + (1 - share) * QUERY
    assert rate == pytest.approx(1 / max(head, tail), rel=0.02)


def test_service_by_role_is_checked():
    with pytest.raises(ps.errors.InvalidJob, match="'tail'"):
        Service({"tail": 1.0}, 0)
    with pytest.raises(ps.errors.InvalidJob, match="service"):
        ps.Simulator(service={"head": "long"})
    assert ps.Simulator(service=COSTS).label.endswith(
        "service head Constant(0.05), replica Constant(0.02), read Constant(0.005)"
    )
