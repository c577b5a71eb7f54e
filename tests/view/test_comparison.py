"""Models side by side: bands over seeds, times and staleness are those of the traces."""

import numpy as np
import pytest

import psbook as ps
from psbook.trace import Recorder, statistics
from psbook.trace.schema import SPANS
from psbook.view import plot_comparison
from psbook.view.comparison import band_of, median_time, pooled_pmf, time_by_model


def losses(points, meta=None):
    """A trace with nothing but losses, at (seconds, updates, loss)."""
    recorder = Recorder()
    for number, (time, updates, loss) in enumerate(points):
        recorder.add(time, "evaluator", "loss", clock=number, version=updates, value=loss)
    return recorder.trace(meta or {})


@pytest.fixture(scope="module")
def rows(simulate):
    models = [ps.BSP(), ps.SSP(1), ps.SSP(3), ps.ASP()]
    return [(m.label, m.family, [simulate(m, seed=seed).trace for seed in (0, 1)]) for m in models]


def test_a_band_reaches_from_the_smallest_to_the_largest_seed():
    band = band_of([losses([(0, 0, 1.0), (2, 4, 0.0)]), losses([(0, 0, 1.0), (4, 4, 0.5)])], "time_s")
    assert band.at[0] == 0 and band.at[-1] == 4
    assert band.low == pytest.approx(np.maximum(1 - band.at / 2, 0))
    assert band.high == pytest.approx(1 - band.at / 8)
    assert band.middle == pytest.approx((band.low + band.high) / 2)


def test_a_run_that_diverged_leaves_the_band_where_it_did():
    diverged = losses([(0, 0, 1.0), (2, 4, 9.0), (3, 5, np.nan)], {"diverged": "NaN at worker-0"})
    alone = band_of([diverged], "time_s")
    assert alone.at[-1] == 2
    both = band_of([diverged, losses([(0, 0, 1.0), (4, 4, 1.0)])], "time_s")
    assert both.at[-1] == 4
    assert both.high[-1] == 1.0


def test_a_trace_without_losses_has_an_empty_band():
    assert len(band_of([Recorder().trace({})], "time_s").at) == 0


def test_the_median_time_counts_seeds_that_never_reach_the_target():
    fast, slow, never = (losses([(0, 0, 1.0), (t, 1, 0.1)]) for t in (1.0, 3.0, 9.0))
    never.frame.loc[1, "value"] = 0.9
    assert median_time([fast, slow], 0.5) == 2.0
    assert median_time([fast, slow, never], 0.5) == 3.0
    assert median_time([never], 0.5) == np.inf


def test_times_are_means_over_workers_and_seeds_and_add_up_to_the_mean_run(rows):
    table = time_by_model(rows)
    for (_, _, traces), (_, seconds) in zip(rows, table.iterrows(), strict=True):
        assert seconds.sum() == pytest.approx(np.mean([trace.end for trace in traces]))
        compute = np.mean([statistics.waiting(trace)["compute"].mean() for trace in traces])
        assert seconds["compute"] == pytest.approx(compute)
    assert list(table.columns) == list(SPANS)


def test_staleness_of_seeds_is_pooled_to_one_distribution(rows):
    for _, _, traces in rows:
        shares = pooled_pmf(traces)
        means = [statistics.staleness(trace)["staleness"].mean() for trace in traces]
        assert shares.sum() == pytest.approx(1.0)
        assert shares @ np.arange(len(shares)) == pytest.approx(np.mean(means))


def test_four_axes_with_units_and_a_title_that_says_untuned(rows):
    figure = plot_comparison(rows, 0.4, untuned=True)
    left, right, below, ridge = figure.axes
    assert left.get_xlabel() == "simulated seconds"
    assert right.get_xlabel() == "updates applied"
    assert "simulated seconds" in below.get_xlabel()
    assert "updates" in ridge.get_xlabel()
    assert "untuned" in figure.get_suptitle()
    assert "untuned" in figure.psbook_sentence and "SSP(3)" in figure.psbook_sentence
    labels = ["BSP", "SSP(1)", "SSP(3)", "ASP"]
    assert [text.get_text() for text in below.get_yticklabels()] == labels
    assert {text.get_text() for text in left.texts} >= set(labels)
    assert "untuned" not in plot_comparison(rows, 0.4).get_suptitle()


def test_lines_of_all_models_differ_without_colour(rows):
    lines = [line for line in plot_comparison(rows).axes[0].lines if not line.get_label().startswith("_")]
    looks = {(str(line._unscaled_dash_pattern), line.get_marker()) for line in lines}
    assert len(lines) == len(looks) == 4


def test_many_models_get_a_legend(simulate):
    trace = simulate(ps.ASP()).trace
    rows = [(f"SSP({s})", "ssp", [trace]) for s in range(8)]
    assert len(plot_comparison(rows).axes[0].get_legend().get_texts()) == 8


def test_traces_without_times_and_updates_say_so(simulate):
    trace = simulate(ps.ASP(), trace="off").trace
    figure = plot_comparison([("ASP", "asp", [trace])])
    written = " ".join(text.get_text() for axes in figure.axes[2:] for text in axes.texts)
    assert written.count("required: trace=") == 2


def test_compare_draws_its_own_title_and_target():
    from psbook.algorithms import logistic_regression
    from psbook.datasets import load_breast_cancer

    data = load_breast_cancer()
    job = logistic_regression(data.X_train, data.y_train, data.X_test, data.y_test, epochs=1)
    result = ps.compare(job, ps.Simulator(workers=4), [ps.BSP(), ps.ASP()], seeds=1)
    figure = result.plot()
    assert figure.get_suptitle().replace("\n", " ") == result.title
    assert f"target {result.target:.3g}" in [text.get_text() for text in figure.axes[0].texts]
