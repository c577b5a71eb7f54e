"""Who serves, broken in exactly one place; and a run that came to its end, or did not."""

import numpy as np
import pytest

import psbook as ps
from psbook.simulator.faults import Faults, Pause
from psbook.trace import Trace, check
from tests.theory.programs import run_loop
from tests.trace.judged_runs import changed, copied, rows, trace_of, without

SCHEMES = ["chain", "primary-backup"]


def crashed(scheme="chain"):
    return trace_of(ps.SSP(1), "a primary dies", replicas=1, scheme=scheme)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_two_heads_in_one_epoch(scheme):
    trace = crashed(scheme)
    row = next(
        row for row in rows(trace, "serve", shard=1) if trace.frame.loc[row, "detail"] in ("head", "both")
    )
    other = {"server-0", "server-1", "server-2"} - {trace.frame.loc[row, "node"]}
    verdict = check(copied(trace, row, row, node=max(other)))["one primary"]
    assert verdict.verdict == "false" and verdict.first == row + 1
    later = check(copied(trace, row, row, node=max(other), version=99))["one primary"]
    assert later.verdict == "true"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_dead_server_that_answers(scheme):
    trace = crashed(scheme)
    after = rows(trace, "send", "PullReply")[-2]
    verdict = check(copied(trace, after, after, node="server-0"))["one answers"]
    assert verdict.verdict == "false" and verdict.first == after + 1
    assert "though it had crashed" in verdict.why


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("what", ["PullReply", "Ack"])
def test_a_server_that_speaks_when_another_has_taken_over(scheme, what):
    trace = trace_of(ps.SSP(1), "a server hangs", replicas=1, scheme=scheme)
    frame = trace.frame
    lost = rows(trace, "lost", node="server-1")[0]
    before = [row for row in rows(trace, "send", what, node="server-1") if row < lost]
    speech = before[-1]
    shard = int(frame.loc[speech, "message"].partition("/s")[2].partition("#")[0])
    later = [
        row for row in rows(trace, "send", what)
        if row > lost and frame.loc[row, "node"] != "server-1" and f"/s{shard}#" in frame.loc[row, "message"]
    ]  # fmt: skip
    after = later[3]
    verdict = check(copied(trace, speech, after))["one answers"]
    assert verdict.verdict == "false" and verdict.first == after + 1
    assert f"speaks for shard {shard}, for which another has spoken" in verdict.why


def test_a_server_without_a_role_that_answers():
    trace = trace_of(ps.SSP(1), replicas=2)
    frame = trace.frame
    middle = next(row for row in rows(trace, "serve", shard=0) if frame.loc[row, "detail"] == "")
    answer = next(row for row in rows(trace, "send", "PullReply") if "/s0#" in frame.loc[row, "message"])
    verdict = check(copied(trace, answer, answer, node=frame.loc[middle, "node"]))["one answers"]
    assert verdict.verdict == "false" and "has no role there" in verdict.why


def test_an_epoch_that_does_not_rise():
    trace = crashed()
    later = [row for row in rows(trace, "serve") if trace.frame.loc[row, "version"] > 0]
    row = later[-1]
    first = trace.frame.loc[row, ["node", "shard"]].to_dict()
    assert len(rows(trace, "serve", **first)) > 1
    verdict = check(changed(trace, row, version=0))["epochs rise"]
    assert verdict.verdict == "false" and verdict.first == row


def test_a_restarted_server_may_begin_with_any_epoch_and_a_map_may_not():
    trace = crashed()
    assert check(trace)["epochs rise"].verdict == "true" and rows(trace, "epoch")
    trace = without(trace, *rows(trace, "epoch"))
    frame = trace.frame
    row = rows(trace, "serve", node="server-1")[0]
    restart = {"kind": "restart", "node": "server-1", "version": 1, "shard": -1, "detail": ""}
    again = copied(copied(trace, row, len(frame) - 1, **restart), row, len(frame))
    assert check(again)["epochs rise"].verdict == "true"
    maps = {"kind": "epoch", "node": "controller", "shard": -1, "detail": ""}
    one = copied(trace, row, row, **maps, version=4)
    assert check(copied(one, row + 1, row + 1, version=4))["epochs rise"].verdict == "false"
    assert check(copied(one, row + 1, row + 1, version=5))["epochs rise"].verdict == "true"


