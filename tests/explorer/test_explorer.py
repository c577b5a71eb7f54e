"""Every correct model passes every small scope, to the end; and the explorer itself loses nothing."""

import json

import pytest

from psbook.core.consistency import ASP, BSP, SSP, BoundedDelay, KSync, Serial
from psbook.core.shard import Shard
from psbook.errors import InvalidJob
from psbook.explorer import Scope, System, explore
from psbook.explorer.properties import READ_BOUND
from psbook.explorer.search import Search

S0, S1, S2, W0 = "server-0", "server-1", "server-2", "worker-0"
MODELS = [BSP(), SSP(0), SSP(1), ASP(), BoundedDelay(0), BoundedDelay(1), SSP(1, gate="clock"), Serial()]
BOTH = ["chain", "primary-backup"]


def passes(scope, *, most=1_000_000, at_least=2):
    """The scope is gone through to the end, in more than a handful of states, and nothing is broken."""
    explored = explore(scope, most=most)
    print(explored)  # noqa: T201  # the scope and its number of states, under pytest -s
    assert explored.violation is None, str(explored.violation)
    assert explored.exhausted and explored.ends >= 1
    assert explored.states >= at_least
    return explored


def labels(value):
    return value.label if hasattr(value, "label") else str(value)


# Every order of messages


@pytest.mark.parametrize("reads", [True, False], ids=["reads", "writes only"])
@pytest.mark.parametrize("model", MODELS, ids=labels)
def test_every_order_of_messages(model, reads):
    passes(Scope(model, iterations=3, reads=reads), at_least=30)


@pytest.mark.parametrize("model", MODELS, ids=labels)
def test_three_workers_with_uneven_data(model):
    passes(Scope(model, workers=3, iterations=(1, 2, 3)), at_least=50)


@pytest.mark.parametrize("model", [BSP(), SSP(1), BoundedDelay(1)], ids=labels)
def test_two_shards(model):
    passes(Scope(model, shards=2, servers=2, iterations=1), at_least=1000)


@pytest.mark.parametrize("model", [BSP(), SSP(1)], ids=labels)
def test_messages_that_overtake_each_other(model):
    passes(Scope(model, ordered=False), at_least=500)


@pytest.mark.parametrize("model", [BSP(), SSP(1), BoundedDelay(1)], ids=labels)
def test_cached_reads(model):
    passes(Scope(model, iterations=3, cache=True), at_least=50)


# Copies, losses, repetitions


@pytest.mark.parametrize("scheme", BOTH)
@pytest.mark.parametrize("model", [BSP(), SSP(0), ASP()], ids=labels)
def test_replicas(model, scheme):
    passes(Scope(model, servers=2, replicas=1, scheme=scheme, iterations=1), at_least=300)


@pytest.mark.parametrize("scheme", BOTH)
def test_replicas_of_sums(scheme):
    passes(Scope(BSP(), servers=2, replicas=1, scheme=scheme, aggregate=True), at_least=300)


@pytest.mark.parametrize("model", [BSP(), SSP(0), SSP(1, gate="clock"), BoundedDelay(0)], ids=labels)
def test_any_message_lost_and_any_message_twice(model):
    passes(Scope(model, iterations=2, losses=1), at_least=500)
    passes(Scope(model, iterations=1, duplicates=1), at_least=300)


@pytest.mark.parametrize("scheme", BOTH)
def test_replicas_that_lose_messages_and_timers_that_fire_early(scheme):
    shape = {"servers": 2, "replicas": 1, "scheme": scheme, "iterations": 1, "workers": 1}
    passes(Scope(SSP(0), losses=1, duplicates=1, **shape), at_least=1000)
    passes(Scope(SSP(0), losses=1, timers=1, **shape), at_least=1000)


