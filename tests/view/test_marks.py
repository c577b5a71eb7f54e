"""What befell a run is marked where and when it happened, and told apart without colour."""

import numpy as np
import pytest
from matplotlib.figure import Figure

import psbook as ps
from psbook.trace import Recorder
from psbook.view.marks import Moment, draw_moments, in_updates, mark_legend, moments, outages
from psbook.view.style import MARKS

SAFETY = ps.Safety(replicas=1, lease=0.3, resend=0.1)
FAULTS = ps.Faults(ps.Crash("server-1", at=0.3), ps.Crash("worker-2", at=0.8, restart=0.2))


@pytest.fixture(scope="module")
def struck(simulate):
    return simulate(ps.SSP(1), servers=3, safety=SAFETY, faults=FAULTS)


def test_the_moments_are_those_of_the_trace(struck):
    found = moments(struck.trace)
    told = struck.trace.of("lost")
    assert found == [
        Moment(0.3, "fault", "server-1 crashes"),
        Moment(float(told["time"].iloc[0]), "lost", "server-1 given up"),
        Moment(0.8, "fault", "worker-2 crashes"),
        Moment(1.0, "restart", "worker-2 starts again"),
    ]


def test_what_befalls_several_nodes_at_once_is_one_moment():
    recorder = Recorder()
    for node in ("server-0", "worker-0"):
        recorder.add(2.0, node, "fault", detail="crash: server-0 and worker-0 crash together at 2 s.")
    recorder.add(3.0, "server-1", "lost", shard=0, value=8, detail="shard 0 goes back to a checkpoint")
    recorder.add(4.0, "server-2", "lost", detail="left; others hold what it held")
    recorder.add(5.0, "controller", "checkpoint", clock=10)
    assert [moment.text for moment in moments(recorder.trace({}))] == [
        "server-0 and worker-0 crashes", "8 updates lost", "server-2 has left", "checkpoint 10",
    ]  # fmt: skip


def test_an_outage_ends_when_the_node_is_given_up_or_back(struck):
    told = float(struck.trace.of("lost")["time"].iloc[0])
    assert [(each.start, each.stop) for each in outages(struck.trace)] == [(0.3, told), (0.8, 1.0)]


@pytest.mark.parametrize("method", ["timeline", "convergence"])
def test_pictures_mark_and_tell_what_befell_the_run(struck, method):
    figure = getattr(struck.plot, method)()
    axes = figure.axes[0]
    written = {text.get_text() for text in axes.texts}
    assert {"server-1 crashes", "server-1 given up", "worker-2 crashes", "worker-2 starts again"} <= written
    signs = sorted(
        (float(line.get_xdata()[0]), line.get_marker()) for line in axes.lines if line.get_marker() in "Xv^"
    )
    assert signs == [(moment.time, MARKS[moment.kind].marker) for moment in moments(struck.trace)]
    assert "server-1 crashes at 0.3 simulated s; server-1 given up at" in figure.psbook_sentence


def test_a_timeline_that_ends_before_a_fault_says_so(struck):
    figure = struck.plot.timeline(stop=0.7)
    assert "server-1 crashes" in [text.get_text() for text in figure.axes[0].texts]
    assert figure.axes[0].get_xlabel().endswith("not shown: worker-2 crashes at 0.8 simulated s and more")
    assert "worker-2 crashes at 0.8" in figure.psbook_sentence
    assert "not shown" not in struck.plot.timeline(0.0, struck.seconds).axes[0].get_xlabel()


def test_a_quiet_run_has_no_marks(simulate):
    run = simulate(ps.SSP(1))
    assert moments(run.trace) == []
    lines = run.plot.convergence().axes[0].lines
    assert not [line for line in lines if line.get_marker() in ("X", "v", "^", "s")]


def test_checkpoints_are_marked_and_explained(simulate, tmp_path):
    run = simulate(ps.BSP(), checkpoints=ps.Checkpoints(tmp_path, every=1))
    taken = run.trace.of("checkpoint")
    figure = run.plot.timeline()
    signs = [line for line in figure.axes[0].lines if line.get_marker() == "s"]
    assert len(signs) == len(taken) > 5
    assert f"{len(taken)} checkpoints were taken" in figure.psbook_sentence
    assert "checkpoint" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_all_marks_differ_without_colour():
    assert len({look.marker for look in MARKS.values()}) == len(MARKS)
    lines = [str(look.dashes) for look in MARKS.values()]
    assert len(set(lines)) == len(lines)


def test_labels_stand_in_rows_of_their_own_and_what_has_no_room_is_in_the_legend():
    axes = Figure().subplots()
    axes.set_xlim(0, 10)
    crowd = [Moment(5 + k / 100, "fault" if k % 2 else "restart", f"server-{k} crashes") for k in range(6)]
    unnamed = draw_moments(axes, [*crowd, Moment(11.0, "fault", "outside")], 300.0)
    heights = [text.xyann[1] for text in axes.texts]
    assert len(heights) == len(set(heights)) == 4
    assert unnamed == crowd[4:]
    assert {line.get_label() for line in mark_legend(unnamed)} == {
        MARKS["fault"].label, MARKS["restart"].label,
    }  # fmt: skip


def test_moments_along_updates_are_those_the_run_had_by_then(struck):
    history = struck.history
    middle = history.iloc[len(history) // 2]
    (moved,) = in_updates([Moment(float(middle["time_s"]), "fault", "x")], history)
    assert moved.time == pytest.approx(float(middle["updates"]))
    times = [moment.time for moment in in_updates(moments(struck.trace), history)]
    assert np.all(np.diff(times) >= 0)
