"""Recording, streaming, saving and loading keep every row; the hash tells traces apart, and only traces."""

import json
import math
import os
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from psbook.errors import DataError, InvalidJob
from psbook.trace import Recorder, Trace, recorder
from psbook.trace.schema import COLUMNS, KINDS, LEVELS, NAMES
from tests.trace import builder


@pytest.fixture
def small():
    return builder.small_trace()


def test_the_columns_are_those_of_the_schema(small):
    assert tuple(small.frame.columns) == NAMES
    for column in COLUMNS:
        numeric = column.dtype != "str"
        assert not numeric or small.frame[column.name].dtype == column.dtype
        assert column.name in small.frame.attrs["columns"]
    assert small.frame["time"].is_monotonic_increasing


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_keeps_its_kinds_and_no_others(level):
    rows = Recorder(level)
    for kind in KINDS:
        assert rows.wants(kind) is (kind in LEVELS[level])
        rows.add(0.0, "worker-0", kind)
    trace = rows.trace({})
    assert set(trace.frame["kind"]) == LEVELS[level]
    assert trace.level == level
    assert LEVELS["off"] < LEVELS["iterations"] < LEVELS["full"] == set(KINDS)


def test_an_unknown_level_is_refused():
    with pytest.raises(InvalidJob, match="'everything'; required: one of 'off'"):
        Recorder("everything")


def test_equal_times_keep_their_order():
    rows = Recorder()
    for clock in range(100):
        rows.add(float(clock % 3), "worker-0", "clock", clock=clock)
    frame = rows.trace({}).frame
    assert frame["clock"].tolist() == sorted(range(100), key=lambda clock: clock % 3)


def test_rows_of_another_process_are_shifted_by_its_offset():
    there, here = Recorder(), Recorder()
    there.add(1.0, "worker-1", "clock", clock=1)
    here.add(1.2, "worker-0", "clock", clock=1)
    here.extend(there.rows(), offset=0.5)
    frame = here.trace({}).frame
    assert frame["time"].tolist() == [1.2, 1.5]
    assert frame["node"].tolist() == ["worker-0", "worker-1"]


@pytest.mark.parametrize("chunk", [1, 7, 94, 1000])
def test_streamed_or_not_it_is_the_same_trace(small, chunk, tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "CHUNK", chunk)
    path = tmp_path / "trace.parquet"
    streamed = builder.small_trace(path=path)
    pd.testing.assert_frame_equal(streamed.frame, small.frame)
    assert streamed.hash() == small.hash() == Trace.load(path).hash()
    assert Trace.load(path).meta == small.meta
    assert list(tmp_path.iterdir()) == [path]


def test_streaming_keeps_memory_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "CHUNK", 10)
    rows = Recorder(path=tmp_path / "trace.parquet")
    for clock in range(95):
        rows.add(float(clock), "worker-0", "clock", clock=clock)
        assert len(rows.rows()) < 10
    other = Recorder()
    for clock in range(95):
        other.add(float(clock), "worker-1", "clock", clock=clock)
    rows.extend(other.rows())
    assert len(rows.rows()) == 0
    assert len(rows.trace({})) == 190


def test_save_and_load(small, tmp_path):
    path = small.save(tmp_path / "trace.parquet")
    loaded = Trace.load(str(path))
    pd.testing.assert_frame_equal(loaded.frame, small.frame)
    assert loaded.meta == small.meta and loaded.end == small.end and len(loaded) == len(small)
    assert loaded.hash() == small.hash()
    assert repr(loaded) == repr(small) == f"<Trace of {len(small)} rows: SSP(1) on simulator, 6 simulated s>"


def test_an_empty_trace_survives_the_disk(tmp_path):
    trace = Recorder().trace({})
    loaded = Trace.load(trace.save(tmp_path / "empty.parquet"))
    assert len(loaded) == 0 and loaded.end == 0 and loaded.hash() == trace.hash()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.parquet: no such file"):
        Trace.load(tmp_path / "nowhere.parquet")


@pytest.mark.parametrize("content", [b"", b"time,node\n0,worker-0\n", b"PAR1 but not for long"])
def test_a_file_that_is_not_parquet_is_refused(content, tmp_path):
    path = tmp_path / "foreign.parquet"
    path.write_bytes(content)
    with pytest.raises(DataError, match="not a Parquet file"):
        Trace.load(path)


def test_a_truncated_trace_is_refused(small, tmp_path):
    path = small.save(tmp_path / "trace.parquet")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="not a Parquet file"):
        Trace.load(path)


def test_the_parquet_file_of_others_is_refused(small, tmp_path):
    path = tmp_path / "others.parquet"
    pq.write_table(pa.table({"time": [0.0]}), path)
    with pytest.raises(DataError, match="no trace of psbook"):
        Trace.load(path)
    pq.write_table(pa.Table.from_pandas(small.frame), path)
    with pytest.raises(DataError, match="no trace of psbook"):
        Trace.load(path)


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
@pytest.mark.parametrize("row", [0, 50, -1])
def test_every_cell_counts_in_the_hash(small, column, row):
    frame = small.frame.copy()
    values = frame[column.name].tolist()
    old = values[row]
    if column.dtype == "str":
        values[row] = old + "x"
    elif column.dtype == "int64":
        values[row] = old + 1
    else:
        values[row] = 1.0 if math.isnan(old) else float(np.nextafter(old, math.inf))
    frame[column.name] = pd.array(values, dtype=frame[column.name].dtype)
    assert Trace(frame, small.meta).hash() != small.hash()


def test_text_cannot_slip_from_cell_to_cell():
    def hashed(*details):
        rows = Recorder()
        for detail in details:
            rows.add(0.0, "worker-0", "failure", detail=detail)
        return rows.trace({}).hash()

    ways = [("ab", ""), ("a", "b"), ("", "ab"), ("a\0", ""), ("a", "\0"), ("ab",)]
    assert len({hashed(*way) for way in ways}) == len(ways)


def test_one_nan_is_as_good_as_another():
    def hashed(value):
        rows = Recorder()
        rows.add(0.0, "evaluator", "loss", value=value)
        return rows.trace({}).hash()

    negative = float(np.array([0xFFF8000000000001], dtype=np.uint64).view(np.float64)[0])
    assert math.isnan(negative) and hashed(negative) == hashed(math.nan)


def test_neither_meta_nor_storage_change_the_hash(small):
    objects = small.frame.astype({column.name: object for column in COLUMNS if column.dtype == "str"})
    assert Trace(objects, {}).hash() == small.hash()


def test_the_hash_does_not_depend_on_the_hash_seed(small, project):
    code = "from tests.trace import builder; print(builder.small_trace().hash())"
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(project)}
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=project,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == small.hash()


def test_meta_that_json_does_not_know_is_saved_as_text(tmp_path):
    rows = Recorder()
    trace = rows.trace({"path": tmp_path, "delay": math.inf})
    loaded = Trace.load(trace.save(tmp_path / "trace.parquet"))
    assert loaded.meta["path"] == str(tmp_path) and loaded.meta["delay"] == math.inf
    assert json.dumps(loaded.meta["trace_level"]) == '"full"'


def test_threads_may_stream_to_one_file(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "CHUNK", 7)
    rows = Recorder("iterations", tmp_path / "trace.parquet")

    def add(thread):
        for clock in range(300):
            rows.add(float(clock), f"worker-{thread}", "clock", clock=clock)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    frame = rows.trace({}).frame
    assert len(frame) == 1200
    assert (frame.groupby("node").clock.nunique() == 300).all()
