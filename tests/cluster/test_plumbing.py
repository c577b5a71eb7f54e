"""Messages between processes: start, order, whole values, ends of all kinds, a clean cluster afterwards."""

import os
import signal
import threading
import time
import uuid

import numpy as np
import pytest

from psbook.cluster.joining.connect import processes
from psbook.cluster.placement import place
from psbook.cluster.process.program_task import run_program
from psbook.cluster.session import Session
from psbook.cluster.spec import Spec
from psbook.core.layout import Layout
from psbook.errors import NodeFailure, ProgramError, Stopped

from .echo import MakeCounter, MakeStepper, slowly

pytestmark = pytest.mark.dask


def make_spec(client, workers=4, servers=2, lease=10.0):
    programs = tuple(f"worker-{rank}" for rank in range(workers))
    layout = Layout(programs, ("worker",) * workers, frozenset(range(workers)), servers)
    addresses = processes(client)
    routes = place(programs, layout.servers, addresses)
    hosts = {f"process-{i}": address for i, address in enumerate(addresses)}
    routes = {**routes, **hosts, "controller": client.scheduler.address}
    return Spec(uuid.uuid4().hex[:8], "0", layout, routes, lease)


COUNTER = MakeCounter()


def start(client, spec, make_stepper, make_counter=COUNTER, held=()):
    session = Session(client, spec, make_counter, make_stepper)
    session.open()
    for node in spec.layout.programs:
        session.submit(node, 0, run_program, *held)
    return session


def home(session):
    return {name: of for process in session.collect().values() for name, of in process["nodes"].items()}


@pytest.mark.usefixtures("clean")
def test_programs_and_shards_exchange_messages_in_order(client):
    spec = make_spec(client)
    clocks = {}
    session = start(client, spec, MakeStepper(spec, 25))
    try:
        assert session.watch(clocks.update) is None
        nodes = home(session)
    finally:
        session.close()
    assert {nodes[f"server-{s}"]["value"].tolist() == [50.0] * 4 for s in (0, 1)} == {True}
    assert all(nodes[p]["seen"] == ["start", *range(2, 51, 2)] for p in spec.layout.programs)
    assert len({of["pid"] for of in nodes.values()}) == 2
    assert set(clocks) <= set(spec.layout.programs)


@pytest.mark.usefixtures("clean")
def test_large_values_arrive_whole(client):
    spec = make_spec(client, workers=4, servers=2)
    session = start(client, spec, MakeStepper(spec, 10), MakeCounter(2_000_000))
    try:
        assert session.watch() is None
        nodes = home(session)
    finally:
        session.close()
    assert all(nodes[p]["torn"] == 0 for p in spec.layout.programs)
    assert all(np.all(nodes[f"server-{s}"]["value"] == 20.0) for s in (0, 1))


@pytest.mark.usefixtures("clean")
def test_stop_ends_the_run_within_a_second_and_keeps_what_was_done(client):
    spec = make_spec(client)
    session = start(client, spec, MakeStepper(spec, 10**9, slowly))
    try:
        threading.Timer(1.0, session.stop, ["enough"]).start()
        began = time.monotonic()
        error = session.watch()
        assert time.monotonic() - began < 2.0
        session.halt()
        nodes = home(session)
    finally:
        session.close()
    assert isinstance(error, Stopped)
    assert "enough" in str(error)
    assert all(nodes[p]["why"] == "enough" and nodes[p]["seen"] for p in spec.layout.programs)


class NotThere:
    """Unpickles nowhere."""

    def __reduce__(self):
        return _refuse, ()


def _refuse():
    raise ZeroDivisionError("cannot be unpickled")


@pytest.mark.usefixtures("clean")
def test_a_program_that_cannot_begin_is_named(client):
    spec = make_spec(client)
    session = start(client, spec, MakeStepper(spec, 5), held=[NotThere()])
    try:
        error = session.watch()
    finally:
        session.close()
    assert isinstance(error, ProgramError)
    assert "worker-" in str(error)


def test_a_killed_process_is_a_named_failure_and_the_cluster_stays_usable(client, clean):
    spec = make_spec(client)
    session = start(client, spec, MakeStepper(spec, 10**9, slowly))
    victim = spec.routes["worker-1"]
    pid = client.run(os.getpid, workers=[victim])[victim]
    try:
        threading.Timer(0.7, os.kill, [pid, signal.SIGKILL]).start()
        began = time.monotonic()
        error = session.watch()
        took = time.monotonic() - began
    finally:
        session.close()
    assert isinstance(error, NodeFailure)
    assert "worker-1" in str(error)
    assert victim in str(error)
    assert took < 3.0
    client.wait_for_workers(2, timeout=30)


def test_a_hung_process_is_a_named_failure_within_its_lease(client, clean):
    client.wait_for_workers(2, timeout=30)
    spec = make_spec(client, lease=2.0)
    session = start(client, spec, MakeStepper(spec, 10**9, slowly))
    victim = spec.routes["worker-0"]
    pid = client.run(os.getpid, workers=[victim])[victim]
    try:
        threading.Timer(1.0, os.kill, [pid, signal.SIGSTOP]).start()
        began = time.monotonic()
        error = session.watch()
        took = time.monotonic() - began
    finally:
        session.close()
        closed = time.monotonic() - began - took
        os.kill(pid, signal.SIGCONT)
    assert isinstance(error, NodeFailure)
    assert "worker-0" in str(error)
    assert "no sign of life" in str(error)
    assert took < 1.0 + 1.2 * 2.0 + 1.5
    assert closed < 6.0
