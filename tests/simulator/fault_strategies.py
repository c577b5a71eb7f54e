"""What Hypothesis draws faults and schedules from."""

from math import inf

from hypothesis import strategies as st

import psbook.laws
import psbook.simulator.faults
from psbook.laws import Constant, Exponential
from psbook.simulator.faults import (
    BurstyLoss,
    Crash,
    Delay,
    Duplicate,
    Faults,
    Loss,
    Partition,
    Pause,
    Rack,
    Reorder,
    SlowLink,
    SlowNode,
)

NODES = ["worker-0", "worker-1", "server-0", "server-1", "controller"]
NAMES = vars(psbook.simulator.faults) | vars(psbook.laws) | {"inf": inf}

moments = st.floats(0, 1e6) | st.integers(0, 100)
lengths = st.floats(1e-3, 1e6)
durations = lengths | st.just(inf)
chances = st.floats(0, 1)
names = st.sampled_from([*NODES, "worker-*", "server-?"])
pairs = st.none() | st.lists(st.tuples(names, names), min_size=1, max_size=3)
delays = (
    st.floats(0, 10) | lengths.map(Exponential) | st.just(Constant(0.1).spells(0.1, 3.0, 2).slow({1: 2.0}))
)
window = {"at": moments, "seconds": durations}
where = window | {"links": pairs}
node = st.sampled_from(NODES)
back = st.none() | lengths

processes = (
    st.builds(Crash, node, moments, back)
    | st.builds(Rack, st.lists(node, min_size=1, unique=True), moments, back)
    | st.builds(Pause, node, moments, lengths)
)
faults = (
    processes
    | st.builds(SlowNode, names, st.floats(1, 100), **window)
    | st.builds(SlowLink, names, names, st.floats(0, 10), **window)
    | st.builds(Delay, delays, **where)
    | st.builds(Loss, chances, **where)
    | st.builds(BurstyLoss, st.floats(0, 0.5), st.floats(1, 100), **where)
    | st.builds(Duplicate, chances, delays, **where)
    | st.builds(Reorder, chances, delays, **where)
    | st.builds(Partition, st.just(("worker-*",)), st.just(["server-0", "server-1"]), moments, durations)
)
schedules = st.builds(
    lambda faults, seed: Faults(*faults, seed=seed), st.lists(faults, max_size=5), st.integers(0, 9)
)
