"""A scenario of the counter test: the cluster, what its programs do and what goes wrong, of one seed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from psbook.core.consistency import ASP, BSP, SSP, BoundedDelay, Consistency
from psbook.core.controls import CONTROLLER
from psbook.core.layout import DELIVERY, SCHEMES, Safety
from psbook.errors import NodeFailure
from psbook.experiments.counting import Habits, Ledger
from psbook.laws import Exponential, Law, generator
from psbook.run import Run
from psbook.simulator import Network, Simulator
from psbook.simulator.faults import (
    BurstyLoss,
    Crash,
    Delay,
    Fault,
    Faults,
    Loss,
    Partition,
    Pause,
    Reorder,
)  # fmt: skip

RELIABLE = 0.7
"""Share of a lease for which a server may be silent, in all, without a risk that it is given up."""


@dataclass(frozen=True)
class Scenario:
    """A counting run with all that goes wrong in it: everything is drawn from one seed.

    Attributes
    ----------
    seed : int
        Of the run.
    workers, servers : int
        How many.
    model : Consistency
        Consistency model.
    safety : Safety
        What is done about losses.
    faults : Faults
        What goes wrong.
    habits : Habits
        What the programs do.
    network : Network, optional
        Latency and bandwidth.
    service : Law or float, optional
        Seconds a request takes at a server.
    compute : float
        Mean of the exponential compute times in seconds.

    Examples
    --------
    >>> scenario = draw(3)
    >>> scenario == draw(3), scenario.run().wrong
    (True, [])
    """

    seed: int
    workers: int
    servers: int
    model: Consistency
    safety: Safety
    faults: Faults
    habits: Habits
    network: Network | None = None
    service: Law | float | None = None
    compute: float = 0.1

    def run(self, check: bool = False) -> Outcome:
        """Run, and judge the counts; with `check` also what `Run.check` says of the trace."""
        ledger = Ledger(self.workers, self.habits, self.model, self.safety)
        cluster = Simulator(
            self.workers, self.servers, Exponential(self.compute), self.network, self.service, self.safety,
            self.faults, seed=self.seed,
        )  # fmt: skip
        try:
            run = cluster.run(ledger.job(), self.model, _silent)
        except NodeFailure as error:
            alone = self.safety.lost_workers == "leave" and "was the last program" in str(error)
            if alone or not self.survivable:
                return Outcome(self, "lost", [], str(error))
            return Outcome(self, "failed", [f"{type(error).__name__}: {error}"])
        except Exception as error:  # noqa: BLE001  # whatever is raised is what the campaign looks for
            return Outcome(self, "failed", [f"{type(error).__name__}: {error}", *ledger.complaints])
        wrong = [*ledger.judge(run), *(map(repr, run.check().false) if check else ())]
        starts = sum(map(len, ledger.starts.values()))
        kind = "failed" if wrong else "ended"
        return Outcome(self, kind, wrong, "", run.seconds, starts, ledger.pulls, run)

    @property
    def survivable(self) -> bool:
        """Whether no shard can lose all its copies: at most `replicas` servers are ever in danger."""
        return len(in_danger(self.faults, self.servers, self.safety.lease)) <= self.safety.replicas

    @property
    def code(self) -> str:
        """The scenario as code that can be pasted."""
        return (
            "from psbook import ASP, BSP, SSP, BoundedDelay, Exponential, Network\n"
            "from psbook.core.layout import Safety\n"
            "from psbook.experiments.scenarios import Scenario\n"
            "from psbook.experiments.counting import Habits\n"
            "from psbook.simulator.faults import *\n\n"
            f"{self!r}.run().wrong"
        )


@dataclass(frozen=True)
class Outcome:
    """What became of a scenario.

    Attributes
    ----------
    scenario : Scenario
        Which.
    kind : {"ended", "lost", "failed"}
        "lost": the last copy of a shard was, as the run said; its schedule may do that.
    wrong : list of str
        What was found wrong.
    why : str
        Why the run was lost.
    seconds : float
        Length of the run, simulated s.
    starts : int
        Starts of workers, the first ones included.
    pulls : int
        Reads that were checked.
    run : Run, optional
        The run.
    """

    scenario: Scenario
    kind: str
    wrong: list[str]
    why: str = ""
    seconds: float = 0.0
    starts: int = 0
    pulls: int = 0
    run: Run | None = None


def in_danger(faults: Faults, servers: int, lease: float) -> set[str]:
    """Return the servers that may be given up, by a crash or because nobody hears them for too long."""
    nodes = [f"server-{number}" for number in range(servers)]
    danger: set[str] = set()
    silent = dict.fromkeys(nodes, 0.0)
    for fault in faults:
        if isinstance(fault, Crash):
            danger |= {fault.node} & set(nodes)
        elif isinstance(fault, Pause):
            for node in {fault.node} & set(nodes):
                silent[node] += fault.seconds
        elif isinstance(fault, Partition):
            for node in nodes:
                silent[node] += fault.seconds if fault.concerns(node, CONTROLLER) else 0.0
        elif isinstance(fault, Loss | BurstyLoss | Delay | Reorder):
            for node in nodes:
                silent[node] += min(fault.seconds, _silence(fault))
    return danger | {node for node, seconds in silent.items() if seconds > RELIABLE * lease}


def _silence(fault: Fault) -> float:
    """Return for how long a fault of messages may keep beats from coming, seconds."""
    if isinstance(fault, Delay | Reorder) and isinstance(fault.delay, int | float):
        return 2 * fault.delay
    return float("inf")


# Drawing


def draw(seed: int, delivery: str | None = None) -> Scenario:
    """Draw a scenario; the same seed gives the same."""
    rng = generator(seed, "campaign")
    workers, servers = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    model = _model(rng)
    safety = _safety(rng, servers, model, delivery)
    habits = Habits(
        keys=int(rng.integers(servers, 13)),
        iterations=int(rng.integers(2, 9)),
        pushes=int(rng.integers(1, 4)),
        pull=float(rng.choice([0.0, 0.5, 1.0])),
        wait=float(rng.choice([0.0, 0.3, 1.0])),
        flush=float(rng.choice([0.0, 0.3])),
        call=float(rng.choice([0.0, 0.3])),
        barrier=int(rng.choice([0, 0, 2])),
        cache=bool(rng.random() < 0.3),
    )
    if safety.aggregate:  # a push is acknowledged with its round, which its program has to end (E3)
        habits = replace(habits, wait=0.0, flush=0.0)
    networks: list[Network | None] = [
        None, Network(latency=0.002), Network(latency=0.05), Network(bandwidth=1e5, latency=0.005)
    ]  # fmt: skip
    services: list[Law | float | None] = [None, None, 0.005, Exponential(0.02)]
    network, service = networks[int(rng.integers(4))], services[int(rng.integers(4))]
    compute = 0.1
    end = 1.5 * compute * habits.iterations + 0.3
    faults = _faults(rng, seed, workers, servers, safety, end)
    return Scenario(seed, workers, servers, model, safety, faults, habits, network, service, compute)


def _model(rng: np.random.Generator) -> Consistency:
    models: list[Consistency] = [
        BSP(), BSP(), ASP(), SSP(0), SSP(1), SSP(3), SSP(1, gate="clock"), BoundedDelay(0), BoundedDelay(2)
    ]  # fmt: skip
    return models[int(rng.integers(len(models)))]


def _safety(rng: np.random.Generator, servers: int, model: Consistency, delivery: str | None) -> Safety:
    drawn = DELIVERY[int(rng.choice([0, 0, 0, 1, 2]))]
    return Safety(
        replicas=int(rng.integers(min(2, servers - 1) + 1)),
        scheme=SCHEMES[int(rng.integers(2))],
        aggregate=bool(rng.random() < 0.5) and isinstance(model, BSP),
        points=int(rng.choice([0, 0, 1, 3])),
        delivery=drawn if delivery is None else delivery,
        lost_workers=("restart", "restart", "leave")[int(rng.integers(3))],
        atomic=bool(rng.random() < 0.3),
        lease=float(rng.choice([0.3, 0.6, 1.0])),
        resend=float(rng.choice([0.05, 0.2, 0.5])),
    )


def _faults(
    rng: np.random.Generator, seed: int, workers: int, servers: int, safety: Safety, end: float
) -> Faults:
    """Draw faults one by one; mostly keep only those that no shard can be lost by."""
    nodes = [
        *(f"worker-{number}" for number in range(workers)),
        *(f"server-{number}" for number in range(servers)), CONTROLLER,
    ]  # fmt: skip
    kinds = ["crashes", "pauses", "losses", "bursts", "duplicates", "reorders", "delays", "partitions"]
    most = [4, 2, 2, 1, 2, 2, 1, 2]
    counts = {kind: int(rng.integers(limit + 1)) for kind, limit in zip(kinds, most, strict=True)}
    drawn = Faults.random(seed, nodes, end, **counts)
    daring = rng.random() < 0.1
    kept = Faults(seed=seed)
    for fault in drawn:
        if isinstance(fault, Crash) and fault.node != CONTROLLER and rng.random() < 0.3:
            fault = replace(fault, restart=None)
        more = kept + fault
        lossy = isinstance(fault, Loss | BurstyLoss | Delay | Reorder)
        if daring or lossy or len(in_danger(more, servers, safety.lease)) <= safety.replicas:
            kept = more
    return kept


def _silent(iterations: int, loss: float | None) -> None:
    """Show nothing."""
