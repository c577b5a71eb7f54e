"""A node's process in a simulated run that may go wrong: it can die, hang, be slow and be started again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from psbook.core.messages import Message
from psbook.hosts.driver import Outcome

if TYPE_CHECKING:
    from psbook.simulator.simulation import Simulation


class Process:
    """Driver of one node's host, as long as the process lives.

    Whatever would happen in a dead process does not happen; in one that hangs, it happens when it goes on.

    Parameters
    ----------
    simulation
        The run.
    node
        Its name.
    incarnation
        How often the node was started before.
    """

    has_threads = False

    def __init__(self, simulation: Simulation, node: str, incarnation: int = 0) -> None:
        self.node = node
        self.incarnation = incarnation
        self.alive = True
        self.receive: Callable[[str, Message], object] = lambda source, message: None
        """Takes in a message; set when the host is made."""
        self._simulation = simulation
        self._hangs = False
        self._backlog: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    @property
    def hangs(self) -> bool:
        """Whether it lives, but does nothing."""
        return self._hangs

    def do(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call a function: now, when the process goes on, or never."""
        if not self.alive:
            return
        if self._hangs:
            self._backlog.append((function, arguments))
        else:
            function(*arguments)

    def every(self, seconds: float, function: Callable[[], object]) -> None:
        """Call a function again and again, first after `seconds`."""
        if self.alive:
            self._simulation.call_later(seconds, self._again, seconds, function)

    def _again(self, seconds: float, function: Callable[[], object]) -> None:
        self.do(function)
        self.every(seconds, function)

    def deliver(self, source: str, message: Message) -> None:
        """Take in a message."""
        self.do(self.receive, source, message)

    # What happens to it

    def crash(self) -> None:
        """End; everything that the process held is gone."""
        self.alive = False
        self._backlog.clear()

    def pause(self) -> None:
        """Hang."""
        self._hangs = True

    def resume(self) -> None:
        """Go on, with what has come meanwhile."""
        self._hangs = False
        while self._backlog and self.alive and not self._hangs:
            function, arguments = self._backlog.pop(0)
            function(*arguments)

    # The driver

    def now(self) -> float:
        """Simulated seconds."""
        return self._simulation.now()

    def call_later(self, seconds: float, function: Callable[..., object], *arguments: Any) -> object:
        """Call `function` when simulated time has passed."""
        return self._simulation.call_later(seconds, self.do, function, *arguments)

    def transmit(self, source: str, destination: str, message: Message) -> None:
        """Carry a message through the network."""
        if self.alive:
            self._simulation.transmit(source, destination, message)

    def compute(self, rank: int, function: Callable[[], Any], done: Callable[[Outcome], None]) -> None:
        """Compute at once; the law, and the state of the machine, say how much time that takes."""
        self._simulation.compute(rank, function, lambda outcome: self.do(done, outcome))

    def cut_short(self, rank: int) -> None:
        """End what the program computes."""
        self._simulation.cut_short(rank)

    def fail(self, node: str, error: BaseException) -> None:
        """End the run with the error of a program or of a server."""
        self._simulation.fail(node, error)

    def ended(self, node: str) -> None:
        """A program has ended; its shards know."""
        self._simulation.ended(node)
