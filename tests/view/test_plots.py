"""Pictures of a run hold the numbers of its trace."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.collections import PolyCollection

import psbook as ps
from psbook.errors import InvalidJob
from psbook.trace import Recorder, Trace, statistics
from psbook.trace.schema import SPANS
from psbook.view import RunPlots
from psbook.view.staleness import geometric, pmf, theory_applies
from psbook.view.timeline import window

METHODS = ("convergence", "timeline", "staleness", "waiting")


def widths(axes):
    """Length of each bar by row, summed over the kinds of time."""
    sums = {}
    for bar in axes.patches:
        row = round(bar.get_y() + bar.get_height() / 2)
        sums[row] = sums.get(row, 0.0) + bar.get_width()
    return sums


def texts(figure):
    """All that is written in a figure."""
    return " ".join(text.get_text() for text in figure.findobj(lambda part: hasattr(part, "get_text")))


def test_waiting_bars_are_the_statistics_and_add_up_to_the_run(by_hand, as_run):
    axes = RunPlots(as_run(by_hand)).waiting().axes[0]
    assert widths(axes) == pytest.approx({0: 3.0, 1: 3.0})
    table = statistics.waiting(by_hand).set_index("node")
    drawn = np.array([bar.get_width() for bar in axes.patches]).reshape(5, 2)
    assert drawn == pytest.approx(table.loc[["worker-0", "worker-1"], list(SPANS)].to_numpy().T)
    assert axes.get_xlim() == (0, 3.0)


@pytest.mark.parametrize("model", [ps.BSP(), ps.SSP(1), ps.ASP()])
def test_waiting_bars_of_a_simulated_run_add_up_to_its_length(simulate, model):
    run = simulate(model, network=ps.Network(1e5, 1e-3), service=0.002)
    sums = widths(run.plot.waiting().axes[0])
    assert list(sums.values()) == pytest.approx([run.seconds] * 4, rel=1e-9)


def test_staleness_bars_are_the_shares_of_the_updates(simulate):
    run = simulate(ps.ASP())
    axes = run.plot.staleness().axes[0]
    values = statistics.staleness(run.trace)["staleness"]
    expected = values.value_counts(normalize=True).sort_index()
    heights = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in axes.patches}
    assert {at: height for at, height in heights.items() if height} == pytest.approx(expected.to_dict())
    assert sum(heights.values()) == pytest.approx(1.0)
    mean = axes.lines[0].get_xdata()[0]
    assert mean == pytest.approx(values.mean())


def test_theory_is_drawn_for_asp_with_exponential_times_only(simulate):
    asp = simulate(ps.ASP())
    assert theory_applies(asp.trace)
    line = asp.plot.staleness().axes[0].lines[1]
    assert line.get_ydata() == pytest.approx(geometric(4, len(pmf(asp.trace))))
    others = [
        simulate(ps.SSP(1)),
        simulate(ps.ASP(), compute=ps.Constant(0.1)),
        simulate(ps.ASP(), compute=ps.Exponential(0.1).slow({0: 2})),
        simulate(ps.ASP(), network=ps.Network(1e5, 1e-3)),
        simulate(ps.ASP(), service=0.01),
    ]
    assert [theory_applies(run.trace) for run in others] == [False] * 5
    assert [len(run.plot.staleness().axes[0].lines) for run in others] == [1] * 5


def test_the_geometric_law_has_mean_n_minus_one():
    shares = geometric(8, 4000)
    assert shares.sum() == pytest.approx(1.0)
    assert shares @ np.arange(4000) == pytest.approx(7.0)


def test_convergence_shows_the_history_against_time_and_updates(simulate):
    run = simulate(ps.BSP())
    left, right = run.plot.convergence().axes
    history = run.history
    assert left.lines[0].get_xdata() == pytest.approx(history["time_s"].to_numpy())
    assert right.lines[0].get_xdata() == pytest.approx(history["updates"].to_numpy())
    for axes in (left, right):
        assert axes.lines[0].get_ydata() == pytest.approx(history["loss"].to_numpy())


def test_timeline_draws_every_span_where_it_was(by_hand, as_run):
    figure = RunPlots(as_run(by_hand)).timeline()
    boxes = []
    for part in figure.axes[0].collections:
        if isinstance(part, PolyCollection):
            for path in part.get_paths():
                (x0, y0), (x1, y1) = path.get_extents().get_points()
                boxes.append((round((y0 + y1) / 2), x0, x1 - x0))
    spans = by_hand.of(*SPANS)
    rows = {"worker-0": 0, "worker-1": 1}
    expected = [(rows[node], time, length) for node, time, length in
                spans[["node", "time", "duration"]].itertuples(index=False)]  # fmt: skip
    assert np.array(sorted(boxes)) == pytest.approx(np.array(sorted(expected)))


def test_a_long_run_is_shown_to_the_thirtieth_iteration_of_the_fastest_worker(simulate):
    long = simulate(ps.ASP(), workers=1)
    assert len(long.trace.of("clock")) > 30
    times = long.trace.of("clock")["time"].to_numpy()
    assert window(long.trace) == (0.0, times[29])
    short = simulate(ps.ASP())
    assert window(short.trace) == (0.0, short.seconds)
    assert window(short.trace, 0.1, 0.2) == (0.1, 0.2)


def test_a_window_that_is_empty_is_refused(by_hand, as_run):
    with pytest.raises(InvalidJob, match="start < stop"):
        RunPlots(as_run(by_hand)).timeline(2.0, 1.0)


@pytest.mark.parametrize("method", METHODS)
def test_units_and_what_an_iteration_is_are_written(by_hand, as_run, method):
    figure = getattr(RunPlots(as_run(by_hand)), method)()
    written = texts(figure)
    assert "one iteration = mini-batch of 32" in written
    if method == "staleness":
        assert "updates" in figure.axes[0].get_xlabel()
    else:
        assert "simulated seconds" in figure.axes[0].get_xlabel()
    assert figure.psbook_sentence.startswith("SSP(0): ")
    assert figure.psbook_sentence.endswith(".")


@pytest.mark.parametrize("method", METHODS)
def test_real_seconds_are_not_called_simulated(by_hand, as_run, method):
    trace = Trace(by_hand.frame, {**by_hand.meta, "time_unit": "s", "backend": "dask"})
    figure = getattr(RunPlots(as_run(trace)), method)()
    assert "simulated" not in texts(figure) + figure.psbook_sentence


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("level", ["off", "nothing"])
def test_what_a_trace_does_not_hold_is_said(simulate, as_run, method, level):
    trace = simulate(ps.SSP(1), trace="off").trace if level == "off" else Recorder().trace({})
    figure = getattr(RunPlots(as_run(trace)), method)()
    if (method, level) == ("convergence", "off"):
        assert len(figure.axes[0].lines[0].get_xdata()) > 1
    else:
        assert "required: trace=" in figure.psbook_sentence or "Job(evaluate=" in figure.psbook_sentence
        assert len(texts(figure)) > 60


@pytest.mark.parametrize("method", METHODS)
def test_drawing_changes_nothing_in_the_trace(by_hand, as_run, method):
    before = by_hand.hash()
    data, metadata = getattr(RunPlots(as_run(by_hand)), method)()._repr_mimebundle_()
    assert by_hand.hash() == before
    assert data["image/png"].startswith(b"\x89PNG")
    assert data["text/plain"] == metadata["image/png"]["alt"]


def test_a_picture_is_the_same_every_time(by_hand, as_run):
    pictures = {
        hashlib.sha256(RunPlots(as_run(by_hand)).timeline()._repr_mimebundle_()[0]["image/png"]).digest()
        for _ in range(2)
    }
    assert len(pictures) == 1


def test_pictures_do_not_need_pyplot(project):
    code = (
        "import sys; from types import SimpleNamespace as N; from psbook.trace import Recorder\n"
        "from psbook.view import RunPlots\n"
        "RunPlots(N(trace=Recorder().trace({}))).timeline()._repr_mimebundle_()\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=project
    )
    assert run.stdout.strip() == "False"
