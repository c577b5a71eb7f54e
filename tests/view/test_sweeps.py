"""Pictures of many runs hold the numbers of their tables, and theory's where it has a form."""

import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

import psbook as ps
from psbook.errors import InvalidJob
from psbook.experiments import theory
from psbook.view import (
    plot_efficiency,
    plot_frontier,
    plot_heatmap,
    plot_staleness,
    plot_sweep_bands,
    plot_throughput,
    plot_waiting_shares,
    plot_winners,
)
from psbook.view.efficiency import efficiencies
from psbook.view.staleness_theory import asp_rates, mean_of
from psbook.view.style import style_of
from psbook.view.swept import family_of, model_of, swept
from psbook.view.throughput import throughputs
from psbook.view.winners import winners


def texts(figure):
    """All that is written in a figure."""
    return " ".join(text.get_text() for text in figure.findobj(lambda part: hasattr(part, "get_text")))


def drawn(figure):
    """Render, and return how many bytes the picture has."""
    data, meta = figure._repr_mimebundle_()
    assert data["text/plain"] == repr(figure) and meta["image/png"]["alt"] == repr(figure)
    return len(data["image/png"])


@pytest.fixture(scope="module")
def sweep():
    """Three models at two rates on 4 workers, 3 seeds each."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(160, 5))
    y = (X @ np.arange(5.0) + rng.normal(size=160) > 0).astype(int)
    from psbook.algorithms import logistic_regression

    job = logistic_regression(X, y, epochs=4, batch_size=4)
    over = {"model": [ps.BSP(), ps.SSP(2), ps.ASP()], "rate": [0.1, 1.0]}
    return ps.sweep(job, ps.Simulator(workers=4, compute=ps.Exponential(0.1)), over, seeds=3, target=0.45)


def by_hand():
    """Histories of two models, two seeds: seconds, worker iterations, updates, loss."""
    rows = []
    for model, step, per in (("BSP", 4.0, 1), ("ASP", 1.0, 4)):
        for seed in (0, 1):
            for at, loss in enumerate([1.0, 0.5 + 0.1 * seed, 0.25, 0.125]):
                rows.append((model, seed, step * at, 4 * at, per * at, loss))
    return pd.DataFrame(rows, columns=["model", "seed", "time_s", "iterations", "updates", "loss"])


# Bands


def test_bands_are_median_and_range_over_seeds_against_time_and_updates():
    figure = plot_sweep_bands(by_hand(), target=0.3)
    left, right = figure.axes
    bsp = next(line for line in left.lines if line.get_label() == "BSP")
    x, y = bsp.get_data()
    assert x[-1] == 12.0
    assert np.interp(4.0, x, y) == pytest.approx(0.55, abs=0.01)
    band = left.collections[0].get_paths()[0].vertices
    around = band[np.abs(band[:, 0] - x[np.abs(x - 4.0).argmin()]) < 1e-9, 1]
    assert around.min() == pytest.approx(0.5, abs=0.02) and around.max() == pytest.approx(0.6, abs=0.02)
    asp = next(line for line in right.lines if line.get_label() == "ASP")
    assert asp.get_xdata()[-1] == 12 and asp.get_color() == style_of("asp").color
    assert left.get_xlabel() == "simulated seconds" and right.get_xlabel() == "updates applied"
    assert "target" in texts(figure) and "BSP 0.125" in repr(figure)
    assert drawn(figure) > 10_000


def test_bands_of_a_sweep_pool_what_is_not_asked_for(sweep):
    figure = plot_sweep_bands(sweep, "rate")
    labels = {line.get_label() for line in figure.axes[0].lines}
    assert {"rate 0.1", "rate 1"} <= labels
    history = sweep.history[sweep.history["rate"] == 1.0]
    last = history.sort_values("time_s").groupby("run")["loss"].last()
    line = next(line for line in figure.axes[0].lines if line.get_label() == "rate 1")
    assert line.get_ydata()[-1] == pytest.approx(last.median())
    assert sweep.plot("bands", by="rate").psbook_sentence == figure.psbook_sentence


def test_bands_of_lists_of_runs_are_those_of_their_histories(simulate):
    runs = {model.label: [simulate(model, seed=seed) for seed in range(3)] for model in (ps.BSP(), ps.ASP())}
    figure = plot_sweep_bands(runs)
    line = next(line for line in figure.axes[0].lines if line.get_label() == "BSP")
    last = [run.history["loss"].iloc[-1] for run in runs["BSP"]]
    assert line.get_ydata()[-1] == pytest.approx(np.median(last))
    assert line.get_xdata()[-1] == pytest.approx(max(run.history["time_s"].max() for run in runs["BSP"]))
    shares = plot_waiting_shares(runs, "model")
    assert "BSP: " in repr(shares) and "blocked by the model" in repr(shares)
    with pytest.raises(InvalidJob, match="no runs"):
        plot_sweep_bands({})


def test_a_run_that_diverges_leaves_the_band():
    table = by_hand()
    table.loc[(table["model"] == "BSP") & (table["seed"] == 1) & (table["time_s"] > 5), "loss"] = np.inf
    line = next(line for line in plot_sweep_bands(table).axes[0].lines if line.get_label() == "BSP")
    x, y = line.get_data()
    assert y[-1] == pytest.approx(0.125) and np.isfinite(y).all() and x[-1] == 12.0


# The two efficiencies


def test_a_line_that_leaves_the_picture_is_named_where_it_does():
    rows = [(model, 0, float(at), at, factor**at) for model, factor in (("BSP", 0.5), ("ASP", 10.0))
            for at in range(12)]  # fmt: skip
    figure = plot_sweep_bands(pd.DataFrame(rows, columns=["model", "seed", "time_s", "updates", "loss"]))
    drawn(figure)
    axes = figure.axes[0]
    named = {text.get_text(): text.xy for text in axes.texts}
    assert set(named) == {"BSP", "ASP"}
    assert named["BSP"] == (11.0, pytest.approx(0.5**11))
    assert named["ASP"] == (pytest.approx(3.0, abs=0.1), pytest.approx(1000.0))  # the top of the picture
    assert axes.get_ylim()[1] == pytest.approx(1000.0)


def test_hardware_times_statistical_efficiency_is_speed(sweep):
    frame = efficiencies(sweep)
    product = frame["iterations_per_s"] * frame["progress_per_iteration"]
    assert product.tolist() == pytest.approx(frame["progress_per_s"].tolist())
    times = sweep.times_to(0.45)
    reached = times[np.isfinite(times)]
    assert (1 / frame["progress_per_s"]).tolist() == pytest.approx(reached[frame["run"]].tolist())
    assert len(frame) == len(reached) > 6


def test_efficiency_bars_by_hand():
    """Target 0.25: BSP gets there after 8 s and 8 iterations, ASP after 2 s."""
    figure = plot_efficiency(by_hand(), target=0.25)
    widths = [[bar.get_width() for bar in axes.patches] for axes in figure.axes]
    assert widths == [pytest.approx([1.0, 4.0]), pytest.approx([12.5, 12.5]), pytest.approx([12.5, 50.0])]
    assert [axes.get_xlabel().split(" / ")[-1] for axes in figure.axes] == ["second", "iteration", "second"]
    assert "ASP 4 iterations/s × 12.5 %/iteration = 50 %/s" in repr(figure)
    assert "×" in texts(figure) and "=" in texts(figure)
    assert drawn(figure) > 5_000


def test_who_never_reaches_the_target_is_named():
    table = by_hand()
    table.loc[table["model"] == "BSP", "loss"] += 0.5
    figure = plot_efficiency(table, target=0.2)
    assert "BSP never reached it" in repr(figure) and "never reached" in texts(figure)
    with pytest.raises(InvalidJob, match="without losses"):
        efficiencies(pd.DataFrame({"model": ["BSP"], "seed": 0, "seconds": 1.0}))


# Heat maps and winners


def grid(values, quantity="time_to_target_s"):
    rows = [(s, rate, seed, value + 0.01 * seed) for (s, rate), value in values.items() for seed in range(3)]
    return pd.DataFrame(rows, columns=["s", "rate", "seed", quantity])


def test_cells_are_medians_and_the_best_is_framed():
    figure = plot_heatmap(
        grid({(0, 0.1): 3.0, (0, 1.0): 1.0, (4, 0.1): 2.0, (4, 1.0): np.inf}), "time_to_target_s"
    )
    axes = figure.axes[0]
    (image,) = axes.images
    assert np.asarray(image.get_array().filled(np.nan))[0, 0] == pytest.approx(3.01)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "4"]
    assert axes.get_xlabel() == "s" and axes.get_ylabel() == "rate"
    frames = [patch for patch in axes.patches if isinstance(patch, Rectangle) and not patch.get_fill()]
    assert {(frame.get_x() + 0.5, frame.get_y() + 0.5) for frame in frames} == {(0.0, 1.0)}
    hatched = [patch for patch in axes.patches if patch.get_hatch()]
    assert [(patch.get_x() + 0.5, patch.get_y() + 0.5) for patch in hatched] == [(1.0, 1.0)]
    assert "from 1.01 at s 0, rate 1" in repr(figure) and "infinite in 1 cells" in repr(figure)
    assert drawn(figure) > 5_000


def test_marks_beside_the_colours_have_room_however_many_decades():
    losses = [3e-6, 2.0, 400.0, 5e-3]
    table = pd.DataFrame({"s": [0, 0, 4, 4], "rate": [0.1, 1.0] * 2, "seed": 0, "loss_final": losses})
    figure = plot_heatmap(table)
    drawn(figure)
    labels = figure.axes[1].get_yticklabels()
    boxes = sorted((text.get_window_extent() for text in labels if text.get_text()), key=lambda box: box.y0)
    assert len(boxes) >= 4
    assert all(below.y1 < above.y0 for below, above in pairwise(boxes))


def test_heat_maps_of_a_sweep_look_at_a_part(sweep):
    figure = plot_heatmap(sweep, "loss_final", "model", "rate")
    table = sweep.table
    expected = table[(table["model"] == "ASP") & (table["rate"] == 1.0)]["loss_final"].median()
    assert np.asarray(figure.axes[0].images[0].get_array())[1, 2] == pytest.approx(expected)
    with pytest.raises(InvalidJob, match="two parameters"):
        plot_heatmap(sweep, where={"model": "ASP"})
    with pytest.raises(InvalidJob, match="does not vary"):
        plot_heatmap(sweep, x="workers")
    with pytest.raises(InvalidJob, match="no run has"):
        plot_heatmap(swept(sweep).table.assign(n=1)[["n", "model", "rate", "seed", "loss_final"]],
                     where={"model": "XSP"})  # fmt: skip


def contests(seeds=8):
    """BSP wins where nobody is slow, ASP clearly where somebody is, nobody at n = 64."""
    rng = np.random.default_rng(0)
    rows = []
    for slow, n, model, rate in [(a, b, m, r) for a in (1, 8) for b in (4, 64)
                                 for m in ("BSP", "ASP") for r in (0.1, 1.0)]:  # fmt: skip
        for seed in range(seeds):
            value = {("BSP", 1): 2.0, ("ASP", 1): 2.1, ("BSP", 8): 9.0, ("ASP", 8): 3.0}[model, slow]
            value = np.inf if n == 64 else value + rng.normal(0, 0.5 if slow == 1 else 0.1)
            rows.append((model, slow, n, rate, seed, value + (5 if rate == 0.1 else 0)))
    return pd.DataFrame(rows, columns=["model", "slow", "n", "rate", "seed", "time_to_target_s"])


def test_winners_run_at_their_best_rate_and_are_clear_only_beyond_chance():
    frame = winners(contests(), "time_to_target_s", "slow", "n").set_index(["slow", "n"])
    assert frame.loc[(8, 4), "winner"] == "ASP" and frame.loc[(8, 4), "clear"]
    assert frame.loc[(8, 4), "advantage"] == pytest.approx(3.0, rel=0.1)
    assert not frame.loc[(1, 4), "clear"]
    assert frame.loc[(1, 64), "winner"] == "" and frame.loc[(8, 64), "winner"] == ""


def test_the_phase_diagram_tells_winners_apart_without_colour():
    figure = plot_winners(contests(), "slow", "n")
    axes = figure.axes[0]
    cells = {(p.get_x() + 0.5, p.get_y() + 0.5): p for p in axes.patches}
    assert set(cells) == {(0, 0), (1, 0)}
    clear = cells[1, 0]
    assert to_hex(clear.get_facecolor()) == style_of("asp").color.lower()
    assert clear.get_hatch() != cells[0, 0].get_hatch() or "BSP" not in texts(figure)
    said = [text.get_text() for text in axes.texts]
    assert any(text.startswith("ASP\n×") for text in said) and said.count("nobody") == 2
    assert "clear by a sign test" in repr(figure)
    assert drawn(figure) > 5_000


def test_the_phase_diagram_takes_a_tuned_comparison_as_it_is():
    rows = [(slow, 4, model, loss, rank, clear) for slow, each in
            ((1, [("BSP", 0.1, 1, False), ("ASP", 0.2, 2, False)]),
             (8, [("BSP", 0.4, 2, True), ("ASP", 0.1, 1, True)]))
            for model, loss, rank, clear in each]  # fmt: skip
    tuned = pd.DataFrame(rows, columns=["slow", "n", "model", "loss", "rank", "clear"])
    figure = plot_winners(tuned, "slow", "n")
    assert "BSP in 1 of 2 cells, ASP in 1; 1 clear by a bootstrap" in repr(figure)
    assert {"BSP\n×2.00", "ASP\n×4.00"} == {text.get_text() for text in figure.axes[0].texts}


def test_nobody_and_nothing_to_divide_where_a_tuned_comparison_never_arrives():
    rows = [("BSP", 1, math.inf), ("ASP", 2, math.inf)]
    tuned = pd.DataFrame([(1, 4, *row, False) for row in rows],
                         columns=["slow", "n", "model", "rank", "time_s", "clear"])  # fmt: skip
    figure = plot_winners(tuned, "slow", "n")
    assert [text.get_text() for text in figure.axes[0].texts] == ["nobody"]


# Throughput, waiting, frontier


def rates(count=6):
    """Made-up rates: theory's, and SSP(1) 10 % below it."""
    rng = np.random.default_rng(1)
    rows = []
    for model in (ps.BSP(), ps.SSP(1), ps.ASP()):
        for n in (2, 4, 8):
            expected = theory.iteration_rate(model, ps.Exponential(0.1), n)
            off = 0.9 if isinstance(model, ps.SSP) else 1.0
            rows += [
                (model.label, n, seed, off * expected * (1 + rng.normal(0, 0.01))) for seed in range(count)
            ]
    return pd.DataFrame(rows, columns=["model", "workers", "seed", "iterations_per_s"])


