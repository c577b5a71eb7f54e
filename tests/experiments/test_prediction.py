"""Calibration recovers what a trace was simulated with; predictions agree with the simulator's truth."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import psbook as ps
from psbook.errors import DataError, InvalidJob
from psbook.experiments.calibrate_fit import Compute
from psbook.experiments.calibrate_laws import distance, fit_law
from psbook.experiments.prediction import recorded_model
from psbook.trace.statistics import summary
from tests.compiled.comparing import JOBS

JOB = JOBS["plain"].with_batches(size=8, iterations=150)
SHORT = JOBS["plain"].with_batches(size=8, iterations=40)


def recorded(job=JOB, model=None, **options):
    cluster = {"workers": 2, "compute": ps.Gamma(0.1, 4.0), "trace": "iterations", "seed": 5, **options}
    return job.run(ps.Simulator(**cluster), model or ps.BSP())


def inside(calibration, parameter, truth, confidence=0.99):
    row = calibration.parameters(confidence).set_index("parameter").loc[parameter]
    return row["low"] <= truth <= row["high"]


# Laws


LAWS = {
    "Exponential": (ps.Exponential(0.1), {"ShiftedExponential tail": 0.1}),
    "ShiftedExponential": (
        ps.ShiftedExponential(0.1, 0.05),
        {"ShiftedExponential shift": 0.1, "ShiftedExponential tail": 0.05},
    ),
    "Gamma": (ps.Gamma(0.1, 3.0), {"Gamma mean": 0.1, "Gamma shape": 3.0}),
    "LogNormal": (ps.LogNormal(0.1, 0.8), {"LogNormal mean": 0.1, "LogNormal sigma": 0.8}),
    "Pareto": (ps.Pareto(0.1, 4.0), {"Pareto scale": 0.1, "Pareto shape": 4.0}),
    "Uniform": (ps.Uniform(0.1, 0.3), {"Uniform low": 0.1, "Uniform high": 0.3}),
}


@pytest.mark.parametrize("family", LAWS)
def test_parameters_of_a_law_lie_in_their_intervals(family):
    law, truth = LAWS[family]
    calibration = ps.calibrate(recorded(compute=law, seed=8))
    found = calibration.compute.base.family
    assert found == family or (family, found) == ("Exponential", "ShiftedExponential")
    if found == "Exponential":
        truth = {"Exponential mean": 0.1}
    for parameter, value in truth.items():
        assert inside(calibration, parameter, value), calibration.parameters()
    assert max(calibration.distances) < 1.63 / np.sqrt(150)


@pytest.mark.parametrize("family", LAWS)
def test_intervals_cover_as_often_as_they_say(family):
    """Of 30 recordings, 90 % intervals of each number miss a few: binomial, at most 9 (p < .001)."""
    law, truth = LAWS[family]
    missed = dict.fromkeys(truth, 0)
    for seed in range(30):
        samples = tuple(law.times(worker, 80, seed) for worker in range(2))
        fit = Compute({}, 0.0, None, fit_law(np.concatenate(samples), family_of(family)), samples)
        drawn = [fit.resampled(k).parameters() for k in range(60)]
        for name, value in truth.items():
            found = fit.parameters()[name]
            low, high = np.quantile([each[name] for each in drawn], [0.05, 0.95])
            missed[name] += not found**2 / high <= value <= found**2 / low
    assert max(missed.values()) <= 9, missed


def family_of(family):
    return "ShiftedExponential" if family == "Exponential" else family


def test_a_law_of_no_family_is_drawn_from_its_sample():
    mixture = ps.Empirical(np.r_[np.full(50, 0.1), np.full(30, 0.11), np.full(20, 0.35)], "bootstrap")
    calibration = ps.calibrate(recorded(compute=mixture))
    assert max(calibration.distances) < 0.15
    assert calibration.law.mean_of(0) == pytest.approx(mixture.mean, rel=0.15)
    assert distance(np.full(9, 0.1), ps.Constant(0.1)) == 0


# Slowness


def test_spells():
    law = ps.LogNormal(0.1, 0.1).spells(0.03, 4.0, 5)
    calibration = ps.calibrate(recorded(JOB.with_batches(size=8, iterations=400), compute=law))
    spell = calibration.compute.spell
    assert spell.length in (4, 5, 6)
    assert spell.factor == pytest.approx(4.0, rel=0.05)
    assert inside(calibration, "spell probability", 0.03)
    assert calibration.law.mean == pytest.approx(law.mean, rel=0.15)


@pytest.mark.parametrize(
    "law", [ps.Exponential(0.1), ps.Gamma(0.1, 2.0), ps.Pareto(0.1, 3.0), ps.Uniform(0.1, 0.5)]
)
def test_independent_times_have_no_spells(law):
    for seed in range(5):
        compute = ps.calibrate(recorded(compute=law, seed=seed)).compute
        assert compute.spell is None and not compute.slow and not compute.common


def test_a_slow_worker():
    law = ps.LogNormal(0.1, 0.2).slow({1: 2.5})
    calibration = ps.calibrate(recorded(compute=law, workers=3))
    assert set(calibration.compute.slow) == {1}
    assert inside(calibration, "slow factor of worker 1", 2.5)
    assert calibration.simulator(workers=5).compute.mean_of(4) == pytest.approx(0.1, rel=0.05)


def test_common_slowness():
    law = ps.LogNormal(0.1, 0.1).common(ps.LogNormal(1.0, 0.4))
    calibration = ps.calibrate(recorded(compute=law, workers=3))
    assert inside(calibration, "common sigma", 0.4)
    assert calibration.compute.parameters()["LogNormal sigma"] == pytest.approx(0.1, rel=0.2)
    alone = ps.calibrate(recorded(compute=ps.Constant(0.1).common(ps.LogNormal(1.0, 0.4))))
    assert alone.compute.base.family == "Constant" and inside(alone, "common sigma", 0.4)


# Network, servers, cores


def test_costs_of_messages_and_servers_come_back():
    network = ps.Network(bandwidth=1e4, latency=0.003)
    run = recorded(
        SHORT, ps.ASP(), compute=ps.Uniform(0.1, 0.3), network=network, trace="full",
        service={"read": 0.001, "head": ps.Exponential(0.002)},
    )  # fmt: skip
    costs = ps.calibrate(run).costs
    assert costs.latency == pytest.approx(0.003, rel=1e-6)
    assert costs.bandwidth == pytest.approx(1e4, rel=1e-6)
    assert costs.service["read"].law.mean == pytest.approx(0.001, rel=1e-6)
    assert costs.service["head"].law.mean == pytest.approx(0.002, rel=0.35)  # 80 exponential times: 3 sigma
    rows = ps.calibrate(run).table().set_index(["part", "quantity"])
    assert list(rows.loc[[("network", "bandwidth")], "unit"]) == ["bytes/simulated s"]


def test_a_trace_without_messages_tells_the_latency():
    costs = ps.calibrate(recorded(SHORT, ps.ASP(), network=ps.Network(latency=0.01))).costs
    assert costs.latency == pytest.approx(0.01, rel=0.05)
    assert ps.calibrate(recorded(SHORT)).costs.network({}) is None


def test_work_on_shared_cores_comes_back():
    """Three workers on two cores: what each iteration would take on a core of its own."""
    law = ps.Gamma(0.1, 6.0)
    run = recorded(SHORT, ps.ASP(), workers=3, compute=law, hosts=ps.Hosts(2))
    calibration = ps.calibrate(run)
    for rank, work in enumerate(calibration.works):
        np.testing.assert_allclose(work.seconds, law.times(rank, 40, 5), rtol=1e-9)
        assert work.spent.mean() > 1.1 * work.seconds.mean()
    assert calibration.machines.busy == pytest.approx(1.0)
    assert calibration.simulator(workers=6).hosts == ps.Hosts(2)
    assert calibration.simulator(workers=2).hosts is None
    assert ps.calibrate(run, cores=3).works[0].seconds.mean() > 0.11  # as if none were shared


def test_cores_that_others_had_are_not_counted():
    """A machine of four cores, of which somebody else takes all but 1.4."""
    law = ps.Gamma(0.1, 6.0)
    run = recorded(SHORT, ps.ASP(), workers=3, compute=law, hosts=ps.Hosts(1.4))
    trace = ps.Trace(run.trace.frame, {**run.meta, "cores": {"host-0": 4.0}})
    calibration = ps.calibrate(trace)
    assert calibration.machines.cores == pytest.approx(1.4, rel=1e-6)
    np.testing.assert_allclose(calibration.works[1].seconds, law.times(1, 40, 5), rtol=1e-6)


def test_what_only_passes_takes_no_core():
    run = recorded(SHORT, ps.ASP(), workers=3, compute=0.1, hosts=ps.Hosts(2, busy=0.1))
    calibration = ps.calibrate(run)
    assert calibration.machines.busy == pytest.approx(0.1)
    assert calibration.simulator(workers=8).hosts is None
    assert calibration.simulator(workers=30).hosts.busy == pytest.approx(0.1)


def test_what_was_compiled_is_left_out():
    run = recorded(SHORT, ps.ASP(), compute=0.1)
    frame = run.trace.frame
    first = frame.index[(frame["kind"] == "compute") & (frame["node"] == "worker-0")][3]
    frame.loc[first, ["kind", "detail"]] = ["idle", "compiling"]
    extra = frame.loc[[first]].assign(kind="compute", detail="", duration=5.0)
    trace = ps.Trace(pd.concat([frame, extra], ignore_index=True), run.meta)
    work = ps.calibrate(trace).works[0]
    assert 3 not in work.clocks and work.seconds.max() == pytest.approx(0.1)


# Predictions


@pytest.mark.parametrize(
    ("workers", "model"), [(1, ps.BSP()), (4, ps.BSP()), (4, ps.SSP(2)), (4, ps.ASP())], ids=str
)
def test_a_prediction_is_the_truth(workers, model):
    """The median of runs with fitted laws is within 6 % of that of runs with the true ones."""
    cluster = ps.Simulator(workers=2, compute=ps.LogNormal(0.1, 0.4), network=ps.Network(latency=0.01),
                           trace="iterations", seed=3)  # fmt: skip
    long = JOB.with_batches(size=8, iterations=600).run(cluster, ps.BSP())
    prediction = ps.predict(JOB, long, workers=workers, model=model, seeds=12)
    truth = [
        JOB.run(dataclasses.replace(cluster, workers=workers, seed=seed), model) for seed in range(50, 62)
    ]
    seconds = np.median([run.seconds for run in truth])
    assert prediction.seconds.value == pytest.approx(seconds, rel=0.06)
    rates = [summary(run.trace)["iterations_per_s"] for run in truth]
    assert prediction.iterations_per_second.value == pytest.approx(np.median(rates), rel=0.06)
    loss = float(truth[0].history["loss"].iloc[20])
    times = [ps.trace.statistics.time_to_target(run.trace, loss) for run in truth]
    assert prediction.time_to(loss).value == pytest.approx(np.median(times), rel=0.15)
    inside = [prediction.seconds.low <= run.seconds <= prediction.seconds.high for run in truth]
    assert sum(inside) >= 7  # of 12


def test_a_prediction_of_shared_cores():
    hosts = ps.Hosts(cores=1)
    run = recorded(SHORT, ps.BSP(), workers=2, compute=ps.Gamma(0.1, 20.0), hosts=hosts)
    found = ps.predict(SHORT, run, workers=6, model=ps.ASP(), seeds=4)
    assert found.iterations_per_second.value == pytest.approx(10.0, rel=0.05)  # one core: 1/E[X], always
    assert found.seconds.value == pytest.approx(6 * 40 * 0.1, rel=0.05)


def test_intervals_and_tables():
    run = recorded(SHORT)
    prediction = ps.predict(SHORT, run, workers=3, seeds=[7, 9, 11], confidence=0.5)
    assert len(prediction.runs) == 3 and prediction.model == ps.BSP() and prediction.workers == 3
    for found in (prediction.seconds, prediction.iterations_per_second, prediction.time_to(5.0)):
        assert found.low <= found.value <= found.high
    assert prediction.time_to(-1.0).value == np.inf
    assert set(prediction.history["run"]) == {0, 1, 2}
    table = prediction.against(run, 5.0)
    assert set(table) == set(table.attrs["columns"])
    row = table.set_index("quantity").loc["time"]
    assert row["measured"] == run.seconds and row["error"] == pytest.approx(
        row["predicted"] / run.seconds - 1
    )


# What if


def test_without_a_change_the_run_is_the_recorded_one():
    cluster = ps.Simulator(workers=3, compute=ps.Exponential(0.1).spells(0.1, 4, 2), trace="full", seed=2,
                           network=ps.Network(latency=0.01))  # fmt: skip
    for model in (ps.BSP(), ps.SSP(1), ps.ASP()):
        run = SHORT.run(cluster, model)
        found = ps.what_if(run, SHORT, trace="full")
        assert found.old.seconds == pytest.approx(run.seconds, rel=1e-9)
        np.testing.assert_allclose(found.old.tables["w"], run.tables["w"], rtol=1e-5)


def test_with_another_model_the_run_is_the_one_that_the_same_luck_gives():
    cluster = ps.Simulator(workers=3, compute=ps.Exponential(0.1), trace="full", seed=2)
    for model in (ps.SSP(2), ps.ASP()):
        found = ps.what_if(SHORT.run(cluster, ps.BSP()), SHORT, model=model)
        assert found.new.seconds == pytest.approx(SHORT.run(cluster, model).seconds, rel=1e-9)
        assert f"model = {model.label}" in repr(found)


def test_slower_faster_none_and_dead():
    run = SHORT.run(ps.Simulator(workers=3, servers=2, compute=ps.Uniform(0.08, 0.12), seed=2), ps.BSP())
    slow = ps.what_if(run, SHORT, slow={"worker-1": 10.0})
    assert slow.new.seconds == pytest.approx(
        10 * run.trace.of("compute").query("node == 'worker-1'")["duration"].sum()
    )
    assert ps.what_if(run, SHORT, slow={0: 0.5}).new.seconds <= run.seconds
    middle = float(np.median(run.trace.of("compute")["duration"]))
    assert ps.what_if(run, SHORT, no_stragglers=True).new.seconds == pytest.approx(40 * middle)
    dead = ps.what_if(
        run, SHORT, faults=ps.Faults(ps.Crash("server-0", at=1.0)), safety=ps.Safety(replicas=1)
    )
    assert "server-0" in dead.new.trace.of("lost")["node"].to_numpy()
    wider = ps.what_if(run, SHORT, network=ps.Network(latency=0.05))
    assert wider.new.seconds == pytest.approx(run.seconds + 40 * 0.1, rel=0.05)
    table = wider.table().set_index("quantity")
    assert table.loc["seconds", "old"] == pytest.approx(table.loc["seconds", "recorded"])


# Refusals


def test_what_makes_no_sense_is_refused_by_name():
    run = recorded(SHORT)
    with pytest.raises(InvalidJob, match="required: a run"):
        ps.calibrate("run")
    with pytest.raises(DataError, match="Record a longer run"):
        ps.calibrate(recorded(SHORT.with_batches(size=8, iterations=4)))
    with pytest.raises(DataError, match="level 'off'"):
        ps.calibrate(SHORT.run(ps.Simulator(workers=2, trace="off"), ps.BSP()))
    with pytest.raises(InvalidJob, match="seeds=0"):
        ps.predict(SHORT, run, seeds=0)
    with pytest.raises(InvalidJob, match="confidence"):
        ps.predict(SHORT, run, confidence=1.0)
    with pytest.raises(InvalidJob, match="no change"):
        ps.what_if(run, SHORT)
    with pytest.raises(InvalidJob, match="colour"):
        ps.what_if(run, SHORT, colour="red")
    with pytest.raises(InvalidJob, match="worker-0, worker-1"):
        ps.what_if(run, SHORT, slow={"worker-9": 2.0})
    with pytest.raises(InvalidJob, match="required: model="):
        recorded_model(ps.Trace(run.trace.frame, {**run.meta, "model_repr": "print(1)"}))


def test_models_are_read_back():
    for model in (
        ps.BSP(),
        ps.SSP(3, gate="clock"),
        ps.SSP(float("inf")),
        ps.KSync(2),
        ps.PSP(1, beta=2, seed=3),
    ):
        trace = ps.Trace(recorded(SHORT).trace.frame, {"model_repr": repr(model)})
        assert recorded_model(trace) == model
