"""Jobs of a cluster: named, listed, found from another client, watched, stopped; several at once."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from distributed import Client, fire_and_forget
from typer.testing import CliRunner

import psbook as ps
from psbook.cli import app
from psbook.errors import InvalidJob, Stopped, Unsupported
from tests.cluster import survival
from tests.cluster.conftest import assert_clean, state

pytestmark = [pytest.mark.dask, pytest.mark.usefixtures("clean")]


STEPS = 60


async def for_ever(worker):
    while True:
        await worker.pull("w")
        worker.push("w", np.ones(4))
        await worker.clock()


def started(client, name="", program=for_ever, **options):
    options = {"workers": 2, "trace": "iterations", **options}
    return ps.Job(program, tables={"w": ps.Table(4)}).start(ps.Dask(client, name=name, **options), ps.ASP())


def wait(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def row(client, name):
    """The last job of a name in the table."""
    table = ps.jobs(client)
    return table[table["name"] == name].iloc[-1]


def test_a_job_is_listed_found_watched_and_stopped_from_another_client(client):
    handle = started(client, "nightly")
    wait(lambda: handle.iterations > 10)
    assert handle.name == "nightly"
    with Client(client.scheduler.address, set_as_default=False) as other:
        assert row(other, "nightly")["state"] == "running"
        assert "@" in row(other, "nightly")["owner"]
        found = ps.find_job(other, "nightly")
        assert not found.done
        status = found.live()
        assert status.name == "nightly" and status.state == "running" and status.iterations > 0
        with pytest.raises(Unsupported, match="keep="):
            found.result()
        found.stop()
        assert found.wait(20) == "stopped"
        assert found.done and "stopped by" in found.error
        assert found.live().over
    with pytest.raises(Stopped, match="stopped by") as caught:
        handle.result(20)
    assert caught.value.tables["w"][0] == (caught.value.trace.of("apply")["table"] == "w").sum()
    after = row(client, "nightly")
    assert after["state"] == "stopped" and after["fastest"] >= after["slowest"] > 0


def test_the_command_line_lists_and_stops(client):
    handle = started(client, "by-hand")
    wait(lambda: handle.iterations > 0)
    address = client.scheduler.address
    listed = CliRunner().invoke(app, ["jobs", address])
    assert "by-hand running" in " ".join(listed.output.split())
    stopped = CliRunner().invoke(app, ["stop", address, "by-hand"])
    assert stopped.exit_code == 0 and "by-hand: stopped" in stopped.output
    with pytest.raises(Stopped):
        handle.result(20)
    again = CliRunner().invoke(app, ["stop", address, "by-hand"])
    assert again.exit_code == 1 and "before" in again.output


def test_a_name_is_refused_while_a_job_has_it_and_free_again_afterwards(client):
    first = started(client, "only")
    wait(lambda: first.iterations > 0)
    with pytest.raises(InvalidJob, match="'only' is running on this cluster"):
        started(client, "only").result(20)
    seen = first.iterations
    wait(lambda: first.iterations > seen)  # it did not disturb
    first.stop()
    with pytest.raises(Stopped):
        first.result(20)
    again = started(client, "only")
    wait(lambda: again.iterations > 0)
    again.stop()
    with pytest.raises(Stopped):
        again.result(20)
    assert len(ps.jobs(client).query("name == 'only'")) == 2
    assert not ps.jobs(client).query("name == 'only' and state == 'running'").size


def test_an_address_is_enough_and_what_is_not_there_is_named(client):
    with pytest.raises(InvalidJob, match="no job 'nobody'"):
        ps.find_job(client.scheduler.address, "nobody")
    handle = started(client)
    wait(lambda: handle.iterations > 0)
    run = ps.jobs(client.scheduler.address).query("state == 'running'")["name"].item()
    with ps.find_job(client.scheduler.address, run) as found:
        found.stop()
        assert found.wait(20) == "stopped"
    with pytest.raises(Stopped):
        handle.result(20)


async def count(worker):
    for _ in range(20):
        await worker.pull("w")
        worker.push("w", np.ones(4))
        await worker.clock()


def test_jobs_of_several_clients_in_threads_do_not_disturb_each_other(client):
    """Six jobs of three programs each on eight threads: every program frees its thread once it has begun."""
    found, clients = {}, [client, Client(client.scheduler.address, set_as_default=False)]

    def go(number):
        backend = ps.Dask(clients[number % 2], workers=3, servers=2, name=f"job-{number}", trace="off")
        run = ps.Job(count, tables={"w": ps.Table(4, init=float(number))}).run(backend, ps.SSP(1))
        found[number] = run.tables["w"].tolist()

    threads = [threading.Thread(target=go, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(80)
    clients[1].close()
    assert found == {number: [60.0 + number] * 4 for number in range(6)}
    assert ps.jobs(client)["state"].tail(6).tolist() == ["ended"] * 6


def test_a_kill_that_hits_two_jobs_costs_neither_of_them_a_push(client):
    """Both have programs and shards in the process that dies; each brings back its own."""
    client.wait_for_workers(2, timeout=60)
    safety = ps.Safety(replicas=1, atomic=True, lease=3.0, resend=0.5)
    handles = [
        survival.job(2, STEPS).start(
            ps.Dask(client, workers=2, servers=2, safety=safety, seed=number, name=f"safe-{number}"),
            ps.SSP(2),
        )
        for number in range(2)
    ]
    wait(lambda: all(handle.iterations > 10 for handle in handles), 60)
    pid = min(client.run(os.getpid).values())
    os.kill(pid, signal.SIGKILL)
    for handle in handles:
        run = handle.result(80)
        assert {f"worker-{k}" for k in range(2)} & set(run.trace.of("lost")["node"])
        numbers = run.tables["numbers"].reshape(2, survival.KEYS)
        assert numbers.sum(axis=1).tolist() == [3.0 * STEPS] * 2
        for rank in range(2):
            acknowledged = run.results[f"worker-{rank}"]
            assert acknowledged is None or acknowledged.tolist() == numbers[rank].tolist()
    client.wait_for_workers(2, timeout=60)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_job_ends_with_the_client_that_runs_it(client):
    owner = Client(client.scheduler.address, set_as_default=False)
    handle = started(owner, "orphan")
    wait(lambda: handle.iterations > 0)
    owner.close()
    wait(lambda: row(client, "orphan")["state"] == "stopped")
    assert "has gone" in row(client, "orphan")["error"]
    with pytest.raises(ps.PsbookError):
        handle.result(30)
    gc.collect()  # a client that is closed under a running call drops it unawaited; Python says so here


def train_on_the_cluster():
    """An ordinary task that runs a job: its worker is the job's client."""
    from distributed import get_client, secede

    secede()
    job = ps.Job(count, tables={"w": ps.Table(4)})
    return job.run(ps.Dask(get_client(), workers=2, name="detached", keep="model"), ps.BSP()).tables["w"]


