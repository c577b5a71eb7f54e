"""The models beyond the first five: their parameters, their names, and what they may not be combined with."""

import math

import numpy as np
import pytest

import psbook as ps
from psbook.core.clocks import Clocks
from psbook.core.consistency.parsing import FORMS, forms
from psbook.errors import InvalidJob
from psbook.view.style import FAMILIES
from tests.theory.programs import loop_job

K_MODELS = [ps.KSync, ps.KBatchSync, ps.KAsync, ps.KBatchAsync]

SHORT = {
    "ksync:3": ps.KSync(3),
    "kbatchsync:3": ps.KBatchSync(3),
    "kasync:3": ps.KAsync(3),
    "kbatchasync:3": ps.KBatchAsync(3),
    "backup:1": ps.BackupWorkers(1),
    "psp:2:10": ps.PSP(2, 10),
    "essp:2": ps.ESSP(2),
    "dssp:1:4": ps.DSSP(1, 4),
    "vap:0.5": ps.VAP(0.5),
    "essp:inf": ps.ESSP(math.inf),
}


@pytest.mark.parametrize(("text", "model"), SHORT.items())
def test_models_are_read_from_text(text, model):
    assert ps.parse_model(text) == model
    assert ps.parse_model(f" {text.upper()} ") == model
    assert text.split(":")[0] in forms()


@pytest.mark.parametrize(
    "text",
    ["ksync", "ksync:0", "ksync:1.5", "ksync:3:4", "ksync:x", "ksync:", "kasync:inf", "backup:-1", "psp:2",
     "psp:2:1.5", "psp:2:inf", "essp", "dssp:1", "dssp:4:1", "dssp:1:inf", "vap", "vap:0", "vap:nan",
     "vap:-1"],
)  # fmt: skip
def test_text_that_is_no_model_is_refused(text):
    with pytest.raises(InvalidJob, match="required"):
        ps.parse_model(text)


def test_every_form_has_a_style_of_its_family():
    numbers = {"vap": (0.5,), "dssp": (1, 2), "psp": (1, 2)}
    for name, form in FORMS.items():
        model = form.make(*numbers.get(name, (1,) * len(form.names)))
        assert model.family in FAMILIES


def test_labels_tell_models_apart():
    labels = [model.label for model in SHORT.values()]
    assert labels == [
        "K-sync(3)", "K-batch-sync(3)", "K-async(3)", "K-batch-async(3)", "Backup(1)", "PSP(2, β=10)",
        "ESSP(2)", "DSSP(1, 4)", "VAP(0.5)", "ESSP(∞)",
    ]  # fmt: skip
    assert ps.VAP(2.0, decay=False).label == "VAP(2, no decay)"


@pytest.mark.parametrize("model", K_MODELS)
@pytest.mark.parametrize("value", [0, -1, 1.0, math.inf, math.nan, "3", None, True])
def test_k_that_is_no_whole_number_from_1_is_refused(model, value):
    with pytest.raises(InvalidJob, match=r"gradients of an update k is .*; required: a whole number >= 1"):
        model(value)


@pytest.mark.parametrize("value", [-1, 1.0, math.nan, "3", None, True])
def test_other_counts_that_are_none_are_refused(value):
    for make in (
        lambda: ps.BackupWorkers(value),
        lambda: ps.PSP(1, value),
        lambda: ps.PSP(1, 1, seed=value),
        lambda: ps.DSSP(value, 5),
        lambda: ps.DSSP(0, value),
    ):
        with pytest.raises(InvalidJob, match="required: a whole number >= 0"):
            make()


def test_bounds_that_make_no_sense_are_refused():
    for bound in (0, -1.0, math.nan, "1", None, True):
        with pytest.raises(InvalidJob, match="required: a number > 0"):
            ps.VAP(bound)
    with pytest.raises(InvalidJob, match="decay=1; required: True or False"):
        ps.VAP(1.0, decay=1)
    with pytest.raises(InvalidJob, match="from 3 to 2; required: low <= high"):
        ps.DSSP(3, 2)
    with pytest.raises(InvalidJob, match=r"required: a whole number >= 0, or math\.inf"):
        ps.ESSP(0.5)
    with pytest.raises(InvalidJob, match=r"required: a whole number >= 0, or math\.inf"):
        ps.PSP(-1, 2)


@pytest.mark.parametrize(
    ("model", "remedy"),
    [(kind(4), "Take k=3 or fewer") for kind in K_MODELS]
    + [(ps.BackupWorkers(3), "Take b=2 or fewer"), (ps.PSP(1, 3), "Take beta=2 or fewer")],
)
def test_parameters_that_ask_for_more_workers_are_refused_before_anything_runs(model, remedy):
    ran = []

    async def train(worker):
        ran.append(worker)

    job = ps.Job(train, tables={"w": ps.Table(1)})
    with pytest.raises(InvalidJob, match=f"with 3 workers; required: .*{remedy}"):
        job.run(ps.Simulator(workers=3), model)
    assert not ran
    job.run(ps.Simulator(workers=4), model)
    assert len(ran) == 4


@pytest.mark.parametrize(
    "model", [kind(2) for kind in K_MODELS] + [ps.BackupWorkers(1)], ids=lambda m: m.label
)
def test_what_rounds_cannot_be_combined_with_is_refused_by_name(model, tmp_path):
    job = loop_job(3, keys=2)
    refused = [
        ({"safety": ps.Safety(delivery="at-least-once")}, "delivery='at-least-once' under"),
        ({"safety": ps.Safety(replicas=1, aggregate=True)}, "aggregate=True under"),
        ({"checkpoints": ps.Checkpoints(tmp_path, every=2)}, "checkpoints under"),
    ]
    for options, found in refused:
        with pytest.raises(InvalidJob, match=rf"{found} .*; required: "):
            job.run(ps.Simulator(workers=3, servers=2, **options), model)


def test_the_bound_of_a_sample_looks_at_nobody_else():
    model, clocks = ps.PSP(1, 2), Clocks(range(5))
    for rank in range(4):
        for clock in range(1, 6):
            clocks.advance(rank, clock)
    behind = [clock for clock in range(2, 40) if 4 in model.sampled(0, clock, clocks)]
    assert [clock for clock in range(2, 7) if not model.may_read(0, clock, clocks)] == [
        clock for clock in range(2, 7) if clock in behind
    ]
    assert model.held_by(0, behind[0], clocks)[-1] == 4 or 4 in model.held_by(0, behind[0], clocks)
    assert 0 < len(behind) < 38  # of 4 others 2 are drawn
    clocks.remove(4)
    assert all(model.may_read(0, clock, clocks) for clock in range(2, 7))


def test_a_model_may_change_its_parameter_while_it_runs():
    """From K = 3 to K = 1: the round that waits for its third gradient ends at once."""

    async def train(worker):
        for clock in range(6):
            await worker.pull("w")
            await worker.compute(int)
            worker.push("w", np.ones(1, np.float32))
            await worker.clock()
            if worker.rank == 1 and clock == 1:
                await worker.change_model(ps.KAsync(1))

    law = ps.Constant(1.0).slow({2: 4.0})
    run = ps.Job(train, tables={"w": ps.Table(1)}).run(ps.Simulator(workers=3, compute=law), ps.KAsync(3))
    rows = run.trace.of("apply")
    assert rows.groupby("version").size().tolist()[:3] == [3, 2, 1]
    assert run.tables["w"].tolist() == [18.0]
