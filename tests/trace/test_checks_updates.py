"""What becomes of pushes, broken in exactly one place."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import psbook as ps
from psbook.trace import Trace, check
from tests.trace.judged_runs import MODELS, changed, copied, joined, rows, swapped, trace_of, without

FEW = settings(max_examples=8)


def of_push(trace, message):
    """Positions of the updates of a push, on all replicas."""
    return rows(trace, "apply", message=message) + rows(trace, "replicate", message=message)


def pushes(trace):
    """Texts of all pushes that were sent, as often as they were."""
    return trace.frame.loc[rows(trace, "send", "Push"), "message"].tolist()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.label)
@FEW
@given(st.data())
def test_a_push_that_is_applied_again(model, data):
    trace = trace_of(model, "a primary dies", replicas=1)
    applies = rows(trace, "apply", shard=1, table="w")
    again, last = data.draw(st.sampled_from(applies)), applies[-1]
    damaged = copied(trace, again, last, version=trace.frame.loc[last, "version"] + 1)
    verdict = check(damaged)["applied once"]
    assert verdict.verdict == "false" and verdict.first == last + 1
    meta = damaged.meta | {"safety": damaged.meta["safety"] | {"delivery": "at-least-once"}}
    lenient = check(Trace(damaged.frame, meta))["applied once"]
    assert lenient.verdict == "unknown" and lenient.why.startswith("at-least-once delivery: 1 of ")


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.label)
@pytest.mark.parametrize("scheme", ["chain", "primary-backup"])
@FEW
@given(st.data())
def test_an_acknowledged_push_that_nobody_has_applied(scheme, model, data):
    trace = trace_of(model, "a primary dies", replicas=1, scheme=scheme)
    push = data.draw(st.sampled_from(pushes(trace)))
    verdicts = check(without(trace, *of_push(trace, push)))
    assert verdicts["acknowledged kept"].verdict == verdicts["none missing"].verdict == "false"
    assert "1 acknowledged pushes are lost" in verdicts["acknowledged kept"].why
    assert push in verdicts["acknowledged kept"].why


@pytest.mark.parametrize("points", [0, 2])
@pytest.mark.parametrize("model", [ps.BSP(), ps.SSP(1)], ids=lambda model: model.label)
@FEW
@given(st.data())
def test_a_part_of_a_push_to_a_shard_that_was_cut(points, model, data):
    trace = joined(model, points).trace
    row = data.draw(st.sampled_from(rows(trace, "apply")))
    push = trace.frame.loc[row, "message"]
    verdicts = check(without(trace, *of_push(trace, push)))
    if push in pushes(trace) and not other_parts(trace, push):
        assert verdicts["none missing"].verdict == "false"
    last = rows(trace, "apply", shard=trace.frame.loc[row, "shard"])[-1]
    again = copied(trace, row, last, version=trace.frame.loc[last, "version"] + 1)
    assert check(again)["applied once"].verdict == "false"


def other_parts(trace, push):
    """Updates by other parts of a push that waited for its round when its shard was cut.

    The rows do not tell whether such a push had keys in every part: one that is missing is not missed.
    """
    sender, _, number = push.partition("/w/s")
    applied = trace.of("apply")["message"]
    same = applied.str.startswith(f"{sender}/w/s") & applied.str.endswith(f"#{number.partition('#')[2]}")
    sent = set(trace.of("send")["message"])
    return [message for message in applied[same] if message != push and message not in sent]


def test_a_part_that_was_in_the_whole_already():
    trace = joined(ps.SSP(1)).trace
    frame = trace.frame
    old = rows(trace, "apply", shard=0)[0]
    part = next(row for row in rows(trace, "apply") if frame.loc[row, "shard"] > 1
                and frame.loc[row, "start"] < frame.loc[old, "stop"])  # fmt: skip
    shard = frame.loc[part, "shard"]
    name = frame.loc[old, "message"].replace("/s0#", f"/s{shard}#")
    again = changed(trace, part, message=name, peer=frame.loc[old, "peer"], clock=frame.loc[old, "clock"])
    assert check(again)["applied once"].verdict == "false"


@FEW
@given(st.data())
def test_a_push_that_was_never_acknowledged_is_missed_all_the_same(data):
    trace = trace_of(ps.SSP(1), "messages are lost", replicas=1)
    push = data.draw(st.sampled_from(pushes(trace)))
    verdicts = check(without(trace, *of_push(trace, push), *rows(trace, "receive", "Ack", message=push)))
    assert verdicts["acknowledged kept"].verdict == "true"
    assert verdicts["none missing"].verdict == "false"


@pytest.mark.parametrize("model", [ps.SSP(1), ps.ASP()], ids=lambda model: model.label)
def test_a_shard_that_comes_back_as_it_was_has_lost_what_it_says(model):
    trace = trace_of(model, replicas=1)
    applies = rows(trace, "apply", shard=0, table="w")
    last, kept = applies[-1], 15
    # Another server takes over with version 15 of 24, and answers.
    back = copied(trace, rows(trace, "serve", shard=0)[0], last, node="server-2", version=1, detail="both")
    answer = rows(trace, "answer", shard=0, table="w")[-1]
    sent = rows(trace, "send", "PullReply", message=trace.frame.loc[answer, "message"])[-1]
    back = copied(back, answer, last + 1, node="server-2", version=kept)
    back = copied(back, sent, last + 2, node="server-2")
    verdict = check(back)["acknowledged kept"]
    assert verdict.verdict == "false"
    assert verdict.why.startswith(f"{len(applies) - kept} acknowledged pushes are lost")


def test_a_push_behind_a_round_that_was_never_closed_is_not_lost():
    trace = trace_of(ps.BSP(), replicas=1)
    frame = trace.frame
    cut = rows(trace, "apply", shard=0, table="w", clock=5)[0]
    stopped = Trace(frame.iloc[:cut].reset_index(drop=True), trace.meta)
    acked = rows(stopped, "receive", "Ack")
    unapplied = {frame.loc[row, "message"] for row in acked} - set(stopped.of("apply")["message"])
    assert any("/w/s0#" in message for message in unapplied)
    assert check(stopped)["acknowledged kept"].verdict == "true"


@pytest.mark.parametrize("model", [ps.BSP(), ps.SSP(1)], ids=lambda model: model.label)
@pytest.mark.parametrize("kind", ["apply", "replicate"])
@FEW
@given(st.data())
def test_an_update_that_nobody_sent(kind, model, data):
    trace = trace_of(model, "a primary dies", replicas=1)
    row = data.draw(st.sampled_from(rows(trace, kind)))
    message = trace.frame.loc[row, "message"]
    for damaged in (
        changed(trace, row, message="r0.0/w/s0#9999"),
        changed(trace, row, clock=trace.frame.loc[row, "clock"] + 1),
    ):
        verdict = check(damaged)["none invented"]
        assert verdict.verdict == "false" and verdict.first == row
    unsent = without(trace, *rows(trace, "send", "Push", message=message))
    assert check(unsent)["none invented"].verdict == "false"


def test_an_update_before_its_push():
    trace = trace_of(ps.SSP(1))
    row = rows(trace, "apply")[30]
    sent = rows(trace, "send", "Push", message=trace.frame.loc[row, "message"])[0]
    everything = [*range(sent), *range(sent + 1, row + 1), sent, *range(row + 1, len(trace))]
    late = Trace(trace.frame.iloc[everything].reset_index(drop=True), trace.meta)
    assert check(late)["none invented"].verdict == "false"
    real = late.meta | {"backend": "dask", "clock_offsets": {"tcp://1": {"offset": 0.0, "error": 1.0}}}
    assert check(Trace(late.frame, real))["none invented"].verdict == "true"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.label)
@FEW
@given(st.data())
def test_a_version_that_is_left_out_or_comes_twice(model, data):
    trace = trace_of(model, "a primary dies", replicas=1)
    frame = trace.frame
    row = data.draw(st.sampled_from(rows(trace, "apply", shard=2)))
    version, table = frame.loc[row, "version"], frame.loc[row, "table"]
    same = trace.of("apply", "replicate")
    same = same[(same["shard"] == 2) & (same["table"] == table) & (same["version"] == version)].index
    last = version == frame.loc[rows(trace, "apply", shard=2, table=table)[-1], "version"]
    if not last:  # of the last, only the number of the pushes tells
        assert check(without(trace, *same))["versions rise"].verdict == "false"
    assert check(changed(trace, row, version=version + 7))["versions rise"].verdict == "false"


@FEW
@given(st.data())
def test_an_answer_with_a_version_that_was_not_there(data):
    trace = trace_of(ps.ASP(), "two servers die", replicas=1)
    row = data.draw(st.sampled_from(rows(trace, "answer")))
    damaged = changed(trace, row, version=trace.frame.loc[row, "version"] + 1)
    verdict = check(damaged)["versions rise"]
    assert verdict.verdict == "false" and verdict.first == row


def test_equal_versions_are_a_round_only_where_there_are_rounds():
    trace = trace_of(ps.BSP())
    plain = Trace(trace.frame, trace.meta | {"buffered": False, "model": "ssp", "model_label": "SSP(0)"})
    assert check(trace)["versions rise"].verdict == "true"
    assert check(plain)["versions rise"].verdict == "false"


@FEW
@given(st.data())
def test_replicas_that_took_pushes_in_another_order(data):
    trace = trace_of(ps.ASP(), replicas=2)
    nodes = {"server-0", "server-1", "server-2"}
    node = data.draw(
        st.sampled_from(sorted(nodes - set(trace.of("apply")[lambda f: f["shard"] == 0]["node"])))
    )
    copies = rows(trace, "replicate", shard=0, table="w", node=node)
    one = data.draw(st.sampled_from(copies[:-1]))
    two = copies[copies.index(one) + 1]
    verdict = check(swapped(trace, one, two, "message", "peer", "clock"))["replicas agree"]
    assert verdict.verdict == "false" and verdict.first == one


def test_what_only_a_lost_server_had_is_no_disagreement():
    trace = trace_of(ps.ASP(), "a primary dies", replicas=1, scheme="primary-backup")
    frame = trace.frame
    dead = [row for row in rows(trace, "apply", shard=0) if frame.loc[row, "node"] == "server-0"][-1]
    push = frame.loc[dead]
    later = rows(trace, "replicate", shard=0, table=push["table"])
    assert later
    unheard = copied(trace, dead, dead, message="r0.0/w/s0#9999", version=push["version"] + 1)
    assert check(unheard)["replicas agree"].verdict == "true"
    alive = without(unheard, *rows(unheard, "lost"))
    assert check(alive)["replicas agree"].verdict == "false"


@FEW
@given(st.data())
def test_a_staleness_that_is_not_conserved_though_servers_change(data):
    trace = trace_of(ps.ASP(), "two servers die", replicas=1)
    assert check(trace)["staleness conserved"].verdict == "true"
    row = data.draw(
        st.sampled_from([r for r in rows(trace, "apply") if trace.frame.loc[r, "staleness"] >= 0])
    )
    damaged = changed(trace, row, staleness=trace.frame.loc[row, "staleness"] + 1)
    assert check(damaged)["staleness conserved"].verdict == "false"
