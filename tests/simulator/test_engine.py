"""The event queue: one order, whatever was scheduled when; and a queueing network with known answers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psbook.errors import ProtocolError, PsbookError
from psbook.laws import Constant, Draws, Exponential
from psbook.simulator.engine import EventQueue, InvalidTime

# Few different times and priorities, so that ties are the rule.
delays = st.sampled_from([0.0, 0.5, 1.0, 0.1 + 0.2, 0.3])
plans = st.recursive(
    st.tuples(delays, st.integers(-1, 1), st.just([])),
    lambda inner: st.tuples(delays, st.integers(-1, 1), st.lists(inner, max_size=4)),
    max_leaves=25,
)


def play(queue, plan, log, path=()):
    """Schedule a tree of events: each logs itself and schedules its children."""

    def happen():
        log.append((queue.now, path))
        for number, child in enumerate(children):
            play(queue, child, log, (*path, number))

    delay, priority, children = plan
    return queue.after(delay, happen, priority=priority)


def naive(plans):
    """The definition: of all events that wait, the least (time, priority, order of scheduling)."""
    log, waiting, counter = [], [], 0
    for number, (delay, priority, children) in enumerate(plans):
        waiting.append((0.0 + delay, priority, counter, (number,), children))
        counter += 1
    while waiting:
        event = min(waiting, key=lambda event: event[:3])
        waiting.remove(event)
        now, _, _, path, children = event
        log.append((now, path))
        for number, (delay, priority, grandchildren) in enumerate(children):
            waiting.append((now + delay, priority, counter, (*path, number), grandchildren))
            counter += 1
    return log


def start(plans):
    queue, log = EventQueue(), []
    handles = [play(queue, plan, log, (number,)) for number, plan in enumerate(plans)]
    return queue, log, handles


@given(st.lists(plans, max_size=8))
def test_order_is_the_definition(plans):
    queue, log, _ = start(plans)
    assert queue.run() == len(log) == queue.events
    assert log == naive(plans)
    assert len(queue) == 0


@given(st.lists(plans, max_size=8), st.lists(delays, max_size=5))
def test_stopping_and_going_on_changes_nothing(plans, pauses):
    queue, log, _ = start(plans)
    for pause in pauses:
        queue.run(until=queue.now + pause)
        assert all(time <= queue.now for time, _ in log)
        assert queue.peek() > queue.now
    while queue.run(stop=lambda: True):
        pass
    assert log == naive(plans)


@given(st.lists(plans, max_size=8), st.sets(st.integers(0, 7)))
def test_cancelled_events_leave_no_trace(plans, cancelled):
    queue, log, handles = start(plans)
    for number in cancelled:
        if number < len(handles):
            queue.cancel(handles[number])
            queue.cancel(handles[number])
    kept = [number for number in range(len(plans)) if number not in cancelled]
    assert len(queue) == len(kept)
    expected = [(now, (kept[path[0]], *path[1:])) for now, path in naive([plans[number] for number in kept])]
    assert queue.run() == len(expected)
    assert log == expected
    assert queue.now == (expected[-1][0] if expected else 0.0)


def test_cancelling_what_has_run_does_nothing():
    queue = EventQueue()
    event = queue.at(1.0, int)
    queue.run()
    queue.cancel(event)
    assert (len(queue), queue.events) == (0, 1)


def test_a_cancelled_timer_does_not_prolong_the_run():
    queue = EventQueue()
    timer = queue.at(100.0, int)
    queue.at(1.0, queue.cancel, timer)
    assert queue.run() == 1
    assert queue.now == 1.0
    assert queue.peek() == math.inf


def test_run_until_includes_the_instant_and_moves_the_clock():
    queue, log = EventQueue(), []
    for time in (1.0, 2.0, 3.0):
        queue.at(time, log.append, time)
    assert queue.run(until=2.0) == 2
    assert queue.run(until=2.5) == 0
    assert (log, queue.now, len(queue)) == ([1.0, 2.0], 2.5, 1)


def test_stop_leaves_the_clock_at_the_event():
    queue, log = EventQueue(), []
    for time in (1.0, 2.0, 3.0):
        queue.at(time, log.append, time)
    assert queue.run(until=9.0, stop=lambda: len(log) == 2) == 2
    assert queue.now == 2.0


@pytest.mark.parametrize("time", [-1.0, math.nextafter(5.0, 0), math.inf, -math.inf, math.nan])
def test_impossible_times_are_refused_by_name(time):
    queue = EventQueue()
    queue.at(5.0, int)
    queue.run()
    with pytest.raises(InvalidTime, match=r"scheduled for .* at simulated time 5.0; required: ") as refusal:
        queue.at(time, test_impossible_times_are_refused_by_name)
    assert "test_impossible_times_are_refused_by_name" in str(refusal.value)
    assert isinstance(refusal.value, PsbookError) and isinstance(refusal.value, ValueError)
    with pytest.raises(InvalidTime):
        queue.after(time - 5.0, int)
    assert len(queue) == 0


@pytest.mark.parametrize("until", [4.0, math.nan])
def test_running_backwards_is_refused(until):
    queue = EventQueue()
    queue.run(until=5.0)
    with pytest.raises(InvalidTime):
        queue.run(until=until)


def test_running_inside_a_callback_is_refused_and_errors_pass_through():
    queue = EventQueue()
    queue.at(1.0, queue.run)
    queue.at(2.0, int)
    with pytest.raises(ProtocolError, match="one of its own callbacks"):
        queue.run()
    assert queue.run() == 1


def closed_network(think, service, programs, completions):
    """Throughput of programs that think, then queue at one first-come-first-served server."""
    queue = EventQueue()
    thinking, serving = Draws(think, seed=1), Draws(service, seed=2)
    waiting, done, warm = [], 0, []

    def arrive(program):
        waiting.append(program)
        if len(waiting) == 1:
            queue.after(serving.next(0), leave)

    def leave():
        nonlocal done
        done += 1
        if done == completions // 10:
            warm.append(queue.now)
        queue.after(thinking.next(waiting[0]), arrive, waiting.pop(0))
        if waiting:
            queue.after(serving.next(0), leave)

    for program in range(programs):
        queue.after(thinking.next(program), arrive, program)
    queue.run(stop=lambda: done == completions)
    return (completions - completions // 10) / (queue.now - warm[0])


def test_closed_queueing_network_has_the_mean_value_analysis_throughput():
    throughput, queued = 0.0, 0.0
    for programs in range(1, 11):
        response = 0.1 * (1 + queued)
        throughput = programs / (1.0 + response)
        queued = throughput * response
    assert throughput == pytest.approx(7.85418, abs=1e-5)
    found = closed_network(Exponential(1.0), Exponential(0.1), programs=10, completions=300_000)
    assert found == pytest.approx(throughput, rel=0.005)


@pytest.mark.parametrize(("programs", "throughput"), [(3, 3 / 1.25), (4, 4 / 1.25), (5, 4.0), (9, 4.0)])
def test_deterministic_closed_network(programs, throughput):
    found = closed_network(Constant(1.0), Constant(0.25), programs, completions=100 * programs)
    assert found == pytest.approx(throughput, rel=1e-9)
