"""Ranged vector clocks (C1, C2) against one dictionary a key."""

import itertools
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psbook.core.ranged_clocks import RangedVectorClock
from psbook.errors import ProtocolError

START, STOP = 3, 27
SENDERS = [0, 10, "0", "worker-1"]


@st.composite
def spans(draw, shortest=0):
    start = draw(st.integers(START, STOP - shortest))
    return start, draw(st.integers(start + shortest, STOP))


messages = st.tuples(spans(), st.sampled_from(SENDERS), st.integers(1, 4))
histories = st.lists(messages, max_size=25)


class Naive:
    """One clock a key."""

    def __init__(self):
        self.keys = {key: {} for key in range(START, STOP)}

    def set(self, start, stop, sender, number):
        for key in range(start, stop):
            self.keys[key][sender] = max(number, self.keys[key].get(sender, 0))

    def ranges(self):
        """Runs of equal clocks."""
        runs = []
        for key, held in self.keys.items():
            if runs and runs[-1][2] == held:
                runs[-1] = (runs[-1][0], key + 1, held)
            else:
                runs.append((key, key + 1, held))
        return runs


def after(history):
    clock, naive = RangedVectorClock(START, STOP), Naive()
    for (start, stop), sender, number in history:
        clock.set(start, stop, sender, number)
        naive.set(start, stop, sender, number)
    return clock, naive


def is_that_of(naive, clock):
    """Same clocks at every key, and neighbours are merged if and only if they are equal."""
    clock.validate()
    assert clock.ranges() == naive.ranges()
    assert [clock.at(key) for key in naive.keys] == list(naive.keys.values())
    assert len(clock) == len(naive.ranges())
    assert clock.entries == sum(len(held) for _, _, held in naive.ranges())
    return True


def test_at_the_start_one_clock_for_the_whole_space():
    clock = RangedVectorClock(0, 2**64)
    assert clock.ranges() == [(0, 2**64, {})] and len(clock) == 1 and clock.entries == 0


@given(histories)
def test_every_key_has_the_clock_it_would_have_alone(history):
    clock, naive = RangedVectorClock(START, STOP), Naive()
    for (start, stop), sender, number in history:
        before = len(clock)
        clock.set(start, stop, sender, number)
        naive.set(start, stop, sender, number)
        assert len(clock) <= before + 2, "one range becomes three at most"
        assert is_that_of(naive, clock)


def test_one_range_becomes_three_and_two_at_an_end():
    clock = RangedVectorClock(0, 10)
    clock.set(4, 6, "a", 1)
    assert clock.ranges() == [(0, 4, {}), (4, 6, {"a": 1}), (6, 10, {})]
    clock.set(0, 2, "a", 1)
    assert len(clock) == 4
    clock.set(0, 10, "a", 1)
    assert clock.ranges() == [(0, 10, {"a": 1})]


@given(histories, messages)
def test_numbers_never_fall(history, message):
    (start, stop), sender, number = message
    clock, naive = after(history)
    clock.set(start, stop, sender, number)
    for key, held in naive.keys.items():
        now = clock.at(key)
        assert now == held | ({sender: max(number, held.get(sender, 0))} if start <= key < stop else {})


@given(histories, messages)
def test_fresh_are_the_keys_whose_number_is_below_and_a_message_taken_is_a_duplicate(history, message):
    (start, stop), sender, number = message
    clock, naive = after(history)
    state = clock.state()
    parts = clock.fresh(start, stop, sender, number)
    wanted = [key for key in range(start, stop) if number > naive.keys[key].get(sender, 0)]
    assert [key for part in parts for key in range(part.start, part.stop)] == wanted
    assert all(part.size > 0 for part in parts)
    assert all(a.stop < b.start for a, b in itertools.pairwise(parts))
    assert clock.state() == state, "a question changes nothing"
    clock.set(start, stop, sender, number)
    assert clock.fresh(start, stop, sender, number) == []
    assert clock.fresh(start, stop, sender, 5) == ([(start, stop)] if start < stop else [])


@given(st.lists(st.tuples(spans(1), st.sampled_from(SENDERS)), max_size=8), st.data())
def test_every_key_takes_every_message_once_however_messages_are_resent(sent, data):
    """Messages of one sender stay in order; each may come again, whole or in two parts, at any time after."""
    numbered = [
        (span, sender, 1 + sum(other == sender for _, other in sent[:at]))
        for at, (span, sender) in enumerate(sent)
    ]
    arrivals = []
    for at, message in enumerate(numbered):
        arrivals.append(message)
        for again in data.draw(st.lists(st.sampled_from(numbered[: at + 1]), max_size=3)):
            (start, stop), sender, number = again
            middle = data.draw(st.integers(start, stop))
            arrivals += [((start, middle), sender, number), ((middle, stop), sender, number)]
    clock = RangedVectorClock(START, STOP)
    taken = dict.fromkeys(range(START, STOP), 0)
    for (start, stop), sender, number in arrivals:
        for part in clock.fresh(start, stop, sender, number):
            for key in range(part.start, part.stop):
                taken[key] += 1
        clock.set(start, stop, sender, number)
    assert taken == {key: sum(start <= key < stop for (start, stop), _ in sent) for key in taken}


