"""A run on a real cluster survives its processes: killed, hung, restarted, retired, added (E1-E9)."""

import contextlib
import random
import signal
import time

import pytest

import psbook as ps
from psbook.errors import CheckpointError, InvalidJob, NodeFailure, Unsupported
from tests.cluster.survival import STEPS, Trial, cluster, job, told

pytestmark = pytest.mark.dask

HUNG = 4.0
"""Seconds for which a process hangs: more than the lease and its margin."""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "hung"])
@pytest.mark.parametrize(
    ("victim", "together"), [("server-0", False), ("worker-1", False), ("worker-0", True)]
)
def test_a_process_that_is_lost_costs_nothing_but_time(how, victim, together):
    """It holds a server only, a program only, or both."""
    with cluster() as (_, client):
        trial = Trial(client, together=together).wait()
        if how == "killed":
            trial.signal(victim)
        else:
            trial.stop(victim, HUNG)
        run = trial.check(trial.result())
        nodes = [node for node, at in trial.placement.items() if at == trial.placement[victim]]
        assert set(nodes) <= set(told(run, "lost"))
        assert set(told(run, "restart")) == {node for node in nodes if node.startswith("worker")}
        if "server-0" in nodes:
            heads = run.trace.of("serve").query("shard == 0 and detail in ['head', 'both']")
            assert heads["version"].is_monotonic_increasing and heads["version"].max() > 0


@pytest.mark.slow
def test_the_scheme_of_primary_and_backup_survives_too():
    with cluster() as (_, client):
        safety = ps.Safety(replicas=1, scheme="primary-backup", atomic=True, lease=1.5, resend=0.3)
        trial = Trial(client, model=ps.BSP(), safety=safety).wait()
        trial.signal("server-1")
        trial.check(trial.result())


@pytest.mark.slow
def test_a_nanny_brings_a_process_back_and_it_holds_copies_again():
    with cluster(3) as (_, client):
        trial = Trial(client, workers=1, steps=1500).wait()
        trial.signal("server-0")
        while not trial.gone("server-0"):
            time.sleep(0.05)
        trial.wait_for_processes(3)
        run = trial.check(trial.result())
        serve = run.trace.of("serve")
        newcomers = serve[~serve["node"].isin(["server-0", "server-1"])]
        assert set(newcomers["detail"]) & {"head", "tail", "both"}


def test_a_process_that_is_retired_hands_over_what_it_holds_even_without_replicas():
    with cluster() as (_, client):
        safety = ps.Safety(atomic=True, lease=1.5, resend=0.3)
        trial = Trial(client, safety=safety).wait()
        client.retire_workers([trial.placement["server-0"]])
        run = trial.check(trial.result())
        assert "server-0" in told(run, "lost")


@pytest.mark.slow
def test_processes_that_are_added_take_part_and_others_may_be_taken_away():
    with cluster(3) as (local, client):
        safety = ps.Safety(atomic=True, lease=1.5, resend=0.3)
        trial = Trial(client, workers=2, servers=1, steps=1500, safety=safety).wait(20)
        local.scale(5)
        trial.wait_for_processes(5)
        local.scale(3)
        run = trial.check(trial.result())
        newcomers = set(run.trace.of("serve")["node"]) - {"server-0"}
        assert newcomers


def test_without_a_copy_the_run_ends_and_says_what_is_lost():
    with cluster() as (_, client):
        trial = Trial(client, safety=ps.Safety(lease=1.5, resend=0.3)).wait()
        trial.signal("server-0")
        with pytest.raises(
            NodeFailure, match="No copy of shard 0 is left; required: replicas, or a checkpoint"
        ):
            trial.result()


def test_a_shard_without_a_copy_comes_back_from_a_checkpoint(tmp_path):
    with cluster() as (_, client):
        safety = ps.Safety(atomic=True, lease=1.5, resend=0.3)
        trial = Trial(client, safety=safety, checkpoints=ps.Checkpoints(tmp_path, every=10)).wait(80)
        trial.signal("server-0")
        run = trial.result()
        numbers = run.tables["numbers"]
        assert len(run.trace.of("checkpoint")) >= 3
        assert 0 < numbers[:16].sum() <= 3 * STEPS and numbers[16:].sum() == 3 * STEPS


@pytest.mark.slow
def test_a_run_whose_scheduler_is_lost_is_resumed_on_another_cluster(tmp_path):
    closed = contextlib.suppress(OSError, RuntimeError, TimeoutError)  # what is left of it closes badly
    with closed, cluster(3) as (local, client):
        checkpoints = ps.Checkpoints(tmp_path, every=10)
        trial = Trial(client, workers=1, checkpoints=checkpoints).wait(60)
        local.sync(local.scheduler.close)
        with pytest.raises(NodeFailure, match="scheduler"):
            trial.result()
    with cluster(2) as (_, client):
        backend = ps.Dask(client, workers=1, servers=1)
        run = job(1).resume(tmp_path, backend, ps.SSP(2))
        assert run.tables["numbers"].sum() == 3 * STEPS
        assert run.tables["numbers"].tolist() == run.results["worker-0"].tolist()


def test_options_that_a_real_cluster_cannot_honour_are_refused(tmp_path):
    with pytest.raises(Unsupported, match="lost_workers='leave' on a real cluster"):
        ps.Dask(safety=ps.Safety(lost_workers="leave"))
    with pytest.raises(InvalidJob, match=r"required: ps.Safety\(replicas=…\)"):
        ps.Dask(safety=2)
    with pytest.raises(InvalidJob, match=r"required: ps.Checkpoints"):
        ps.Dask(checkpoints=tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(20))
def test_counts_are_exact_whatever_is_killed_or_stopped(seed):
    """Twenty trials: primaries, replicas and workers, by kill -9 or SIGSTOP, one or two of them."""
    luck = random.Random(seed)
    with cluster(5) as (_, client):
        model = luck.choice([ps.BSP(), ps.SSP(1), ps.ASP()])
        safety = ps.Safety(
            replicas=2, atomic=True, lease=1.5, resend=0.3,
            scheme=luck.choice(["chain", "primary-backup"]), points=luck.choice([0, 3]),
        )  # fmt: skip
        trial = Trial(client, workers=2, servers=3, model=model, safety=safety).wait(luck.randrange(20, 80))
        for victim in luck.sample(sorted(trial.placement), luck.choice([1, 2])):
            if luck.random() < 0.5:
                trial.signal(victim, signal.SIGKILL)
            else:
                trial.stop(victim, luck.choice([1.0, HUNG]))
            time.sleep(luck.choice([0.0, 1.0, 3.0]))
        trial.check(trial.result(150))


def test_there_is_a_checkpoint_to_resume_from_or_it_is_said(tmp_path):
    with pytest.raises(CheckpointError):
        job(1).resume(tmp_path, ps.Simulator(workers=1))