def test_at_least_once_may_double_and_at_most_once_may_lose_and_exactly_once_does_neither():
    def modes(**wrong):
        return {
            mode: [
                (there, replica.values)
                for there, replica in final_values(Scope(ASP(), workers=1, iterations=1, reads=False,
                                                         delivery=mode, ordered=False, **wrong))
            ]
            for mode in ("exactly-once", "at-least-once", "at-most-once")
        }  # fmt: skip

    twice = {mode: max(len(names) for _, ((_, names),) in ends) for mode, ends in modes(duplicates=1).items()}
    assert twice == {"exactly-once": 1, "at-least-once": 2, "at-most-once": 1}
    lost = {mode: min(len(names) for _, ((_, names),) in ends) for mode, ends in modes(losses=1).items()}
    assert lost == {"exactly-once": 1, "at-least-once": 1, "at-most-once": 0}


def final_values(scope):
    """The only replica in every state in which a run has ended."""
    system = System(scope)
    search = Search(system, 100_000)
    assert search.run() is None
    for number in search.ends:
        yield number, system.view(search.states[number], S0).replicas[0]


# A crash at every step


@pytest.mark.parametrize("who", [S0, S1])
@pytest.mark.parametrize("scheme", BOTH)
def test_a_server_crashes_at_every_step(scheme, who):
    shape = {"workers": 1, "iterations": 2, "servers": 2, "replicas": 1, "scheme": scheme}
    passes(Scope(SSP(0), crashes=1, crash_of=(who,), **shape), at_least=500)


@pytest.mark.parametrize("model", [BSP(), SSP(0), ASP(), BoundedDelay(1)], ids=labels)
def test_a_worker_crashes_at_every_step_and_starts_again(model):
    passes(Scope(model, crashes=1, crash_of=(W0,)), at_least=1000)


@pytest.mark.parametrize("model", [SSP(0), ASP()], ids=labels)
def test_a_worker_crashes_at_every_step_and_leaves(model):
    passes(Scope(model, crashes=1, crash_of=(W0,), lost_workers="leave"), at_least=500)


def test_with_atomic_clocks_nothing_is_done_twice():
    passes(Scope(SSP(0), iterations=1, crashes=1, crash_of=(W0,), atomic=True), at_least=500)


def test_without_replicas_a_crash_ends_the_run_with_a_reason():
    scope = Scope(SSP(0), workers=1, iterations=1, crashes=1, crash_of=(S0,))
    system = System(scope)
    search = Search(system, 100_000)
    assert search.run() is None
    failures = {system.controller(search.states[end]).failure for end in search.ends}
    assert any("No copy of shard 0 is left" in failure for failure in failures) and "" in failures


def test_a_new_primary_with_two_backups():
    shape = {"workers": 1, "iterations": 1, "reads": False, "replicas": 2, "servers": 3}
    passes(Scope(ASP(), scheme="primary-backup", crashes=1, crash_of=(S0,), **shape), at_least=5000)


# What the explorer says of itself


def test_the_search_says_what_stopped_it():
    scope = Scope(SSP(1))
    assert explore(scope).exhausted
    stopped = explore(scope, most=20)
    assert not stopped.exhausted and stopped.stopped_by == "most=20 states"
    assert "stopped by most=20" in str(stopped) and scope.sentence in repr(stopped)


def test_a_scope_that_makes_no_sense_is_refused():
    with pytest.raises(InvalidJob, match="required: shards"):
        Scope(ASP(), replicas=1)
    with pytest.raises(InvalidJob, match="one each"):
        Scope(ASP(), iterations=(1, 2, 3))
    with pytest.raises(InvalidJob, match=r"under K-sync\(1\); required: Serial, BSP"):
        Scope(KSync(1))


SMALL = [
    Scope(SSP(1)),
    Scope(BSP()),
    Scope(SSP(0), workers=3, iterations=1),
    Scope(ASP(), iterations=1, losses=1),
    Scope(SSP(0), iterations=1, crashes=1, crash_of=(W0,)),
    Scope(ASP(), ordered=False, iterations=1),
]


@pytest.mark.parametrize("scope", SMALL, ids=lambda scope: scope.sentence)
def test_swapping_equal_workers_loses_nothing(scope):
    """Every state that is left out is another one with the workers renamed: the orbits have their sizes."""
    plain = Search(System(scope, symmetric=False, reduced=False), 100_000)
    assert plain.run() is None
    clever = Search(System(scope, reduced=False), 100_000)
    assert clever.run() is None
    system = clever.system
    orbits = [
        len({system.renamed(state, number) for number in range(len(system.renamings))})
        for state in clever.states
    ]
    assert sum(orbits) == len(plain.states)
    told_apart = scope.crash_of or scope.model.buffered
    assert len(clever.states) == len(plain.states) if told_apart else len(clever.states) < len(plain.states)


