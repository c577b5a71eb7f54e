"""Nodes that come and go as they should, while the run goes on: `Join` and `Leave`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psbook.simulator.faults import validation
from psbook.simulator.faults.fault import Fault
from psbook.simulator.faults.names import is_pattern


@dataclass(frozen=True, repr=False)
class _Change(Fault):
    node: str
    at: float

    def __post_init__(self) -> None:
        self._set(node=validation.node(self, "node", self.node), at=validation.moment(self, "at", self.at))
        if is_pattern(self.node):
            validation.refuse(self, "node", self.node, "one node", "name each in a line of its own")

    @property
    def end(self) -> float:
        """Seconds when it happens."""
        return self.at

    def names(self) -> tuple[str, ...]:
        """The node."""
        return (self.node,)


@dataclass(frozen=True, repr=False)
class Join(_Change):
    """A node joins that was not there at the start: it gets its share of the keys, or of the data.

    Parameters
    ----------
    node : str
        A server such as "server-3", or a worker with the next number behind those of the start.
    at : float
        Simulated seconds.

    Examples
    --------
    >>> Join("server-3", at=4).sentence
    'server-3 joins at 4 s.'
    """

    @property
    def sentence(self) -> str:
        """The change in a sentence."""
        return f"{self.node} joins at {self.at:g} s."

    def check(self, nodes: Sequence[str]) -> None:
        """Any name will do; the run says which it can have."""


@dataclass(frozen=True, repr=False)
class Leave(_Change):
    """A node leaves in good order: a server when others hold what it held, a worker at its next clock.

    Parameters
    ----------
    node : str
        A server or a worker.
    at : float
        Simulated seconds.

    Examples
    --------
    >>> Leave("worker-1", at=4).sentence
    'worker-1 leaves at 4 s.'
    """

    @property
    def sentence(self) -> str:
        """The change in a sentence."""
        return f"{self.node} leaves at {self.at:g} s."
