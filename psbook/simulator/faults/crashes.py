"""Processes that die or hang: `Crash`, `Rack` and `Pause`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from psbook.simulator.faults import validation
from psbook.simulator.faults.fault import Fault, after, listed, span
from psbook.simulator.faults.names import is_pattern


@dataclass(frozen=True, repr=False)
class Crash(Fault):
    """A process dies and loses all it had.

    Parameters
    ----------
    node : str
        A server, a worker or "controller"; one process, no pattern.
    at : float
        Simulated seconds.
    restart : float, optional
        Seconds after `at` when an empty process of that name is there; None: never.

    Raises
    ------
    InvalidJob
        If an argument makes no sense.

    Examples
    --------
    >>> Crash("server-1", at=3, restart=1.5).sentence
    'server-1 crashes at 3 s and comes back empty after 1.5 s.'
    """

    node: str
    at: float
    restart: float | None = None

    def __post_init__(self) -> None:
        self._set(
            node=validation.node(self, "node", self.node),
            at=validation.moment(self, "at", self.at),
            restart=_restart(self, self.restart),
        )
        if is_pattern(self.node):
            validation.refuse(self, "node", self.node, "one node", "use Rack for several at once")

    @property
    def sentence(self) -> str:
        """The fault in a sentence."""
        return f"{self.node} crashes at {self.at:g} s and {_back(self.restart, 'comes')}."

    @property
    def end(self) -> float:
        """Seconds when the process is back, or when it died for good."""
        return self.at if self.restart is None else after(self.at, self.restart)

    def names(self) -> tuple[str, ...]:
        """The node."""
        return (self.node,)


@dataclass(frozen=True, repr=False)
class Rack(Fault):
    """Nodes that die together, as those of a rack do with its power supply.

    Parameters
    ----------
    nodes : sequence of str
        Names or patterns such as "server-*".
    at : float
        Simulated seconds.
    restart : float, optional
        Seconds after `at` when empty processes of these names are there; None: never.

    Raises
    ------
    InvalidJob
        If an argument makes no sense.

    Examples
    --------
    >>> Rack(["server-0", "worker-0"], at=3).sentence
    'server-0 and worker-0 crash together at 3 s and never come back.'
    """

    nodes: Sequence[str]
    at: float
    restart: float | None = None

    def __post_init__(self) -> None:
        self._set(
            nodes=validation.nodes(self, "nodes", self.nodes),
            at=validation.moment(self, "at", self.at),
            restart=_restart(self, self.restart),
        )

    @property
    def sentence(self) -> str:
        """The fault in a sentence."""
        back = _back(self.restart, "come")
        return f"{listed(self.nodes)} crash together at {self.at:g} s and {back}."

    @property
    def end(self) -> float:
        """Seconds when the processes are back, or when they died for good."""
        return self.at if self.restart is None else after(self.at, self.restart)

    def names(self) -> Sequence[str]:
        """The nodes."""
        return self.nodes

    def simpler(self) -> Iterator[Self]:
        """The same with one node less, or shorter."""
        if len(self.nodes) > 1:
            for i in range(len(self.nodes)):
                yield self._with(nodes=(*self.nodes[:i], *self.nodes[i + 1 :]))
        yield from super().simpler()


@dataclass(frozen=True, repr=False)
class Pause(Fault):
    """A process hangs: it handles nothing, what it is sent queues up, and then it goes on.

    Parameters
    ----------
    node : str
        A name, or a pattern such as "worker-*".
    at : float
        Simulated seconds.
    seconds : float
        How long; finite.

    Raises
    ------
    InvalidJob
        If an argument makes no sense.

    Examples
    --------
    >>> Pause("worker-0", at=3, seconds=2).sentence
    'worker-0 hangs from 3 s to 5 s.'
    """

    node: str
    at: float
    seconds: float

    def __post_init__(self) -> None:
        self._set(
            node=validation.node(self, "node", self.node),
            at=validation.moment(self, "at", self.at),
            seconds=validation.duration(self, "seconds", self.seconds, endless=False),
        )

    @property
    def sentence(self) -> str:
        """The fault in a sentence."""
        return f"{self.node} hangs {span(self.at, self.seconds)}."

    @property
    def end(self) -> float:
        """Seconds when the process goes on."""
        return after(self.at, self.seconds)

    def names(self) -> tuple[str, ...]:
        """The node or pattern."""
        return (self.node,)


def _restart(fault: Fault, value: object) -> float | None:
    return None if value is None else validation.duration(fault, "restart", value, endless=False)


def _back(restart: float | None, come: str) -> str:
    return f"never {come} back" if restart is None else f"{come} back empty after {restart:g} s"
