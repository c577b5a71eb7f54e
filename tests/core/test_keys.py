"""Keys, and how they are cut along the shards (B1, B2)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from psbook.core.cache import positions
from psbook.core.keys import KeyRange, check_keys, count, span
from psbook.core.routes import cut
from psbook.errors import InvalidKeys


def listed(keys):
    return list(range(*keys)) if isinstance(keys, KeyRange) else keys.tolist()


@st.composite
def requests(draw, most=30):
    """(size, shards, keys)."""
    size = draw(st.integers(1, most))
    if draw(st.booleans()):
        start = draw(st.integers(0, size))
        keys = KeyRange(start, draw(st.integers(start, size)))
    else:
        keys = np.array(sorted(draw(st.sets(st.integers(0, size - 1)))), dtype=np.int64)
    return size, draw(st.integers(1, size)), keys


@given(requests())
def test_the_slices_of_a_request_are_the_request_each_key_at_its_owner(request):
    size, shards, keys = request
    partition = cut([[str(n)] for n in range(shards)]).partition(size)
    seen = []
    for part in partition.split(keys):
        assert part.start < part.stop
        assert listed(part.keys) == listed(keys)[part.start : part.stop]
        assert all(key in range(*partition.range(part.shard)) for key in listed(part.keys))
        seen += listed(part.keys)
    assert seen == listed(keys)


@given(st.integers(1, 200), st.data())
def test_ranges_are_adjacent_and_nearly_equal(size, data):
    shards = data.draw(st.integers(1, size))
    partition = cut([[str(n)] for n in range(shards)]).partition(size)
    ranges = [partition.range(shard) for shard in range(shards)]
    assert [key for owned in ranges for key in range(*owned)] == list(range(size))
    assert max(r.size for r in ranges) - min(r.size for r in ranges) <= 1


@given(requests(), requests())
def test_positions_find_the_wanted_keys_or_say_that_one_is_missing(held, wanted):
    held, wanted = listed(held[2]), wanted[2]
    if count(wanted) == 0 or not held:
        return
    at = positions(np.array(held), wanted)
    if set(listed(wanted)) <= set(held):
        assert np.array(held)[at].tolist() == listed(wanted)
    else:
        assert at is None


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([3, 1], r"not sorted at position 1 \(3 then 1\).*np.unique"),
        ([1, 1], r"repeated at position 1"),
        ([0, 10], "key 10; required: 0 <= key < 10"),
        ([-1, 2], "key -1"),
        ([0.5], "float64"),
        ([True, False], "bool"),
        ([[1, 2]], "2 dimensions"),
        (3, "0 dimensions"),
        ("abc", "dimensions"),
        (slice(0, 8, 2), "step 2"),
        (slice(-3, None), "-3:10"),
        (KeyRange(5, 11), "5:11"),
        (KeyRange(6, 5), "6:5"),
    ],
)
def test_keys_that_make_no_sense_are_refused_with_the_tables_name(keys, message):
    with pytest.raises(InvalidKeys, match=message) as caught:
        check_keys(keys, 10, "emb")
    assert "'emb'" in str(caught.value)


def test_checked_keys_are_the_callers_no_longer():
    """A program may fill the same array with the next keys while the request is under way."""
    mine = np.array([1, 4])
    checked = check_keys(mine, 10)
    mine[:] = [2, 3]
    assert checked.tolist() == [1, 4]


def test_the_span_of_keys():
    assert span(np.array([3, 9])) == KeyRange(3, 10)
    assert span(np.array([], np.int64)).size == 0


def test_keys_that_nobody_can_change_are_not_copied():
    mine = np.array([1, 4, 7])
    assert check_keys(mine, 10) is not mine
    view = mine[:2]
    view.flags.writeable = False
    assert not np.shares_memory(check_keys(view, 10), mine)  # its owner may still be written to
    mine.flags.writeable = False
    assert check_keys(mine, 10) is mine
    wrong = np.array([1, 4, 4, 2])
    wrong.flags.writeable = False
    with pytest.raises(InvalidKeys, match=r"repeated at position 2 \(4 then 4\)"):
        check_keys(wrong, 10)
