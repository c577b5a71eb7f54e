"""Crashes, restarts and pauses in order, also where outages meet."""

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from psbook.errors import InvalidJob
from psbook.simulator.faults import (
    Crash,
    Faults,
    Pause,
    Rack,
)
from tests.simulator.fault_strategies import NODES, node


def told(schedule, nodes=None):
    return [event[:3] for event in schedule.events(nodes)]


def test_events_in_order():
    schedule = Faults(
        Pause("worker-0", at=2, seconds=2),
        Rack(["server-1", "server-0"], at=2, restart=1),
        Crash("controller", at=1),
    )
    assert told(schedule) == [
        (1.0, "controller", "crash"),
        (2.0, "worker-0", "pause"),
        (2.0, "server-1", "crash"),
        (2.0, "server-0", "crash"),
        (3.0, "server-1", "restart"),
        (3.0, "server-0", "restart"),
        (4.0, "worker-0", "resume"),
    ]
    assert [event.fault for event in schedule.events()][:2] == [schedule[2], schedule[0]]


def test_patterns_need_the_nodes():
    schedule = Faults(Rack(["server-*", "worker-1"], at=1), Pause("worker-?", at=3, seconds=1))
    with pytest.raises(InvalidJob, match=r"events\(nodes\)"):
        schedule.events()
    crash, pause = (1.0, "crash"), (3.0, "pause")
    found = [(time, kind, node) for time, node, kind in told(schedule, NODES)]
    assert found == [
        (*crash, "server-0"),
        (*crash, "server-1"),
        (*crash, "worker-1"),
        (*pause, "worker-0"),
        (4.0, "resume", "worker-0"),
    ]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ([Crash("a", 1, 3), Crash("a", 2, 4)], "crash 1, restart 6"),
        ([Crash("a", 1, 9), Crash("a", 2, 4)], "crash 1, restart 10"),
        ([Crash("a", 1, 1), Crash("a", 2, 4)], "crash 1, restart 6"),
        ([Crash("a", 1, 3), Rack(["a"], 2)], "crash 1"),
        ([Pause("a", 1, 3), Pause("a", 2, 4)], "pause 1, resume 6"),
        ([Pause("a", 1, 9), Crash("a", 3, 1)], "pause 1, crash 3, restart 4"),
        (
            [Pause("a", 1, 9), Crash("a", 3, 1), Pause("a", 4, 2)],
            "pause 1, crash 3, restart 4, pause 4, resume 6",
        ),
        ([Pause("a", 3, 9), Crash("a", 3, 1)], "crash 3, restart 4"),
        ([Pause("a", 1, 2), Crash("a", 3, 1)], "pause 1, crash 3, restart 4"),
    ],
)
def test_outages_that_meet(schedule, expected):
    assert ", ".join(f"{kind} {time:g}" for time, _, kind in told(Faults(*schedule))) == expected


NEXT = {
    "up": {"crash": "down", "pause": "hung"},
    "hung": {"crash": "down", "resume": "up"},
    "down": {"restart": "up"},
}
coarse = st.integers(0, 6)  # so that times meet
crowded = st.lists(
    st.builds(Crash, node, coarse, st.none() | st.integers(1, 4) | st.just(1e-30))
    | st.builds(Rack, st.just(["worker-0", "server-0"]), coarse, st.integers(1, 4))
    | st.builds(Pause, node, coarse, st.integers(1, 4) | st.just(1e-30)),
    max_size=8,
)


@given(crowded)
def test_events_of_a_node_make_sense_one_by_one(listed):
    schedule = Faults(*listed)
    events = schedule.events()
    assert [event.time for event in events] == sorted(event.time for event in events)
    for _, mine in groupby(sorted(events, key=lambda event: event.node), key=lambda event: event.node):
        state = "up"
        for event in mine:
            state = NEXT[state][event.kind]
            assert event.node in event.fault.names()
    assert events == schedule.events(NODES)
    assert all(event.time <= schedule.quiet_after for event in events)


@given(crowded)
def test_a_node_is_down_exactly_while_a_crash_says_so(listed):
    for now in np.arange(0.25, 12, 0.5):
        down = set()
        for event in Faults(*listed).events():
            if event.time <= now and event.kind in ("crash", "restart"):
                (down.add if event.kind == "crash" else down.discard)(event.node)
        assert down == {
            name
            for fault in listed
            if not isinstance(fault, Pause) and fault.at <= now and (fault.restart is None or now < fault.end)
            for name in fault.names()
        }
