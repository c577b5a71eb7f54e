"""Consistent hashing (B3): owners, chains, and what moves, against a ring searched point by point."""

import copy
import dataclasses
import itertools
import pickle
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psbook.core import ring as module
from psbook.core.ring import POSITIONS, Arc, Move, Ring, point
from psbook.errors import InvalidJob, InvalidKeys

NAMES = [f"server-{index}" for index in range(6)]
positions = st.integers(0, POSITIONS - 1) | st.sampled_from([0, POSITIONS - 1])
rings = st.builds(
    Ring,
    st.sets(st.sampled_from(NAMES), min_size=1),
    points=st.integers(1, 5),
    seed=st.integers(0, 2**64 - 1),
)


def clockwise(ring, position):
    """Servers by the distance of their points from a position, going clockwise; ties by name."""
    ways = [
        ((point(name, index, ring.seed) - position) % POSITIONS, name)
        for name in ring.servers
        for index in range(ring.points)
    ]
    return list(dict.fromkeys(name for _, name in sorted(ways)))


def edges(ring):
    """Positions on both sides of every border."""
    return [at for arc in ring.arcs() for at in (arc.start, arc.stop - 1)]


@given(rings, positions, st.integers(0, 7))
def test_owner_and_chain_are_the_nearest_servers_clockwise(ring, position, copies):
    for at in (position, *edges(ring)):
        assert ring.owner(at) == clockwise(ring, at)[0]
        assert list(ring.chain(at, copies)) == clockwise(ring, at)[: copies + 1]


@given(rings)
def test_arcs_cover_the_ring_in_order_and_neighbours_differ(ring):
    arcs = ring.arcs()
    assert arcs[0].start == 0 and arcs[-1].stop == POSITIONS
    assert all(arc.start < arc.stop for arc in arcs)
    assert all(a.stop == b.start and a.owner != b.owner for a, b in itertools.pairwise(arcs))
    assert all(ring.owner(at) == arc.owner for arc in arcs for at in (arc.start, arc.stop - 1))


@given(rings)
def test_shares_are_the_lengths_of_the_arcs(ring):
    shares = ring.shares()
    assert list(shares) == list(ring.servers)
    assert sum(shares.values()) == pytest.approx(1, rel=1e-15)
    for name, share in shares.items():
        owned = sum(arc.stop - arc.start for arc in ring.arcs() if arc.owner == name)
        assert share == pytest.approx(owned / POSITIONS, rel=1e-15)


def pieces(before, after, position):
    """(old, new) by position, at every border of the two rings and at one more position."""
    return {at: (before.owner(at), after.owner(at)) for at in (position, *edges(before), *edges(after))}


@given(rings, rings, positions)
def test_moved_is_where_two_rings_disagree(before, after, position):
    moves = before.moved(after)
    assert all(move.start < move.stop and move.old != move.new for move in moves)
    assert all(
        a.stop < b.start or (a.stop == b.start and a[2:] != b[2:]) for a, b in itertools.pairwise(moves)
    )
    for at, (old, new) in pieces(before, after, position).items():
        found = [move[2:] for move in moves if move.start <= at < move.stop]
        assert found == ([] if old == new else [(old, new)])


@given(rings)
def test_keys_move_only_to_a_joiner_and_all_that_it_then_owns(ring):
    after = ring.with_server("new")
    moves = ring.moved(after)
    assert {move.new for move in moves} == {"new"}
    gained = sum(move.stop - move.start for move in moves)
    assert gained == sum(arc.stop - arc.start for arc in after.arcs() if arc.owner == "new")
    assert after.without("new") == ring and after.without("new").arcs() == ring.arcs()


@given(rings.filter(lambda ring: len(ring.servers) > 1), st.data())
def test_what_a_leaver_owned_moves_to_the_next_of_its_chain_and_nothing_else_moves(ring, data):
    name = data.draw(st.sampled_from(ring.servers))
    after = ring.without(name)
    moves = ring.moved(after)
    assert {move.old for move in moves} == {name}
    lost = sum(move.stop - move.start for move in moves)
    assert lost == sum(arc.stop - arc.start for arc in ring.arcs() if arc.owner == name)
    for move in moves:
        assert {ring.chain(at, 1)[1] for at in (move.start, move.stop - 1)} == {move.new}


@given(rings.filter(lambda ring: len(ring.servers) > 1), positions, st.integers(1, 6))
def test_the_next_of_the_chain_takes_over(ring, position, copies):
    owner, *rest = ring.chain(position, copies)
    assert list(ring.without(owner).chain(position, copies - 1)) == rest


