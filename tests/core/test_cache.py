"""A cached copy holds every own push once: none is missing, none is twice (A2, A6)."""

import numpy as np
import pytest

from psbook.core.actions import Complete, Send
from psbook.core.cache import Cache
from psbook.core.client import Client
from psbook.core.commands import DoCall, DoClock, DoPull, DoPush
from psbook.core.consistency import ASP, BSP, SSP
from psbook.core.keys import KeyRange
from psbook.core.layout import TableSpec
from psbook.core.messages import Pull, PullReply
from tests.core.machines import Shard, layout

KEYS = KeyRange(0, 4)


class Reader:
    """A client with one cached table on one shard; replies are given by hand."""

    def __init__(self, model, additive=True):
        self.client = Client(0, layout(2, tables=[TableSpec("w", 4, additive=additive, cache=True)]), model)
        self.ticket = 0

    def do(self, command, *arguments):
        self.ticket += 1
        actions = self.client.handle(command(self.ticket, *arguments), 0.0)
        self.client.validate()
        return actions

    def pull(self, keys=KEYS):
        return self.do(DoPull, "w", keys)

    def push(self, value=1.0):
        (send,) = self.do(DoPush, "w", KEYS, np.full(4, value))
        return send.message

    def clock(self):
        return self.do(DoClock)

    def reply(self, pull, row_clock=0, upto=None):
        number = pull.id.sequence if upto is None else upto
        return self.client.handle(PullReply(pull.id, "w", pull.keys, row_clock, 0, 0.0, upto=number), 0.0)


def requested(actions):
    """The pull that went out, or None if the cache had it."""
    pulls = [a.message for a in actions if isinstance(a, Send) and isinstance(a.message, Pull)]
    return pulls[0] if pulls else None


def deltas(actions):
    """Values of the own pushes re-applied to the copy."""
    (complete,) = (a for a in actions if isinstance(a, Complete))
    (part,) = complete.result
    return [float(value[0]) for _, value, _ in part.deltas]


@pytest.mark.parametrize(("s", "reads_again_at"), [(0, 1), (1, 2), (3, 4)])
def test_a_copy_of_clock_zero_serves_until_clock_s(s, reads_again_at):
    reader = Reader(SSP(s))
    reader.reply(requested(reader.pull()), row_clock=0)
    for _ in range(reads_again_at):
        assert requested(reader.pull()) is None
        reader.clock()
    assert requested(reader.pull()) is not None


def test_a_copy_lives_as_long_as_its_row_clock_allows_and_not_as_the_time_since_it_came():
    reader = Reader(SSP(1))
    reader.reply(requested(reader.pull()), row_clock=3)
    for _ in range(4):
        reader.clock()
    assert requested(reader.pull()) is None
    reader.clock()
    assert requested(reader.pull()) is not None


@pytest.mark.parametrize("model", [ASP(), SSP(float("inf"))])
def test_without_a_bound_nothing_is_ever_reused(model):
    """Else a worker would read its first copy for ever."""
    reader = Reader(model)
    reader.reply(requested(reader.pull()))
    assert requested(reader.pull()) is not None


def test_a_copy_of_this_bsp_round_serves_and_holds_no_own_push():
    reader = Reader(BSP())
    reader.reply(requested(reader.pull()), row_clock=0)
    reader.push()
    assert deltas(reader.pull()) == []
    reader.clock()
    assert requested(reader.pull()) is not None


def test_own_later_pushes_are_in_what_is_read_each_once():
    reader = Reader(SSP(3))
    reader.push(1.0)
    reader.reply(requested(reader.pull()))
    reader.push(2.0)
    reader.push(3.0)
    assert deltas(reader.pull()) == [2.0, 3.0]
    assert deltas(reader.pull()) == [2.0, 3.0]


def test_a_parked_pulls_reply_may_hold_pushes_that_were_sent_after_it():
    reader = Reader(SSP(3))
    pull = requested(reader.pull())
    reader.push(1.0)
    second = reader.push(2.0)
    reader.push(3.0)
    reader.reply(pull, upto=second.id.sequence)
    assert deltas(reader.pull()) == [3.0]


def test_the_shard_says_up_to_which_message_of_the_reader_its_value_reaches():
    shard = Shard(2, SSP(0))
    (answer,) = shard.pull(0)
    assert answer.reply.upto == 0  # nothing was written
    shard.clock(0)
    shard.pull(0)
    pushed = shard.push(0)[-1].message.id
    answer = shard.clock(1)[-1]
    assert answer.reply.id.sequence == 3 and answer.reply.upto == pushed.sequence == 4


def test_an_older_reply_that_comes_late_does_not_take_the_newer_ones_place():
    reader = Reader(SSP(3))
    older = requested(reader.pull())
    reader.push(1.0)
    newer = requested(reader.pull())
    reader.reply(newer, row_clock=1)
    reader.reply(older, row_clock=0)
    assert deltas(reader.pull()) == []


def test_a_table_that_is_not_additive_gives_its_copy_up_when_it_is_written():
    reader = Reader(SSP(3), additive=False)
    reader.reply(requested(reader.pull()))
    assert requested(reader.pull()) is None
    reader.push()
    pull = requested(reader.pull())
    assert pull is not None
    reader.push()
    reader.reply(pull)
    assert requested(reader.pull()) is not None


def test_a_copy_serves_the_keys_that_it_holds_and_no_others():
    reader = Reader(SSP(3))
    reader.reply(requested(reader.pull(np.array([1, 3]))))
    assert requested(reader.pull(np.array([3]))) is None
    assert requested(reader.pull(np.array([2, 3]))) is not None


def test_a_function_on_the_shards_may_change_values_so_copies_are_given_up():
    reader = Reader(SSP(3))
    reader.reply(requested(reader.pull()))
    pull = requested(reader.pull(KeyRange(0, 4)))
    assert pull is None
    reader.do(DoCall, "w", len, ())
    assert requested(reader.pull()) is not None


def test_a_worker_that_writes_without_reading_keeps_a_bounded_number_of_pushes():
    reader = Reader(SSP(3))
    reader.reply(requested(reader.pull()))
    late = requested(reader.do(DoPull, "w", np.array([0]))) or requested(reader.clock())
    assert late is None
    for _ in range(10 * Cache.MOST):
        reader.push()
        kept = sum(len(since.pushes) for since in reader.client._cache._since.values())
        assert kept <= Cache.MOST
    assert requested(reader.pull()) is not None


def test_a_pull_under_way_when_too_much_was_written_is_not_cached():
    reader = Reader(SSP(3))
    pull = requested(reader.pull())
    for _ in range(Cache.MOST + 1):
        reader.push()
    reader.reply(pull)
    again = requested(reader.pull())
    assert again is not None
    reader.reply(again)
    assert deltas(reader.pull()) == []
