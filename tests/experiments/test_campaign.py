"""Campaigns: the counts are right under random faults, and a fault of the protocol does not go unseen."""

import pytest
from typer.testing import CliRunner

from psbook.cli import app
from psbook.core.layout import DELIVERY
from psbook.core.window import Window
from psbook.errors import InvalidJob
from psbook.experiments.campaign import campaign, smallest
from psbook.experiments.scenarios import draw, in_danger
from psbook.simulator.faults import Crash, Faults, Loss, Pause


def test_counts_are_right_whatever_fails():
    result = campaign(range(100))
    assert not result.failures, result.text
    frame = result.frame
    assert (frame["kind"] == "ended").sum() >= 90
    assert frame["restarts"].sum() >= 30 and frame["pulls"].sum() >= 300  # it was not all quiet
    assert set(frame["delivery"]) == set(DELIVERY) and {"chain", "primary-backup"} <= set(frame["scheme"])


@pytest.mark.slow
@pytest.mark.timeout(700)
@pytest.mark.parametrize("first", [1000, 2000])
def test_counts_are_right_in_two_thousand_schedules(first):
    result = campaign(range(first, first + 1000))
    assert not result.failures, f"seeds {first} to {first + 999}: {result.text}"


@pytest.mark.parametrize("delivery", DELIVERY)
def test_a_delivery_mode_can_be_chosen(delivery):
    result = campaign(range(5), delivery)
    assert not result.failures and set(result.frame["delivery"]) == {delivery}


def test_the_same_seed_draws_the_same_scenario():
    assert draw(7) == draw(7) != draw(8)
    assert draw(7).run().run.trace.hash() == draw(7).run().run.trace.hash()


def never_a_repeat(monkeypatch):
    """A window that takes every write for a new one, in whatever order it comes."""

    def accept(window, write):
        window.last = max(window.last, write.id.sequence)
        return [write]

    monkeypatch.setattr(Window, "standing", lambda window, write, at_most_once=False: "new")
    monkeypatch.setattr(Window, "accept", accept)


def test_a_planted_fault_is_found_and_its_schedule_shrunk(monkeypatch):
    never_a_repeat(monkeypatch)
    result = campaign(range(6), "exactly-once")
    assert result.failures
    for failure in result.failures:
        seed = failure.scenario.seed
        assert len(failure.scenario.faults) <= len(draw(seed).faults)
        assert f"seed {seed}: {failure.wrong[0]}" in result.text


def test_a_failure_can_be_pasted(monkeypatch):
    never_a_repeat(monkeypatch)
    failure = campaign(range(6), "exactly-once").failures[0]
    *imports, expression = failure.scenario.code.split("\n\n", 1)
    names = {}
    exec("\n".join(imports), names)
    assert eval(expression, names) == failure.wrong


def test_shrinking_keeps_what_is_needed():
    scenario = draw(0)
    assert smallest(scenario).scenario == scenario  # it does not fail, so nothing is taken away


def test_the_command_fails_when_a_count_is_wrong(monkeypatch):
    quiet = CliRunner().invoke(app, ["campaign", "--runs", "4", "--first-seed", "2"])
    assert quiet.exit_code == 0, quiet.output
    assert "4 schedules" in quiet.output
    never_a_repeat(monkeypatch)
    failed = CliRunner().invoke(app, ["campaign", "--runs", "6", "--delivery", "exactly-once"])
    assert failed.exit_code == 1
    assert "seed " in failed.output and "Faults(" in failed.output


def test_servers_are_in_danger_by_crashes_and_by_silence():
    assert in_danger(Faults(Crash("server-1", at=1), Crash("worker-0", at=1)), 2, 1.0) == {"server-1"}
    assert in_danger(Faults(Pause("server-0", at=1, seconds=0.5)), 2, 1.0) == set()
    both = Faults(Pause("server-0", at=1, seconds=0.5), Pause("server-0", at=1.5, seconds=0.5))
    assert in_danger(both, 2, 1.0) == {"server-0"}
    assert in_danger(Faults(Loss(0.1)), 2, 1.0) == {"server-0", "server-1"}


def test_an_unknown_delivery_mode_is_refused():
    with pytest.raises(InvalidJob, match="twice"):
        campaign(range(1), "twice")
