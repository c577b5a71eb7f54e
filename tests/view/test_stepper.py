"""The stepper's state at any row is that of a replay from the first row, done anew here."""

import re
import time
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import psbook as ps
from psbook.errors import DataError, InvalidJob
from psbook.trace import Recorder, Trace
from psbook.trace.schema import KINDS, SPANS
from psbook.view import Stepper
from psbook.view.sentences import SENTENCES
from psbook.view.state import Replay


def brute_force(trace, index):
    """Clocks, messages under way, held requests, versions and loss by another route than the stepper's."""
    rows = trace.frame.iloc[: index + 1]
    clocks = dict.fromkeys(trace.meta["workers"], 0)
    clocks.update(rows[rows["kind"] == "clock"].groupby("node")["clock"].max())
    sent = rows[(rows["kind"] == "send") & (rows["peer"] != "controller")]
    received = rows[(rows["kind"] == "receive") & (rows["peer"] != "controller")]
    out = sent.groupby(["detail", "node", "peer", "message"]).size()
    come = received.groupby(["detail", "peer", "node", "message"]).size()
    under_way = out.sub(come.rename_axis(out.index.names), fill_value=0)
    parked = rows[rows["kind"] == "park"].groupby(["node", "message"]).size()
    released = rows[rows["kind"] == "release"].groupby(["node", "message"]).size()
    held = parked.sub(released, fill_value=0)
    loss = rows[rows["kind"] == "loss"]
    return {
        "clocks": clocks,
        "under way": {key for key, count in under_way.items() if count > 0},
        "held": {key for key, count in held.items() if count > 0},
        "versions": rows[rows["kind"] == "apply"].groupby(["node", "table"])["version"].max().to_dict(),
        "loss": loss["value"].iloc[-1] if len(loss) else np.nan,
        "spans": rows[rows["kind"].isin(SPANS)].groupby("node")["time"].max().to_dict(),
    }


@pytest.fixture(scope="module")
def trace(simulate):
    return simulate(ps.SSP(1), network=ps.Network(1e5, 2e-3), service=0.002).trace


@pytest.mark.parametrize("every", [1, 7, 512])
def test_states_equal_a_replay_from_the_start(trace, every):
    replay = Replay(trace, every)
    seen = {"under way": 0, "held": 0}
    for index in [*range(0, len(trace), 61), len(trace) - 1]:
        state, expected = replay.at(index), brute_force(trace, index)
        assert state.clocks == expected["clocks"]
        assert {tuple(message) for message, _ in state.in_flight()} == expected["under way"]
        assert set(state.held) == expected["held"]
        assert state.versions == expected["versions"]
        assert state.loss == pytest.approx(expected["loss"], nan_ok=True)
        assert {node: span.time for node, span in state.doing.items()} == expected["spans"]
        seen["under way"] += bool(expected["under way"])
        seen["held"] += bool(expected["held"])
    assert min(seen.values()) > 5


def test_at_the_end_everybody_has_ended_and_no_request_is_held(trace):
    state = Stepper(trace).goto(len(trace) - 1).state
    assert state.finished == set(trace.meta["workers"])
    assert state.clock_range() is None
    assert not state.held
    assert sum(state.clocks.values()) == len(trace.of("clock"))


def test_walking_back_and_forth_changes_neither_trace_nor_states(trace):
    before, stepper = trace.hash(), Stepper(trace)
    there = stepper.goto(200).html()
    stepper.next(50).previous(20).next_of("apply")
    stepper.state.clocks["worker-0"] = 99
    assert stepper.goto(200).html() == there
    assert trace.hash() == before


def test_the_cursor_stays_within_the_trace(by_hand):
    stepper = Stepper(by_hand)
    assert stepper.previous().index == 0
    assert stepper.next(10**6).index == len(by_hand) - 1 == stepper.next().index
    for index in (-1, len(by_hand)):
        with pytest.raises(InvalidJob, match="required: 0 …"):
            stepper.goto(index)


def test_jumps_find_the_next_row_of_a_kind_and_a_node(trace):
    stepper = Stepper(trace)
    frame = trace.frame
    parks = frame.index[frame["kind"] == "park"]
    assert stepper.next_of(kind="park").index == parks[0]
    assert stepper.next_of(kind="park").index == parks[1]
    mine = frame.index[(frame["kind"] == "clock") & (frame["node"] == "worker-2")]
    assert stepper.goto(0).next_of("clock", "worker-2").index == mine[0]
    assert stepper.goto(0).next_of(node="worker-2").event.node == "worker-2"


