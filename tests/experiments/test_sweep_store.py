"""What has run is on disk: a sweep that was killed, or grows, runs only what is missing."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import psbook as ps
from psbook.errors import DataError, InvalidJob
from psbook.experiments import running, sweeping

CLUSTER = ps.Simulator(workers=2, compute=ps.Exponential(0.1))
OVER = {"model": [ps.BSP(), ps.ASP()], "rate": [0.1, 0.2, 0.5]}


def kernel(w, batch):
    return ((w - 1) ** 2).sum() / 2, w - 1


def distance(w):
    if os.environ.get("PSBOOK_TEST_BROKEN"):
        raise RuntimeError("the disk is full")
    return float(np.square(np.asarray(w, np.float64) - 1).sum()) / 2


def quadratic(rate=0.1, evaluate=distance):
    table = ps.Table(4, update=ps.SGD(rate), dtype="float32")
    return ps.Job(
        ps.Loop(kernel=kernel), data=np.zeros(8), tables={"w": table}, evaluate=evaluate, iterations=2
    )


def swept(path=None, over=OVER, seeds=3, engine="messages", job=None, cluster=CLUSTER):
    return ps.sweep(quadratic() if job is None else job, cluster, over, seeds, path=path, engine=engine)


@pytest.fixture
def ran(monkeypatch):
    """Points that run message by message."""
    points, real = [], running.run_by_messages
    monkeypatch.setattr(
        running, "run_by_messages", lambda point, why: points.append(point.label) or real(point, why)
    )
    return points


def assert_equal(one, other):
    pd.testing.assert_frame_equal(one.table, other.table, check_exact=True)
    pd.testing.assert_frame_equal(one.history, other.history, check_exact=True)


def test_a_second_call_runs_nothing(tmp_path, ran):
    first = swept(tmp_path / "x")
    assert len(ran) == 18
    assert_equal(swept(tmp_path / "x"), first)
    assert_equal(ps.Sweep.load(tmp_path / "x"), first)
    assert len(ran) == 18
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == [
        "history.parquet", "sweep.json", "table.parquet",
    ]  # fmt: skip


def test_more_values_and_seeds_run_only_the_new_points(tmp_path, ran):
    swept(tmp_path / "x", {"model": [ps.ASP()], "rate": [0.2, 0.1]}, 2)
    ran.clear()
    grown = swept(tmp_path / "x")
    assert len(ran) == 18 - 4 and not any("model=ASP, rate=0.2, seed=1" in label for label in ran)
    assert_equal(grown, swept())
    ran.clear()
    small = swept(tmp_path / "x", {"rate": [0.5], "model": [ps.BSP()]}, 1)
    assert not ran and len(small.table) == 1
    assert len(ps.Sweep.load(tmp_path / "x")) == 18, "what is not asked for now stays"


@pytest.mark.parametrize("engine", ["messages", "compiled"])
def test_an_interrupted_sweep_goes_on(tmp_path, monkeypatch, engine):
    monkeypatch.setattr(sweeping, "COMPILED_CHUNK", 8)
    real, pieces = sweeping.run_chunk, []

    def interrupted(points, *rest):
        pieces.append(len(points))
        if len(pieces) == 2:
            raise KeyboardInterrupt
        return real(points, *rest)

    monkeypatch.setattr(sweeping, "run_chunk", interrupted)
    with pytest.raises(KeyboardInterrupt):
        swept(tmp_path / "x", engine=engine)
    assert len(ps.Sweep.load(tmp_path / "x")) == 8, "a chunk is there"
    whole = swept(tmp_path / "x", engine=engine)
    assert pieces == [8, 8, 8, 2]
    assert_equal(whole, swept(engine=engine))


def test_what_failed_runs_again(tmp_path, monkeypatch, ran):
    monkeypatch.setenv("PSBOOK_TEST_BROKEN", "1")
    assert len(swept(tmp_path / "x", seeds=1).errors) == 6
    monkeypatch.delenv("PSBOOK_TEST_BROKEN")
    swept(tmp_path / "x", {"model": [ps.BSP()], "rate": [0.1]}, 1)
    ran.clear()
    whole = swept(tmp_path / "x", seeds=1)
    assert len(ran) == 5 and whole.errors.empty
    assert_equal(whole, swept(seeds=1))


SCRIPT = """
import os, signal, sys
from tests.experiments import test_sweep_store as here

