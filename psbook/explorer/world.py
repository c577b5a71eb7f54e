"""One state of a scope, to be stepped on by hand."""

from __future__ import annotations

from typing import Any

from psbook.explorer.describe import describe
from psbook.explorer.nodes import Violated
from psbook.explorer.system import State, Step, System


class World:
    """The nodes and the messages under way, at one point of a history; stepping gives another world.

    Parameters
    ----------
    system
        All behaviours.
    state
        Where; by default at the start.

    Examples
    --------
    >>> from psbook.core.consistency import ASP
    >>> from psbook.explorer.scope import Scope
    >>> world = World(System(Scope(ASP(), workers=1, iterations=1)))
    >>> [world.sentence(step) for step in world.steps]
    ["server-0 takes worker-0's read at clock 0"]
    >>> world.do(world.steps[0]).messages
    ["server-0 → worker-0: the answer to worker-0's read"]
    """

    def __init__(self, system: System, state: State | None = None, violated: Violated | None = None) -> None:
        self.system = system
        self.state = system.initial() if state is None else state
        self.violated = violated
        """What the last step has broken."""

    @property
    def steps(self) -> list[Step]:
        """What can happen next."""
        return self.system.steps(self.state)

    def sentence(self, step: Step) -> str:
        """Say what a step does."""
        return describe(self.system, self.state, step)

    def do(self, step: Step) -> World:
        """Return the world after a step."""
        _, state, violated = self.system.do(self.state, step)
        return World(self.system, state, violated)

    @property
    def nodes(self) -> dict[str, Any]:
        """A copy of each node: a `Program`, `ServerNode`, `ControllerNode`, or `Dead`."""
        states = self.system.local.states
        return {
            node: states.thaw(number) for node, number in zip(self.system.nodes, self.state, strict=False)
        }

    @property
    def messages(self) -> list[str]:
        """Messages under way."""
        return [
            describe(self.system, self.state, Step("list", at, place))
            for at in range(len(self.system.nodes), len(self.system.nodes) + len(self.system.pairs))
            for place in range(len(self.system.channels.contents[self.state[at]]))
        ]

    def __repr__(self) -> str:
        broken = f", {self.violated}" if self.violated else ""
        return f"<World: {len(self.messages)} messages under way, {len(self.steps)} steps possible{broken}>"