def test_a_miss_of_theory_is_visible():
    figure = plot_throughput(rates(), ps.Exponential(0.1))
    left, right = figure.axes
    dashed = [line for line in left.lines if line.get_linestyle() == "--" and len(line.get_xdata()) == 3]
    found = sorted(float(line.get_ydata()[-1]) for line in dashed)
    expected = [
        theory.iteration_rate(model, ps.Exponential(0.1), 8) for model in (ps.BSP(), ps.SSP(1), ps.ASP())
    ]
    assert found == pytest.approx(expected)
    off = [container.lines[0].get_ydata() for container in right.containers]
    assert np.abs(off[0]).max() < 2 and np.abs(off[2]).max() < 2
    assert np.asarray(off[1]) == pytest.approx([-10] * 3, abs=2)
    assert "SSP(1)" in texts(figure) and "off theory by 10" in repr(figure)
    assert left.get_ylabel() == "iterations / second, all workers" and right.get_ylabel().endswith("%")
    assert drawn(figure) > 10_000


def test_without_a_law_there_is_no_theory_and_intervals_are_students():
    frame = throughputs(rates(4))
    assert frame["theory"].isna().all()
    part = rates(4).query("model == 'BSP' and workers == 4")["iterations_per_s"]
    width = frame.query("model == 'BSP' and workers == 4")["half_width"].item()
    assert width == pytest.approx(3.182446 * part.std() / 2, rel=1e-5)
    assert len(plot_throughput(rates(4)).axes) == 1
    with pytest.raises(InvalidJob, match="does not vary"):
        throughputs(rates().drop(columns="workers"))


