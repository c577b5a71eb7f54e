"""Answers about sweeps whose every loss is known; runs that never get there count."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import psbook as ps
from psbook.errors import InvalidJob
from psbook.experiments.by_hand import by_hand
from psbook.experiments.questions import front_of, loss_at, pareto, time_to_target
from psbook.experiments.tuning import best_rate, tuned_comparison
from psbook.laws import generator


def test_a_median_counts_the_runs_that_never_get_there():
    """Of five runs three reach 0.5, at 1, 2 and 4 s: the median of (1, 2, 4, ∞, ∞) is 4, not 2."""
    curves = [[1, 0.5], [1, 1, 0.4], [1, 1, 1, 1, 0.5], [1, 0.9], [1, 0.9, 0.9, 0.8]]
    row = time_to_target(by_hand([], {(): curves}), 0.5).iloc[0]
    assert (row["time_s"], row["reached"], row["share_reached"]) == (4.0, 3, 0.6)
    assert row["censored_s"] == 1.0, "all that is known of one run is that it takes more than 1 s"
    assert row["time_s_low"] < 4.0 and row["time_s_high"] == math.inf


def test_half_of_the_runs_is_not_a_median():
    row = time_to_target(by_hand([], {(): [[1, 0.5], [1, 0.9]]}), 0.5).iloc[0]
    assert row["time_s"] == math.inf and row["share_reached"] == 0.5
    all_there = time_to_target(by_hand([], {(): [[1, 0.5], [0.5]]}), 0.5).iloc[0]
    assert all_there["time_s"] == 0.5 and math.isnan(all_there["censored_s"])


def test_runs_that_failed_are_left_out_and_counted_and_diverged_ones_never_arrive():
    sweep = by_hand(["rate"], {(0.1,): [[1, 0.5], []], (9.0,): [[1, 40, math.inf], []], (0.2,): [[], []]})
    rows = time_to_target(sweep, 0.5).set_index("rate")
    assert rows["time_s"].tolist()[:2] == [1.0, math.inf] and math.isnan(rows["time_s"][0.2])
    assert rows["failed"].tolist() == [1, 1, 2] and rows["runs"].tolist() == [1, 1, 0]
    losses = loss_at(sweep, 1.0).set_index("rate")["loss"]
    assert losses[0.1] == 0.5 and losses[9.0] == 40 and math.isnan(losses[0.2])
    assert loss_at(sweep, 2.0).set_index("rate")["loss"][9.0] == math.inf


def test_the_loss_at_a_budget_is_the_last_one_by_then():
    sweep = by_hand(["model"], {("A",): [[4, 3, 2, 1], [4, 3]], ("B",): [[4, 2, 2, 2], [4, 2, 2, 2]]})
    for seconds, losses, ended in ((0, [4, 4], [0, 0]), (1.5, [3, 2], [0.5, 0]), (9, [2, 2], [1, 1])):
        rows = loss_at(sweep, seconds)
        assert rows["loss"].tolist() == losses and rows["share_ended"].tolist() == ended
    assert loss_at(sweep, 9, statistic="mean")["loss"].tolist() == [2.0, 2.0]
    for bad in (-1, math.nan):
        with pytest.raises(InvalidJob, match="a time >= 0"):
            loss_at(sweep, bad)


def test_questions_about_losses_need_losses():
    empty = by_hand([], {(): [[], []]})
    for question in (lambda: time_to_target(empty, 0.5), lambda: loss_at(empty, 1.0)):
        with pytest.raises(InvalidJob, match="evaluate="):
            question()


def test_every_answer_is_documented():
    curves = {(m, rate): [[1, 0.5, 0.3]] * 4 for m in ("BSP", "ASP") for rate in (0.1, 0.5)}
    sweep = by_hand(["model", "rate"], curves)
    for frame in (
        time_to_target(sweep, 0.4), loss_at(sweep, 1.0), pareto(sweep), best_rate(sweep),
        tuned_comparison(sweep), sweep.summary(),
    ):  # fmt: skip
        assert list(frame.columns) == list(frame.attrs["columns"])
        assert all(frame.attrs["columns"].values())


# The Pareto front


NUMBERS = st.one_of(st.integers(0, 4).map(float), st.sampled_from([math.inf, math.nan]))


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=12))
def test_the_front_is_what_nobody_beats(points):
    def beats(one, other):
        return one[0] <= other[0] and one[1] <= other[1] and one != other

    finite = [point for point in points if all(map(math.isfinite, point))]
    expected = [
        point in finite and not any(beats(other, point) for other in finite) for point in points
    ]  # fmt: skip
    times, losses = zip(*points, strict=True) if points else ((), ())
    assert front_of(times, losses).tolist() == expected


def test_the_front_of_a_sweep_is_over_its_medians():
    curves = {
        ("slow", 1): [[9, 9, 9, 1]] * 3, ("fast", 1): [[9, 2]] * 3, ("bad", 1): [[9, 9, 3]] * 3,
        ("lucky", 1): [[9, 0], [9, 9, 9], [9, 9, 9]],
    }  # fmt: skip
    frame = pareto(by_hand(["model", "rate"], curves), "model")
    assert frame["model"].tolist() == ["fast", "bad", "lucky", "slow"]
    assert frame["front"].tolist() == [True, False, False, True]


# Tuned comparisons


def noisy(models, rates, seeds, noise):
    """Losses that depend on nothing but luck: no rate and no model is better than another."""
    rng = generator(3, "luck")
    curves = {
        (model, rate): [[1.0, 0.5 + noise * float(rng.standard_normal())] for _ in range(seeds)]
        for model in models for rate in rates
    }  # fmt: skip
    return by_hand(["model", "rate"], curves)


def test_the_choice_of_a_rate_does_not_flatter():
    """Of 40 equal rates the best looks better than 0.5 on the seeds that chose, not on the others."""
    found = best_rate(noisy([f"M{k}" for k in range(30)], range(40), 8, 0.1))
    # The smallest of 40 medians of 4 is about 2 standard errors of 0.06 low; the mean of 30 others is not.
    assert found["chosen_by"].mean() < 0.4
    assert found["loss"].mean() == pytest.approx(0.5, abs=4 * 0.1 * 1.25 / math.sqrt(4 * 30))


def test_which_seeds_choose_can_be_said():
    curves = {("BSP", 0.1): [[1, 0.1], [1, 0.9], [1, 0.8]], ("BSP", 1.0): [[1, 0.2], [1, 0.3], [1, 0.4]]}
    sweep = by_hand(["model", "rate"], curves)
    by_first = best_rate(sweep).iloc[0]
    assert (by_first["rate"], by_first["loss"], by_first["chosen_by"]) == (0.1, pytest.approx(0.85), 0.1)
    by_two = best_rate(sweep, tuning=[1, 2]).iloc[0]
    assert (by_two["rate"], by_two["loss"], by_two["runs"]) == (1.0, 0.2, 1)
    assert best_rate(sweep, tuning=2).iloc[0]["loss"] == 0.4


def test_the_best_rate_is_at_one_budget_for_all_or_for_a_target():
    curves = {
        ("quick", 0.1): [[1, 0.6, 0.6]] * 2, ("quick", 1.0): [[1, 0.5, 0.9]] * 2,
        ("slow", 0.1): [[1, 0.8, 0.8, 0.1]] * 2, ("slow", 1.0): [[1, 0.7, 0.7, 0.7]] * 2,
    }  # fmt: skip
    sweep = by_hand(["model", "rate"], curves)
    assert best_rate(sweep)["loss"].tolist() == [0.6, 0.7], "at 2 s, when the quick ones end"
    assert best_rate(sweep, seconds=3)["rate"].tolist() == [0.1, 0.1]
    times = best_rate(sweep, target=0.55)
    assert times["rate"].tolist() == [1.0, 0.1] and times["time_s"].tolist() == [1.0, 3.0]
    assert times["at_edge"].all(), "with two candidates each is an edge"


def test_a_tuned_comparison_shows_what_an_untuned_one_hides():
    """At the common rate A wins, at its own rate B does, in every seed by 0.1."""
    luck = [0.0, 0.2, 0.1, 0.3]
    loss = {
        ("A", 0.1): 0.5,
        ("A", 1.0): 0.5,
        ("A", 9.0): 3.0,
        ("B", 0.1): 0.6,
        ("B", 1.0): 0.9,
        ("B", 9.0): 0.4,
    }
    sweep = by_hand(["model", "rate"], {key: [[1, value + x] for x in luck] for key, value in loss.items()})
    rows = tuned_comparison(sweep).set_index("model")
    assert rows["rate"].tolist() == [0.1, 9.0] and rows["rank"].tolist() == [2, 1]
    assert rows.loc["A", ["behind", "behind_low", "behind_high"]].tolist() == pytest.approx([0.1] * 3)
    assert rows["clear"].all(), "luck is common, so the difference within a seed is certain"
    assert rows["common_rate"].tolist() == [0.1, 0.1]
    assert rows.loc["A", "at_common_rate"] < rows.loc["B", "at_common_rate"]


def test_contests_are_held_in_each_place():
    curves = {
        (model, rate, place): [[1, 0.5 if (model == "A") == (place == "here") else 0.6]] * 2
        for model in ("A", "B") for rate in (1, 2) for place in ("here", "there")
    }  # fmt: skip
    rows = tuned_comparison(by_hand(["model", "rate", "place"], curves), by="place")
    first = rows[rows["rank"] == 1]
    assert dict(zip(first["place"], first["model"], strict=True)) == {"here": "A", "there": "B"}


def test_equal_ones_share_a_rank_and_nothing_is_clear():
    sweep = by_hand(["model", "rate"], {(m, 1): [[1, 0.9]] * 4 for m in ("A", "B", "C")})
    rows = tuned_comparison(sweep, target=0.5)
    assert rows["rank"].tolist() == [1, 1, 1] and not rows["clear"].any()
    assert np.isinf(rows["time_s"]).all() and (rows["behind"] == 0).all()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rate": "speed"}, "rate='speed'"),
        ({"by": "speed"}, "by='speed'"),
        ({"by": ["model", "rate"]}, "not in by="),
        ({"seconds": 1.0, "target": 0.5}, "one of them, or none"),
        ({"tuning": 0}, "0 seeds choose"),
        ({"tuning": [0, 1]}, "0 report"),
    ],
)
def test_bad_questions_are_refused(options, text):
    sweep = by_hand(["model", "rate"], {("A", 1): [[1, 0.5]] * 2})
    with pytest.raises(InvalidJob, match=re.escape(text)):
        best_rate(sweep, **options)


def test_a_real_sweep_can_be_asked():
    loop = ps.Loop(kernel=lambda w, batch: (((w - 1) ** 2).sum() / 2, w - 1))
    job = ps.Job(loop, data=np.zeros(8), tables={"w": ps.Table(2, update=ps.SGD(0.1))}, iterations=6,
                 evaluate=lambda w: float(np.square(w - 1).sum()) / 2)  # fmt: skip
    cluster = ps.Simulator(workers=2, compute=ps.Constant(0.5))
    sweep = ps.sweep(job, cluster, {"model": [ps.BSP()], "rate": [0.1, 0.5, 1.8]}, 2)
    # A round shrinks the loss by (1 − rate)²: 0.81, 0.25, 0.64. From 1, below 0.3 after 6, 1 and 3 rounds.
    assert time_to_target(sweep, 0.3)["time_s"].tolist() == [3.0, 0.5, 1.5]
    assert best_rate(sweep)["rate"].tolist() == [0.5]
    assert loss_at(sweep, 1.0)["loss"].to_numpy() == pytest.approx([0.81**2, 0.25**2, 0.64**2], rel=1e-5)
