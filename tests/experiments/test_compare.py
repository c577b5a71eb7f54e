"""A comparison is fair, says what it did, and writes files that open without psbook running."""

import math
import re

import numpy as np
import pandas as pd
import pytest

import psbook as ps
from psbook.errors import InvalidJob, Unsupported
from psbook.trace import statistics


def quadratic(rate=0.1, iterations=30):
    """Half the squared distance to 1 in four dimensions: one round of BSP shrinks it by (1 − rate)²."""
    loop = ps.Loop(kernel=lambda w, batch: (float(np.square(w - 1).sum()) / 2, w - 1))
    return ps.Job(
        loop,
        data=np.zeros(64),
        tables={"w": ps.Table(4, update=ps.SGD(rate), dtype="float64")},
        evaluate=lambda w: float(np.square(w - 1).sum()) / 2,
        iterations=iterations,
    )


CLUSTER = ps.Simulator(workers=4, servers=2, compute=ps.Exponential(0.1), seed=5)


@pytest.fixture(scope="module")
def result():
    return ps.compare(quadratic(), CLUSTER, [ps.BSP(), ps.SSP(2), ps.ASP()], seeds=3)


def test_every_documented_column_is_there(result):
    assert list(result.table.columns) == list(result.table.attrs["columns"])
    assert "faults" not in result.table
    assert result.table["model"].tolist() == ["BSP", "SSP(2)", "ASP"]


def test_bsp_reaches_the_loss_of_the_closed_form(result):
    row = result.table.set_index("model").loc["BSP"]
    assert row["loss_final"] == pytest.approx(2.0 * 0.9 ** (2 * 30), rel=1e-9)
    assert row["updates"] == 30
    assert row["staleness_max"] == 0


def test_all_models_meet_the_same_luck(result):
    """Compute times of each worker and iteration are the same under every model, seed by seed."""
    for seed in range(3):
        computed = [
            statistics.waiting(runs[seed].trace).set_index("node")["compute"] for runs in result.runs.values()
        ]
        for other in computed[1:]:
            pd.testing.assert_series_equal(computed[0], other, rtol=1e-12)


def test_nobody_is_slower_than_bsp_or_faster_than_asp(result):
    seconds = result.table.set_index("model")["seconds"]
    assert seconds["BSP"] >= seconds["SSP(2)"] >= seconds["ASP"]


def test_time_to_target_is_that_of_the_history(result):
    for entry in result.entries:
        times = []
        for run in entry.runs:
            history = run.history
            times.append(history.loc[history["loss"] <= result.target, "time_s"].min())
        row = result.table.set_index("model").loc[entry.model.label]
        assert row["time_to_target_s"] == pytest.approx(np.median(times))
        assert row["reached"] == "3/3"


def test_an_untuned_comparison_says_so_everywhere(result):
    assert "untuned" in result.title
    assert "untuned" in result.text()
    assert any(
        "untuned" in text.get_text() for text in result.plot().findobj(lambda a: hasattr(a, "get_text"))
    )


def test_tuning_finds_the_best_rate_of_each_model():
    tuned = ps.compare(
        quadratic(iterations=10), CLUSTER, [ps.BSP(), ps.ASP()], seeds=1, tune=[0.01, 1.0, 1.9]
    )
    # One step of rate 1 lands on the minimum of a round; 1.9 overshoots, 0.01 crawls.
    assert tuned.table.set_index("model").loc["BSP", "rate"] == 1.0
    assert tuned.tuned
    assert "untuned" not in tuned.title


def test_a_model_that_diverges_to_nan_is_kept_and_named():
    """A rate of 10 multiplies the distance by −9 a round; the kernel gives NaN beyond 50, in the third."""
    job = quadratic(rate=10.0, iterations=6)
    job.program = ps.Loop(kernel=lambda w, batch: (0.0, np.where(np.abs(w) > 50, np.nan, w - 1)))
    wild = ps.compare(job, CLUSTER, [ps.BSP()], seeds=1, target=0.1)
    assert "NaN" in wild.runs["BSP"][0].meta["diverged"]
    assert math.isnan(wild.table["time_to_target_s"].iloc[0])