def test_simulated_rates_meet_theory_but_for_the_end_of_a_run():
    """400 iterations a worker, 6 seeds: BSP and SSP within 4 %; ASP's run ends with its slowest worker."""
    from psbook.algorithms import logistic_regression

    rng = np.random.default_rng(0)
    job = logistic_regression(rng.normal(size=(32, 2)), rng.integers(0, 2, 32), iterations=400, every=10**6)
    over = {"model": [ps.BSP(), ps.SSP(1), ps.ASP()], "workers": [4]}
    sweep = ps.sweep(job, ps.Simulator(compute=ps.Exponential(0.1)), over, seeds=6)
    frame = throughputs(sweep, ps.Exponential(0.1))
    assert frame["theory"].notna().all()
    asp = frame["model"] == "ASP"
    assert (frame["deviation"][~asp].abs() < 0.04).all()
    assert frame["deviation"][asp].between(-0.15, 0).all()


def test_waiting_shares_add_up_and_bear_theorys_mark(sweep):
    table = sweep.table.assign(workers=4)
    figure = plot_waiting_shares(
        table[["model", "workers", "seed", "idle_share", "blocked_share"]], "model", ps.Exponential(0.1)
    )
    axes = figure.axes[0]
    sums = {}
    for bar in axes.patches:
        row = round(bar.get_y() + bar.get_height() / 2)
        sums[row] = sums.get(row, 0.0) + bar.get_width()
    assert sums == pytest.approx(dict.fromkeys(range(3), 100.0))
    marks = [line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1]
    assert marks == pytest.approx([48.0, 100 * theory.ssp_rate(4, 2), 100.0])
    assert "theory 48 %" in repr(figure)


