"""The later models with real state machines, whose messages come in any order, some of them twice."""

import random
from collections import Counter

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from psbook.core.actions import CutShort, Drop
from psbook.core.commands import DoPush
from psbook.core.consistency import (
    DSSP,
    ESSP,
    PSP,
    VAP,
    BackupWorkers,
    KAsync,
    KBatchAsync,
    KBatchSync,
    KSync,
)
from psbook.core.keys import KeyRange
from psbook.core.layout import TableSpec
from tests.core.delivery import Read, Step
from tests.core.delivery import World as Plain
from tests.core.machines import layout
from tests.core.test_random_delivery import (
    assert_all_is_applied_once,
    assert_all_is_done,
    assert_read_is_within_bounds,
    worlds,
)


class World(Plain):
    """Programs take up what they read, pushes have a size of 1; what is dropped is noted."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.dropped = [Counter() for _ in self.servers]

    def serve(self, shard, actions):
        for action in actions:
            if isinstance(action, Drop):
                for push in action.pushes:
                    self.dropped[shard].update({(push.table, push.value[0]): 1})
        super().serve(shard, [action for action in actions if not isinstance(action, Drop)])

    def complete(self, program, complete):
        if isinstance(program.asked[complete.ticket], Read):
            program.client.saw(complete.result)
        super().complete(program, complete)

    def command(self, program, step, ticket):
        command = super().command(program, step, ticket)
        if isinstance(command, DoPush):
            command.norm = 1.0
        return command

    def perform(self, program, actions):
        super().perform(program, [action for action in actions if not isinstance(action, CutShort)])


@given(worlds(st.sampled_from([ESSP(0), ESSP(1), ESSP(3), DSSP(0, 2), DSSP(1, 1), PSP(1, 9)])))
def test_reads_are_within_the_bound_whatever_is_sent_unasked(world):
    """ESSP's late and repeated answers, in any order, never bring back an older value, nor a write twice."""
    world.run()
    event(f"{world.model.label}: {'somebody' if world.parked else 'nobody'} waited")
    assert_all_is_done(world)
    assert_all_is_applied_once(world)
    model = world.model
    world.model = ESSP(model.high) if isinstance(model, DSSP) else model
    for read in world.reads:
        assert_read_is_within_bounds(world, read)


@st.composite
def loops(draw, models, most_shards=3):
    """Programs that read a whole table, write it, and clock; some tables, some uneven lengths."""
    shards = draw(st.integers(1, most_shards))
    tables = [TableSpec(name, 6) for name in ["w", "v"][: draw(st.integers(1, 2))]]
    scripts = []
    for _ in range(draw(st.integers(2, 4))):
        steps = []
        for _ in range(draw(st.integers(0, 6))):
            steps += [Step("pull", True, table.name, KeyRange(0, 6)) for table in tables]
            steps += [Step("push", False, table.name, KeyRange(0, 6)) for table in tables]
            steps.append(Step("clock"))
        scripts.append(steps)
    luck = random.Random(draw(st.integers(0, 2**32)))
    return World(layout(len(scripts), shards, tables=tables), draw(models), scripts, luck)


ROUNDS = [kind(k) for kind in (KSync, KBatchSync, KAsync, KBatchAsync) for k in (1, 2, 3)]


@given(loops(st.sampled_from([*ROUNDS, BackupWorkers(0), BackupWorkers(1)])))
def test_rounds_end_and_apply_or_drop_every_gradient_whatever_comes_first(world):
    world.run()
    event(f"{world.model.label}: {'somebody' if world.parked else 'nobody'} waited")
    assert_all_is_done(world)
    names = [name for name, _, _ in world.names]
    for shard in range(len(world.servers)):
        for table in world.layout.tables:
            keys = {key for of, key in world.state[shard] if of == table.name}
            for name in (name for name, of, _ in world.names if of == table.name):
                applied = {world.state[shard][table.name, key][name] for key in keys}
                dropped = world.dropped[shard][table.name, name]
                assert applied in ({0}, {1}) or not keys
                assert max(applied, default=0) + dropped == 1, f"{name} on shard {shard}"
    if not world.model.drops:
        assert not any(world.dropped)
    for read in world.reads:
        assert all(max(seen.values(), default=1) == 1 for seen in read.values)
        assert all(seen.keys() <= set(names) for seen in read.values)


@given(loops(st.sampled_from([VAP(0.5), VAP(1.5, decay=False), VAP(4.0)]), most_shards=1))
def test_a_bound_on_values_lets_everybody_end(world):
    world.run()
    assert_all_is_done(world)
    assert_all_is_applied_once(world)


@pytest.mark.parametrize("model", [KSync(2), KAsync(3), BackupWorkers(1), ESSP(1)], ids=lambda m: m.label)
def test_the_harness_reaches_waiting_and_rounds_out_of_step(model):
    steps = [Step("pull", True, "w", KeyRange(0, 6)), Step("push", False, "w", KeyRange(0, 6)), Step("clock")]
    waited, unlike = 0, 0
    for seed in range(5):
        world = World(layout(4, 3, tables=[TableSpec("w", 6)]), model, [steps * 6] * 4, random.Random(seed))
        world.run()
        waited += world.parked
        unlike += len({frozenset(each.items()) for each in world.dropped}) > 1
    assert waited > 0
    assert (unlike > 0) is getattr(model, "drops", False)  # shards drop different gradients
