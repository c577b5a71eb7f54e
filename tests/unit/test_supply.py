"""Looking ahead in a program's batches changes nothing of who gets which."""

import numpy as np

import psbook as ps
from psbook.hosts.supply import Supply


def test_what_is_looked_at_is_taken_next_and_not_before():
    supply = Supply()
    assert supply.upcoming() is None
    batches = supply.feed(iter("abc"), clock=lambda: 0)
    assert next(batches) == "a" and supply.upcoming() == supply.upcoming() == "b"
    assert supply.taken == 1
    assert list(batches) == ["b", "c"]
    assert supply.upcoming() is None and supply.taken == 3


def test_what_is_looked_at_can_be_given_away_and_is_left_behind():
    supply = Supply()
    batches = supply.feed(iter(range(6)), clock=lambda: 0)
    next(batches)
    supply.upcoming()
    assert supply.give(0.5) == [4, 5]
    supply.upcoming()
    assert supply.left(1) == [1, 2, 3]


def test_adopted_batches_come_behind_the_own():
    supply = Supply()
    supply.adopt(["x"])
    batches = supply.feed(iter("a"), clock=lambda: 0)
    assert next(batches) == "a" and supply.upcoming() == "x"
    assert list(batches) == ["x"] and supply.upcoming() is None


def test_a_program_sees_its_next_batch_and_its_model():
    async def look(worker):
        seen = []
        for batch in worker.batches(2, shuffle=False):
            seen.append((batch.tolist(), worker.upcoming()))
            await worker.clock()
        return seen, worker.model

    job = ps.Job(look, tables={"w": ps.Table(1)}, data=[np.arange(4)])
    seen, model = job.run(ps.Simulator(workers=1), ps.SSP(2)).results["worker-0"]
    (first, then), (second, last) = seen
    assert first == [0, 1] and then.tolist() == second == [2, 3] and last is None
    assert model == ps.SSP(2)
