"""`SlowNode`: a node that takes longer for everything, for a while."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from psbook.simulator.faults import validation
from psbook.simulator.faults.fault import Fault, span


@dataclass(frozen=True, repr=False)
class SlowNode(Fault):
    """A node takes `factor` times as long: a worker to compute, a server to serve.

    What begins while the node is slow is slow to its end. Several slow faults of a node multiply.

    Parameters
    ----------
    node : str
        A name, or a pattern such as "worker-*".
    factor : float
        ≥ 1; 2 is half the speed.
    at, seconds : float
        From when (simulated seconds), and how long.

    Raises
    ------
    InvalidJob
        If an argument makes no sense.

    Examples
    --------
    >>> SlowNode("worker-3", 2.5, at=10).sentence
    'worker-3 takes 2.5 times as long, from 10 s on.'
    """

    node: str
    factor: float
    at: float = 0.0
    seconds: float = inf

    def __post_init__(self) -> None:
        half = "it multiplies the time, so half the speed is factor=2"
        self._set(
            node=validation.node(self, "node", self.node),
            factor=validation.at_least_one(self, "factor", self.factor, half),
            at=validation.moment(self, "at", self.at),
            seconds=validation.duration(self, "seconds", self.seconds),
        )

    @property
    def sentence(self) -> str:
        """The fault in a sentence."""
        return f"{self.node} takes {self.factor:g} times as long, {span(self.at, self.seconds)}."

    @property
    def end(self) -> float:
        """Seconds when the node is as fast as before."""
        return self.at + self.seconds

    def names(self) -> tuple[str, ...]:
        """The node or pattern."""
        return (self.node,)