def test_a_job_that_a_task_runs_outlives_the_client_that_has_sent_it(client):
    with Client(client.scheduler.address, set_as_default=False) as notebook:
        fire_and_forget(notebook.submit(train_on_the_cluster, pure=False))
        wait(lambda: "detached" in set(ps.jobs(client)["name"]), 60)
    wait(lambda: row(client, "detached")["state"] not in ("starting", "running"), 60)
    assert row(client, "detached")["state"] == "ended"
    np.testing.assert_array_equal(ps.served(client, "model").pull("w"), 40.0)
    ps.unpublish(client, "model")


FOREGROUND = """
import sys, psbook as ps
from distributed import Client, fire_and_forget
from tests.jobs.test_jobs import for_ever

if __name__ == "__main__":
    client = Client(sys.argv[1], set_as_default=False) if sys.argv[1:] else None
    job = ps.Job(for_ever, tables={"w": ps.Table(4)})
    begun = lambda iterations, loss: iterations > 20 and print("begun", flush=True)
    try:
        ps.Dask(client, workers=2, servers=2, trace="iterations").run(job, ps.BSP(), begun)
    except KeyboardInterrupt as stop:
        rounds = stop.trace.of("apply")["version"].max()
        print("learned", stop.tables["w"].tolist(), "of", rounds, flush=True)
"""


def learned(text):
    values, rounds = text.split("learned ")[1].split(" of ")
    return set(eval(values)), float(rounds)


@pytest.mark.parametrize(
    "own",
    [False, pytest.param(True, marks=pytest.mark.slow)],
    ids=["a cluster elsewhere", "worker processes of its own"],
)
def test_ctrl_c_in_a_terminal_ends_the_run_and_keeps_what_was_learned(client, project, own, tmp_path):
    """A terminal and a notebook interrupt all processes of the group, worker processes among them."""
    script = tmp_path / "foreground.py"
    script.write_text(FOREGROUND)
    process = subprocess.Popen(
        [sys.executable, str(script), *([] if own else [client.scheduler.address])],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=project, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(project)},
    )  # fmt: skip
    assert process.stdout.readline() == "begun\n"
    os.killpg(process.pid, signal.SIGINT)
    text = process.stdout.read()
    process.stdout.close()
    assert process.wait(30) == 0
    values, rounds = learned(text)
    assert values == {2.0 * rounds}
    assert_clean(client)


def test_a_second_interrupt_gives_up_at_once_and_the_cluster_is_clean_all_the_same(client):
    def twice(iterations, loss):
        if iterations > 5:
            os.kill(os.getpid(), signal.SIGINT)

    job = ps.Job(for_ever, tables={"w": ps.Table(4)})
    with pytest.raises(KeyboardInterrupt) as caught:
        ps.Dask(client, workers=2, trace="off").run(job, ps.ASP(), lambda *now: twice(*now) or twice(*now))
    assert not isinstance(caught.value, ps.errors.Interrupted)
    assert_clean(client)
    assert state(client)
