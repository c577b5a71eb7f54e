"""A worker's time: five kinds, each measured, that add up to the run (H3)."""

import functools

import numpy as np
import pytest

import psbook as ps
from psbook.trace.schema import SPANS
from tests.conformance.scenarios import MODELS, dawdle, label


async def busy(worker, meets=True):
    for step in range(4 + 2 * worker.rank):
        w = await worker.pull("w")
        await worker.compute(np.sum, w)
        worker.push("w", np.ones(600))
        await worker.clock()
        if step == 1:
            if meets:
                await worker.barrier()
            await dawdle(worker)
            if meets:
                await ps.broadcast(worker, 1)
            await worker.flush()
            await worker.call("w", len)


@pytest.mark.parametrize("model", MODELS, ids=label)
def test_the_five_kinds_cover_the_run_without_gap_or_overlap(cluster, model):
    # Where less than all gradients end a round, one may wait for more while the others wait for its worker.
    meets = not (model.collects and model.waits and model.needed(3) < 3)
    program = functools.partial(busy, meets=meets)
    run = ps.Job(program, tables={"w": ps.Table(600)}).run(cluster(workers=3, servers=2), model)
    spans = run.trace.of(*SPANS)
    assert sorted(set(spans["node"])) == run.meta["workers"]
    for _, of_worker in spans.groupby("node"):
        of_worker = of_worker.sort_values("time")
        start = of_worker["time"].to_numpy()
        end = start + of_worker["duration"].to_numpy()
        assert start[0] == pytest.approx(0, abs=1e-9)
        np.testing.assert_allclose(start[1:], end[:-1], atol=1e-9)
        assert end[-1] == pytest.approx(run.seconds)
        assert of_worker["duration"].sum() == pytest.approx(run.seconds)
        assert (of_worker["duration"] > 0).all()


def test_an_early_end_a_barrier_a_sleep_and_a_receive_are_idle_by_name(cluster):
    async def program(worker):
        if worker.rank == 0:
            await worker.sleep(0.02)
            await worker.barrier()
            await worker.sleep(0.02)
            worker.send(1, None)
        else:
            await worker.barrier()
            await worker.receive(0)
            await worker.sleep(0.02)

    run = ps.Job(program, tables={"w": ps.Table(1)}).run(cluster(workers=2), ps.ASP())
    idle = run.trace.of("idle")
    of = {node: set(rows["detail"]) for node, rows in idle.groupby("node")}
    assert of["worker-0"] >= {"sleeping", "finished early"}
    assert of["worker-1"] >= {"barrier", "receiving", "sleeping"}


def test_who_waits_for_a_straggler_is_blocked_and_the_straggler_is_not(cluster):
    async def program(worker):
        for _ in range(5):
            await worker.pull("w")
            await worker.sleep(0.05 if worker.rank else 0.001)
            await worker.clock()

    run = ps.Job(program, tables={"w": ps.Table(1)}).run(cluster(workers=2), ps.BSP())
    blocked = run.trace.of("blocked").groupby("node")["duration"].sum()
    assert 0.1 < blocked["worker-0"] < run.seconds
    assert blocked.get("worker-1", 0.0) < 0.05


def test_every_send_is_received_and_every_pull_answered(cluster):
    run = ps.Job(busy, tables={"w": ps.Table(600)}).run(cluster(workers=3, servers=2), ps.SSP(1))
    trace = run.trace
    nodes = [*run.meta["programs"], *run.meta["servers"]]

    def counted(kind):
        rows = trace.of(kind)
        rows = rows[rows["node"].isin(nodes) & rows["peer"].isin(nodes)]
        ends = ("node", "peer") if kind == "send" else ("peer", "node")
        return rows.groupby([*ends, "detail", "message"]).size().rename_axis(["from", "to", "what", "id"])

    sent, received = counted("send"), counted("receive")
    last = [row for row in sent.index if row not in received.index]
    assert all(what == "Ack" for _, _, what, _ in last)  # those may meet a program that has ended
    assert set(received.index) <= set(sent.index)
    sends = trace.of("send")
    assert set(sends[sends["detail"] == "Pull"]["message"]) == set(trace.of("answer")["message"])


@pytest.mark.parametrize("level", ["off", "iterations", "full"])
def test_the_level_of_the_trace_changes_no_value(cluster, level):
    job = ps.Job(busy, tables={"w": ps.Table(600)})
    run = job.run(cluster(workers=2, trace=level), ps.BSP())
    assert run.tables["w"].tolist() == [10.0] * 600
    kinds = set(run.trace.frame["kind"])
    assert (
        ("finish" in kinds)
        and (("apply" in kinds) == (level != "off"))
        and (("send" in kinds) == (level == "full"))
    )


def test_the_last_loss_is_that_of_the_final_tables(cluster):
    """A push behind the last clock counts no iteration, yet it is in the tables that the run returns."""

    async def program(worker):
        await worker.clock()
        worker.push("w", np.ones(4))

    job = ps.Job(program, tables={"w": ps.Table(4)}, evaluate=lambda w: float(w.sum()))
    run = job.run(cluster(workers=2, servers=2), ps.ASP())
    assert run.tables["w"].tolist() == [2.0] * 4
    assert run.loss == 8.0
