"""The exported JSON against the rules of the Trace Event Format, and against the trace."""

import json
import math
from itertools import pairwise

import pytest

from psbook.trace import Recorder
from psbook.trace.perfetto import microseconds
from psbook.trace.schema import SPANS
from tests.trace import builder

REQUIRED = {
    "M": {"name", "pid", "tid", "args"},
    "X": {"name", "cat", "pid", "tid", "ts", "dur", "args"},
    "i": {"name", "cat", "pid", "tid", "ts", "s", "args"},
    "s": {"name", "cat", "pid", "tid", "ts", "id"},
    "f": {"name", "cat", "pid", "tid", "ts", "id", "bp"},
    "C": {"name", "pid", "tid", "ts", "args"},
}
"""Fields of each phase."""


def export(trace, tmp_path):
    def refuse(text):
        raise AssertionError(f"{text} is no JSON")

    path = trace.to_perfetto(tmp_path / "trace.json")
    assert path == tmp_path / "trace.json"
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


@pytest.fixture
def small():
    return builder.small_trace()


@pytest.fixture
def events(small, tmp_path):
    return export(small, tmp_path)["traceEvents"]


def of(events, *phases):
    return [event for event in events if event["ph"] in phases]


def names(events):
    return {(e["pid"], e["tid"]): e["args"]["name"] for e in of(events, "M") if e["name"] == "thread_name"}


def test_every_event_has_the_fields_of_its_phase(events):
    for event in events:
        assert set(event) == REQUIRED[event["ph"]] | {"ph"}
        assert event.get("ts", 0) >= 0 and event.get("dur", 0) >= 0


def test_every_row_is_an_event(small, events):
    rows = small.frame[small.frame["kind"] != "loss"]
    assert len(of(events, "X", "i")) == len(rows)


def test_nodes_are_named_threads_of_three_groups(events):
    assert {e["args"]["name"] for e in of(events, "M") if e["name"] == "process_name"} == {
        f"{group} (time in simulated s)" for group in ("programs", "servers", "run")
    }
    expected = [*builder.WORKERS, "server-0"]
    assert sorted(names(events).values()) == sorted([*expected, *(f"{node}: messages" for node in expected)])


def test_spans_cover_a_program_without_gap_or_overlap(small, events):
    where = names(events)
    for node in builder.WORKERS:
        spans = [e for e in of(events, "X") if where[e["pid"], e["tid"]] == node]
        assert {e["name"] for e in spans} <= set(SPANS)
        spans.sort(key=lambda e: e["ts"])
        assert spans[0]["ts"] == 0
        for before, after in pairwise(spans):
            assert microseconds((before["ts"] + before["dur"]) / 1e6) == after["ts"]
        assert sum(e["dur"] for e in spans) == small.end * 1e6
        assert (
            sum(e["dur"] for e in spans if e["name"] == "compute") == builder.WAITING[node]["compute"] * 1e6
        )


def test_each_arrow_goes_from_a_mark_of_the_sender_to_a_mark_of_the_receiver(events):
    where = names(events)
    starts, ends = ({e["id"]: e for e in of(events, phase)} for phase in "sf")
    assert (
        len(starts) == len(ends) == len(of(events, "s")) == len(of(events, "f")) == sum(builder.SENT.values())
    )
    assert set(starts) == set(ends)
    marks = {id(after): before for before, after in pairwise(events)}
    for number, start in starts.items():
        end = ends[number]
        sent, received = marks[id(start)], marks[id(end)]
        assert start["ts"] <= end["ts"] and end["bp"] == "e"
        for mark, arrow in ((sent, start), (received, end)):
            assert (mark["pid"], mark["tid"], mark["ts"]) == (arrow["pid"], arrow["tid"], arrow["ts"])
        assert sent["name"] == f"send {sent['args']['detail']}"
        assert received["name"] == f"receive {sent['args']['detail']}"
        assert sent["args"]["message"] == received["args"]["message"]
        assert where[start["pid"], start["tid"]] == f"{received['args']['peer']}: messages"
        assert where[end["pid"], end["tid"]] == f"{sent['args']['peer']}: messages"


def test_a_message_that_is_sent_again_or_lost_has_arrows_for_what_arrived():
    recorder = Recorder()
    for time, kind, node, peer in [
        (0.0, "send", "worker-0", "server-0"), (1.0, "receive", "server-0", "worker-0"),
        (2.0, "send", "worker-0", "server-0"), (3.0, "receive", "server-0", "worker-0"),
        (4.0, "send", "worker-0", "server-0"),
    ]:  # fmt: skip
        recorder.add(time, node, kind, peer=peer, message="r0.0/w/s0#1", detail="Push")
    from psbook.trace.perfetto import events

    found = list(events(recorder.trace({})))
    arrows = [(e["ph"], e["id"], e["ts"]) for e in found if e["ph"] in "sf"]
    assert arrows == [("s", 1, 0.0), ("f", 1, 1e6), ("s", 2, 2e6), ("f", 2, 3e6)]


def test_counters_follow_the_clock_gap_and_the_loss(events):
    gaps = [(e["ts"], e["args"]["iterations"]) for e in of(events, "C") if e["name"] == "clock gap"]
    assert gaps == [(time * 1e6, high - low) for time, low, high in builder.CLOCK_GAP]
    losses = [(e["ts"], e["args"]["loss"]) for e in of(events, "C") if e["name"] == "loss"]
    assert losses == [(time * 1e6, loss) for time, _, _, loss in builder.LOSSES]


@pytest.mark.parametrize("level", ["off", "iterations"])
def test_lower_levels_show_what_they_have(level, tmp_path):
    events = export(builder.small_trace(level), tmp_path)["traceEvents"]
    assert not of(events, "s", "f")
    assert bool([e for e in of(events, "C") if e["name"] == "clock gap"]) is (level == "iterations")
    assert len([e for e in of(events, "C") if e["name"] == "loss"]) == len(builder.LOSSES)
    assert not any("messages" in name for name in names(events).values())


def test_what_json_has_no_number_for_is_left_out_or_text(tmp_path):
    recorder = Recorder()
    recorder.add(1.0, "evaluator", "loss", clock=1, value=math.inf)
    recorder.add(1.0, "worker-0", "report", value=math.nan, detail='a "loss" of\nα')
    data = export(recorder.trace({"staleness": math.inf, "nested": [math.nan]}), tmp_path)
    assert data["otherData"]["staleness"] == "inf" and data["otherData"]["nested"] == ["nan"]
    assert not of(data["traceEvents"], "C")
    assert of(data["traceEvents"], "i")[0]["args"] == {"detail": 'a "loss" of\nα'}