@given(histories, histories, spans(1))
def test_a_cut_is_pasted_where_it_was_cut_and_nowhere_else(mine, theirs, span):
    start, stop = span
    source, from_keys = after(mine)
    target, to_keys = after(theirs)
    part = source.cut(start, stop)
    part.validate()
    assert (part.start, part.stop) == span
    assert [part.at(key) for key in range(start, stop)] == [from_keys.keys[key] for key in range(start, stop)]
    target.paste(part)
    to_keys.keys |= {key: dict(from_keys.keys[key]) for key in range(start, stop)}
    assert is_that_of(to_keys, target)
    assert is_that_of(from_keys, source)


@given(histories, spans(1), messages)
def test_cuts_pastes_and_answers_share_nothing(history, span, message):
    (start, stop), sender, _ = message
    clock, _ = after(history)
    target = RangedVectorClock(START, STOP)
    part = clock.cut(*span)
    target.paste(part)
    before, held = clock.state(), part.state()
    target.set(start, stop, sender, 9)
    clock.cut(*span).set(*span, sender, 9)
    clock.at(span[0])["other"] = 1
    clock.ranges()[0][2]["other"] = 1
    assert clock.state() == before and part.state() == held


@given(histories)
def test_a_clock_pasted_into_itself_or_cut_whole_is_the_same(history):
    clock, naive = after(history)
    assert is_that_of(naive, clock.cut(START, STOP))
    clock.paste(clock)
    assert is_that_of(naive, clock)


def test_a_pasted_cut_merges_with_its_neighbours_at_both_ends():
    clock, other = RangedVectorClock(0, 10), RangedVectorClock(2, 8)
    other.set(4, 6, "a", 1)
    clock.paste(other)
    assert clock.ranges() == [(0, 4, {}), (4, 6, {"a": 1}), (6, 10, {})]


def test_pasting_a_new_clock_forgets_a_range():
    clock = RangedVectorClock(0, 10)
    clock.set(0, 10, "a", 5)
    clock.paste(RangedVectorClock(2, 4))
    assert clock.ranges() == [(0, 2, {"a": 5}), (2, 4, {}), (4, 10, {"a": 5})]


@given(histories)
def test_the_state_survives_json_and_depends_on_no_history(history):
    clock, naive = after(history)
    state = json.loads(json.dumps(clock.state()))
    assert state == clock.state()
    again = RangedVectorClock.from_state(state)
    assert is_that_of(naive, again) and again.state() == state
    other, _ = after(reversed(history))
    assert other.state() == clock.state()


def test_memory_is_senders_times_ranges_and_not_keys():
    """Four senders write blocks of 1/32 of 2^64 keys: at most 4·32 entries, and exactly that in the end."""
    blocks, senders, width = 32, 4, 2**59
    writes = list(itertools.product(range(blocks), range(senders)))
    random.Random(1).shuffle(writes)
    clock = RangedVectorClock(0, 2**64)
    for number, (block, sender) in enumerate(writes, 1):
        clock.set(block * width, (block + 1) * width, sender, number)
        assert len(clock) <= blocks and clock.entries <= senders * len(clock)
    assert len(clock) == blocks and clock.entries == senders * blocks
    for sender in range(senders):
        clock.set(0, 2**64, sender, len(writes) + 1)
    assert len(clock) == 1 and clock.entries == senders


CLOCK = RangedVectorClock(0, 10)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: RangedVectorClock(4, 4), "keys 4:4; required: at least one key"),
        (lambda: CLOCK.set(-1, 4, "a", 1), "keys -1:4; required: within 0:10"),
        (lambda: CLOCK.set(5, 11, "a", 1), "keys 5:11"),
        (lambda: CLOCK.set(6, 5, "a", 1), "keys 6:5"),
        (lambda: CLOCK.set(0, 5, "a", 0), "number 0; required: numbers from 1 on"),
        (lambda: CLOCK.fresh(0, 11, "a", 1), "keys 0:11"),
        (lambda: CLOCK.fresh(0, 5, "a", 0), "number 0"),
        (lambda: CLOCK.at(10), "keys 10:11"),
        (lambda: CLOCK.cut(5, 5), "at least one key"),
        (lambda: CLOCK.cut(5, 12), "keys 5:12"),
        (lambda: CLOCK.paste(RangedVectorClock(5, 12)), "keys 5:12"),
        (lambda: RangedVectorClock.from_state([]), "is empty"),
        (lambda: RangedVectorClock.from_state([[0, 2, []], [3, 5, [["a", 1]]]]), "gap or an overlap"),
        (lambda: RangedVectorClock.from_state([[0, 2, []], [2, 5, []]]), "both sides of key 2"),
        (lambda: RangedVectorClock.from_state([[0, 2, [["a", 0]]]]), "numbers from 1 on"),
        (lambda: RangedVectorClock.from_state([[0, 2, []], [2, 1, [["a", 1]]], [1, 5, []]]), "range 2:1"),
    ],
)
def test_what_cannot_be_is_named(wrong, message):
    with pytest.raises(ProtocolError, match=message):
        wrong()
    assert CLOCK.ranges() == [(0, 10, {})]


def test_validate_notices_a_lost_border():
    clock = RangedVectorClock(0, 10)
    clock._starts = [1]
    with pytest.raises(ProtocolError, match="required: one a range from 0 on"):
        clock.validate()