def test_the_front_is_filled_and_named():
    rows = [("BSP", 0, 3.0, 0.1), ("SSP(2)", 0, 2.0, 0.2), ("ASP", 0, 4.0, 0.3), ("SSP(9)", 0, 1.0, np.inf)]
    table = pd.DataFrame(rows, columns=["model", "seed", "seconds", "loss_final"])
    figure = plot_frontier(table)
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert len(dots) == 3
    filled = {line.get_xdata()[0] for line in dots if line.get_markerfacecolor() != "white"}
    assert filled == {3.0, 2.0}
    assert "1 settings that diverged" in texts(figure)


# Staleness


def test_staleness_has_theorys_law_for_unequal_rates_and_shows_the_difference(simulate):
    law = ps.Exponential(0.1).slow({0: 2.0, 1: 0.5})
    run = simulate(ps.ASP(), compute=law)
    rates = [5.0, 20.0, 10.0, 10.0]
    assert asp_rates(run.trace) == pytest.approx(rates)
    left, right = plot_staleness(run.trace).axes
    line = next(line for line in left.lines if line.get_marker() == "o")
    count = len(line.get_ydata())
    assert line.get_ydata() == pytest.approx(100 * theory.asp_staleness_pmf(rates, count))
    found = np.array([bar.get_height() for bar in left.patches])
    errors = np.array([bar.get_height() for bar in right.patches])
    assert errors == pytest.approx(found - line.get_ydata())
    assert "Theory's mean is 3" in repr(plot_staleness(run.trace))


