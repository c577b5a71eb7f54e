"""The command does its job, and answers rubbish with one line and exit status 2."""

import subprocess
import sys

import pytest

SHORT = ["--workers", "3", "--seeds", "1", "--epochs", "2", "--straggler", "exponential:0.02"]


def psbook(*arguments, folder, timeout=110):
    code = "from psbook.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


def test_compare_prints_a_table_and_says_where_the_files_are(tmp_path):
    done = psbook("compare", *SHORT, "--models", "bsp,ssp:1,delay:2", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in ("BSP", "SSP(1)", "Delay(2)", "untuned", "report.html"))
    out = tmp_path / "psbook-compare"
    assert {path.name for path in out.iterdir()} == {"comparison.png", "report.html", "table.csv", "traces"}

    events = psbook("trace", str(next((out / "traces").iterdir())), "--events", "3", folder=tmp_path)
    assert events.returncode == 0, events.stderr
    assert "iterations_per_s" in events.stdout


@pytest.mark.dask
@pytest.mark.slow
def test_compare_on_real_processes(tmp_path):
    done = psbook("compare", *SHORT, "--models", "ssp:1", "--backend", "dask", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "times in s" in done.stdout


def test_compare_reads_a_file(tmp_path):
    rows = "\n".join(f"{row % 2},{row % 2 + 0.1 * (row % 7)},{row % 5}" for row in range(60))
    (tmp_path / "rows.csv").write_text("label,a,b\n" + rows)
    done = psbook("compare", "rows.csv", "--label", "label", *SHORT, "--models", "asp", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "rows.csv" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nothing.svm"], "nothing.svm"),
        (["bad.svm"], "line 2"),
        (["empty.csv"], "empty"),
        (["--models", "bsp,foo"], "'foo'"),
        (["--models", "ssp:-1"], ">= 0"),
        (["--workers", "0"], "workers=0"),
        (["--servers", "99"], "99 servers"),
        (["--straggler", "slowly:1"], "slowly"),
        (["--network", "fast"], "'fast' is no number"),
        (["--tune", "0.1,x"], "'x' is no number"),
        (["--l2", "-1"], "l2"),
        (["--out", "bad.svm/folder"], "bad.svm"),
        (["--address", "tcp://127.0.0.1:1"], "--backend dask"),
        (["--backend", "dask", "--network", "1e9:0"], "--network"),
    ],
)
def test_rubbish_gets_one_line(tmp_path, monkeypatch, capsys, arguments, text):
    from psbook import cli

    (tmp_path / "bad.svm").write_text("1 1:0.5\n0 1:x\n")
    (tmp_path / "empty.csv").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["psbook", "compare", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert error.startswith("psbook: ")
    assert text in error
    assert "Traceback" not in error
