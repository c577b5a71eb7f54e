"""Published figures are met where they must be, and said to be missed where they are."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import psbook as ps
from psbook.core.consistency import BackupWorkers, KAsync, KBatchAsync, KSync
from psbook.errors import InvalidJob
from psbook.experiments import theory
from psbook.experiments.published import FIGURES, reproduce
from psbook.experiments.published.mitliagkas_2016 import HeavyBall
from psbook.experiments.published.result import PREDICTED, Gate, Reproduction, table_of
from psbook.experiments.published.schedules import update_times
from psbook.simulator.compiled.timing import timeline

QUICK = [name for name in FIGURES if name != "momentum"]


@pytest.fixture(scope="module")
def results():
    """Each quick figure once."""
    return {name: reproduce(name) for name in QUICK}


@pytest.mark.parametrize("name", QUICK)
def test_gates_are_met_and_the_table_holds_what_they_are_about(results, name):
    result = results[name]
    assert result.gates and result.met, result.text()
    table = result.table.dropna(subset=["published"])
    error = table["simulated"] / table["published"] - 1
    assert np.allclose(table["relative_error"], error)
    assert set(result.table["use"]) <= {"calibrated", "predicted", "shown"}
    assert (result.table["use"] == "predicted").any()


def test_what_was_calibrated_is_marked_and_small(results):
    """P1: τ = 0, 1 only; P3: five points of the collection curve; the others fit nothing."""
    used = {name: (result.table["use"] == "calibrated").sum() for name, result in results.items()}
    assert used == {"li": 2, "chen": 5, "dutta": 0, "psp": 0}


def test_li_waits_less_with_more_delay_and_is_within_four_points(results):
    idle = results["li"].curves["idle"]
    assert (np.diff(idle["simulated"]) < 0).all()
    assert (idle["simulated"] - idle["published"]).abs().max() <= 4


def test_chen_collection_is_that_of_order_statistics_and_late_workers_cost_time(results):
    chen = results["chen"]
    assert (np.diff(chen.curves["collect"]["simulated"]) > 0).all()
    hours = chen.curves["hours"].dropna(subset=["late_go_on"])
    inner = hours[hours["n"] < 100]
    assert (inner["late_go_on"] > inner["simulated"]).all()


def test_dutta_agrees_with_its_closed_forms(results):
    times = results["dutta"].curves["times"].dropna(subset=["theory"])
    assert np.abs(times["simulated"] / times["theory"] - 1).max() < 0.01


def test_psp_lies_between_ssp_and_asp_and_falls_with_the_sample(results):
    median = results["psp"].curves["progress"].groupby("model")["progress"].median()
    order = ["BSP", "SSP(4)", "PSP(4, 16)", "PSP(4, 4)", "PSP(4, 2)", "PSP(4, 1)", "ASP"]
    assert (np.diff(median[order]) > 0).all()


def test_a_missed_gate_is_said():
    gate = Gate("error, %", 5.0, 0, 1)
    result = Reproduction("x", "X", "paper", "nothing", table_of([("a, s", 2.0, 1.9, PREDICTED)]), (gate,))
    assert not result.met
    assert "MISSED: error, %: 5; required: 0 … 1" in result.text()
    assert "-5.0 %" in result.text() and "-5.0 %" in result._repr_html_()
    assert not Gate("nothing measured", float("nan"), 0, 1).met


def test_the_command_writes_files_and_its_status_tells_whether_gates_are_met(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from psbook import cli
    from psbook.experiments import published

    done = CliRunner().invoke(cli.app, ["reproduce", "P7", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert (
        "published" in done.output and "relative_error" in done.output and "met: mean progress" in done.output
    )
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"psp.csv", "psp.png"}

    result = reproduce("psp", seeds=2)
    missed = dataclasses.replace(result, gates=(Gate("nothing", 2.0, 0, 1),))
    monkeypatch.setattr(published, "reproduce", lambda name: missed)
    done = CliRunner().invoke(cli.app, ["reproduce", "psp", "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert "MISSED: nothing" in done.output and "missed: psp" in done.output


def test_a_folder_that_cannot_be_made_is_refused_before_anything_runs(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from psbook import cli
    from psbook.experiments import published

    def never(name):
        raise AssertionError("a figure was made")

    monkeypatch.setattr(published, "reproduce", never)
    (tmp_path / "file").write_text("")
    done = CliRunner().invoke(cli.app, ["reproduce", "li", "--out", str(tmp_path / "file")])
    assert isinstance(done.exception, InvalidJob) and "--out" in str(done.exception)


def test_an_unknown_figure_is_refused():
    with pytest.raises(InvalidJob, match="one of li"):
        reproduce("fig13")


# The recursions behind the figures


def test_updates_of_k_sync_and_k_batch_async_against_their_closed_forms():
    law, n, k, updates = ps.Gamma(1.0, 2.0), 8, 3, 4000
    times = np.stack([law.matrix(n, updates, seed) for seed in range(4)])
    sync = update_times(KSync(k), times, updates)
    np.testing.assert_allclose(sync, np.partition(times, k - 1, axis=1)[:, k - 1].cumsum(axis=1))
    assert sync[:, -1].mean() == pytest.approx(updates * theory.kth_of(law, k, n), rel=0.01)
    batches = update_times(KBatchAsync(k), times, updates)
    arrivals = np.sort(times.cumsum(axis=2).reshape(4, -1), axis=1)
    np.testing.assert_allclose(batches, arrivals[:, k - 1 : k * updates : k])
    assert batches[:, -1].mean() == pytest.approx(theory.seconds_of_updates(updates, k, law, n), rel=0.01)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_k_async_lets_the_first_k_start_anew_and_the_others_go_on(k):
    times, updates = ps.Exponential(1.0).matrix(5, 300, 3), 200
    finish, made, ends = times[:, 0].copy(), np.ones(5, int), []
    for _ in range(updates):
        first = np.argsort(finish)[:k]
        ends.append(finish[first].max())
        finish[first] = ends[-1] + times[first, made[first]]
        made[first] += 1
    np.testing.assert_allclose(update_times(KAsync(k), times[None], updates)[0], ends)
    if k == 5:
        bsp = timeline(ps.BSP(), times).end.max(axis=0)[:updates]
        np.testing.assert_allclose(ends, bsp)
        np.testing.assert_allclose(update_times(BackupWorkers(0), times[None], updates)[0], bsp)


def test_a_late_worker_joins_the_round_that_it_finds():
    """Two of three are needed. Worker 2 is late in round 0, reads at 5 and is second in round 1."""
    times = np.array([[[1.0, 4.0, 1.0], [2.0, 9.0, 1.0], [5.0, 0.5, 1.0]]])
    # Round 0 ends at 2 with workers 0, 1; in round 1 worker 2 is ready at 5.5, worker 0 at 6.
    np.testing.assert_allclose(update_times(BackupWorkers(1), times, 2), [[2.0, 6.0]])


def test_too_few_computations_are_refused():
    with pytest.raises(InvalidJob, match="more computations"):
        update_times(KSync(1), np.ones((1, 2, 3)), 9)


@pytest.mark.slow
def test_the_best_momentum_falls_with_workers_and_becomes_negative(tmp_path):
    """P9, with fewer seeds; its picture marks the best momentum of each number of workers."""
    result = reproduce("momentum", seeds=8)
    assert result.met, result.text()
    best = result.curves["best"]
    assert (np.diff(best["best"]) < 0).all() and best["best"].iloc[-1] < 0 < best["best"].iloc[0]
    assert best["implicit"].tolist() == [0, 0.5, 0.75, 0.875, 0.9375, 0.96875]
    right = result.plot().axes[1]
    marked = [line.get_ydata()[0] for line in right.lines if line.get_marker() == "D"]
    assert marked == best["best"].tolist()
    assert result.save(tmp_path)["picture"].exists()


def test_each_row_of_the_heavy_ball_keeps_its_own_momentum():
    rule = HeavyBall(0.1)
    rows = np.array([[0.5, 1.0, 2.0], [-0.3, 1.0, 2.0]])
    state, want = rule.init(np, rows), rows[:, 1:].copy()
    velocity = np.zeros((2, 2))
    for step in range(5):
        grad = np.array([[0.0, 1.0, step], [0.0, step, -1.0]])
        rows, state = rule.apply(np, rows, state, grad)
        velocity = np.array([[0.5], [-0.3]]) * velocity + grad[:, 1:]
        want -= 0.1 * velocity
    np.testing.assert_allclose(rows[:, 1:], want)
    assert rows[:, 0].tolist() == [0.5, -0.3]


# Pictures


@pytest.mark.parametrize("name", QUICK)
def test_pictures_hold_the_published_numbers_and_a_sentence(results, name, tmp_path):
    result = results[name]
    figure = result.plot()
    drawn = np.concatenate([line.get_ydata() for axes in figure.axes for line in axes.lines])
    curve = next(iter(result.curves.values()))
    published = [227, 400] if name == "psp" else curve["published"].dropna()
    if name == "psp":
        drawn = np.concatenate([line.get_xdata() for axes in figure.axes for line in axes.lines])
    assert all(np.isclose(drawn.astype(float), number).any() for number in published)
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)
    assert all(str(gate) in repr(figure) for gate in result.gates)
    paths = result.save(tmp_path)
    assert paths["picture"].stat().st_size > 20_000
    again = pd.read_csv(paths["table"])
    assert np.allclose(again["simulated"], result.table["simulated"])
