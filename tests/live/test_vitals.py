"""What the controller makes of pulses: nodes that move, processes that are away, evaluations, and rates."""

import math
import time
from itertools import pairwise

import pytest

from psbook.cluster.codec import decode, encode
from psbook.cluster.controller.leases import Leases
from psbook.cluster.controller.population import Population
from psbook.cluster.live.vitals import Vitals, gather
from psbook.cluster.spec import Pulse, Spec, Trouble
from psbook.core.consistency import SSP
from psbook.hosts.vitals import EXPLAINED, held
from psbook.hosts.watching import HELD, Losses, Meter, Subject, closed, reasons_of
from psbook.live import Held, ProgramStatus, ServerStatus, Status
from psbook.trace import Recorder
from tests.core.machines import Shard, layout

WHY = "worker-1 reads at clock 5; SSP(2) makes it wait: worker-0 at clock 2"


class Driver:
    """As much of a controller's driver as vitals look at."""

    def __init__(self, spec):
        self.people, self.leases = Population(spec), Leases()
        self.state, self.trouble, self.seconds = "running", None, 0.0
        self.clock = 1.0

    def now(self):
        return self.clock


@pytest.fixture
def driver():
    routes = {"worker-0": "a", "worker-1": "b", "server-0": "a", "process-0": "a", "process-1": "b"}
    spec = Spec("run", "0", layout(2), routes, subject=Subject.of("job", SSP(2), "dask", "s"))
    driver = Driver(spec)
    driver.vitals = Vitals(spec, driver)
    return driver


def program(clock, state="computing", waits_for=""):
    return {"clock": clock, "state": state, "waits_for": waits_for, "seconds": 0.5, "counts": True}


def server(parked=(), clocks=None, nbytes=100):
    return {
        "versions": {"w": 7}, "parked": list(parked), "more": 0, "bytes_in": nbytes, "bytes_out": 0,
        "pushes": 7, "staleness": 1.0, "staleness_max": 3, "held_bytes": 64, "clocks": clocks or {},
    }  # fmt: skip


def pulse(process, **vitals):
    """A pulse as it arrives: through the codec of the wire."""
    told = {name.replace("_", "-"): each for name, each in vitals.items()}
    return decode(*encode(Pulse(process, {}, {}, told)))


def test_who_is_held_and_why_comes_from_the_servers_and_clocks_are_of_one_moment(driver):
    held = {"worker": "worker-1", "why": WHY, "seconds": 0.4}
    clocks = {"worker-0": 2, "worker-1": 5}
    driver.vitals.hear(pulse("process-0", worker_0=program(3), server_0=server([held], clocks)))
    driver.vitals.hear(pulse("process-1", worker_1=program(5, "waiting", "worker.pull('w')")))
    status = driver.vitals.status()
    assert status.waits == {"worker-1": f"{WHY} (server-0)"}
    assert status.clocks == clocks and status.gap == 3 == status.window + 1
    assert status.iterations == 7 and status.model == "SSP(2)"
    assert Status.from_dict(status.to_dict()) == status


def test_a_program_that_waits_for_nobody_is_not_held(driver):
    held = {"worker": "worker-1", "why": WHY, "seconds": 0.4}
    driver.vitals.hear(pulse("process-0", server_0=server([held])))
    driver.vitals.hear(pulse("process-1", worker_1=program(5, "computing")))  # a read under way beside it
    assert driver.vitals.status().waits == {}


def test_of_a_program_that_moved_its_new_process_tells(driver):
    driver.vitals.hear(pulse("process-1", worker_1=program(5)))
    driver.people.routes["worker-1"] = "a"
    driver.vitals.hear(pulse("process-1", worker_1=program(6)))
    assert driver.vitals.status().programs["worker-1"].clock == 5
    driver.vitals.hear(pulse("process-0", worker_1=program(4)))
    assert driver.vitals.status().programs["worker-1"].clock == 4


def test_what_is_away_is_shown_so(driver):
    held = {"worker": "worker-1", "why": WHY, "seconds": 0.4}
    driver.vitals.hear(pulse("process-0", worker_0=program(3), server_0=server([held])))
    driver.vitals.hear(pulse("process-1", worker_1=program(5, "ended")))
    driver.leases.hear(["process-1"], time.monotonic() - 30.0)
    driver.people.gone.add("a")
    driver.people.hung.add("b")
    status = driver.vitals.status()
    assert {name: each.state for name, each in status.processes.items()} == {
        "process-0": "lost", "process-1": "silent",
    }  # fmt: skip
    assert status.processes["process-1"].silent >= 30.0 and status.processes["process-0"].silent == 0.0
    assert status.processes["process-0"].nodes == ("worker-0", "server-0")
    assert status.programs["worker-0"].state == "lost" and status.programs["worker-1"].state == "ended"
    assert status.servers["server-0"].parked == ()