@pytest.mark.parametrize("scope", SMALL, ids=lambda scope: scope.sentence)
def test_taking_messages_first_reaches_the_same_ends(scope):
    def ends(reduced):
        search = Search(System(scope, symmetric=False, reduced=reduced), 100_000)
        assert search.run() is None
        system = search.system
        views = {
            json.dumps([str(system.view(search.states[end], node)) for node in system.nodes])
            for end in search.ends
        }
        return len(search.states), views

    (all_states, all_ends), (fewer, same_ends) = ends(False), ends(True)
    assert fewer <= all_states and same_ends == all_ends


def test_a_history_can_be_replayed_and_stepped_on(monkeypatch):
    monkeypatch.setattr(SSP, "may_read", lambda self, rank, clock, clocks: True)
    violation = explore(Scope(SSP(0))).violation
    assert violation.property == READ_BOUND
    assert len(violation.history) == 7 and violation.history[0] == "server-0 takes worker-0's read at clock 0"
    assert violation.replay().violated.name == READ_BOUND
    before = violation.replay(-1)
    assert before.violated is None and violation.steps[-1] in before.steps
    other = [step for step in before.steps if step != violation.steps[-1]]
    assert all(before.do(step).state != before.state for step in other)
    assert before.nodes["worker-0"].client.clock == 1
    assert violation.replay(0).messages == [
        "worker-0 → server-0: worker-0's read at clock 0",
        "worker-1 → server-0: worker-1's read at clock 0",
    ]
    assert "Broken: " + READ_BOUND in str(violation) and "  1. server-0 takes" in str(violation)


def test_a_shard_that_never_acknowledges_is_a_deadlock(monkeypatch):
    monkeypatch.setattr(Shard, "_finish", lambda self, finish, now: self._leave(finish.id.rank, now))
    explored = explore(Scope(ASP(), workers=1, iterations=1))
    assert explored.violation.property == "every run can end"
    assert "worker-0 (clock 1) waits for finish" in explored.violation.why


def test_speed():
    """States a second, in a scope in which every step of a node has been computed once or is."""
    explored = explore(Scope(SSP(1), iterations=2, losses=1, timers=1), most=60_000)
    assert explored.states > 50_000 and explored.computed < explored.transitions / 20


# Larger scopes

LARGER = [
    Scope(SSP(1), iterations=1, servers=2, replicas=1, crashes=1, reads=False, crash_of=(S1,)),
    Scope(SSP(1), iterations=1, servers=2, replicas=1, crashes=1, reads=False, crash_of=(S0,)),
    Scope(
        BSP(), iterations=1, servers=2, replicas=1, crashes=1, reads=False, crash_of=(S0, S1), scheme=BOTH[1]
    ),
    Scope(ASP(), workers=1, iterations=1, servers=3, replicas=1, crashes=1, reads=False, crash_of=(S0, S1)),
    Scope(ASP(), workers=1, iterations=1, servers=2, replicas=1, seconds=3, reads=False),
    Scope(
        SSP(0), workers=1, iterations=1, servers=2, replicas=1, crashes=1, crash_of=(S0, S1), ordered=False
    ),
]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("scope", LARGER, ids=lambda scope: scope.sentence)
def test_larger_scopes(scope):
    passes(scope, most=5_000_000, at_least=10_000)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_server_starts_again_and_gets_its_share():
    """More than can be gone through: no history of the shortest two million states breaks anything."""
    shape = {"workers": 1, "iterations": 1, "reads": False, "servers": 2, "replicas": 1}
    explored = explore(Scope(ASP(), crashes=1, restarts=1, crash_of=(S0,), **shape), most=2_000_000)
    assert explored.violation is None, str(explored.violation)
    assert explored.states > 2_000_000 or explored.exhausted
