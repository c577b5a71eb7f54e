"""Schedules that campaigns of the counter test have found and shrunk: each was a fault in the protocol."""

import pytest

from psbook import ASP, BSP, SSP, BoundedDelay, Exponential, Network
from psbook.core.layout import Safety
from psbook.experiments.counting import Habits
from psbook.experiments.scenarios import Scenario
from psbook.simulator.faults import Crash, Delay, Duplicate, Faults, Loss, Partition, Pause, Reorder

FOUND = {
    "a copy that was asked for again, and the older one arrives": Scenario(
        3, 3, 2, SSP(3), Safety(1, "primary-backup", points=1, lease=0.3, resend=0.2),
        Faults(Crash("server-1", at=0.445, restart=1.3e-06), Loss(0.24, at=0.497, seconds=0.073), seed=3),
        Habits(keys=2, iterations=3, pushes=3, pull=0.0, wait=0.3), service=0.005,
    ),
    "at least once: a push that comes behind its clock": Scenario(
        49, 4, 3, BoundedDelay(0), Safety(2, delivery="at-least-once", lease=0.3, resend=0.2),
        Faults(Reorder(0.397, 0.0992, at=0.282, seconds=0.17), seed=49),
        Habits(keys=7, iterations=8, pull=0.5, flush=0.3, barrier=2, cache=True),
        Network(latency=0.002), 0.005,
    ),
    "a worker that is started again between a barrier and its clock": Scenario(
        9, 3, 1, SSP(1, gate="clock"), Safety(lease=0.6, resend=0.5),
        Faults(Crash("worker-2", at=0.815), seed=9),
        Habits(keys=4, pull=0.0, wait=1.0, flush=0.3, call=0.3, barrier=2, cache=True),
        service=Exponential(0.02),
    ),
    "a call whose shard is cut before its result has come": Scenario(
        19, 3, 3, SSP(3), Safety(2, delivery="at-most-once", lost_workers="leave", lease=1.0, resend=0.5),
        Faults(Crash("server-2", at=1.02, restart=1e-06), seed=19),
        Habits(keys=11, iterations=6, pushes=3, wait=0.3, flush=0.3, call=0.3, cache=True),
        service=Exponential(0.02),
    ),
    "an old call that comes twice, behind a newer one": Scenario(
        184, 2, 2, BoundedDelay(2), Safety(delivery="at-least-once", atomic=True, lease=0.6, resend=0.05),
        Faults(Duplicate(0.291, delay=0.329, at=0.859, seconds=0.045), seed=184),
        Habits(keys=6, iterations=8, pushes=3, pull=0.0, call=0.3, barrier=2, cache=True),
        Network(latency=0.05),
    ),
    "the last worker is lost when the others have finished": Scenario(
        120, 3, 1, ASP(),
        Safety(points=3, delivery="at-most-once", lost_workers="leave", lease=0.6, resend=0.05),
        Faults(Crash("worker-1", at=0.195), Crash("controller", at=0.587, restart=1.5e-06), seed=120),
        Habits(keys=6, iterations=2, pushes=3, pull=0.0, call=0.3), Network(latency=0.05), 0.005,
    ),
    "a worker that is lost when some shards have counted it as finished": Scenario(
        105, 4, 3, ASP(),
        Safety(1, "primary-backup", points=3, delivery="at-most-once", atomic=True, lease=0.6, resend=0.5),
        Faults(
            Crash("server-1", at=0.218, restart=0.042), Loss(0.242, at=0.413, seconds=0.0027),
            Crash("worker-1", at=0.597, restart=1.9e-06), seed=105,
        ),
        Habits(keys=10, iterations=3, wait=0.3, flush=0.3, call=0.3, cache=True),
        Network(bandwidth=1e5, latency=0.005),
    ),
    "aggregated, primary-backup: a read in a round that others have pushed in": Scenario(
        18, 2, 4, BSP(), Safety(1, "primary-backup", True, 1, "at-least-once", resend=0.05, lease=1.0),
        Faults(), Habits(keys=7, pushes=1, pull=0.5, barrier=2), service=0.005,
    ),
    "aggregated: a shard that a round has no push for": Scenario(
        60, 1, 3, BSP(), Safety(2, aggregate=True, points=3, resend=0.2, lease=1.0),
        Faults(), Habits(keys=5, iterations=8, pushes=1, pull=0.5), Network(latency=0.002), Exponential(0.02),
    ),
    "slow servers: requests that come again faster than they are served": Scenario(
        24, 2, 3, SSP(0),
        Safety(2, "primary-backup", points=1, delivery="at-least-once", atomic=True, lease=0.3, resend=0.2),
        Faults(), Habits(keys=10, iterations=8, pull=0.0), Network(latency=0.05), Exponential(0.02),
    ),
    "aggregated: a worker that is started again reads behind a clock that waits for its round": Scenario(
        373, 4, 3, BSP(), Safety(2, aggregate=True, lease=1.0, resend=0.05),
        Faults(Crash("server-2", at=0.439, restart=0.0019), Crash("worker-0", at=0.48), seed=373),
        Habits(keys=8, pushes=1), Network(latency=0.002),
    ),
    "aggregated: a call that came before a push that it follows": Scenario(
        237, 3, 4, BSP(),
        Safety(1, aggregate=True, points=1, lost_workers="leave", lease=0.3, resend=0.2),
        Faults(Loss(0.121, at=0.444, seconds=0.183), seed=237),
        Habits(keys=11, iterations=6, call=0.3, cache=True), Network(latency=0.002),
    ),
    "aggregated, at least once: a push that is twice in a round, the second time behind its clock": Scenario(
        119, 4, 4, BSP(), Safety(1, aggregate=True, delivery="at-least-once", lease=1.0, resend=0.05),
        Faults(Crash("server-3", at=0.293), seed=119),
        Habits(keys=4, iterations=6, pushes=1, pull=0.0, cache=True), Network(bandwidth=1e5, latency=0.005),
    ),
    "atomic, at least once: a push that comes behind the last clock": Scenario(
        765, 4, 1, SSP(1), Safety(delivery="at-least-once", atomic=True, lease=0.6, resend=0.2),
        Faults(Reorder(0.157, 0.0621, at=0.173, seconds=0.025), seed=765),
        Habits(keys=12, iterations=2, pushes=3, pull=0.5, wait=0.3), Network(bandwidth=1e5, latency=0.005),
    ),
    "a worker that is far ahead on some shards, and goes on where it was on the others": Scenario(
        793, 1, 4, SSP(1), Safety(2, points=1, lease=1.0, resend=0.2),
        Faults(Crash("server-0", at=0.221), Crash("worker-0", at=1.31), seed=793),
        Habits(keys=10, iterations=7, pull=0.0, call=0.3), service=0.005,
    ),
    "the run ends while a shard still waits for a worker that was removed": Scenario(
        2284, 2, 1, BSP(),
        Safety(scheme="primary-backup", points=1, lost_workers="leave", resend=0.05, lease=1.0),
        Faults(Crash("worker-0", at=0.0227), seed=2284),
        Habits(keys=11, pull=0.0, wait=0.3, flush=0.3, call=0.3), Network(bandwidth=1e5, latency=0.005),
    ),
    "a cached read behind a push that is made again, though the shard has it": Scenario(
        9842, 2, 4, SSP(1, gate="clock"), Safety(2, lost_workers="leave", atomic=True, lease=1.0, resend=0.5),
        Faults(
            Delay(0.0507, at=0.00248, seconds=0.109), Crash("server-1", at=0.319, restart=1.3e-06),
            Crash("server-1", at=0.368), Crash("controller", at=0.447, restart=0.058),
            Crash("worker-1", at=0.681, restart=1.9e-06), seed=9842,
        ),
        Habits(keys=8, iterations=3, pushes=1, wait=0.3, flush=0.3, call=0.3, barrier=2, cache=True),
        Network(latency=0.002), Exponential(0.02),
    ),
    "aggregated, at least once: a call that comes again among pushes that come again": Scenario(
        6523, 3, 2, BSP(),
        Safety(1, "primary-backup", True, 0, "at-least-once", "leave", atomic=True, lease=1.0, resend=0.05),
        Faults(
            Crash("server-0", at=0.094, restart=0.148),
            Partition(["worker-1"], ["controller", "server-*", "worker-0", "worker-2"], 0.325, 0.121),
            seed=6523,
        ),
        Habits(keys=7, iterations=4, pushes=3, call=0.3), Network(latency=0.05), Exponential(0.02),
    ),
    "aggregated: a worker that had been counted as finished ends once more": Scenario(
        1, 2, 3, BSP(), Safety(1, aggregate=True, lease=0.3, resend=0.1),
        Faults(Crash("worker-0", at=0.42783753594609736)),
        Habits(keys=4, iterations=2, pushes=1), Network(latency=0.01), compute=0.05,
    ),
}  # fmt: skip


@pytest.mark.parametrize("scenario", FOUND.values(), ids=FOUND)
def test_a_schedule_that_failed(scenario):
    outcome = scenario.run()
    assert (outcome.kind, outcome.wrong) == ("ended", [])


def test_a_server_that_dies_or_hangs_leaves_its_queue_alone():
    """What waits to be served at a crash is never served; at a pause, only when the server goes on."""
    base = Scenario(
        1, 3, 2, ASP(), Safety(1, lease=1.0, resend=0.5), Faults(),
        Habits(keys=4, iterations=6, pushes=3),
        service=0.05,
    )
    for fault, end in ((Crash("server-0", at=0.3), 99.0), (Pause("server-0", at=0.3, seconds=0.4), 0.7)):
        outcome = Scenario(**{**vars(base), "faults": Faults(fault)}).run()
        assert (outcome.kind, outcome.wrong) == ("ended", [])
        rows = outcome.run.trace.of("apply", "replicate", "send")
        rows = rows[(rows["node"] == "server-0") & (rows["time"] > 0.3)]
        assert (rows["time"] >= end).all()
        assert len(rows) == 0 or end < 99