@pytest.mark.parametrize(("kind", "state"), [("Stopped", "stopped"), ("NodeFailure", "failed")])
def test_how_a_run_ended_is_told_by_name(driver, kind, state):
    driver.state, driver.trouble, driver.seconds = "ended", Trouble(kind, "worker-0", "why it ended"), 4.0
    status = driver.vitals.status()
    assert (status.state, status.error, status.time) == (state, f"{kind}: why it ended", 4.0)


def test_rates_are_of_the_last_seconds_however_many_look(driver):
    for quarter in range(80):
        driver.clock = quarter / 4
        driver.vitals.hear(
            pulse("process-0", worker_0=program(2 * quarter), server_0=server(nbytes=50 * quarter))
        )
        for _ in range(10):
            status = driver.vitals.status()
    assert status.iterations_per_s == pytest.approx(8.0)
    assert status.bytes_per_s == pytest.approx(200.0)


def test_evaluations_come_from_the_client_and_stay_few(driver):
    losses = Losses()
    for step in range(5000):
        losses.add(step / 10, step, 1 / (1 + step))
        if step % 7 == 0:
            driver.vitals.learn([list(each) for each in losses.take()])
    driver.vitals.learn(losses.take())
    points = driver.vitals.status().losses
    assert points[0] == (0.0, 0, 1.0) and points[-1] == (499.9, 4999, 1 / 5000)
    assert len(points) <= 401
    gaps = {round(later[0] - earlier[0], 6) for earlier, later in pairwise(points[:-1])}
    assert len(gaps) == 1, "evenly spread"


def test_a_node_that_cannot_tell_ends_nothing():
    class Broken:
        def vitals(self):
            raise RuntimeError("dictionary changed size during iteration")

    class Well:
        def vitals(self):
            return {"clock": 1}

    assert gather({"worker-0": Broken(), "worker-1": Well(), "other": None}) == {"worker-1": {"clock": 1}}


def test_a_meter_needs_two_readings_and_never_runs_backwards():
    meter = Meter()
    assert meter.rates(0.0, 5, 5) == (0.0, 0.0) == meter.rates(0.0, 9, 9)
    assert meter.rates(1.0, 4, 15) == (0.0, 10.0)


def test_a_run_that_told_nothing_is_known_by_its_trace():
    recorder = Recorder()
    recorder.add(0.0, "evaluator", "loss", clock=0, value=0.5)
    recorder.add(1.0, "worker-0", "clock", clock=1)
    recorder.add(2.0, "worker-1", "clock", clock=1)
    recorder.add(2.0, "worker-1", "finish", clock=1)
    meta = {"workers": ["worker-0", "worker-1"], "job": "by hand", "model_label": "ASP", "end": 3.0}
    known = Status(programs={"worker-0": ProgramStatus(0, "waiting", "worker.pull('w')")})
    status = closed(known, RuntimeError("no"), recorder.trace(meta))
    assert status.state == "failed" and status.error == "RuntimeError: no" and status.time == 3.0
    assert status.programs["worker-0"] == ProgramStatus(1, "waiting", "worker.pull('w')")
    assert status.programs["worker-1"] == ProgramStatus(1, "ended")
    assert status.loss == 0.5 and not math.isnan(status.loss)
    assert closed(None, None, None).state == "ended"


def test_of_many_held_reads_a_few_say_why_and_all_are_shown():
    shard = Shard(40, SSP(0))
    for rank in range(1, 40):
        shard.clock(rank)
        shard.pull(rank)
    parked, more = held([shard.server], now=3.0)
    assert len(parked) == 39 and more == 0
    why = {each["worker"]: each.get("why", "") for each in parked}
    assert why["worker-1"] == "worker-1 reads at clock 1; SSP(0) makes it wait: worker-0 at clock 0"
    assert sum(bool(each) for each in why.values()) == EXPLAINED
    reasons = reasons_of({"server-0": ServerStatus(parked=tuple(Held(**each) for each in parked))})
    assert len(reasons) == 39 and reasons["worker-39"] == f"{HELD} (server-0)"