@pytest.mark.parametrize(
    ("model", "mean"),
    [(ps.ASP(), 3.0), (ps.KBatchAsync(2), 1.5), (ps.KAsync(2), 1.0), (ps.KSync(2), 0.0), (ps.SSP(1), None)],
)
def test_means_of_theory_for_any_law_of_the_times(simulate, model, mean):
    run = simulate(model, compute=ps.Gamma(0.1, 3.0))
    assert mean_of(run.trace) == mean
    assert asp_rates(run.trace) is None
    figure = plot_staleness(run.trace)
    assert ("Theory's mean" in repr(figure)) == (mean is not None)
    assert mean_of(simulate(model, network=ps.Network(1e5, 1e-3)).trace) is None


# Labels


@pytest.mark.parametrize(
    "model",
    [ps.BSP(), ps.SSP(3), ps.SSP(math.inf), ps.ASP(), ps.BoundedDelay(2), ps.KSync(3), ps.KAsync(1),
     ps.KBatchSync(2), ps.KBatchAsync(4), ps.BackupWorkers(2), ps.Serial()],
)  # fmt: skip
def test_models_are_known_by_their_labels(model):
    assert model_of(model.label) == model
    assert family_of(model.label) == model.family


def test_a_table_without_seeds_is_refused():
    with pytest.raises(InvalidJob, match="'seed'"):
        swept(pd.DataFrame({"model": ["BSP"], "loss": [1.0]}))
