"""Who holds what: whatever comes, goes and dies, every key has its chain, and moves end (B3, E4-E6)."""

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from psbook.core.controls import Freeze, Frozen, Installed, Lend
from psbook.core.layout import Layout, Safety
from psbook.core.membership import Membership
from psbook.core.ring import POSITIONS, Ring
from psbook.errors import InvalidJob


def members(servers, **safety):
    return Membership(Layout(("worker-0",), ("worker",), frozenset({0}), servers, (), Safety(**safety)))


def answer(membership, orders):
    """Do what every order asks for, until nothing is asked any more."""
    for _ in range(10_000):
        if not orders:
            membership.plan()
            orders = membership.orders()
            if not orders:
                return
        message = orders.pop(0).message
        if isinstance(message, Lend):
            orders += membership.installed(
                Installed(message.shard, message.to, message.epoch, membership.since.get(message.to, 0))
            )
        else:
            assert isinstance(message, Freeze)
            orders += membership.frozen(Frozen(message.shard, message.epoch, message.role))
    raise AssertionError("the moves do not end")


def check(membership, replicas):
    """Nothing is without a chain; chains hold living servers, each once."""
    living = membership.servers
    for segment in membership.routes.segments:
        assert set(segment.chain) <= living and len(set(segment.chain)) == len(segment.chain)
        assert 1 <= len(segment.chain) <= replicas + 1


steps = st.lists(
    st.tuples(st.sampled_from(["join", "fail", "leave", "answer"]), st.integers(0, 5)), max_size=12
)


@given(st.integers(2, 4), st.integers(0, 2), st.sampled_from([0, 1, 3]), steps)
def test_whatever_happens_every_key_has_a_chain_and_the_plans_end(servers, replicas, points, steps):
    replicas = min(replicas, servers - 1)
    membership = members(servers, replicas=replicas, points=points)
    epoch, newest = 0, servers
    for what, which in steps:
        staying = sorted(membership.servers - membership.leaving)
        if what == "join":
            membership.joined(f"server-{newest}")
            newest += 1
        elif what == "leave" and len(staying) > 1:
            membership.leave(staying[which % len(staying)])
        elif what == "fail" and len(membership.servers) > 1:
            victim = sorted(membership.servers)[which % len(membership.servers)]
            if any(set(segment.chain) == {victim} for segment in membership.routes.segments):
                continue  # a checkpoint's business
            membership.failed([victim])
        elif what == "answer":
            answer(membership, membership.orders())
        assert membership.routes.epoch >= epoch
        epoch = membership.routes.epoch
        check(membership, replicas)
    answer(membership, membership.orders())
    membership.let_go()
    check(membership, replicas)
    copies = min(replicas, len(membership.servers) - 1)
    event(f"{len(membership.servers)} servers in the end")
    assert all(len(segment.chain) == copies + 1 for segment in membership.routes.segments)
    assert not membership.moves and not membership.leaving


@given(st.integers(1, 8), st.integers(0, 6))
def test_a_newcomer_gets_its_share_and_takes_it_from_everybody(servers, points):
    membership = members(servers, points=points)
    owner = {(s.start, s.stop): s.head for s in membership.routes.segments}
    membership.joined("server-x")
    answer(membership, membership.orders())
    moved = 0
    for segment in membership.routes.segments:
        (before,) = (head for (start, stop), head in owner.items() if start <= segment.start < stop)
        if segment.head != before:
            assert segment.head == "server-x"
            moved += segment.stop - segment.start
    if points:
        ring = Ring([f"server-{n}" for n in range(servers)], points).with_server("server-x")
        assert moved / POSITIONS == pytest.approx(ring.shares()["server-x"])
    else:
        assert moved / POSITIONS == pytest.approx(1 / (servers + 1))


@given(st.integers(2, 6), st.integers(1, 6), st.integers(0, 5))
def test_on_a_ring_a_leaver_moves_its_share_and_nothing_else(servers, points, which):
    membership = members(servers, points=points)
    leaver = f"server-{which % servers}"
    before = membership.routes
    membership.leave(leaver)
    answer(membership, membership.orders())
    for old in before.segments:
        for new in membership.routes.segments:
            if old.start <= new.start < old.stop:
                assert (new.head == old.head) == (old.head != leaver)
    assert membership.let_go() == [leaver]


def test_a_dead_servers_ranges_go_to_its_replica_at_once_and_are_copied_elsewhere():
    membership = members(3, replicas=1)
    membership.failed(["server-0"])
    chains = [segment.chain for segment in membership.routes.segments]
    assert chains == [("server-1",), ("server-1", "server-2"), ("server-2",)]
    assert membership.routes.epoch == 1
    answer(membership, membership.orders())
    assert sorted(map(len, (segment.chain for segment in membership.routes.segments))) == [2, 2, 2]


def test_steps_of_another_epoch_change_nothing():
    membership = members(3)
    membership.joined("server-3")
    (first, *_) = membership.orders()
    stale = first.message.epoch - 1
    assert membership.frozen(Frozen(first.message.shard, stale, "head")) == []
    assert membership.installed(Installed(first.message.shard, "server-3", stale)) == []
    assert membership.routes.epoch == 0


def test_a_move_whose_newcomer_dies_is_given_up():
    membership = members(2)
    membership.joined("server-2")
    orders = membership.orders()
    while not any(isinstance(order.message, Lend) for order in orders):
        message = orders.pop(0).message
        orders += membership.frozen(Frozen(message.shard, message.epoch, message.role))
        membership.plan()
        orders += membership.orders()
    membership.failed(["server-2"])
    answer(membership, membership.orders())
    assert {segment.head for segment in membership.routes.segments} == {"server-0", "server-1"}


def test_the_last_copy_of_a_shard_is_remembered_as_lost():
    membership = members(2)
    membership.failed(["server-0"])
    (segment,) = membership.lost
    assert segment.chain == ("server-0",)
    membership.restored(segment.shard, "server-1")
    assert membership.lost == [] and membership.routes.find(segment.shard).restored


def test_more_replicas_than_servers_are_refused():
    with pytest.raises(InvalidJob, match="2 replicas on 2 servers; required: 0 <= replicas < servers"):
        members(2, replicas=2)


def test_a_copy_from_before_a_server_was_given_up_counts_no_more():
    membership = members(2)
    membership.joined("server-2")
    membership.failed(["server-2"])
    membership.joined("server-2")
    answer_some = membership.orders()
    while not any(isinstance(order.message, Lend) for order in answer_some):
        message = answer_some.pop(0).message
        answer_some += membership.frozen(Frozen(message.shard, message.epoch, message.role))
        membership.plan()
        answer_some += membership.orders()
    lend = next(order.message for order in answer_some if isinstance(order.message, Lend))
    stale = Installed(lend.shard, lend.to, lend.epoch, membership.since["server-2"] - 1)
    assert membership.installed(stale) == [] and membership.moves[lend.shard].stage == "lend"


def test_who_leaves_gets_nothing_that_was_meant_for_it():
    """Two servers leave one after the other; the first one's shard was to go to the second."""
    membership = members(3)
    membership.leave("server-2")
    membership.plan()
    heirs = {node for move in membership.moves.values() for part in move.goal for node in part.chain}
    (heir,) = heirs - {"server-2"}
    membership.leave(heir)
    answer(membership, membership.orders())
    (last,) = {"server-0", "server-1"} - {heir}
    assert {segment.chain for segment in membership.routes.segments} == {(last,)}
    assert membership.let_go() == sorted([heir, "server-2"])
