"""A sweep is the runs one would make one by one, in a tidy table; what fails is named and stops nothing."""

import math
import re

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import psbook as ps
from psbook.errors import InvalidJob, PsbookError
from psbook.experiments import running
from psbook.trace import statistics

CLUSTER = ps.Simulator(workers=3, servers=2, compute=ps.Exponential(0.1), seed=7)
MODELS = [ps.BSP(), ps.SSP(2), ps.ASP()]


def pull_towards_one(w, batch):
    return ((w - 1) ** 2).sum() / 2, w - 1


def distance(w):
    return float(np.square(np.asarray(w, np.float64) - 1).sum()) / 2


def quadratic(rate=0.1, iterations=4, kernel=pull_towards_one):
    """Half the squared distance to 1: one round of BSP shrinks it by (1 − rate)²."""
    table = ps.Table(4, update=ps.SGD(rate), dtype="float32")
    return ps.Job(
        ps.Loop(kernel=kernel),
        data=np.zeros(24),
        tables={"w": table},
        evaluate=distance,
        iterations=iterations,
    )


@pytest.fixture(scope="module")
def result():
    return ps.sweep(quadratic(), CLUSTER, {"model": MODELS, "rate": [0.1, 0.5]}, 2, target=0.5)


def test_every_column_is_documented_and_the_order_is_that_of_the_grid(result):
    for frame in (result.table, result.history):
        assert list(frame.columns) == list(frame.attrs["columns"])
    assert result.table["run"].tolist() == list(range(12))
    asked = [(m.label, rate, seed) for m in MODELS for rate in (0.1, 0.5) for seed in (7, 8)]
    assert list(result.table[["model", "rate", "seed"]].itertuples(index=False, name=None)) == asked
    assert result.parameters == ["model", "rate"] and result.seeds == [7, 8] and result.errors.empty


@pytest.mark.parametrize("engine", ["messages", "compiled"])
def test_rows_are_those_of_single_runs(engine):
    """Message by message to the last bit; compiled, times to rounding and losses to float32's tolerance."""
    swept = ps.sweep(quadratic(), CLUSTER, {"model": MODELS, "rate": [0.1, 0.5]}, 2, engine=engine)
    assert set(swept.table["engine"]) == {engine}
    for row in swept.table.to_dict("records"):
        model = next(model for model in MODELS if model.label == row["model"])
        cluster = ps.Simulator(
            3, 2, ps.Exponential(0.1), seed=row["seed"], trace="iterations", engine="messages"
        )
        run = quadratic(rate=row["rate"]).run(cluster, model)
        single, exact = statistics.summary(run.trace), engine == "messages"
        for name in statistics.SUMMARY:
            relative = 0.0 if exact else 1e-5 if name == "loss_final" else 1e-9
            absolute = 0.0 if exact else 1e-12
            assert row[name] == pytest.approx(single[name], rel=relative, abs=absolute, nan_ok=True), name
        history = swept.history[swept.history["run"] == row["run"]]
        for name in ("iterations", "updates"):
            assert history[name].tolist() == run.history[name].tolist()
        assert np.allclose(history["time_s"], run.history["time_s"], rtol=0 if exact else 1e-12, atol=0)
        assert np.allclose(history["loss"], run.history["loss"], rtol=0 if exact else 1e-5, atol=0)


def test_bsp_has_the_loss_of_the_closed_form(result):
    rows = result.table[result.table["model"] == "BSP"]
    assert rows["loss_final"].to_numpy() == pytest.approx(2 * (1 - rows["rate"].to_numpy()) ** 8, rel=1e-5)


def test_time_to_target_is_that_of_the_history(result):
    for row in result.table.itertuples():
        history = result.history[result.history["run"] == row.run]
        times = history.loc[history["loss"] <= 0.5, "time_s"]
        assert row.time_to_target_s == (times.min() if len(times) else math.inf)
    assert set(np.isfinite(result.table["time_to_target_s"])) == {True, False}, "both were seen"


def test_parameters_of_functions_go_to_the_functions():
    def job(length):
        return quadratic(iterations=length)

    def cluster(severity, workers=2):
        return ps.Simulator(workers=workers, compute=ps.Constant(0.1).slow({0: severity}))

    swept = ps.sweep(job, cluster, {"length": [2, 3], "severity": [1.0, 4.0], "servers": [1, 2]}, 1)
    rows = swept.table
    assert rows["seconds"].to_numpy() == pytest.approx(0.1 * rows["length"] * rows["severity"], rel=1e-9)
    assert rows["iterations"].tolist() == (2 * rows["length"]).tolist()
    assert rows["severity"].dtype == np.float64 and rows["length"].dtype == np.int64


