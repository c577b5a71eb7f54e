"""A node is lost, hangs or is cut off at every step of a run: the acknowledged stays, nothing is doubled.

A run without the fault says when its steps are; the run is then made again for each of these times, with the
fault just before and just after all that happens then. Counts are judged as in campaigns.
"""

import numpy as np
import pytest

import psbook as ps
from psbook import BSP, SSP, Exponential, Network
from psbook.core.layout import Safety
from psbook.experiments.counting import Habits
from psbook.experiments.scenarios import Scenario
from psbook.simulator.faults import Crash, Faults, Join, Partition, Pause

pytestmark = pytest.mark.timeout(300)

AFTER = 1e-9
"""Seconds: before any other step."""

PUSHES = Habits(keys=4, iterations=2, pushes=1, pull=1.0, wait=1.0)
NETWORKS = {"no latency": None, "latency": Network(latency=0.01)}
SCHEMES = ("chain", "primary-backup")
WORKERS = ["worker-0", "worker-1"]


def slow(value):
    """A case of the slow tier."""
    return pytest.param(value, marks=pytest.mark.slow)


def scenario(scheme, network, model=None, faults=None, **safety):
    model, faults = model or SSP(1), faults or Faults()
    options = {"replicas": 1, "scheme": scheme, "lease": 0.3, "resend": 0.1, **safety}
    return Scenario(1, 2, 3, model, Safety(**options), faults, PUSHES, NETWORKS[network], compute=0.05)


def steps(base, start=0.0):
    """Times at which something happens; beats alone are no step."""
    frame = base.run().run.trace.frame
    frame = frame[~frame["detail"].isin(["Beat", "Lease"]) & (frame["time"] >= start)]
    times = sorted(set(frame["time"]))
    assert len(times) > 4
    return [moment for time in times for moment in (time, time + AFTER)]


def survives(base, make, start=0.0):
    """Make the run again with a fault at every step; return how many runs noticed the loss of a node."""
    lost = 0
    for time in steps(base, start):
        again = Scenario(**{**vars(base), "faults": base.faults + make(time)})
        outcome = again.run()
        assert (outcome.kind, outcome.wrong) == ("ended", []), f"{outcome.wrong}\n{again.code}"
        lost += len(outcome.run.trace.of("lost")) > 0
    return lost


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("node", ["server-0", *(slow(node) for node in ("server-1", "server-2", *WORKERS))])
def test_killed_at_every_step_of_a_push(node, scheme, network):
    assert survives(scenario(scheme, network), lambda time: Crash(node, at=time)) > 0


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_primary_killed_and_started_again_at_every_step(scheme, network):
    assert survives(scenario(scheme, network), lambda time: Crash("server-0", at=time, restart=0.05)) > 0


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_controller_killed_at_every_step(scheme):
    survives(scenario(scheme, "latency"), lambda time: Crash("controller", at=time, restart=0.2))


@pytest.mark.parametrize("model", [BSP(), SSP(0, gate="clock")], ids=["BSP", "gated clock"])
def test_other_models_and_rounds_that_go_as_one(model):
    aggregate = isinstance(model, BSP)
    habits = Habits(keys=4, iterations=2, pushes=1)
    base = scenario("chain", "latency", model, aggregate=aggregate)
    base = Scenario(**{**vars(base), "habits": habits})
    for node in ("server-0", "worker-0"):
        assert survives(base, lambda time, node=node: Crash(node, at=time)) > 0


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("node", ["server-0", slow("server-1"), slow("server-3"), slow("worker-0")])
def test_killed_at_every_step_of_a_move(node, scheme):
    """Every shard gives a part to a server that joins."""
    base = scenario(scheme, "latency", faults=Faults(Join("server-3", at=0.04)))
    assert survives(base, lambda time: Crash(node, at=time), 0.04 + AFTER) > 0


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_a_second_server_killed_at_every_step_of_the_first_ones_return(network):
    base = scenario("chain", network, faults=Faults(Crash("server-0", at=0.03, restart=0.02)), replicas=2)
    for node in ("server-0", "server-1"):
        assert survives(base, lambda time, node=node: Crash(node, at=time), 0.03 + AFTER) > 0


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("node", [slow("server-0"), slow("worker-0"), "controller"])
def test_hanging_beyond_the_lease_from_every_step_on(node, scheme):
    survives(scenario(scheme, "latency"), lambda time: Pause(node, at=time, seconds=0.8))


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("others", [["controller"], WORKERS], ids=["controller", "workers"])
def test_the_primary_cut_off_from_every_step_on(others, scheme):
    survives(scenario(scheme, "latency"), lambda time: Partition(["server-0"], others, at=time, seconds=0.8))


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_primary_cut_off_from_its_copies_from_every_step_on(scheme):
    copies = ["server-1", "server-2"]
    survives(scenario(scheme, "latency"), lambda time: Partition(["server-0"], copies, at=time, seconds=0.8))


@pytest.mark.slow
def test_services_are_slow():
    base = Scenario(**{**vars(scenario("chain", "latency")), "service": Exponential(0.01)})
    assert survives(base, lambda time: Crash("server-0", at=time)) > 0


def test_pushes_that_a_restarted_worker_makes_again_are_counted_and_reported():
    """Without `atomic` they are applied twice, and the rows say which; with it there are none (E2b)."""

    async def program(worker):
        while worker.iteration < 6:
            await worker.push("w", np.ones(4))
            await worker.compute(int)
            await worker.clock()

    counting = ps.Job(program, tables={"w": ps.Table(4)})
    for atomic, more in ((False, 1), (True, 0)):
        made = counting.run(
            ps.Simulator(
                workers=2, compute=1.0, network=ps.Network(latency=0.01),
                safety=ps.Safety(atomic=atomic, lease=0.5, resend=0.2),
                faults=ps.Faults(ps.Crash("worker-0", at=2.5, restart=0.1)),
            ),
            ps.ASP(),
        )  # fmt: skip
        redone = made.trace.of("apply").query("detail == 'redone'")
        assert len(redone) == more and set(redone["peer"]) <= {"worker-0"}
        assert made.tables["w"].tolist() == [12.0 + more] * 4
