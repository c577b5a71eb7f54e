"""Schedules drawn at random, as explicit lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from psbook.errors import InvalidJob
from psbook.laws import generator
from psbook.simulator.faults.crashes import Crash, Pause
from psbook.simulator.faults.delays import Delay, Duplicate, Reorder
from psbook.simulator.faults.fault import Fault
from psbook.simulator.faults.losses import BurstyLoss, Loss, Partition
from psbook.simulator.faults.slow import SlowNode

_LOSSY = 0.5  # largest probability drawn: half of the messages still pass


class _Draw:
    """The choices of one random fault."""

    def __init__(self, rng: np.random.Generator, nodes: Sequence[str], end: float, longest: float) -> None:
        self.rng = rng
        self.nodes = nodes
        self.at = _short(rng.uniform(0, 0.99 * end))
        self.seconds = _short(0.99 * min(longest, end - self.at) * (1 - rng.random()))  # over before the end

    def node(self) -> str:
        return self.nodes[int(self.rng.integers(len(self.nodes)))]

    def sides(self) -> tuple[list[str], list[str]]:
        """Two sets that are not empty and hold every node once."""
        shuffled = [self.nodes[i] for i in self.rng.permutation(len(self.nodes))]
        place = int(self.rng.integers(1, len(shuffled)))
        return sorted(shuffled[:place]), sorted(shuffled[place:])

    def probability(self) -> float:
        return _short(self.rng.uniform(0, _LOSSY))

    def delay(self) -> float:
        return _short(self.seconds * self.rng.random())


def _short(number: float) -> float:
    """Three digits are luck enough, and can be read."""
    return float(f"{number:.3g}")


_MAKERS: Mapping[str, Callable[[_Draw], Fault]] = {
    "crashes": lambda draw: Crash(draw.node(), draw.at, restart=draw.seconds),
    "pauses": lambda draw: Pause(draw.node(), draw.at, draw.seconds),
    "slow": lambda draw: SlowNode(draw.node(), _short(draw.rng.uniform(1, 10)), draw.at, draw.seconds),
    "losses": lambda draw: Loss(draw.probability(), draw.at, draw.seconds),
    "bursts": lambda draw: BurstyLoss(
        draw.probability(), _short(draw.rng.uniform(1, 10)), draw.at, draw.seconds
    ),
    "duplicates": lambda draw: Duplicate(draw.probability(), draw.delay(), draw.at, draw.seconds),
    "reorders": lambda draw: Reorder(draw.probability(), draw.delay(), draw.at, draw.seconds),
    "delays": lambda draw: Delay(draw.delay(), draw.at, draw.seconds),
    "partitions": lambda draw: Partition(*draw.sides(), draw.at, draw.seconds),
}


def drawn(
    seed: int, nodes: Sequence[str], end: float, longest: float, counts: Mapping[str, int]
) -> list[Fault]:
    """So many faults of each kind, all over before `end`; see `Faults.random`."""
    faults: list[Fault] = []
    for kind, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise InvalidJob(
                f"random faults: {kind} is {count!r}; required: a whole number ≥ 0; pass {kind}=1"
            )
        if kind == "partitions" and count and len(nodes) < 2:
            raise InvalidJob("random faults: one node and partitions; required: two nodes; pass partitions=0")
        for number in range(count):
            rng = generator(seed, f"faults/random/{kind}", number)
            faults.append(_MAKERS[kind](_Draw(rng, nodes, end, longest)))
    return sorted(faults, key=lambda fault: fault.at)


def poisson_crashes(
    seed: int, nodes: Sequence[str], end: float, rate: float, restart: float | None
) -> Iterator[Crash]:
    """Crashes of each node at a constant rate while it is up, until `end`."""
    for node in nodes:
        rng = generator(seed, f"faults/random/rate/{node}")
        at = float(rng.exponential(1 / rate))
        while at < end:
            yield Crash(node, at, restart)
            if restart is None:
                break
            at += restart + float(rng.exponential(1 / rate))