def test_objects_have_labels_and_their_full_text_is_kept():
    laws = [ps.Constant(0.1), ps.Exponential(0.1)]
    swept = ps.sweep(quadratic(), CLUSTER, {"compute": laws, "model": {"none": ps.ASP(), "all": ps.BSP()}}, 1)
    assert swept.table["compute"].unique().tolist() == [law.label for law in laws]
    assert swept.table["model"].unique().tolist() == ["none", "all"]
    assert swept.meta["parameters"] == {
        "compute": {law.label: repr(law) for law in laws}, "model": {"none": "ASP()", "all": "BSP()"},
    }  # fmt: skip
    mixed = ps.sweep(quadratic(), CLUSTER, {"compute": [0.1, ps.Exponential(0.1)]}, 1)
    assert mixed.table["compute"].tolist() == ["0.1", "Exponential(0.1)"]


def test_batches_of_the_job_are_parameters():
    swept = ps.sweep(quadratic(iterations=None), CLUSTER, {"batch_size": [2, 4], "epochs": [1, 3]}, 1)
    rows = swept.table  # 24 rows on 3 workers: 8 each
    assert rows["iterations"].tolist() == [3 * 8 // size * epochs for size in (2, 4) for epochs in (1, 3)]

    async def train(worker):
        await worker.clock()

    with pytest.raises(InvalidJob, match="batch_size is given to a program"):
        ps.sweep(ps.Job(train, tables={"w": ps.Table(1)}), CLUSTER, {"batch_size": [2]})


def breaks_at(limit):
    def kernel(w, batch):
        if float(w.sum()) > limit:
            raise ValueError("too far")
        return pull_towards_one(w, batch)

    return kernel


def test_a_point_that_fails_is_named_and_the_others_are_kept():
    def job(limit):
        return quadratic(rate=0.5, kernel=breaks_at(limit))

    swept = ps.sweep(job, CLUSTER, {"limit": [1.0, 1000.0]}, 2, target=1.0)
    assert swept.errors[["run", "limit", "seed"]].values.tolist() == [[0, 1.0, 7], [1, 1.0, 8]]
    assert all("too far" in error for error in swept.errors["error"])
    failed, fine = swept.table[:2], swept.table[2:]
    assert failed[["seconds", "loss_final", "time_to_target_s"]].isna().all(axis=None)
    assert np.isfinite(fine["loss_final"]).all() and "2 failed" in repr(swept)
    assert swept.summary()[["runs", "failed"]].values.tolist() == [[0, 2], [2, 0]]
    with pytest.raises(PsbookError, match=r"point limit=1\.0, seed=7 failed: .*too far"):
        ps.sweep(job, CLUSTER, {"limit": [1000.0, 1.0]}, 1, on_error="raise")


def test_a_combination_that_does_not_fit_is_kept_by_name_unless_all_are():
    over = {"servers": [1, 9]}
    swept = ps.sweep(quadratic(), CLUSTER, over, 1)
    assert swept.errors["servers"].tolist() == [9] and "9 servers" in swept.errors["error"][0]
    assert math.isfinite(swept.table["loss_final"][0])
    with pytest.raises(InvalidJob, match="point servers=9, seed=7: 9 servers"):
        ps.sweep(quadratic(), CLUSTER, over, 1, on_error="raise")
    with pytest.raises(InvalidJob, match="9 servers"):
        ps.sweep(quadratic(), CLUSTER, {"servers": [9]}, 1)


@pytest.mark.parametrize("engine", ["auto", "messages", "compiled"])
def test_a_run_that_diverges_has_an_infinite_loss_and_is_no_failure(engine):
    """A rate of 10 multiplies the distance by −9 a round; the kernel gives NaN beyond 50, in the third."""

    def kernel(w, batch):
        return 0.0, jnp.where(jnp.abs(w) > 50, jnp.nan, w - 1)

    swept = ps.sweep(quadratic(iterations=6, kernel=kernel), CLUSTER, {"rate": [0.1, 10.0]}, 1, engine=engine)
    assert swept.table["diverged"].tolist() == [False, True]
    assert swept.table["loss_final"][1] == math.inf and swept.errors.empty
    assert (swept.history["run"] == 1).sum() > 1, "the history goes up to there"
    assert swept.table["engine"][1] == ("messages" if engine == "messages" else "compiled")
    assert swept.losses_at(1e9)[1] == math.inf


def test_auto_says_why_it_did_not_compile():
    network = {"none": None, "queues": ps.Network(bandwidth=1e6)}
    swept = ps.sweep(quadratic(), CLUSTER, {"network": network}, 1)
    assert swept.table["engine"].tolist() == ["compiled", "messages"]
    assert swept.table["engine_why"].tolist() == ["", "messages queue in the network"]
    own = ps.Simulator(workers=3, engine="messages")
    assert ps.sweep(quadratic(), own, {}, 1).table["engine_why"].tolist() == ["engine='messages'"]
    forced = ps.sweep(quadratic(), CLUSTER, {"network": network}, 1, engine="compiled")
    assert "messages queue in the network" in forced.errors["error"][0]


def test_a_thousand_compiled_points_are_one_call(monkeypatch):
    calls, real = [], running.run_batch
    monkeypatch.setattr(running, "run_batch", lambda points: calls.append(len(points)) or real(points))
    swept = ps.sweep(quadratic(iterations=1), CLUSTER, {"rate": np.geomspace(0.01, 0.5, 25)}, 40)
    assert calls == [1000] and len(swept.table) == 1000


def test_an_engine_that_breaks_down_takes_no_point_with_it(monkeypatch):
    def broken(points):
        raise MemoryError("too large")

    monkeypatch.setattr(running, "run_batch", broken)
    swept = ps.sweep(quadratic(), CLUSTER, {"rate": [0.1, 0.5]}, 1)
    assert swept.table["engine"].tolist() == ["messages"] * 2 and swept.errors.empty
    assert swept.table["engine_why"][0] == "the compiled engine raised MemoryError: too large"
    forced = ps.sweep(quadratic(), CLUSTER, {"rate": [0.1, 0.5]}, 1, engine="compiled")
    assert forced.errors["error"].tolist() == ["MemoryError: too large"] * 2


def test_runs_can_be_picked(result):
    picked = result.where(model=["BSP", "ASP"], rate=0.5, seed=8)
    assert picked.table[["model", "rate", "seed"]].values.tolist() == [["BSP", 0.5, 8], ["ASP", 0.5, 8]]
    assert picked.table["run"].tolist() == [0, 1] and set(picked.history["run"]) == {0, 1}
    for name in ("loss_final", "time_to_target_s", "hash"):
        whole = result.table.set_index("hash")[name] if name != "hash" else result.table["hash"]
        assert set(picked.table[name]) <= set(whole)
    with pytest.raises(InvalidJob, match="no run has"):
        result.where(rate=0.7)
    with pytest.raises(InvalidJob, match="a parameter: model, rate"):
        result.where(workers=3)


def test_pictures_are_drawn_by_name(result):
    for what, arguments in (("bands", ()), ("heatmap", ("loss_final", "rate", "model")), ("frontier", ())):
        figure = result.plot(what, *arguments)
        figure.draw_without_rendering()
        assert figure.axes
    with pytest.raises(InvalidJob, match="required: one of bands, efficiency"):
        result.plot("pie")


def test_one_point_is_a_sweep():
    swept = ps.sweep(quadratic(), CLUSTER, {}, 3)
    assert swept.parameters == [] and swept.table["seed"].tolist() == [7, 8, 9]
    assert swept.summary()["runs"].tolist() == [3] and "one point" in swept.title


def test_a_job_without_objective_has_times():
    async def train(worker):
        for _ in range(3):
            await worker.compute(lambda: None)
            await worker.clock()

    swept = ps.sweep(
        ps.Job(train, tables={"w": ps.Table(1)}), ps.Simulator(compute=0.1), {"model": MODELS}, 1
    )
    assert swept.table["seconds"].to_numpy() == pytest.approx(0.3) and swept.history.empty
    assert swept.table["loss_final"].isna().all() and not swept.table["diverged"].any()


def test_a_summary_is_over_seeds():
    swept = ps.sweep(quadratic(), CLUSTER, {"model": MODELS, "rate": [0.1, 0.5]}, 5)
    rows = swept.summary(["model"], ["seconds", "loss_final"])
    assert rows["model"].tolist() == ["BSP", "SSP(2)", "ASP"] and rows["runs"].tolist() == [10, 10, 10]
    for row in rows.itertuples():
        seconds = swept.table.loc[swept.table["model"] == row.model, "seconds"]
        assert row.seconds == np.median(seconds)
        assert seconds.min() <= row.seconds_low <= row.seconds <= row.seconds_high <= seconds.max()
    assert list(rows.columns) == list(rows.attrs["columns"])
    assert swept.summary([])["runs"].tolist() == [30]
    for bad, text in (
        ({"by": "servers"}, "a parameter of the sweep"),
        ({"quantity": "speed"}, "a column of numbers"),
        ({"quantity": "model"}, "a column of numbers"),
    ):
        with pytest.raises(InvalidJob, match=text):
            swept.summary(**bad)


@pytest.mark.parametrize(
    ("over", "options", "text"),
    [
        ({"modle": MODELS}, {}, "did you mean 'model'?"),
        ({"severity": [1]}, {}, "required: one of model, rate, batch_size, epochs, workers, servers"),
        ({"model": [ps.BSP]}, {}, "point model="),
        ({"model": ["bsp"]}, {}, "psbook.Consistency"),
        ({"model": [ps.BSP(), ps.BSP()]}, {}, "each once"),
        ({"model": []}, {}, "at least one"),
        ({"workers": 4}, {}, "a list of values, as [4]"),
        ({"workers": [2, 0]}, {}, "point workers=0: workers=0"),
        ({"rate": [0.1, -1.0]}, {}, "point rate=-1.0"),
        ({"seed": [1]}, {}, "Use seeds="),
        ({"iterations": [1]}, {}, "is a column of every sweep"),
        ([("model", MODELS)], {}, "a mapping"),
        ({"rate": [0.1]}, {"seeds": 0}, "at least one, each once"),
        ({"rate": [0.1]}, {"seeds": [3, 3]}, "at least one, each once"),
        ({"rate": [0.1]}, {"seeds": "12"}, "whole numbers"),
        ({"rate": [0.1]}, {"seeds": [1.5]}, "whole numbers"),
        ({"rate": [0.1]}, {"engine": "fast"}, "'auto', 'compiled', 'messages'"),
        ({"rate": [0.1]}, {"on_error": "ignore"}, "'keep' or 'raise'"),
        ({"rate": [0.1]}, {"target": "low"}, "a loss"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(monkeypatch, over, options, text):
    def never(*_):
        raise AssertionError("something ran")

    monkeypatch.setattr(running, "run_batch", never)
    monkeypatch.setattr(running, "run_by_messages", never)
    with pytest.raises(InvalidJob, match=re.escape(text)):
        ps.sweep(quadratic(), CLUSTER, over, **options)


def test_a_function_gets_what_it_needs_or_is_refused():
    with pytest.raises(InvalidJob, match=r"job= as a function: .*'length'"):
        ps.sweep(lambda length: quadratic(iterations=length), CLUSTER, {"rate": [0.1]})
    with pytest.raises(InvalidJob, match="job= returned 3"):
        ps.sweep(lambda length: 3, CLUSTER, {"length": [1]})
    with pytest.raises(InvalidJob, match=r"point length=1: KeyError: 'lost'"):
        ps.sweep(lambda length: {}["lost"], CLUSTER, {"length": [1]})
    for job, cluster in ((3, CLUSTER), (quadratic(), 3)):
        with pytest.raises(InvalidJob, match="or a function that returns one"):
            ps.sweep(job, cluster, {"rate": [0.1]})


def test_a_table_survives_its_files(result, tmp_path):
    loaded = ps.Sweep.load(result.save(tmp_path / "out"))
    pd.testing.assert_frame_equal(loaded.table, result.table, check_exact=True)
    pd.testing.assert_frame_equal(loaded.history, result.history, check_exact=True)
    assert loaded.target == 0.5 and loaded.table.attrs == result.table.attrs and loaded.title == result.title
    plain = pd.read_parquet(tmp_path / "out" / "table.parquet")
    assert plain["loss_final"].tolist() == result.table["loss_final"].tolist()
    assert loaded.meta["versions"][0]["psbook"] == ps.__version__
    assert loaded.meta["configuration"]["job.tables.w.update.rate"] == "0.1"
