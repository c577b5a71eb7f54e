"""Pictures of calibrations, predictions and what-ifs hold their numbers."""

import io

import numpy as np
import pytest

import psbook as ps
from psbook.errors import InvalidJob
from tests.compiled.comparing import JOBS

JOB = JOBS["plain"].with_batches(size=8, iterations=40)


@pytest.fixture(scope="module")
def recorded():
    cluster = ps.Simulator(workers=3, compute=ps.LogNormal(0.1, 0.3), network=ps.Network(latency=0.01),
                           service={"read": 0.001}, seed=2)  # fmt: skip
    return JOB.run(cluster, ps.BSP())


def drawn(figure):
    """A figure that can be drawn, and all that is written in it."""
    figure.savefig(io.BytesIO(), format="svg")
    return " ".join(text.get_text() for text in figure.findobj(lambda part: hasattr(part, "get_text")))


def test_a_calibration_shows_work_quantiles_and_messages(recorded):
    calibration = ps.calibrate(recorded)
    figure = calibration.plot()
    work, quantiles, messages = figure.axes
    for line, each in zip(work.lines, calibration.works, strict=True):
        np.testing.assert_allclose(line.get_ydata(), 1e3 * each.seconds)
    for line, each in zip(quantiles.lines, calibration.works, strict=False):
        np.testing.assert_allclose(line.get_ydata(), 1e3 * np.sort(each.seconds))
        law = np.quantile(calibration.law.times(0, 20_000, 1), 0.5)
        assert np.median(line.get_xdata()) == pytest.approx(1e3 * law, rel=0.05)
    assert messages.lines[0].get_xdata().max() == pytest.approx(10.0)
    text = drawn(figure)
    assert "simulated ms" in text and "worker-2, KS" in text and "a pull at a server" in text
    assert repr(figure) == repr(calibration)
    assert calibration.text().startswith(repr(calibration))


def test_without_messages_the_picture_says_so():
    run = JOB.run(ps.Simulator(workers=2, compute=0.1, trace="iterations"), ps.ASP())
    assert "the trace does not tell" in drawn(ps.calibrate(run).plot())


def test_a_prediction_shows_its_median_the_real_run_and_the_interval(recorded):
    prediction = ps.predict(JOB, recorded, model=ps.ASP(), seeds=6)
    figure = prediction.plot(recorded, loss=3.0)
    axes, below = figure.axes
    line = axes.lines[0]
    assert line.get_xdata()[-1] == pytest.approx(np.median([run.seconds for run in prediction.runs]))
    real = next(line for line in axes.lines if line.get_label() == "real run")
    assert set(real.get_ydata()) <= set(recorded.history["loss"])
    bar = below.lines[0].get_xdata()
    assert tuple(bar) == (prediction.seconds.low, prediction.seconds.high)
    assert f"3 after {prediction.time_to(3.0).value:.3g} s" in drawn(figure)
    assert "The real run took" in repr(figure)


def test_a_job_without_an_objective_has_no_convergence():
    job = ps.Job(JOB.program, tables=JOB.tables, data=JOB.data, batch_size=8, iterations=20)
    run = job.run(ps.Simulator(workers=2), ps.ASP())
    prediction = ps.predict(job, run, seeds=2)
    assert "no loss was measured" in drawn(prediction.plot())
    with pytest.raises(InvalidJob, match="evaluate"):
        prediction.time_to(1.0)
    with pytest.raises(InvalidJob, match="evaluate"):
        prediction.plot(loss=1.0)


def test_what_if_shows_three_runs_side_by_side(recorded):
    found = ps.what_if(recorded, JOB, no_stragglers=True)
    text = drawn(found.plot())
    assert all(each in text for each in ("recorded", "made again", "no_stragglers"))
    assert repr(found.plot()).startswith(repr(found))
