"""Operations and `gather`: begun at once, awaited in any order, and never mistaken for their results."""

import numpy as np
import pytest

from psbook.errors import InvalidJob, NotAwaited
from psbook.operation import Operation, gather


def pulls(n):
    return [Operation(f"worker.pull({i})", "reply") for i in range(n)]


def run(coroutine):
    """Resume a coroutine until it waits; return (operation it waits for, None) or (None, its result)."""
    try:
        return coroutine.send(None), None
    except StopIteration as stop:
        return None, stop.value


async def awaiting(operation):
    return await operation


def test_what_is_done_does_not_interrupt_the_program():
    (one,) = pulls(1)
    one.resolve(5)
    assert run(awaiting(one)) == (None, 5)
    assert run(awaiting(one)) == (None, 5)


def test_what_is_not_done_is_handed_out_and_its_result_taken_up_later():
    (one,) = pulls(1)
    coroutine = awaiting(one.then(lambda raw: raw * 2))
    assert run(coroutine)[0] is one
    one.resolve(5)
    assert run(coroutine) == (None, 10)


def test_a_result_is_finished_once_when_it_is_taken_up():
    (one,) = pulls(1)
    calls = []
    one.then(calls.append)
    one.resolve(5)
    assert calls == []
    one.take()
    one.take()
    assert calls == [5]


def test_an_error_is_raised_where_the_operation_is_awaited():
    (one,) = pulls(1)
    one.resolve(error=KeyError("x"))
    with pytest.raises(KeyError):
        run(awaiting(one))


@pytest.mark.parametrize(
    "use",
    [
        lambda op: op + 1,
        lambda op: 2 * op,
        lambda op: op @ np.eye(2),
        lambda op: op[0],
        lambda op: op < 1,
        np.sum,
        lambda op: np.ones(2) * op,
        float,
        bool,
        len,
        list,
        lambda op: op.shape,
        lambda op: -op,
    ],
)
def test_an_operation_used_as_its_result_says_what_to_write(use):
    operation = Operation("worker.pull('w')", "reply")
    with pytest.raises(NotAwaited, match=r"required: `await worker\.pull\('w'\)`"):
        use(operation)


def test_gather_gives_the_results_in_the_order_asked_whoever_is_first():
    ops = pulls(3)
    together = gather(*ops)
    for at in (2, 0, 1):
        assert not together.done
        ops[at].resolve(at)
    assert together.done and together.take() == [0, 1, 2]


def test_gather_of_nothing_or_of_what_is_done_is_done():
    assert gather().take() == []
    ops = pulls(2)
    for op in ops:
        op.resolve(1)
    assert gather(*ops).done


def test_the_same_operation_twice_is_waited_for_once():
    (one,) = pulls(1)
    together = gather(one, one)
    one.resolve(7)
    assert together.take() == [7, 7]


def test_an_operation_may_be_awaited_beside_the_gather_it_is_in():
    one, two = pulls(2)
    together = gather(one, two)
    woken = []
    one.watch(woken.append)
    one.resolve(1)
    two.resolve(2)
    assert woken == [one] and together.take() == [1, 2]


def test_gathers_may_be_gathered():
    ops = pulls(4)
    together = gather(gather(*ops[:2]), gather(*ops[2:]))
    for at, op in enumerate(ops):
        op.resolve(at)
    assert together.take() == [[0, 1], [2, 3]]


def test_the_wait_of_a_gather_is_booked_by_the_operation_that_ended_it():
    reply, compute = Operation("worker.pull('w')", "reply"), Operation("worker.compute(f)", "compute")
    together = gather(reply, compute)
    reply.resolve()
    compute.resolve()
    assert together.kind == "compute"


def test_gather_takes_operations_only():
    with pytest.raises(InvalidJob, match=r"got list; required: operations such as worker\.pull"):
        gather(pulls(2))
