"""Every node has one process; servers apart from programs where that was asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psbook.cluster.placement import place
from psbook.errors import InvalidJob


@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 6))
def test_together_spreads_evenly(workers, servers, processes):
    programs = [f"worker-{i}" for i in range(workers)]
    shards = [f"server-{i}" for i in range(servers)]
    addresses = [f"tcp://{i}" for i in range(processes)]
    placed = place(programs, shards, addresses)
    for nodes in (programs, shards):
        counts = [sum(placed[node] == address for node in nodes) for address in addresses]
        assert sum(counts) == len(nodes)
        assert max(counts) - min(counts) <= 1


@given(st.integers(1, 9), st.integers(1, 5), st.integers(2, 6))
def test_apart_shares_no_process(workers, servers, processes):
    programs = [f"worker-{i}" for i in range(workers)]
    shards = [f"server-{i}" for i in range(servers)]
    placed = place(programs, shards, [f"tcp://{i}" for i in range(processes)], "apart")
    assert not {placed[node] for node in programs} & {placed[node] for node in shards}


@pytest.mark.parametrize(
    ("placement", "said"),
    [
        ("apart", "at least 2"),
        ("near", "required: 'together'"),
        ({"worker-0": "a"}, "no address for server-0"),
        ({"worker-0": "a", "server-0": "z"}, "names z"),
    ],
)
def test_impossible_placements_are_refused_by_name(placement, said):
    with pytest.raises(InvalidJob, match=said):
        place(["worker-0"], ["server-0"], ["a"], placement)


def test_a_mapping_is_followed():
    where = {"worker-0": "b", "server-0": "a"}
    assert place(["worker-0"], ["server-0"], ["a", "b"], where) == where
