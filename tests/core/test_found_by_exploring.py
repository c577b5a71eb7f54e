"""Histories that the explorer found to break the core, each the shortest of its scope, and now harmless."""

from dataclasses import replace

from psbook.core.actions import Apply, CopyOut, Discard, Send, TakeIn
from psbook.core.client import Client
from psbook.core.commands import DoFinish, DoPush
from psbook.core.consistency import ASP
from psbook.core.controls import Forward, Install, Lend, Reroute
from psbook.core.layout import Safety
from psbook.core.messages import Ack, Clock, Finish, MessageId, Push
from psbook.core.routes import Routes, cut
from psbook.core.server import Server
from psbook.core.shard import Shard
from tests.core.machines import WHOLE, acknowledged, layout


def server(replicas=0, node="server-0", count=1, **safety):
    laid_out = layout(2, count, safety=Safety(replicas=replicas, lease=1e9, **safety))
    return Server(node, laid_out, ASP())


def push(number, after, rank=0):
    return Push(MessageId(rank, 0, "w", 0, number), "w", WHOLE, ("name",) * WHOLE.size, 0, after=after)


def clock(number, after, rank=0):
    return Clock(MessageId(rank, 0, "", 0, number), 1, after=after)


def test_what_came_too_early_is_not_acknowledged_when_it_comes_again():
    """The push is lost; the clock behind it comes, and comes again: it must not be acknowledged unhandled.

    Else the worker takes its iteration for counted, finishes, and the run ends without the push.
    """
    machine = server()
    machine.hello(0.0)
    for _ in range(2):
        assert acknowledged(machine.handle("worker-0", clock(2, after=1), 0.0)) == []
    actions = machine.handle("worker-0", push(1, after=0), 0.0)
    assert [action.message.id.sequence for action in actions if isinstance(action, Send)] == [1, 2]
    assert acknowledged(machine.handle("worker-0", clock(2, after=1), 0.0)) == ["worker-0"]


def test_what_waited_for_a_lost_write_is_not_acknowledged_before_that_is_on_every_replica():
    """The clock came too early, and is in every log; it is handled with the push, which the tail lacks."""
    head, tail = server(1, count=2), server(1, "server-1", count=2)
    for each in (head, tail):
        each.hello(0.0)

    def pass_on(actions):
        (forward,) = [action.message for action in actions if action.to == "server-1"]
        return tail.handle("server-0", forward, 0.0)

    (stable,) = pass_on(head.handle("worker-0", clock(2, after=1), 0.0))
    head.handle("server-1", stable.message, 0.0)
    late = [action for action in head.handle("worker-0", push(1, after=0), 0.0) if isinstance(action, Send)]
    assert acknowledged(head.handle("worker-0", clock(2, after=1), 0.0)) == []
    assert acknowledged(pass_on(late)) == ["worker-0", "worker-0"]


def routes(epoch, chain, other_epoch=0):
    """Two shards on three servers; the second is on server-0 alone."""
    first, second = cut([chain, ["server-0"]]).segments
    return Routes((replace(first, epoch=epoch), replace(second, epoch=other_epoch)), max(epoch, other_epoch))


def test_a_copy_that_comes_before_an_older_map_is_kept():
    """The copy is lent under epoch 2; the map of epoch 1, where another shard changed, comes behind."""
    owner, spare = server(count=3), server(node="server-2", count=3)
    for each in (owner, spare):
        each.hello(0.0)
    for epoch in (1, 2):
        owner.handle("controller", Reroute(routes(epoch, ["server-0"])), 0.0)
    (copy,) = [a for a in owner.handle("controller", Lend(0, "server-2", 2), 0.0) if isinstance(a, CopyOut)]
    assert any(isinstance(action, TakeIn) for action in spare.handle("server-0", copy.install, 0.0))
    for known in (
        routes(0, ["server-0"], 1),
        routes(2, ["server-0"], 1),
        routes(3, ["server-2", "server-0"], 1),
    ):
        actions = spare.handle("controller", Reroute(known), 0.0)
        assert 0 not in [action.shard for action in actions if isinstance(action, Discard)]
    assert spare.replicas[0].is_head