def test_a_program_that_does_not_end():
    trace = crashed()
    silent = without(trace, *rows(trace, "finish", node="worker-2"))
    verdict = check(silent)["progress"]
    assert (
        verdict.verdict == "false" and "after the last fault, at 0.3 s, worker-2 did not end" in verdict.why
    )
    assert silent.frame.loc[verdict.first, "node"] == "worker-2"
    end = rows(trace, "finish", node="worker-2")[0]
    said = changed(trace, end, kind="failure", detail="worker-2 raised")
    assert check(said)["progress"].why == "the run says why it ended early: worker-2 raised"
    given_up = changed(trace, end, kind="lost", detail="no sign of life")
    assert check(given_up)["progress"].verdict == "true"


@pytest.mark.parametrize("level", ["full", "iterations"])
def test_time_that_is_lost_or_booked_twice(level):
    trace = trace_of(ps.SSP(1), level=level)
    spans = rows(trace, "compute", node="worker-1")
    lost = check(without(trace, spans[2]))["time accounted"]
    assert lost.verdict == "false" and "is not accounted for" in lost.why
    longer = changed(trace, spans[2], duration=trace.frame.loc[spans[2], "duration"] + 0.001)
    twice = check(longer)["time accounted"]
    assert twice.verdict == "false" and "is accounted for twice" in twice.why
    last = max(rows(trace, "idle", node="worker-1") + rows(trace, "network", node="worker-1") + spans,
               key=lambda row: trace.frame.loc[row, "time"])  # fmt: skip
    short = check(without(trace, last))["time accounted"]
    assert short.verdict == "false" and short.why.startswith("worker-1")
    nobody = trace.frame[~((trace.frame["node"] == "worker-1") & (trace.frame["duration"] > 0))]
    gone = check(Trace(nobody.reset_index(drop=True), trace.meta))["time accounted"]
    assert gone.verdict == "false" and gone.why == "no time of worker-1 is accounted for"


def test_a_real_run_in_which_a_primary_hangs_and_comes_back():
    async def program(worker):
        for _ in range(10):
            await worker.pull("w")
            await worker.sleep(0.1)
            worker.push("w", [1.0, 1.0])
            await worker.clock()

    cluster = ps.Simulator(
        workers=2, servers=2, faults=Faults(Pause("server-0", at=0.35, seconds=6.0)),
        safety=ps.Safety(replicas=1, lease=1.0),
    )  # fmt: skip
    run = ps.Job(program, tables={"w": ps.Table(2)}).run(cluster, ps.ASP())
    verdicts = run.check().require()
    assert verdicts["one answers"].verdict == "true" and verdicts["one answers"].reached >= 1


@pytest.mark.parametrize(
    ("model", "seed", "server"),
    [(ps.BSP(), 3, "server-1"), (ps.BSP(), 48, "server-0"), (ps.SSP(1), 40, "server-0")],
    ids=["BSP", "BSP, head", "SSP"],
)
def test_who_takes_over_may_have_taken_in_a_copy_of_another_shard_just_before(model, seed, server):
    """A copy of one shard makes nothing new of what the server has of the others."""
    law = ps.Exponential(0.3)
    safety = ps.Safety(replicas=1, lease=1.0, resend=0.1)
    faults = ps.Faults(ps.Crash(server, at=2.0), ps.Loss(0.1))
    run = run_loop(model, law, 4, 15, seed=seed, servers=3, trace="full", safety=safety, faults=faults)
    np.testing.assert_array_equal(run.tables["w"], 60.0)
    assert run.check().ok, run.check().false