def test_points_lie_where_their_hash_says_in_every_process():
    digest = blake2b(b"point 7 2 server-1", digest_size=8).digest()
    assert point("server-1", 2, 7) == int.from_bytes(digest, "big")
    placed = {point(name, index, seed) for name in ("a", "1 a") for index in (0, 1) for seed in (0, 1)}
    assert len(placed) == 8


def at_fixed_positions(monkeypatch, places):
    monkeypatch.setattr(module, "point", lambda server, index, seed: places[server][index])


def test_the_arc_ends_at_the_point_and_position_zero_cuts_it(monkeypatch):
    at_fixed_positions(monkeypatch, {"a": [10, 100], "b": [50, 40]})
    ring = Ring(["b", "a"], points=2)
    assert ring.arcs() == [Arc(0, 11, "a"), Arc(11, 51, "b"), Arc(51, POSITIONS, "a")]
    assert [ring.owner(at) for at in (0, 10, 11, 50, 51, 100, 101, POSITIONS - 1)] == list("aabbaaaa")
    assert ring.shares()["b"] == 40 / POSITIONS


def test_points_at_both_ends_of_the_ring(monkeypatch):
    at_fixed_positions(monkeypatch, {"a": [0], "b": [POSITIONS - 1]})
    assert Ring(["a", "b"], points=1).arcs() == [Arc(0, 1, "a"), Arc(1, POSITIONS, "b")]


def test_of_points_that_collide_the_first_name_owns_the_arc_and_the_other_follows(monkeypatch):
    at_fixed_positions(monkeypatch, {"a": [20], "b": [10], "c": [10]})
    ring = Ring(["c", "b", "a"], points=1)
    assert ring.arcs() == [Arc(0, 11, "b"), Arc(11, 21, "a"), Arc(21, POSITIONS, "b")]
    assert ring.chain(5, 2) == ("b", "c", "a")
    assert ring.chain(15, 2) == ("a", "b", "c")
    assert ring.shares()["c"] == 0.0
    assert ring.moved(ring.without("c")) == []
    assert ring.without("b").with_server("b").arcs() == ring.arcs()
    assert ring.moved(ring.without("b")) == [Move(0, 11, "b", "c"), Move(21, POSITIONS, "b", "c")]


def test_a_ring_is_a_value():
    ring = Ring(["b", "a"], points=3, seed=5)
    again = Ring(iter(["a", "b"]), points=3, seed=5)
    assert ring == again and hash(ring) == hash(again) and ring.servers == ("a", "b")
    assert ring != Ring(["a", "b"], points=3, seed=6) and ring != Ring(["a", "b"], points=4, seed=5)
    assert pickle.loads(pickle.dumps(ring)).arcs() == copy.deepcopy(ring).arcs() == ring.arcs()
    assert repr(ring) == "Ring(servers=('a', 'b'), points=3, seed=5)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        ring.seed = 1


def test_one_server_owns_all_and_has_no_copies():
    ring = Ring(["only"])
    assert ring.arcs() == [Arc(0, POSITIONS, "only")] and ring.shares() == {"only": 1.0}
    assert ring.chain(3, 2) == ("only",)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Ring([]), "no servers; required: at least one"),
        (lambda: Ring(["a", "b", "a"]), r"\['a'\] more than once"),
        (lambda: Ring("ab"), "'ab'; required: a list of names"),
        (lambda: Ring(["a", 1]), "required: a list of names"),
        (lambda: Ring(["a"], points=0), "0 points a server"),
        (lambda: Ring(["a"], points=1.5), "1.5 points a server"),
        (lambda: Ring(["a"]).with_server("a"), "more than once"),
        (lambda: Ring(["a"]).without("a"), "no servers"),
        (lambda: Ring(["a", "b"]).without("c"), "no server 'c' on the ring; required: one of a, b"),
        (lambda: Ring(["a"]).chain(0, -1), "-1 copies"),
    ],
)
def test_rings_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(InvalidJob, match=message):
        wrong()


@pytest.mark.parametrize("position", [-1, POSITIONS])
def test_positions_outside_the_ring_are_refused(position):
    for ask in (Ring(["a"]).owner, lambda at: Ring(["a"]).chain(at, 1)):
        with pytest.raises(InvalidKeys, match=f"position {position}; required"):
            ask(position)