def test_a_server_that_missed_a_map_cuts_nothing_that_it_has_a_newer_copy_of():
    """It was given up with the whole range, and lent a part of it; then it hears of both at once."""
    machine = server(count=1)
    machine.hello(0.0)
    (whole,) = machine.routes.segments
    half = (whole.start + whole.stop) // 2
    left = replace(whole, stop=half, chain=("server-1",), epoch=2)
    right = replace(whole, shard=1, start=half, chain=("server-1",), epoch=2)
    lent = Shard(right, machine.layout, ASP())
    assert any(isinstance(a, TakeIn) for a in machine.handle("server-1", Install(right, 5, lent), 0.0))
    mine = replace(right, chain=("server-0", "server-1"), epoch=3)
    actions = machine.handle("controller", Reroute(Routes((left, mine), 3)), 0.0)
    assert [action.shard for action in actions if isinstance(action, Discard)] == [0]
    assert machine.replicas[1].shard is lent


def test_a_new_primary_brings_the_other_backups_to_its_own_state_before_it_acknowledges():
    """The old primary has sent a push to one backup only; the other must not stay without it."""
    first, second, third = (server(2, f"server-{i}", count=3, scheme="primary-backup") for i in range(3))
    for each in (first, second, third):
        each.hello(0.0)
    both = {a.to: a.message for a in first.handle("worker-0", push(1, after=0), 0.0) if isinstance(a, Send)}
    second.handle("server-0", both["server-1"], 0.0)  # not the third
    chain = replace(first.routes.segments[0], chain=("server-1", "server-2"), epoch=1)
    after = Routes((chain, *first.routes.segments[1:]), 1)
    actions = second.handle("controller", Reroute(after), 0.0)
    third.handle("controller", Reroute(after), 0.0)
    assert acknowledged(second.handle("worker-0", replace(push(1, after=0), epoch=1), 0.0)) == []
    (copy,) = [a.message for a in actions if isinstance(a, Send) and isinstance(a.message, Forward)]
    (taken,) = third.handle("server-1", copy, 0.0)
    assert isinstance(taken, TakeIn) and taken.to == "server-1"
    second.handle("server-2", taken.done, 0.0)
    assert acknowledged(second.handle("worker-0", replace(push(1, after=0), epoch=1), 0.0)) == ["worker-0"]
    assert third.replicas[0].shard.versions == second.replicas[0].shard.versions == {"w": 1}


def test_what_the_old_primary_sent_to_one_backup_only_does_not_stay_there():
    """It was never acknowledged; the new primary puts another push in its place of the log."""
    first, second, third = (server(2, f"server-{i}", count=3, scheme="primary-backup") for i in range(3))
    for each in (first, second, third):
        each.hello(0.0)
    both = {a.to: a.message for a in first.handle("worker-0", push(1, after=0), 0.0) if isinstance(a, Send)}
    third.handle("server-0", both["server-2"], 0.0)  # not the second
    chain = replace(first.routes.segments[0], chain=("server-1", "server-2"), epoch=1)
    after = Routes((chain, *first.routes.segments[1:]), 1)
    actions = second.handle("controller", Reroute(after), 0.0)
    third.handle("controller", Reroute(after), 0.0)
    actions += second.handle("worker-1", replace(push(1, after=0, rank=1), epoch=1), 0.0)
    entries = [a.message for a in actions if isinstance(a, Send) and isinstance(a.message, Forward)]
    applied_there = [
        push.id.rank
        for entry in reversed(entries)  # they may even overtake each other
        for action in third.handle("server-1", entry, 0.0)
        if isinstance(action, Apply)
        for push in action.pushes
    ]
    assert applied_there == [1]
    assert third.replicas[0].shard.versions == second.replicas[0].shard.versions == {"w": 1}


def test_a_program_leaves_only_when_its_pushes_outside_the_order_are_acknowledged():
    """At-least-once: the push was lost; if the program finishes and the run ends, it never comes again."""
    client = Client(0, layout(1, safety=Safety(delivery="at-least-once")), ASP())
    (sent,) = client.handle(DoPush(1, "w", WHOLE, ("name",) * WHOLE.size), 0.0)
    assert client.handle(DoFinish(2), 0.0) == []
    actions = client.handle(Ack(sent.message.id, 0.0), 0.0)
    assert [type(a.message) for a in actions if isinstance(a, Send)] == [Finish]