def test_a_target_that_nobody_reaches_is_said_to_lie_outside_the_picture():
    few = ps.compare(quadratic(iterations=3), CLUSTER, [ps.BSP()], seeds=1, target=1e-9)
    figure = few.plot()
    figure.draw_without_rendering()  # a warning here is an error
    assert any("lies below" in text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text")))


def test_files_open_without_psbook(result, tmp_path):
    paths = result.save(tmp_path / "out")
    assert pd.read_csv(paths["table"])["model"].tolist() == ["BSP", "SSP(2)", "ASP"]
    assert paths["picture"].read_bytes().startswith(b"\x89PNG")
    report = paths["report"].read_text()
    assert re.search(r'src="data:image/png;base64,[A-Za-z0-9+/]{1000}', report)
    assert "http" not in re.sub(r"base64,[^\"]*", "", report), "nothing is fetched"
    assert len(list(paths["traces"].glob("*.parquet"))) == 9
    loaded = ps.Trace.load(paths["traces"] / "bsp-seed5.parquet")
    assert loaded.hash() == result.runs["BSP"][0].trace.hash()


@pytest.mark.parametrize(
    ("models", "options", "text"),
    [
        ([], {}, "at least one"),
        ([ps.BSP(), ps.BSP()], {}, "each once"),
        ([ps.BSP], {}, "BSP()"),
        ([ps.BSP()], {"seeds": 0}, "at least one"),
        ([ps.BSP()], {"seeds": [1, 1]}, "each once"),
        ([ps.BSP()], {"tune": []}, "learning rates > 0"),
        ([ps.BSP()], {"tune": [0.1, -1]}, "learning rates > 0"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(models, options, text):
    with pytest.raises(InvalidJob, match=re.escape(text)):
        ps.compare(quadratic(), CLUSTER, models, **options)


def test_a_job_without_objective_cannot_be_compared():
    async def idle(worker):
        await worker.clock()

    with pytest.raises(InvalidJob, match="objective"):
        ps.compare(ps.Job(idle, tables={"w": ps.Table(1)}), CLUSTER, [ps.BSP()])


CRASH = ps.Faults(ps.Crash("server-1", at=0.6))
SAFE = ps.Simulator(
    workers=4, servers=2, compute=ps.Exponential(0.1), seed=5,
    safety=ps.Safety(replicas=1, lease=0.5, resend=0.2),
)  # fmt: skip


@pytest.fixture(scope="module")
def struck():
    return ps.compare(quadratic(), SAFE, [ps.BSP(), ps.ASP()], seeds=2, faults=CRASH)


def test_each_model_runs_without_and_with_the_faults(struck):
    rows = struck.table
    assert rows[["model", "faults"]].values.tolist() == [
        ["BSP", "without"], ["BSP", "with"], ["ASP", "without"], ["ASP", "with"],
    ]  # fmt: skip
    assert list(rows.columns) == list(rows.attrs["columns"])
    for label, runs in struck.runs.items():
        told = [run.trace.of("fault")["node"].tolist() for run in runs]
        assert told == ([["server-1"]] * 2 if label.endswith("with faults") else [[]] * 2)


def test_a_lost_server_costs_time_and_under_bsp_nothing_else(struck):
    for one, other in zip(struck.runs["BSP"], struck.runs["BSP with faults"], strict=True):
        assert np.array_equal(one.tables["w"], other.tables["w"])
        assert other.seconds > one.seconds
    quiet = ps.compare(quadratic(), SAFE, [ps.BSP()], seeds=2)
    assert struck.table["seconds"].iloc[0] == quiet.table["seconds"].iloc[0]


def test_what_the_faults_cost_is_said_everywhere(struck, tmp_path):
    without, hit = struck.table["time_to_target_s"].iloc[:2]
    assert f"BSP {hit - without:+.3g} simulated s to the target ({hit / without - 1:+.0%})" in struck.cost
    assert CRASH.sentences[0] in struck.cost
    figure = struck.plot()
    assert struck.cost in figure.psbook_sentence and struck.cost in struck.text()
    assert "server-1 crashes" in [text.get_text() for text in figure.axes[0].texts]
    paths = struck.save(tmp_path)
    assert "<th>faults</th>" in paths["report"].read_text()
    assert len(list(paths["traces"].glob("bsp-with-faults-seed*.parquet"))) == 2


def test_a_target_that_is_not_reached_is_no_time_to_it():
    few = ps.compare(quadratic(iterations=8), SAFE, [ps.ASP()], seeds=1, faults=CRASH, target=1e-9)
    longer = few.table["seconds"].diff().iloc[1]
    assert few.cost.endswith(
        f"They cost ASP {longer:+.3g} simulated s of the whole run, and the target is not reached without "
        "and with them."
    )
    at_once = ps.compare(quadratic(iterations=8), SAFE, [ps.ASP()], seeds=1, faults=CRASH, target=1e9)
    assert at_once.cost.endswith("They cost ASP +0 simulated s to the target.")


def test_lines_with_faults_have_the_colour_of_the_model_and_another_form(struck):
    lines = [line for line in struck.plot().axes[0].lines if not line.get_label().startswith("_")]
    plain, hit = lines[:2]
    assert plain.get_color() == hit.get_color() and plain.get_linestyle() == hit.get_linestyle()
    assert plain.get_marker() in ("", "None", None) and hit.get_marker() == "X"


def test_a_cluster_that_names_no_safety_gets_a_replica_in_both_runs():
    plain = ps.Simulator(workers=2, servers=2, compute=0.1)
    result = ps.compare(quadratic(iterations=5), plain, [ps.ASP()], seeds=1,
                        faults=ps.Faults(ps.Crash("server-0", at=0.2)))  # fmt: skip
    for runs in result.runs.values():
        assert runs[0].trace.of("replicate").shape[0] > 0


def test_faults_are_refused_where_they_cannot_be():
    with pytest.raises(Unsupported, match=r"faults=… on Dask; required: a ps\.Simulator"):
        ps.compare(quadratic(), ps.Dask(), [ps.BSP()], faults=CRASH)
    with pytest.raises(InvalidJob, match="in one place"):
        ps.compare(quadratic(), ps.Simulator(servers=2, faults=CRASH), [ps.BSP()], faults=CRASH)
    for nothing in (ps.Faults(), ps.Crash("server-0", at=1)):
        with pytest.raises(InvalidJob, match="faults="):
            ps.compare(quadratic(), SAFE, [ps.BSP()], faults=nothing)
