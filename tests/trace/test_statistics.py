"""Tables of a trace against numbers worked out by hand, and against the laws of any trace."""

import math
import time

import numpy as np
import pandas as pd
import pytest

from psbook.errors import DataError
from psbook.trace import Recorder, Trace, statistics
from psbook.trace.recorder import frame_of
from psbook.trace.schema import COLUMNS, SPANS
from tests.trace import builder

TABLES = {
    "history": "off",
    "reports": "off",
    "waiting": "iterations",
    "idle_causes": "iterations",
    "iterations": "iterations",
    "staleness": "iterations",
    "clock_gap": "iterations",
    "messages": "full",
}
"""Tables and the lowest level that has them."""

ORDER = ("off", "iterations", "full")


@pytest.fixture
def small():
    return builder.small_trace()


def test_waiting_books_every_second_of_every_program(small):
    frame = statistics.waiting(small).set_index("node")
    assert frame.to_dict("index") == builder.WAITING
    assert (frame["total"] == small.end).all()


def test_a_program_without_spans_is_in_the_table_with_zeros():
    build = builder.Builder()
    build.span(0.0, 1.0, 0, "compute", 0)
    frame = statistics.waiting(build.trace())
    assert frame["node"].tolist() == builder.WORKERS
    assert frame["total"].tolist() == [1.0, 0.0]


def test_idle_causes_are_named(small):
    frame = statistics.idle_causes(small)
    assert frame.to_dict("records") == [{"node": "worker-0", "cause": "finished early", "seconds": 2.0}]


def test_staleness_by_update(small):
    frame = statistics.staleness(small)
    assert frame["staleness"].tolist() == builder.STALENESS
    assert frame["version"].tolist() == [1, 2, 3, 4, 5]
    assert frame["worker"].tolist() == [builder.WORKERS[rank] for rank in builder.PUSHED_BY]
    assert frame["clock"].tolist() == [0, 1, 0, 2, 1]
    assert set(frame["server"]) == {"server-0"} and set(frame["table"]) == {"w"}


def test_a_push_from_no_read_has_no_staleness():
    build = builder.Builder()
    build.push(0, 1.0, 1, 0)
    trace = build.trace()
    assert statistics.staleness(trace).empty
    assert math.isnan(statistics.summary(trace)["staleness_mean"])
    assert statistics.summary(trace)["updates"] == 1


def test_history_is_in_the_order_of_iterations(small):
    frame = statistics.history(small)
    assert list(frame.itertuples(index=False, name=None)) == builder.LOSSES


def test_iterations_end_where_the_next_begins_and_add_up(small):
    frame = statistics.iterations(small)
    first = frame[frame["node"] == "worker-0"]
    assert first["clock"].tolist() == [0, 1, 2]
    assert first["start"].tolist() == [0.0, 1.0, 2.0]
    assert first["end"].tolist() == [1.0, 2.0, 4.0]
    assert first["blocked"].tolist() == [0.0, 0.0, 1.0]
    second = frame[frame["node"] == "worker-1"].set_index("clock")
    assert second.loc[1, ["start", "end", "network", "queued", "compute"]].tolist() == [
        3.0,
        5.5,
        0.75,
        0.25,
        1.5,
    ]
    np.testing.assert_allclose(frame[list(SPANS)].sum(axis=1), frame["end"] - frame["start"], rtol=1e-12)


def test_reports(small):
    frame = statistics.reports(small)
    assert frame.to_dict("records") == [
        {"time_s": 5.5, "node": "worker-1", "clock": 1, "name": "accuracy", "value": 0.9}
    ]


def test_messages_are_counted_when_they_are_sent(small):
    frame = statistics.messages(small).set_index("message")
    assert frame["count"].to_dict() == builder.SENT
    assert frame["bytes"].to_dict() == {name: 5 * size for name, size in builder.BYTES.items()}


def test_clock_gap_forgets_who_has_finished(small):
    frame = statistics.clock_gap(small)
    assert list(frame[["time_s", "min", "max"]].itertuples(index=False, name=None)) == builder.CLOCK_GAP
    assert (frame["gap"] == frame["max"] - frame["min"]).all()


def test_clock_gap_agrees_with_the_definition_on_random_clocks():
    random = np.random.default_rng(3)
    workers = [f"worker-{rank}" for rank in range(5)]
    recorder, clocks, expected = Recorder(), dict.fromkeys(workers, 0), []
    for step in range(400):
        node = workers[random.integers(5)]
        if node not in clocks:
            continue
        if random.random() < 0.01:
            recorder.add(float(step), node, "finish", clock=clocks.pop(node))
        else:
            clocks[node] += 1
            recorder.add(float(step), node, "clock", clock=clocks[node])
        if clocks:
            expected.append((step, min(clocks.values()), max(clocks.values())))
    assert len(clocks) < 5, "nobody finished: the seed does not reach the interesting case"
    frame = statistics.clock_gap(recorder.trace({"workers": workers}))
    assert list(frame[["time_s", "min", "max"]].itertuples(index=False, name=None)) == expected


def test_other_programs_have_no_clock_that_counts():
    recorder = Recorder()
    recorder.add(1.0, "worker-0", "clock", clock=1)
    recorder.add(2.0, "coordinator-0", "clock", clock=1)
    trace = recorder.trace({"workers": ["worker-0"]})
    assert statistics.clock_gap(trace)["time_s"].tolist() == [1.0]
    assert statistics.summary(trace)["iterations"] == 1


