"""The minimum of the clocks, whatever happens to the workers (A7, A8)."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psbook.core.clocks import Clocks
from psbook.errors import ProtocolError


@given(st.integers(0, 5), st.lists(st.tuples(st.integers(0, 4), st.sampled_from("cccr")), max_size=60))
def test_min_is_that_of_a_plain_dictionary_and_only_rises(workers, events):
    clocks, plain = Clocks(range(workers)), dict.fromkeys(range(workers), 0)
    ended = dict(plain)
    before = clocks.min
    for rank, what in events:
        if rank not in plain:
            continue
        if what == "c":
            plain[rank] = ended[rank] = plain[rank] + 1
            rose = clocks.advance(rank, plain[rank])
        else:
            del plain[rank]
            rose = clocks.remove(rank)
        clocks.validate()
        assert clocks.min == min(plain.values(), default=math.inf)
        assert rose == (clocks.min > before)
        assert clocks.min >= before
        assert dict(clocks.items()) == plain and len(clocks) == len(plain)
        assert clocks.slowest() == [rank for rank in plain if plain[rank] == clocks.min]
        assert clocks.reached == ended
        before = clocks.min


def test_over_nobody_the_minimum_is_infinite():
    assert Clocks([]).min == math.inf
    clocks = Clocks([0])
    assert clocks.remove(0) and clocks.min == math.inf and clocks.slowest() == []


def test_removing_twice_changes_nothing():
    clocks = Clocks([0, 1])
    clocks.advance(0, 1)
    assert clocks.remove(1) and not clocks.remove(1)
    assert clocks.min == 1


@pytest.mark.parametrize("clock", [0, 2, -1])
def test_clocks_go_in_steps_of_one(clock):
    with pytest.raises(ProtocolError, match=f"from clock 0 to {clock}"):
        Clocks([0]).advance(0, clock)


def test_validate_notices_a_wrong_minimum():
    clocks = Clocks([0, 1])
    clocks.min = 1
    with pytest.raises(ProtocolError, match="required: 0"):
        clocks.validate()
