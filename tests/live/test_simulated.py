"""The status of a simulated run: it agrees with the trace, and asking for it changes nothing."""

import threading
import time

import msgpack
import numpy as np
import pytest

import psbook as ps
from psbook.errors import ProgramError, Stopped
from psbook.live import Status


async def train(worker, iterations=120):
    for _ in range(iterations):
        await worker.pull("w")
        await worker.compute(lambda: time.sleep(0.0005))
        worker.push("w", np.ones(8))
        await worker.clock()


async def endless(worker):
    await train(worker, 10**9)


def job(program=train, **settings):
    return ps.Job(program, tables={"w": ps.Table(8)}, evaluate=lambda w: 1 / (1 + w.sum()), **settings)


def cluster(**settings):
    law = ps.Exponential(0.1).slow({1: 1.5})
    network = ps.Network(bandwidth=1e5, latency=2e-3)
    return ps.Simulator(workers=4, servers=2, compute=law, seed=3, **{"network": network, **settings})


def looked_at(handle, every=0.005):
    """Look at a run until it is over; return what was seen."""
    seen = []
    while not handle.done:
        seen.append(handle.live())
        time.sleep(every)
    return [status for status in [*seen, handle.live()] if status is not None]


def server_rows(trace, kind, server):
    rows = trace.of(kind)
    return rows[rows["node"] == server]


def test_watching_leaves_the_trace_byte_for_byte_as_it_is():
    handle = job().start(cluster(), ps.SSP(2))
    others = [threading.Thread(target=looked_at, args=(handle, 0.002)) for _ in range(2)]
    for other in others:
        other.start()
    seen = looked_at(handle)
    for other in others:
        other.join()
    watched = handle.result()
    assert len({status.time for status in seen}) > 5
    assert watched.trace.hash() == job().run(cluster(), ps.SSP(2)).trace.hash()


def test_the_last_status_is_what_the_trace_says():
    handle = job().start(cluster(), ps.SSP(2))
    trace = handle.result().trace
    last = handle.live()
    assert last.state == "ended" and last.over and not last.error
    assert {name: program.clock for name, program in last.programs.items()} == dict.fromkeys(
        trace.meta["workers"], 120
    )
    assert last.iterations == 480 and last.clocks == {} and last.gap == 0
    assert last.time == pytest.approx(trace.end)
    losses = trace.of("loss")
    assert last.losses[0][2] == 1.0 and last.loss == losses["value"].iloc[-1]
    for server, status in last.servers.items():
        applied = server_rows(trace, "apply", server)
        assert status.pushes == len(applied) == 480
        assert status.versions == {"w": applied["version"].max()}
        assert status.staleness_max == applied["staleness"].max()
        assert 0 < status.staleness <= status.staleness_max
        assert status.bytes_in == server_rows(trace, "receive", server)["bytes"].sum()
        assert status.bytes_out == server_rows(trace, "send", server)["bytes"].sum()
        assert status.parked == () and status.held_bytes == 4 * 4


def test_whoever_is_held_waits_for_the_slowest_and_within_the_window():
    held = 0
    handle = job().start(cluster(network=None), ps.SSP(1))  # what a worker counts, shards know at once
    for status in looked_at(handle, 0.002):
        assert status.window == 1 and status.gap <= 2
        assert status.iterations == sum(program.clock for program in status.programs.values())
        for name, why in status.waits.items():
            held += 1
            clock, low = status.programs[name].clock, min(status.clocks.values())
            assert clock - low == 2
            assert why.startswith(f"{name} reads at clock {clock}; SSP(1) makes it wait: ")
            assert f" at clock {low} (" in why
            assert set(why.partition("wait: ")[2].partition(" at")[0].split(", ")) <= set(status.slowest)
            parked = [each.worker for server in status.servers.values() for each in server.parked]
            assert name in parked
    assert held


def test_reasons_are_known_where_the_trace_has_none():
    handle = job(endless).start(cluster(trace="off", engine="messages"), ps.SSP(0))
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            status = handle.live()
            if status and any(status.waits.values()):
                break
        assert any("SSP(0) makes it wait: worker-" in why for why in status.waits.values())
    finally:
        handle.stop()


def test_a_status_survives_the_way_through_msgpack():
    seen = looked_at(job().start(cluster(), ps.BSP()), 0.002)
    for status in seen:
        assert Status.from_dict(msgpack.unpackb(msgpack.packb(status.to_dict()))) == status
    assert any(status.servers for status in seen)
    newer = {**seen[-1].to_dict(), "unheard_of": 3}
    assert Status.from_dict(newer) == seen[-1]


def test_a_run_that_was_stopped_or_failed_says_so():
    handle = job(endless).start(cluster(), ps.ASP())
    while handle.live() is None or not handle.live().iterations:
        time.sleep(0.005)
    handle.stop()
    with pytest.raises(Stopped):
        handle.result(30)
    assert handle.live().state == "stopped" and handle.live().error.startswith("Stopped: ")
    assert handle.live().iterations > 0

    async def fails(worker):
        await worker.clock()
        raise ValueError("no <more>")

    handle = job(fails).start(cluster(), ps.ASP())
    with pytest.raises(ProgramError):
        handle.result(30)
    status = handle.live()
    assert status.state == "failed" and "ProgramError" in status.error and "no <more>" in status.sentence


def test_a_compiled_run_is_known_by_its_trace():
    kernel = lambda w, batch: (0.0, w)  # noqa: E731
    loop = ps.Loop(pull="w", kernel=kernel, push="w")
    task = ps.Job(loop, data=np.arange(64.0), tables={"w": ps.Table(2, update=ps.SGD(0.1))})
    handle = task.start(ps.Simulator(workers=2, compute=0.1, trace="iterations", engine="compiled"), ps.BSP())
    run = handle.result()
    status = handle.live()
    assert status.state == "ended" and status.backend == "simulator" and status.model == "BSP"
    clocks = run.trace.of("clock").groupby("node")["clock"].max().to_dict()
    assert {name: program.clock for name, program in status.programs.items()} == clocks


def test_a_node_that_is_down_is_shown_so():
    faults = ps.Faults(ps.Crash("server-1", at=0.5), ps.Crash("worker-2", at=0.6))
    handle = job(endless).start(cluster(faults=faults, safety=ps.Safety(replicas=1)), ps.ASP())
    try:
        states = {}
        deadline = time.monotonic() + 30
        while "lost" not in states.get("server-1", "") and time.monotonic() < deadline:
            status = handle.live()
            if status:
                states = {name: each.state for name, each in status.processes.items()}
        assert states["server-1"] == "lost"
        assert "server-1 is lost" in status.sentence
        assert status.servers["server-1"].parked == ()
    finally:
        handle.stop()