def test_summary(small):
    summary = statistics.summary(small)
    assert summary.to_dict() == pytest.approx(builder.SUMMARY, rel=1e-15)
    assert list(summary.attrs["columns"]) == list(summary.index)
    pd.testing.assert_series_equal(small.summary(), summary)


def test_a_round_is_one_update():
    build = builder.Builder()
    for version in (1, 2):
        for worker in (0, 1):
            build.push(worker, float(version), version, version - 1)
    assert statistics.updates(build.trace()) == 2


def test_updates_are_summed_over_tables_and_taken_from_the_shard_with_most():
    build = builder.Builder()
    build.push(0, 1.0, 1, 0, table="w")
    build.push(0, 1.0, 1, 0, table="b")
    build.push(0, 1.0, 1, 0, table="w", shard=1)
    assert statistics.updates(build.trace()) == 2


@pytest.mark.parametrize(("target", "seconds"), [(0.7, 0.0), (0.5, 2.0), (0.4, 4.0), (0.25, 6.0)])
def test_time_to_target_is_the_first_evaluation_that_reaches_it(small, target, seconds):
    assert statistics.time_to_target(small, target) == seconds


def test_a_target_that_is_never_reached_has_no_time(small):
    assert math.isnan(statistics.time_to_target(small, 0.2))
    assert math.isnan(statistics.time_to_target(Recorder().trace({}), 0.2))


def test_a_loss_that_rises_again_does_not_move_the_time_to_target():
    recorder = Recorder()
    for second, loss in enumerate([0.7, math.nan, 0.3, 0.9, 0.2]):
        recorder.add(float(second), "evaluator", "loss", clock=second, value=loss)
    assert statistics.time_to_target(recorder.trace({}), 0.3) == 2.0


@pytest.mark.parametrize("level", ORDER)
@pytest.mark.parametrize("table", TABLES)
def test_a_level_has_a_table_whole_or_refuses_it_by_name(table, level):
    trace = builder.small_trace(level)
    function = getattr(statistics, table)
    if ORDER.index(level) >= ORDER.index(TABLES[table]):
        pd.testing.assert_frame_equal(function(trace), function(builder.small_trace()))
    else:
        with pytest.raises(DataError, match=rf"level '{level}'.*trace=\"{TABLES[table]}\""):
            function(trace)


@pytest.mark.parametrize(
    ("level", "unknown"),
    [
        ("full", set()),
        ("iterations", {"bytes_sent"}),
        ("off", set(builder.SUMMARY) - {"seconds", "loss_final"}),
    ],
)
def test_summary_is_nan_where_the_level_does_not_tell(level, unknown):
    summary = statistics.summary(builder.small_trace(level))
    assert set(summary.index[summary.isna()]) == unknown
    for name in set(builder.SUMMARY) - unknown:
        assert summary[name] == pytest.approx(builder.SUMMARY[name], rel=1e-15)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("empty", [False, True])
def test_every_column_is_documented(small, table, empty):
    frame = getattr(statistics, table)(Recorder().trace({}) if empty else small)
    assert list(frame.attrs["columns"]) == list(frame.columns)
    assert all(frame.attrs["columns"].values())
    assert frame.empty or not empty


def test_an_empty_trace_has_a_summary():
    summary = statistics.summary(Recorder().trace({}))
    assert summary["seconds"] == 0 and summary["iterations"] == 0 and summary["updates"] == 0
    assert math.isnan(summary["idle_share"]) and math.isnan(summary["loss_final"])


@pytest.mark.slow
def test_a_million_rows_take_seconds():
    workers, rounds = 50, 4_000
    count = workers * rounds
    columns = {column.name: np.full(5 * count, column.missing) for column in COLUMNS if column.dtype != "str"}
    frame = pd.DataFrame(columns | {column.name: "" for column in COLUMNS if column.dtype == "str"})
    frame = frame[[column.name for column in COLUMNS]]
    ranks, clocks = np.tile(np.arange(workers), rounds), np.repeat(np.arange(rounds), workers)
    pulls = [f"r{rank}.0/w/s0#{clock}" for rank, clock in zip(ranks, clocks, strict=True)]
    frame["node"] = np.repeat([f"worker-{rank}" for rank in ranks], 5)
    frame["kind"] = ["answer", "compute", "send", "apply", "clock"] * count
    frame["time"] = np.repeat(clocks + ranks / workers, 5)
    frame["clock"] = np.repeat(clocks, 5)
    frame.loc[frame["kind"] == "clock", "clock"] += 1
    frame.loc[frame["kind"].isin(["answer", "apply"]), ["node", "table"]] = ["server-0", "w"]
    frame.loc[frame["kind"] == "answer", "message"] = pulls
    frame.loc[frame["kind"] == "apply", "cause"] = pulls
    frame.loc[frame["kind"] == "answer", "version"] = np.arange(count)
    frame.loc[frame["kind"] == "apply", "version"] = np.arange(1, count + 1)
    frame.loc[frame["kind"] == "apply", "staleness"] = 0
    frame = frame.astype({column.name: column.dtype for column in COLUMNS})
    trace = Trace(frame_of(frame), {})
    begun = time.process_time()
    assert statistics.summary(trace)["updates"] == count
    assert len(statistics.iterations(trace)) == len(statistics.clock_gap(trace)) == count
    assert time.process_time() - begun < 20
