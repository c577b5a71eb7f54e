"""Messages in any order, some twice: every invariant holds after every event, every promise at the end."""

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from psbook.core.consistency import ASP, BSP, SSP, BoundedDelay, Serial
from psbook.core.keys import KeyRange
from psbook.core.layout import TableSpec
from tests.core.delivery import Step, World
from tests.core.machines import layout

MODELS = [BSP(), ASP(), Serial(), SSP(0), SSP(2), SSP(1, gate="clock"), BoundedDelay(0), BoundedDelay(2)]


def bound(model):
    """Clocks that a read may be behind; BSP and Serial have none to spare."""
    return getattr(model, "s", getattr(model, "tau", np.inf if isinstance(model, ASP) else 0))


@st.composite
def key_sets(draw, size):
    if draw(st.booleans()):
        start = draw(st.integers(0, size - 1))
        return KeyRange(start, draw(st.integers(start + 1, size)))
    keys = draw(st.sets(st.integers(0, size - 1), min_size=1))
    return np.array(sorted(keys))


@st.composite
def iterations(draw, tables, model, changes):
    """Reads, writes and the like of one iteration, in any order, waited for or not."""
    what = st.sampled_from(["pull", "pull", "push", "push", "call", "flush", *["model"] * changes])
    steps = []
    for kind in draw(st.lists(what, max_size=4)):
        if kind == "model":
            steps.append(Step("model", model=type(model)(draw(st.integers(0, 3)))))
            continue
        table = draw(st.sampled_from(tables))
        wait = kind == "flush" or draw(st.booleans())
        steps.append(Step(kind, wait, table.name, draw(key_sets(table.size))))
    return steps


@st.composite
def cached_worlds(draw):
    """One cached table that is always read and written whole, by programs that do not wait much."""
    keys = KeyRange(0, 2)
    scripts = []
    for _ in range(draw(st.integers(2, 3))):
        steps = []
        for _ in range(draw(st.integers(1, 5))):
            kinds = draw(st.lists(st.sampled_from(["pull", "push"]), max_size=4))
            steps += [Step(kind, draw(st.booleans()), "w", keys) for kind in kinds]
            steps.append(Step("clock"))
        scripts.append(steps)
    table = TableSpec("w", 2, additive=draw(st.booleans()), cache=True)
    model = draw(st.sampled_from([BSP(), SSP(0), SSP(1), SSP(3)]))
    luck = random.Random(draw(st.integers(0, 2**32)))
    return World(layout(len(scripts), draw(st.integers(1, 2)), tables=[table]), model, scripts, luck)


@st.composite
def worlds(draw, models):
    shards = draw(st.integers(1, 3))
    tables = [
        TableSpec(name, draw(st.integers(shards, 6)), additive=draw(st.booleans()), cache=draw(st.booleans()))
        for name in ["w", "v"][: draw(st.integers(1, 2))]
    ]
    model = draw(models)
    changes = isinstance(model, BoundedDelay) or model == SSP(2)
    workers, others = draw(st.integers(1, 4)), draw(st.integers(0, 1))
    barriers = draw(st.sets(st.integers(0, 4)))
    scripts = []
    for rank in range(workers + others):
        steps = []
        for iteration in range(draw(st.integers(0, 5))):
            steps += [*draw(iterations(tables, model, changes)), Step("clock")]
            if iteration in barriers and rank < workers:
                steps.append(Step("barrier"))
        steps += draw(iterations(tables, model, 0))
        scripts.append(steps)
    luck = random.Random(draw(st.integers(0, 2**32)))
    limit = draw(st.sampled_from([100, 1000, 2**28]))
    return World(layout(workers, shards, others=others, tables=tables), model, scripts, luck, 0.2, limit)


@given(st.one_of(worlds(st.sampled_from(MODELS)), cached_worlds()))
def test_every_order_of_delivery_keeps_every_promise(world):
    world.run()
    event(f"{world.model.label}: {'somebody' if world.parked else 'nobody'} waited")
    assert_all_is_done(world)
    assert_all_is_applied_once(world)
    for read in world.reads:
        assert_read_is_within_bounds(world, read)


def assert_all_is_done(world):
    assert world.ended
    for program in world.programs:
        assert program.over and not program.asked, program
        assert program.client.in_flight == 0
    for server in world.servers:
        for replica in server.replicas.values():
            assert not replica.shard.parked and not replica.shard.rounds


def assert_all_is_applied_once(world):
    clocked = world.layout.clocked
    for shard, server in enumerate(world.servers):
        for table in world.layout.tables:
            pushes = world.pushes_to(table.name, shard)
            updates = len(pushes)
            if world.model.buffered:
                rounds = {name.clock for name in pushes if name.rank in clocked}
                updates = len(rounds) + sum(name.rank not in clocked for name in pushes)
            assert server.replicas[shard].shard.versions[table.name] == updates
    for name, table, keys in world.names:
        for key in keys:
            assert sum(state[table, key][name] for state in world.state) == 1


def assert_read_is_within_bounds(world, read):
    """A1, A2, A4 against the list of pushes, without looking at any clock but the programs' own."""
    clocked = world.layout.clocked
    s = 3 if any(step.what == "model" for p in world.programs for step in p.steps) else bound(world.model)
    for key, seen in zip(read.keys, read.values, strict=True):
        names = {name for name, table, keys in world.names if table == read.table and key in keys}
        assert seen == Counter(seen.keys()), f"{read}: a push twice"
        assert seen.keys() <= names
        if read.rank in clocked:
            due = {name for name in names if name.rank in clocked and name.clock <= read.clock - s - 1}
            assert due <= seen.keys(), f"{read} at key {key} misses {due - seen.keys()}"
        if not world.model.buffered:
            own = {name for name in names if name.rank == read.rank and name.number < read.own}
            assert own <= seen.keys(), f"{read} at key {key} misses its own {own - seen.keys()}"
        else:
            for clock in {name.clock for name in names}:
                of_round = {name for name in names if name.clock == clock and name.rank in clocked}
                assert of_round <= seen.keys() or not of_round & seen.keys(), f"{read}: half of round {clock}"


@pytest.mark.parametrize("model", [BSP(), SSP(0), SSP(2), BoundedDelay(1), Serial()], ids=lambda m: m.label)
def test_the_harness_reaches_waiting_and_duplicates(model):
    steps = [Step("pull", True, "w", KeyRange(0, 6)), Step("push", False, "w", KeyRange(0, 6)), Step("clock")]
    scripts = [steps * 6, steps * 4, steps * 5]
    waited = 0
    for seed in range(5):
        world = World(layout(3, 2, tables=[TableSpec("w", 6)]), model, scripts, random.Random(seed))
        world.run()
        waited += world.parked
        assert len(world.reads) == 15
        for read in world.reads:
            assert_read_is_within_bounds(world, read)
    assert waited > 0


def test_the_harness_notices_a_gate_that_is_left_open():
    """ASP's reads, judged by SSP(0)'s bound, fail: the check can fail."""
    steps = [Step("pull", True, "w", KeyRange(0, 6)), Step("push", False, "w", KeyRange(0, 6)), Step("clock")]
    broken = 0
    for seed in range(5):
        world = World(layout(3, 2, tables=[TableSpec("w", 6)]), ASP(), [steps * 6] * 3, random.Random(seed))
        world.run()
        world.model = SSP(0)
        try:
            for read in world.reads:
                assert_read_is_within_bounds(world, read)
        except AssertionError:
            broken += 1
    assert broken == 5
