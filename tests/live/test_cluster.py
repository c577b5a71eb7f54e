"""Runs on a real cluster, watched: they tell what their traces say, and watching adds nothing to them."""

import json
import time
import urllib.error
import urllib.request
from collections import Counter

import numpy as np
import pytest
from distributed import Client, LocalCluster
from typer.testing import CliRunner

import psbook as ps
from psbook.cli import app
from psbook.errors import ProgramError, Stopped
from psbook.view.live_watch import Watch
from tests.cluster.conftest import assert_clean

pytestmark = pytest.mark.dask

EVIL = "<script>alert('job')</script>"


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=4, processes=True, memory_limit=0, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


async def train(worker, iterations=40):
    for _ in range(iterations):
        await worker.pull("w")
        await worker.compute(lambda: None)
        worker.push("w", np.ones(8))
        await worker.clock()


async def endless(worker):
    await train(worker, 10**9)


def start(client, model, program=train, name="live", cluster_name="", **settings):
    job = ps.Job(program, tables={"w": ps.Table(8)}, evaluate=lambda w: float(1 / (1 + w.sum())), name=name)
    law = settings.pop("compute", ps.Exponential(0.02).slow({1: 2.0}))
    cluster = ps.Dask(client, workers=4, servers=2, compute=law, name=cluster_name, **settings)
    return job.start(cluster, model)


def looks(handle, every=0.02, seconds=100):
    """Look at a run until it is over, or no longer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        status = handle.live()
        if status is not None:
            yield status
            if status.over:
                return
        time.sleep(every)
    pytest.fail(f"the run went on for more than {seconds} s")


def test_a_handle_tells_who_waits_for_whom_and_why(client):
    handle = start(client, ps.SSP(1))
    held, earlier, running = 0, 0, 0
    for status in looks(handle):
        assert status.job == "live" and status.model == "SSP(1)" and status.backend == "dask"
        assert status.gap <= 2, "clocks of one moment"
        assert status.iterations >= earlier
        earlier = status.iterations
        running += status.state == "running" and status.iterations_per_s > 0
        for name, why in status.waits.items():
            held += 1
            assert f"{name} reads at clock " in why and "SSP(1) makes it wait: worker-" in why
            assert status.programs[name].waits_for == "worker.pull('w')"
    assert held and running
    addresses = set(client.scheduler_info()["workers"])
    assert {process.address for process in status.processes.values()} == addresses
    nodes = [node for process in status.processes.values() for node in process.nodes]
    assert sorted(nodes) == sorted([*status.programs, *status.servers])
    trace = handle.result().trace
    assert status.state == "ended" and status.iterations == 160 and not status.waits
    assert status.loss == trace.of("loss")["value"].iloc[-1]
    for server, told in status.servers.items():
        applied = trace.of("apply")[trace.of("apply")["node"] == server]
        assert told.pushes == 160 and told.versions == {"w": applied["version"].max()}
        assert 0 < told.staleness_max <= applied["staleness"].max()
        assert told.held_bytes == 4 * 4
        assert 0 < told.bytes_in <= trace.of("receive").query("node == @server")["bytes"].sum()
    assert_clean(client)


def test_watching_adds_no_row_and_no_message(client):
    def rows(watched):
        handle = start(client, ps.BSP(), compute=0.005)
        if watched:
            assert sum(1 for _ in looks(handle, 0.0)) > 5
        frame = handle.result(60).trace.frame
        frame = frame[frame["kind"].isin(["send", "receive", "answer", "apply", "clock", "finish", "loss"])]
        return Counter(zip(frame["kind"], frame["detail"].where(frame["kind"] == "send", ""), strict=True))

    seen, unseen = rows(watched=True), rows(watched=False)
    # How often the objective was evaluated, and whether a last reply was read, is a matter of moments.
    for each in (seen, unseen):
        del each["loss", ""], each["receive", ""]
    assert seen == unseen
    assert seen["send", "Pull"] == 4 * 40 * 2


def get(client, path):
    base = client.dashboard_link.rpartition("/")[0]
    with urllib.request.urlopen(f"{base}{path}", timeout=30) as answer:
        return answer.read().decode()


def test_the_dashboard_has_a_page_and_prometheus_gauges_as_long_as_runs_go_on(client):
    handles = [start(client, ps.SSP(1), endless, EVIL), start(client, ps.ASP(), endless, "second")]
    try:
        deadline = time.monotonic() + 60
        while not all(h.live() and h.live().iterations for h in handles) and time.monotonic() < deadline:
            time.sleep(0.05)
        page = get(client, "/psbook")
        assert "alert(&#x27;job&#x27;)" in page and EVIL not in page and page.count("<script") == 1
        assert "second · ASP" in page and "worker-3" in page and "://" not in page.partition("<section>")[0]
        body = get(client, "/psbook/body")
        assert body.startswith("<section>") and body.count("psbook-live") >= 2 and EVIL not in body
        told = json.loads(get(client, "/psbook/runs.json"))
        assert sorted(run["job"] for run in told.values()) == sorted([EVIL, "second"])
        metrics = get(client, "/metrics")
        for name, run in told.items():
            assert f'psbook_clock_gap{{job="{name}"}}' in metrics
            assert f'psbook_bytes_in{{job="{name}",node="server-1"}}' in metrics
            assert run["iterations"] > 0
    finally:
        for handle in handles:
            handle.stop()
    for handle in handles:
        with pytest.raises(Stopped):
            handle.result(60)
        assert handle.live().state == "stopped"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(client, "/psbook")
    assert "psbook_clock" not in get(client, "/metrics")
    assert_clean(client)


def test_a_run_that_fails_says_the_named_error(client):
    async def fails(worker):
        await worker.clock()
        raise ValueError("no more")

    handle = start(client, ps.ASP(), fails)
    *_, last = looks(handle)
    assert last.state == "failed" and last.error.startswith("ProgramError") and "no more" in last.sentence
    with pytest.raises(ProgramError):
        handle.result(60)


def test_the_command_watches_a_job_of_another_client(client, monkeypatch):
    def look(self):
        status = look_at(self)
        if status is not None and status.programs:
            next(handle for handle in handles if handle.name == status.name).stop()  # seen, that is enough
        return status

    look_at = Watch.look
    monkeypatch.setattr(Watch, "look", look)
    address = client.scheduler.address

    def psbook(*arguments):
        return CliRunner().invoke(app, ["watch", address, *arguments])

    assert "no job runs there" in str(psbook().exception)
    handles = [start(client, ps.SSP(1), endless, cluster_name=name) for name in ("one", "two")]
    try:
        for handle in handles:
            next(status for status in looks(handle) if status.iterations)
        assert "2 jobs run there: one, two" in str(psbook().exception)
        ended = psbook("one", "--every", "0.05")
        assert ended.exit_code == 0
        assert "live · SSP(1)  stopped at" in ended.output and "worker-3" in ended.output
        assert not handles[1].done
        assert "stopped at" in psbook("--every", "0.05").output
    finally:
        for handle in handles:
            handle.stop()
            with pytest.raises(Stopped):
                handle.result(60)
    assert_clean(client)
