"""``psbook sweep``: its own example runs, and a mistake in a file is named by the path of its key."""

import sys
import tomllib

import pandas as pd
import pytest

import psbook as ps
from psbook import cli
from psbook.errors import InvalidJob
from psbook.experiments.by_hand import by_hand
from psbook.experiments.sweep_file import EXAMPLE, read_sweep, sweep_of
from psbook.experiments.sweep_report import save_pictures

SMALL = """
seeds = 2
target = 0.3
out = "small"
[job]
epochs = 1
[cluster]
workers = 2
[over]
model = ["bsp", "asp"]
rate = [0.5, 2.0]
"""


def psbook(monkeypatch, folder, *arguments):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["psbook", "sweep", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def test_a_file_becomes_tables_a_summary_and_pictures(tmp_path, monkeypatch, capsys):
    (tmp_path / "small.toml").write_text(SMALL)
    assert psbook(monkeypatch, tmp_path, "small.toml") == 0
    said = capsys.readouterr().out
    assert "model × 2, rate × 2, 2 seeds, 8 runs" in said
    assert "chosen on 1 seeds and reported on 1 others" in said
    table = pd.read_parquet(tmp_path / "small" / "table.parquet")
    assert table["model"].tolist() == ["BSP"] * 4 + ["ASP"] * 4 and table["engine"].unique() == ["compiled"]
    assert {"table.parquet", "history.parquet", "sweep.json", "bands.png", "heatmap.png"} <= {
        path.name for path in (tmp_path / "small").iterdir()
    }
    assert (tmp_path / "small" / "bands.png").read_bytes().startswith(b"\x89PNG")


def test_two_places_give_a_map_of_winners(tmp_path):
    curves = {
        (model, rate, s, n): [[1, 0.3 + 0.1 * (model == "BSP") * s]] * 4
        for model in ("BSP", "ASP") for rate in (0.1, 1.0) for s in (1, 2) for n in (2, 4)
    }  # fmt: skip
    names = save_pictures(by_hand(["model", "rate", "s", "n"], curves), tmp_path)
    assert "winners.png" in names and all((tmp_path / name).stat().st_size > 1000 for name in names)


def test_a_file_again_goes_on_and_another_one_is_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "a.toml").write_text(SMALL)
    (tmp_path / "b.toml").write_text(SMALL.replace("workers = 2", "workers = 3"))
    assert psbook(monkeypatch, tmp_path, "a.toml") == 0
    first = ps.Sweep.load(tmp_path / "small")
    assert psbook(monkeypatch, tmp_path, "a.toml") == 0
    pd.testing.assert_frame_equal(ps.Sweep.load(tmp_path / "small").table, first.table)
    assert psbook(monkeypatch, tmp_path, "b.toml") == 2
    assert "cluster.workers is 3, and 2 there" in capsys.readouterr().err


def test_the_example_is_a_file_that_reads(tmp_path, monkeypatch, capsys):
    assert psbook(monkeypatch, tmp_path, "--example") == 0
    printed = capsys.readouterr().out
    assert printed == EXAMPLE
    (tmp_path / "example.toml").write_text(printed)
    given = read_sweep(tmp_path / "example.toml")
    assert (given.cluster.workers, given.seeds, given.target) == (8, 10, 0.12)
    assert list(given.over) == ["model", "rate", "compute"] and len(given.over["compute"]) == 2
    # What is commented out reads, too.
    more = EXAMPLE.replace('# data = "rows.svm"', "# data").replace("# label", "# label")
    more = more.replace("# service", "service").replace("# network", "network")
    assert sweep_of(tomllib.loads(more)).cluster.network.latency == 1e-4


@pytest.mark.slow
def test_the_example_runs(tmp_path, monkeypatch, capsys):
    (tmp_path / "example.toml").write_text(EXAMPLE)
    assert psbook(monkeypatch, tmp_path, "example.toml") == 0
    assert "180 runs" in capsys.readouterr().out


def test_batches_and_data_of_a_file(tmp_path):
    rows = "\n".join(f"{row % 2},{row % 2 + 0.1 * (row % 7)},{row % 5}" for row in range(60))
    (tmp_path / "rows.csv").write_text("label,a,b\n" + rows)
    text = f"""
    [job]
    data = "{tmp_path / "rows.csv"}"
    label = "label"
    [over]
    batch_size = [9, 27]
    epochs = [1, 2]
    """
    given = sweep_of(tomllib.loads(text))
    swept = ps.sweep(given.job, given.cluster, given.over, 1)
    assert "rows.csv" in swept.title
    each = -(-54 // 4)  # 54 of 60 rows on 4 workers: 14 at most
    steps = [4 * -(-each // size) * epochs for size in (9, 27) for epochs in (1, 2)]
    assert swept.table["iterations"].tolist() == steps


def test_runs_that_fail_are_said(tmp_path, monkeypatch, capsys):
    (tmp_path / "a.toml").write_text("seeds = 1\nout = 'x'\n[job]\nepochs = 1\n[over]\nservers = [1, 99]\n")
    assert psbook(monkeypatch, tmp_path, "a.toml") == 0
    assert "run 1 failed: InvalidJob: 99 servers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sedes = 3", "sedes: unknown key; required: one of seeds, target, engine, out"),
        ("sedes = 3", "job, cluster, over; did you mean seeds?"),
        ("seeds = 0", "seeds: 0; required: a whole number >= 1."),
        ("seeds = [1, -1]", "seeds: -1"),
        ("target = 'low'", "target: 'low'; required: a number."),
        ("engine = 'fast'", "engine: 'fast'"),
        ("out = 3", "out: 3; required: a text"),
        ("job = 3", "job: 3; required: a table"),
        ("[job]\nrates = 1", "job.rates: unknown key; required: one of data, label"),
        ("[job]\nepochs = 1.5", "job.epochs: 1.5; required: a whole number"),
        ("[job]\nrate = true", "job.rate: True; required: a number."),
        ("[cluster]\nworker = 4", "cluster.worker: unknown key"),
        ("[cluster]\nworker = 4", "did you mean cluster.workers?"),
        ("[cluster]\nworkers = 0", "cluster.workers: 0"),
        ("[cluster]\ncompute = 'slowly:1'", "cluster.compute: law 'slowly:1'"),
        ("[cluster]\nnetwork = 'fast'", "cluster.network: 'fast'"),
        ("[over]\nmodle = ['bsp']", "over.modle: unknown key"),
        ("[over]\nmodel = ['bsp', 'foo']", "over.model[1]: model 'foo'"),
        ("[over]\nmodel = 'bsp'", "over.model: 'bsp'; required: a list"),
        ("[over]\nmodel = []", "over.model: []"),
        ("[over.compute]\nlight = -1", "over.compute.light: "),
        ("seeds = 3", "over: missing"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_by_its_key(text, said):
    with pytest.raises(InvalidJob) as error:
        sweep_of(tomllib.loads(text))
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "psbook sweep --example prints one"),
        (["nothing.toml"], "nothing.toml: No such file"),
        (["bad.toml"], "bad.toml: not TOML"),
        (["latin.toml"], "latin.toml: not TOML"),
    ],
)
def test_rubbish_gets_one_line(tmp_path, monkeypatch, capsys, arguments, said):
    (tmp_path / "bad.toml").write_text("seeds = = 3")
    (tmp_path / "latin.toml").write_bytes(b"out = 'caf\xe9'")
    assert psbook(monkeypatch, tmp_path, *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("psbook: ") and said in error and "Traceback" not in error
