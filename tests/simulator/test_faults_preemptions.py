"""Recorded preemptions: places, windows, scales, files, and the real recording where it is there."""

import numpy as np
import pandas as pd
import pytest

from psbook.errors import DataError, InvalidJob
from psbook.simulator.faults import Crash, Faults
from tests import reference

ROWS = [
    (0, "add", "m1"),
    (0, "add", "m2"),
    (0, "add", "m3"),
    (10_000, "remove", "m2"),
    (12_000, "remove", "m1"),
    (15_000, "add", "m4"),  # takes the lowest place
    (20_000, "add", "m2"),
    (30_000, "remove", "m3"),
]
NODES = ["worker-0", "worker-1", "worker-2", "worker-3"]


def played(nodes=NODES, rows=ROWS, **options):
    return list(Faults.preemptions(pd.DataFrame(rows), nodes, **options))


def test_places_are_filled_from_below():
    assert played() == [
        Crash("worker-3", at=0),  # nobody ever comes
        Crash("worker-1", at=10, restart=10),
        Crash("worker-0", at=12, restart=3),
        Crash("worker-2", at=30),
    ]


def test_machines_beyond_the_nodes_are_not_used():
    assert played(["a"]) == [Crash("a", at=12, restart=3)]


def test_scale_and_unit():
    assert played(["a"], scale=0.5) == [Crash("a", at=6, restart=1.5)]
    assert played(["a"], unit=1.0, scale=0.001) == [Crash("a", at=12, restart=3)]


def test_a_part():
    assert played(NODES[:3], start=11, end=18) == [
        Crash("worker-1", at=0),  # comes back at 20
        Crash("worker-0", at=1, restart=3),
    ]


def test_replaced_at_once_is_still_a_crash():
    rows = [(0, "add", "a"), (5, "remove", "a"), (5, "add", "b")]
    assert played(["w"], rows) == [Crash("w", at=0.005, restart=0.001)]


def test_files(tmp_path):
    text = "\n".join(",".join(map(str, row)) for row in ROWS)
    for name, head in (("plain.csv", ""), ("headed.csv", "time,event,machine\n")):
        (tmp_path / name).write_text(head + text + "\n")
        assert list(Faults.preemptions(tmp_path / name, NODES)) == played()
    pd.DataFrame(ROWS).to_csv(tmp_path / "packed.csv.gz", header=False, index=False)
    assert list(Faults.preemptions(str(tmp_path / "packed.csv.gz"), NODES)) == played()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("time,event,machine\n", "0 rows"),
        ("0,add\n", "2 columns"),
        ("0,add,a\n1,vanish,a\n", "row 2 is .*'vanish'"),
        ("time,event,machine\n0,add,a\nsoon,remove,a\n", "row 3 is .*'soon'"),
        ("0,add,a\nnan,remove,a\n", "row 2"),
        ("0,add,a\n1,remove,\n", "row 2"),
        ("0,add,a\n1,add,a\n", "'a': add at 0.001 s, but it is there"),
        ("0,remove,a\n", "'a': remove at 0 s, but it is not there"),
    ],
)
def test_broken_files_are_refused_by_line(tmp_path, text, message):
    path = tmp_path / "broken.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        Faults.preemptions(path, NODES)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv cannot be read"):
        Faults.preemptions(tmp_path / "none.csv", NODES)


@pytest.mark.parametrize(
    "wrong",
    [{"nodes": []}, {"nodes": ["w-*"]}, {"scale": 0}, {"unit": -1}, {"start": -1}, {"end": 0}],
    ids=repr,
)
def test_wrong_requests(wrong):
    with pytest.raises(InvalidJob, match=r"preemptions.*required"):
        Faults.preemptions(**{"recording": pd.DataFrame(ROWS), "nodes": NODES} | wrong)


def test_the_recording_of_bamboo():
    path = reference.data_path("traces/bamboo_p3_spot_events.csv.gz")
    nodes = [f"worker-{i}" for i in range(32)]
    faults = Faults.preemptions(path, nodes)
    table = pd.read_csv(path, header=None, names=["ms", "kind", "machine"])
    events = faults.events()
    # With as many places as there were ever machines, the nodes up are the machines up, at every minute.
    for minute in np.arange(0.5, table["ms"].max() / 60e3 + 1):
        past = table[table["ms"] <= minute * 60e3]["kind"]
        down = sum({"crash": 1, "restart": -1}[event.kind] for event in events if event.time <= 60 * minute)
        assert 32 - down == (past == "add").sum() - (past == "remove").sum()
    beginning = sum(fault.at == 0 for fault in faults)
    assert beginning == 32 - 18
    assert len(faults) - beginning == (table["kind"] == "remove").sum() == 167
