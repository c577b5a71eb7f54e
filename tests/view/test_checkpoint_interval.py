"""The picture of checkpoint intervals holds the numbers of its table."""

import io

import numpy as np
import pytest
from matplotlib.image import imread

from psbook.errors import InvalidJob
from psbook.experiments.checkpoint_interval import best_interval, interval_curve, young_interval
from psbook.view.checkpoint_interval import CURVE, YOUNG, plot_interval

JOB = (86400, 1 / 7200, 120, 60)


@pytest.fixture(scope="module")
def curve():
    return interval_curve(*JOB, runs=100)


def marker(axes, shape):
    """Where the marker of a shape stands."""
    (line,) = [line for line in axes.lines if line.get_marker() == shape]
    return float(line.get_xdata()[0]), float(line.get_ydata()[0])


def test_curve_dots_and_bars_are_the_table(curve):
    (axes,) = plot_interval(curve).axes
    assert axes.lines[0].get_xdata() == pytest.approx(curve["every_s"].to_numpy())
    assert axes.lines[0].get_ydata() == pytest.approx(curve["expected_s"].to_numpy())
    points = curve[curve["runs"] > 0]
    (bars,) = axes.containers
    dots, _, (segments,) = bars.lines
    assert dots.get_ydata() == pytest.approx(points["simulated_s"].to_numpy())
    ends = np.array([segment[:, 1] for segment in segments.get_segments()])
    assert np.diff(ends, axis=1)[:, 0] == pytest.approx(2 * points["half_width_s"].to_numpy())
    assert "second" in axes.get_xlabel() and "second" in axes.get_ylabel()


def test_the_minimum_and_youngs_interval_are_marked(curve):
    figure = plot_interval(curve)
    (axes,) = figure.axes
    every, time = marker(axes, "D")
    assert every == best_interval(*JOB)
    assert time <= curve["expected_s"].min()
    youngs, longer = marker(axes, "s")
    assert youngs == young_interval(JOB[1], JOB[3])
    assert time < longer < 1.001 * time
    said = " ".join(text.get_text() for text in axes.texts)
    assert "best: 890 s" in said and "Young: 929.5 s, 0.012 % more time" in said
    assert "4.4 % longer" in repr(figure) and repr(figure) in str(figure._repr_mimebundle_()[0]["text/plain"])


def test_an_interval_longer_than_the_work_is_not_marked():
    figure = plot_interval(interval_curve(100, 1e-4, 10, 50, runs=20))
    (axes,) = figure.axes
    assert not [line for line in axes.lines if line.get_marker() == "s"]
    assert "Young's 1000 s is longer than the work" in repr(figure)
    assert marker(axes, "D")[0] == 100


def test_the_picture_is_drawn_with_all_its_texts_inside(curve):
    figure = plot_interval(curve)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    buffer.seek(0)
    pixels = imread(buffer)[..., :3]
    assert pixels.shape == (460, 860, 3)
    for color in (CURVE, YOUNG):
        wanted = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
        assert (np.abs(pixels - wanted).max(axis=2) < 0.02).sum() > 20
    (axes,) = figure.axes
    for text in axes.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y0 >= 0


def test_a_table_without_its_job_is_refused(curve):
    bare = curve.copy()
    bare.attrs = {}
    with pytest.raises(InvalidJob, match="interval_curve"):
        plot_interval(bare)