def test_jumps_that_find_nothing_say_so_and_stay(by_hand):
    stepper = Stepper(by_hand).goto(5)
    with pytest.raises(DataError, match="no row of kind 'failure' after row 5"):
        stepper.next_of("failure")
    assert stepper.index == 5
    with pytest.raises(InvalidJob, match="required: one of compute"):
        stepper.next_of("explosion")


def test_every_kind_of_row_has_a_sentence():
    assert set(SENTENCES) == set(KINDS)


def test_sentences_say_what_happened(by_hand):
    said = [Stepper(by_hand).goto(index).sentence for index in range(len(by_hand))]
    assert "2 simulated s: server-0 applied worker-1's update of w[0:62], 1 version stale; version 2" in said
    assert any(s.endswith("held by the consistency model for 1 s "
                          "(worker-0 reads at clock 1: worker-1 at clock 0)") for s in said)  # fmt: skip
    assert (
        "1 simulated s: server-0 holds worker-0's request: worker-0 reads at clock 1: worker-1 at clock 0"
        in said
    )
    assert "0.9 simulated s: worker-0 sent Pull to server-0, 64 bytes" in said
    assert any("worker-1 has nothing to do for 1 s: finished early" in s for s in said)


def test_the_page_shows_clocks_gap_states_reasons_messages_and_loss(by_hand):
    stepper = Stepper(by_hand).next_of("blocked")
    page = stepper.html()
    for expected in (
        "Slowest clock 0, fastest 1, gap 1",
        "held by the consistency model until 2",
        "server-0: worker-0 reads at clock 1: worker-1 at clock 0",
        "computes until 2",
        "No message is under way",
        "Loss so far 0.7",
    ):
        assert expected in page
    page = stepper.goto(4).html()
    assert "Pull" in page and "worker-0 → server-0" in page and "No request is held" in page


def test_three_forms_none_of_them_blank(trace):
    bundle = Stepper(trace).goto(300)._repr_mimebundle_()
    assert set(bundle) == {"text/html", "image/svg+xml", "text/plain"}
    picture = ET.fromstring(bundle["image/svg+xml"])
    tags = {element.tag.rpartition("}")[2] for element in picture.iter()}
    assert {"rect", "path", "text", "title"} <= tags
    assert set(trace.meta["servers"] + trace.meta["workers"]) <= {
        element.text for element in picture.iter() if element.tag.endswith("text")
    }
    assert bundle["image/svg+xml"] in bundle["text/html"]
    assert "Row 301 of" in bundle["text/plain"]


def test_pictures_are_well_formed_everywhere(trace):
    stepper = Stepper(trace)
    for index in [*range(0, len(trace), 97), len(trace) - 1]:
        ET.fromstring(stepper.goto(index).svg())


def test_names_and_texts_are_escaped():
    evil = "<script>alert('x')</script>&\"'"
    recorder = Recorder()
    recorder.add(0.0, evil, "compute", duration=1.0, clock=0)
    recorder.add(0.5, evil, "send", peer="server-0", message=evil, detail=evil)
    recorder.add(0.6, "server-0", "park", peer=evil, message=evil, detail=evil)
    recorder.add(0.7, "server-0", "apply", peer=evil, table=evil, version=1, staleness=0)
    recorder.add(0.8, evil, "failure", detail=evil)
    meta = {"workers": [evil], "programs": [evil], "servers": ["server-0"], "model_label": evil}
    stepper = Stepper(recorder.trace(meta))
    for index in range(5):
        page = stepper.goto(index).html()
        assert "<script" not in page
        assert "&lt;script&gt;" in page
        ET.fromstring(stepper.svg())


@pytest.mark.parametrize("level", ["iterations", "off"])
def test_a_trace_of_a_lower_level_says_what_it_cannot_show(simulate, level):
    trace = simulate(ps.SSP(1), trace=level).trace
    stepper = Stepper(trace).next(3)
    for form in (stepper.html(), repr(stepper), stepper.html()):
        assert "trace=" in form and f"level &#x27;{level}&#x27;" in form.replace("'", "&#x27;")
    assert "No message is under way" not in stepper.html()
    with pytest.raises(DataError, match=f"level '{level}'"):
        stepper.next_of("park")
    if level == "iterations":
        assert max(Stepper(trace).goto(len(trace) - 1).state.clocks.values()) > 0


def test_messages_that_arrive_before_they_were_sent_do_not_linger():
    """Two machines' clocks differ by a little: the receive row comes first."""
    recorder = Recorder()
    recorder.add(1.0, "server-0", "receive", peer="worker-0", message="m", detail="Pull")
    recorder.add(1.1, "worker-0", "send", peer="server-0", message="m", detail="Pull")
    stepper = Stepper(recorder.trace({}))
    assert [stepper.goto(index).state.in_flight() for index in (0, 1)] == [[], []]


