"""The memory of vector clocks is that of the ranges, as Li et al. promise: O(m k), not O(m n)."""

import pytest

from psbook.errors import InvalidJob
from psbook.experiments.clock_memory import LAYERS, SINGLE, clock_memory
from psbook.view.clock_memory import plot_clock_memory


@pytest.fixture(scope="module")
def curve():
    return clock_memory([8, 64, 1024, 2**16], senders=4, pushes=8)


def test_the_numbers_are_those_of_the_ranges(curve):
    assert curve["per_key"].tolist() == [4 * keys for keys in curve["keys"]]
    assert curve["whole"].tolist() == [4] * 4
    assert curve["layers"].tolist() == [4 * LAYERS] * 4
    # Every push has at most two borders, a single key at most one range of its own.
    assert (curve["anywhere"] <= 4 * (2 * 4 * 8 + 1)).all()
    assert (curve["single"] <= 4 * 8 * SINGLE).all()


def test_no_way_to_push_costs_more_than_a_clock_a_key(curve):
    for column in ("whole", "layers", "anywhere", "single"):
        assert (curve[column] <= curve["per_key"]).all()


def test_the_picture_shows_and_says_the_numbers(curve):
    figure = plot_clock_memory(curve)
    (axes,) = figure.axes
    assert axes.lines[0].get_ydata()[-1] == curve["per_key"].iloc[-1]
    assert len({str(line._unscaled_dash_pattern) for line in axes.lines}) == 5
    assert f"holds {curve['per_key'].iloc[-1]} numbers" in figure.psbook_sentence


def test_sizes_that_make_no_sense_are_refused():
    for options in ({"keys": []}, {"keys": [4]}, {"keys": [64], "senders": 0}, {"keys": [64], "pushes": 0}):
        with pytest.raises(InvalidJob, match="at least 8 keys"):
            clock_memory(**options)
    with pytest.raises(InvalidJob, match="as it came"):
        plot_clock_memory(clock_memory([64])[["keys"]])
