"""What each model answers, by the numbered lines of the semantics."""

import math

import pytest

from psbook.core.clocks import Clocks
from psbook.core.consistency import ASP, BSP, SSP, BoundedDelay, Serial, parse_model
from psbook.errors import InvalidJob


def clocks(*reached):
    state = Clocks(range(len(reached)))
    for rank, clock in enumerate(reached):
        for step in range(clock):
            state.advance(rank, step + 1)
    return state


@pytest.mark.parametrize("s", [0, 1, 3])
@pytest.mark.parametrize("reached", [(0, 0), (2, 5), (4, 1), (3, 3)])
@pytest.mark.parametrize("clock", range(8))
def test_ssp_reads_iff_min_has_come_within_s(s, reached, clock):
    assert SSP(s).may_read(0, clock, clocks(*reached)) == (clock - min(reached) <= s)


def test_the_gate_of_ssp_sits_at_the_read_or_at_the_clock():
    at = clocks(4, 1)
    assert SSP(2).may_clock(0, 9, at) and not SSP(2).gates_clock
    gated = SSP(2, gate="clock")
    assert gated.gates_clock
    assert gated.may_clock(0, 3, at) and not gated.may_clock(0, 4, at)


def test_serial_lets_one_worker_go_at_a_time_in_order_of_clock_and_rank():
    turn = [(clock, rank) for clock in range(3) for rank in range(3)]
    state = Clocks(range(3))
    for clock, rank in turn:
        allowed = [r for r in range(3) if Serial().may_read(r, state[r], state)]
        assert allowed == [rank]
        state.advance(rank, clock + 1)


def test_asp_and_unbounded_ssp_never_wait():
    at = clocks(0, 100)
    for model in (ASP(), SSP(math.inf), BoundedDelay(math.inf)):
        assert model.may_read(1, 100, at) and model.may_clock(1, 100, at)


def test_bounded_delay_waits_at_the_clock_and_reuses_nothing():
    model = BoundedDelay(1)
    assert model.gates_clock
    assert model.may_clock(0, 2, clocks(1, 1)) and not model.may_clock(0, 3, clocks(2, 1))
    assert not any(model.may_reuse(clock, 100) for clock in range(3))


def test_gradients_to_be_averaged_are_scaled_when_sent_unless_rounds_average_them():
    assert [m.push_scale(4) for m in (BSP(), SSP(3), ASP(), BoundedDelay(1), Serial())] == [
        1,
        0.25,
        0.25,
        0.25,
        1,
    ]


@pytest.mark.parametrize("model", [SSP, BoundedDelay])
@pytest.mark.parametrize("value", [-1, 0.5, math.nan, "3", None, True, -math.inf])
def test_a_bound_that_is_no_whole_number_is_refused(model, value):
    with pytest.raises(InvalidJob, match="required: a whole number >= 0"):
        model(value)


def test_an_unknown_gate_is_refused():
    with pytest.raises(InvalidJob, match="'read' or 'clock'"):
        SSP(1, gate="door")


def test_models_are_read_from_text():
    texts = ["serial", "BSP ", "asp", "ssp", "ssp:3", "ssp:inf", "delay:2"]
    models = [Serial(), BSP(), ASP(), SSP(0), SSP(3), SSP(math.inf), BoundedDelay(2)]
    assert [parse_model(text) for text in texts] == models


@pytest.mark.parametrize("text", ["", "sssp", "bsp:1", "ssp:x", "ssp:-1", "delay:1.5"])
def test_text_that_is_no_model_is_refused(text):
    with pytest.raises(InvalidJob, match="required"):
        parse_model(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [(SSP(1), ASP()), (SSP(1), BoundedDelay(1)), (SSP(1), SSP(1, gate="clock")), (BSP(), BSP), (ASP(), None)],
)
def test_a_run_keeps_its_kind_of_model_and_gate(old, new):
    """A worker that waits for its clock's acknowledgement gets none from a shard without that gate."""
    with pytest.raises(InvalidJob, match="cannot follow"):
        old.check_change(new)


def test_labels_tell_models_apart():
    models = [SSP(3), SSP(math.inf), SSP(3, gate="clock"), BoundedDelay(2), BSP(), ASP(), Serial()]
    labels = ["SSP(3)", "SSP(∞)", "SSP(3, gate=clock)", "Delay(2)", "BSP", "ASP", "Serial"]
    assert [model.label for model in models] == labels
    assert [model.family for model in models] == ["ssp", "ssp", "ssp", "boundeddelay", "bsp", "asp", "serial"]