@pytest.fixture(scope="module")
def lossy(simulate):
    faults = ps.Faults(ps.Crash("server-1", at=0.4), ps.Loss(0.05))
    safety = ps.Safety(replicas=1, lease=0.3, resend=0.1)
    return simulate(ps.SSP(1), network=ps.Network(latency=0.01), faults=faults, safety=safety).trace


def test_messages_that_never_arrive_are_not_under_way(lossy):
    """With a latency of 0.01 s nothing is under way longer, but for a queue at its server."""
    stepper = Stepper(lossy)
    for index in range(0, len(stepper), 37):
        state = stepper.goto(index).state
        assert all(stepper.time - sent <= 0.01 + 1e-9 for _, sent in state.in_flight())
    rows = lossy.frame
    away = stepper._replay.lost
    between = rows[rows["peer"] != "controller"]["kind"].value_counts()
    assert len(away) == between["send"] - between["receive"] > 20
    assert stepper.goto(min(away)).sentence.endswith("which never arrives")
    assert "never arrives</title>" in stepper.svg()


def test_a_fault_is_in_the_picture_and_ends_what_the_node_held(lossy):
    stepper = Stepper(lossy).next_of("fault")
    assert stepper.sentence.endswith("server-1: crash: server-1 crashes at 0.4 s and never comes back.")
    assert not [server for server, _ in stepper.state.held if server == "server-1"]
    assert "✖" in stepper.svg() and "✖" not in Stepper(lossy).svg()


def test_an_empty_trace_can_be_looked_at():
    stepper = Stepper(Recorder().trace({}))
    assert stepper.next().previous().index == -1
    assert "no rows" in stepper.sentence
    assert "no rows" in stepper.html() and "no rows" in repr(stepper)
    assert len(stepper.widget().children) == 3


def test_the_widget_changes_one_page_and_keeps_up_with_the_stepper(trace):
    stepper = Stepper(trace)
    buttons, slider, page = stepper.widget().children
    by_name = {button.description: button for button in buttons.children}
    first = page.value
    by_name["next ▶"].click()
    assert stepper.index == slider.value == 1
    assert page.value == stepper.html() != first
    by_name["▶ park"].click()
    assert stepper.event.kind == "park" and slider.value == stepper.index
    slider.value = len(trace) - 1
    assert stepper.index == len(trace) - 1
    by_name["▶ park"].click()
    assert by_name["▶ park"].disabled and stepper.index == len(trace) - 1
    by_name["◀ previous"].click()
    assert stepper.index == len(trace) - 2
    assert not by_name["▶ park"].disabled


def test_a_saved_trace_steps_like_the_one_in_memory(trace, tmp_path):
    loaded = Trace.load(trace.save(tmp_path / "trace.parquet"))
    for index in (0, 100, len(trace) - 1):
        assert Stepper(loaded).goto(index).html() == Stepper(trace).goto(index).html()


def test_a_state_takes_a_short_replay_however_long_the_trace(trace):
    """Rows replayed, not seconds: that is what the machine's load cannot change."""
    replay = Replay(trace)
    taken = 0
    original = type(replay.at(0)).take

    def counted(self, event):
        nonlocal taken
        taken += 1
        original(self, event)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(replay.at(0)), "take", counted)
        replay.at(len(trace) - 1)
    assert taken < replay.every


@pytest.mark.benchmark
def test_a_hundred_thousand_rows_are_stepped_in_less_than_a_tenth_of_a_second(simulate):
    frame = simulate(ps.SSP(1), network=ps.Network(1e5, 2e-3)).trace
    rows = list(frame.frame.itertuples(index=False, name=None))
    recorder = Recorder()
    turns = -(-100_000 // len(rows))
    for turn in range(turns):
        recorder.extend(rows, offset=turn * frame.end)
    stepper = Stepper(recorder.trace({**frame.meta, "end": turns * frame.end}))
    for index in np.random.default_rng(0).integers(0, len(stepper), 20):
        began = time.perf_counter()
        stepper.goto(index).html()
        assert time.perf_counter() - began < 0.1


def test_pages_stay_small_with_many_workers(simulate):
    run = simulate(ps.ASP(), workers=24)
    page = Stepper(run.trace).goto(400).html()
    assert len(re.findall("<tr>", page)) < 120
    assert len(page) < 600_000
    assert "worker-15</text>" in page and "worker-16</text>" not in page
    assert "8 more nodes are not shown" in page


def test_the_node_of_the_row_is_always_in_the_picture(simulate):
    stepper = Stepper(simulate(ps.ASP(), workers=24).trace).next_of("clock", "worker-22")
    assert "worker-22</text>" in stepper.svg()