left = int(sys.argv[2])
real = here.running.run_by_messages

def run(point, why):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(point, why)

here.running.run_by_messages = run
here.swept(sys.argv[1])
"""


def test_a_killed_process_loses_at_most_a_chunk(tmp_path, project):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "x"), "12"],
        cwd=project, env={**os.environ, "PYTHONPATH": str(project)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    found = ps.Sweep.load(tmp_path / "x")
    assert len(found) == sweeping.MESSAGE_CHUNK
    whole = swept(tmp_path / "x")
    # Another process describes the same job in the same words: nothing of it was refused or run again.
    assert set(found.table["hash"]) < set(whole.table["hash"])
    assert_equal(whole, swept())


def test_a_torn_chunk_does_not_count(tmp_path):
    whole = swept(tmp_path / "x")
    chunks = tmp_path / "x" / "chunks"
    chunks.mkdir()
    history = (tmp_path / "x" / "history.parquet").read_bytes()
    (chunks / "0123.history.parquet").write_bytes(history)
    (chunks / ".4567.table.parquet.part").write_bytes(b"half")
    assert_equal(ps.Sweep.load(tmp_path / "x"), whole)
    assert_equal(swept(tmp_path / "x"), whole)
    assert not chunks.exists()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"job": quadratic(rate=0.3)}, r"job\.tables\.w\.update\.rate is 0\.3, and 0\.1 there"),
        ({"job": quadratic(evaluate=max)}, r"job\.evaluate is builtins\.max, and function .*distance there"),
        (
            {"cluster": ps.Simulator(workers=3, compute=0.1)},
            r"cluster\.compute is 0\.1, .*; cluster\.workers",
        ),
        ({"over": {"rate": [0.1]}}, "the parameters are rate, and model, rate there"),
        ({"engine": "auto"}, "engine is auto, and messages there"),
    ],
)
def test_the_path_of_another_sweep_is_refused_by_name(tmp_path, ran, changes, text):
    swept(tmp_path / "x", {"model": [ps.BSP()], "rate": [0.1]}, 1)
    ran.clear()
    with pytest.raises(InvalidJob, match=text):
        swept(tmp_path / "x", **changes)
    assert not ran


def test_other_data_are_another_sweep(tmp_path):
    swept(tmp_path / "x", {"rate": [0.1]}, 1)
    job = quadratic()
    job.data = np.ones(8)
    with pytest.raises(
        InvalidJob, match=r"job\.data is float64\[8\] sha256 \w+, and float64\[8\] sha256 \w+ there"
    ):
        swept(tmp_path / "x", {"rate": [0.1]}, 1, job=job)


def test_a_sweep_none_of_whose_runs_has_ended_is_empty(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweeping, "run_chunk", interrupted)
    with pytest.raises(KeyboardInterrupt):
        swept(tmp_path / "x")
    found = ps.Sweep.load(tmp_path / "x")
    assert len(found) == 0 and found.errors.empty and found.parameters == ["model", "rate"]
    assert found.summary().empty


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="holds something else"):
        swept(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="holds something else"):
        swept(tmp_path / "file")
    with pytest.raises(DataError, match="no sweep"):
        ps.Sweep.load(tmp_path)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "sweep.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(DataError, match="format 99"):
        ps.Sweep.load(tmp_path / "old")
    assert {path.name for path in tmp_path.iterdir()} == {"letter.txt", "file", "old"}
