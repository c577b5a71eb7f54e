"""What a read must return, broken in exactly one place."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import psbook as ps
from psbook.trace import Trace, check
from tests.trace.judged_runs import changed, rows, swapped, trace_of, without

FEW = settings(max_examples=8)

BOUNDED = [ps.BSP(), ps.SSP(0), ps.SSP(1), ps.BoundedDelay(1), ps.Serial()]


def bound_of(model):
    return int(getattr(model, "s", getattr(model, "tau", 0)))


def reads(trace, above):
    """Positions of the answers to reads at a clock above `above`."""
    asked = trace.frame.loc[rows(trace, "send", "Pull")].drop_duplicates("message")
    clock = asked.set_index("message")["clock"]
    return [row for row in rows(trace, "answer") if clock[trace.frame.loc[row, "message"]] > above]


def clock_of(trace, row):
    """Clock of the reader of an answer."""
    asked = rows(trace, "send", "Pull", message=trace.frame.loc[row, "message"])
    return int(trace.frame.loc[asked[0], "clock"])


def broken(trace, name, row):
    """Whether the property is false, at that row."""
    verdict = check(trace)[name]
    return verdict.verdict == "false" and verdict.first == row


@pytest.mark.parametrize("model", BOUNDED, ids=lambda model: model.label)
@FEW
@given(st.data())
def test_an_answer_before_its_time(model, data):
    trace, bound = trace_of(model, "a primary dies", replicas=1), bound_of(model)
    row = data.draw(st.sampled_from(reads(trace, bound)))
    late = clock_of(trace, row) - bound - 1
    assert broken(changed(trace, row, clock=late), "read bound", row)


@pytest.mark.parametrize("model", BOUNDED, ids=lambda model: model.label)
@FEW
@given(st.data())
def test_an_answer_that_lacks_updates_whatever_it_says_of_its_clock(model, data):
    trace = trace_of(model)
    row = data.draw(st.sampled_from(reads(trace, bound_of(model))))
    damaged = changed(trace, row, version=0)
    assert broken(damaged, "reads complete", row)
    assert check(damaged)["read bound"].verdict == "true"


def test_a_serial_read_lacks_the_worker_before():
    trace = trace_of(ps.Serial())
    of_last = [row for row in reads(trace, 0) if trace.frame.loc[row, "peer"] == "worker-2"]
    row = of_last[3]
    assert broken(changed(trace, row, version=trace.frame.loc[row, "version"] - 1), "reads complete", row)


@FEW
@given(st.data())
def test_a_read_that_misses_more_than_the_bound(data):
    trace = trace_of(ps.SSP(1))
    row = data.draw(st.sampled_from(reads(trace, 3)))
    damaged = changed(trace, row, version=0)
    assert broken(damaged, "missing updates", row)
    assert "at most s(P−1) = 2 may be missing" in check(damaged)["missing updates"].why


@pytest.mark.parametrize("model", [ps.SSP(1), ps.ASP()], ids=lambda model: model.label)
@FEW
@given(st.data())
def test_a_read_without_its_readers_own_push(model, data):
    trace = trace_of(model)
    row = data.draw(st.sampled_from(reads(trace, 0)))
    frame, answer = trace.frame, trace.frame.loc[row]
    own = [
        at for at in rows(trace, "apply", shard=answer["shard"], table="w", peer=answer["peer"]) if at < row
    ]  # fmt: skip
    damaged = changed(trace, row, version=frame.loc[own[-1], "version"] - 1)
    assert broken(damaged, "read my writes", row)


def test_bsp_does_not_promise_a_reader_its_own_writes():
    trace = trace_of(ps.BSP())
    row = reads(trace, 2)[0]
    assert check(changed(trace, row, version=0))["read my writes"].verdict == "unknown"


def test_without_exactly_once_only_acknowledged_writes_are_owed():
    trace = trace_of(ps.ASP())
    row = reads(trace, 0)[5]
    answer = trace.frame.loc[row]
    own = [
        at for at in rows(trace, "apply", shard=answer["shard"], table="w", peer=answer["peer"]) if at < row
    ]
    damaged = changed(trace, row, version=trace.frame.loc[own[-1], "version"] - 1)
    safety = {"safety": {"delivery": "at-least-once"}}
    unheard = without(damaged, *rows(damaged, "receive", "Ack", message=trace.frame.loc[own[-1], "message"]))
    assert check(Trace(damaged.frame, damaged.meta))["read my writes"].verdict == "false"
    assert check(Trace(unheard.frame, unheard.meta | safety))["read my writes"].verdict == "true"


@FEW
@given(st.data())
def test_a_min_that_falls(data):
    trace = trace_of(ps.SSP(1), "a primary dies", replicas=1)
    frame = trace.frame
    late = [row for row in rows(trace, "answer") if frame.loc[row, "clock"] >= 2]
    row = data.draw(st.sampled_from(late))
    assert broken(changed(trace, row, clock=0), "min rises", row)


def test_a_min_that_nobody_holds_any_more_is_the_highest():
    trace = trace_of(ps.ASP())
    last = rows(trace, "answer")[-1]
    ended = changed(trace, last, clock=-1)
    assert check(ended)["min rises"].verdict == "true"
    middle = rows(trace, "answer", shard=trace.frame.loc[last, "shard"])[-3]
    fallen = check(changed(trace, middle, clock=-1))["min rises"]
    assert fallen.verdict == "false" and "from ∞" in fallen.why


@pytest.mark.parametrize("model", [ps.SSP(1, gate="clock"), ps.BoundedDelay(1)], ids=lambda m: m.label)
@pytest.mark.parametrize("level", ["full", "iterations"])
def test_a_worker_too_far_ahead(model, level):
    trace = trace_of(model, level=level)
    clocks = rows(trace, "clock", node="worker-0")
    row = clocks[3]
    assert broken(changed(trace, row, clock=9), "clock bound", row)


def test_a_worker_that_stands_still_is_what_the_others_wait_for():
    trace = trace_of(ps.SSP(1, gate="clock"))
    stopped = without(trace, *rows(trace, "clock", node="worker-2")[2:], *rows(trace, "send", "Finish"))
    verdict = check(stopped)["clock bound"]
    assert verdict.verdict == "false"
    assert stopped.frame.loc[verdict.first, ["kind", "clock"]].tolist() == ["clock", 5]


def test_a_worker_that_has_ended_is_not_waited_for():
    trace = trace_of(ps.SSP(1, gate="clock"))
    end = rows(trace, "send", "Finish", node="worker-2")[0]
    frame = trace.frame
    early = np.r_[end, [at for at in range(len(frame)) if at != end]]
    gone = Trace(frame.iloc[early].reset_index(drop=True), trace.meta)
    stopped = without(gone, *rows(gone, "clock", node="worker-2"))
    assert check(stopped)["clock bound"].verdict == "true"


@FEW
@given(st.data())
def test_serial_updates_out_of_turn(data):
    trace = trace_of(ps.Serial())
    one = data.draw(st.sampled_from(rows(trace, "apply", shard=0, table="w")[:-1]))
    two = next(row for row in rows(trace, "apply", shard=0, table="w") if row > one)
    damaged = swapped(trace, one, two, "message", "peer", "clock", "cause")
    assert check(damaged)["one at a time"].verdict == "false"
