"""The table of verdicts, the command, and how long it takes."""

import sys
import time

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import psbook as ps
from psbook.cli import app
from psbook.errors import PropertyViolated
from psbook.trace import Trace, check
from psbook.trace.checks import PROPERTIES, Verdicts
from psbook.trace.checks.verdicts import COLUMNS
from tests.trace.judged_runs import changed, rows, run_of, trace_of


@pytest.fixture
def damaged():
    trace = trace_of(ps.ASP(), "a primary dies", replicas=1)
    row = rows(trace, "answer")[-1]
    return changed(trace, row, clock=0), row


def test_the_frame_says_what_its_columns_mean(damaged):
    trace, row = damaged
    verdicts = check(trace)
    frame = verdicts.frame
    assert list(frame.columns) == list(COLUMNS) == list(frame.attrs["columns"])
    assert frame["property"].tolist() == [each.name for each in PROPERTIES]
    assert set(frame["verdict"]) == {"true", "unknown", "false"}
    assert frame.set_index("property").loc["min rises", "first"] == row
    assert [verdict.rule for verdict in verdicts] == [each.rule for each in PROPERTIES]


def test_every_property_says_which_line_it_checks():
    for each in PROPERTIES:
        rules = each.rule.removeprefix("words: ").split(", ")
        assert any(rule in each.judge.__doc__ for rule in rules), each.name


def test_what_is_required_is_that_nothing_is_false(damaged):
    trace, row = damaged
    whole = run_of(ps.SSP(1), "a primary dies", replicas=1).check()
    assert whole.require() is whole and whole.ok
    verdicts = check(trace)
    assert not verdicts.ok
    with pytest.raises(
        PropertyViolated, match=rf"min rises is false: .*row {row}; A7.* Required: nothing false"
    ):
        verdicts.require()
    assert issubclass(PropertyViolated, AssertionError)


def test_verdicts_in_text_and_in_a_notebook(damaged):
    trace, row = damaged
    verdicts = check(trace)
    assert f"(row {row}; A7)" in repr(verdicts)
    html = verdicts._repr_html_()
    assert html.count("<tr>") == 1 + len(PROPERTIES)
    assert "<script" not in Verdicts([], "<script>")._repr_html_()


def test_the_command(tmp_path, damaged):
    path = trace_of(ps.SSP(1), "a primary dies", replicas=1).save(tmp_path / "whole.parquet")
    good = CliRunner().invoke(app, ["check", str(path)])
    assert good.exit_code == 0 and "0 false" in good.stdout and "acknowledged kept" in good.stdout
    bad = CliRunner().invoke(app, ["check", str(damaged[0].save(tmp_path / "damaged.parquet"))])
    assert bad.exit_code == 1 and "false    min rises" in bad.stdout


def test_the_command_on_no_trace(tmp_path, monkeypatch, capsys):
    from psbook import cli

    monkeypatch.setattr(sys, "argv", ["psbook", "check", str(tmp_path / "none.parquet")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2 and "no such file" in capsys.readouterr().err


def test_a_saved_trace_is_judged_alike(tmp_path):
    for model in (ps.BSP(), ps.SSP(1, gate="clock")):
        trace = trace_of(model, "a primary dies", replicas=1, scheme="primary-backup")
        again = Trace.load(trace.save(tmp_path / "trace.parquet"))
        pd.testing.assert_frame_equal(check(trace).frame, check(again).frame)


def test_a_hundred_thousand_rows_take_seconds():
    async def program(worker):
        for _ in range(200):
            value = await worker.pull("w")
            await worker.compute(lambda: None)
            worker.push("w", np.ones_like(value))
            await worker.clock()

    cluster = ps.Simulator(
        workers=8, servers=4, compute=ps.Exponential(0.1), safety=ps.Safety(replicas=1),
        faults=ps.Faults(),
    )  # fmt: skip
    trace = ps.Job(program, tables={"w": ps.Table(8)}).run(cluster, ps.SSP(2)).trace
    assert len(trace) > 100_000
    begin = time.process_time()
    verdicts = check(trace)
    assert time.process_time() - begin < 10.0
    assert verdicts.ok
    assert verdicts["reads complete"].reached > 5000


@pytest.mark.dask
@pytest.mark.parametrize(
    "model", [ps.BSP(), ps.SSP(1), ps.SSP(1, gate="clock"), ps.BoundedDelay(1), ps.Serial()],
    ids=lambda model: model.label,
)  # fmt: skip
def test_a_run_on_real_processes(model):
    from tests.trace.judged_runs import program

    job = ps.Job(program, data=np.arange(40).reshape(40, 1), tables={"w": ps.Table(6), "b": ps.Table(4)})
    verdicts = job.run(ps.Dask(workers=3, servers=2, compute=ps.Exponential(0.01)), model).check()
    assert verdicts.ok, verdicts
    for name in ("applied once", "acknowledged kept", "none missing", "versions rise", "staleness conserved"):
        assert verdicts[name].verdict == "true", verdicts[name]
