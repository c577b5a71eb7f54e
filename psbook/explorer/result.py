"""What an exploration found: what was covered, and the shortest history that breaks a property."""

from __future__ import annotations

import builtins
from dataclasses import dataclass, field

from psbook.explorer.describe import describe
from psbook.explorer.nodes import Violated
from psbook.explorer.scope import Scope
from psbook.explorer.system import State, Step, System
from psbook.explorer.world import World


@dataclass
class Violation:
    """A property that does not hold, and the shortest history that breaks it.

    Attributes
    ----------
    property : str
        Its name, one of `properties.PROPERTIES`.
    why : str
        What was found instead.
    steps : list
        The history.
    """

    property: str
    why: str
    system: System = field(repr=False)
    steps: list[Step] = field(repr=False)

    @builtins.property
    def history(self) -> list[str]:
        """The steps as sentences."""
        state: State = self.system.initial()
        sentences = []
        for step in self.steps:
            sentences.append(describe(self.system, state, step))
            state = self.system.do(state, step).state
        return sentences

    def replay(self, number: int | None = None) -> World:
        """Return the world after the first `number` steps of the history, ready for stepping on.

        Without a number, after all of them; a negative one counts from the end.
        """
        world = World(self.system)
        taken = self.steps[:number]
        for step in taken:
            world = world.do(step)
        if len(taken) == len(self.steps):
            world.violated = Violated(self.property, self.why)
        return world

    def __str__(self) -> str:
        lines = [f"{number:3d}. {sentence}" for number, sentence in enumerate(self.history, 1)]
        return "\n".join([f"Broken: {self.property}. {self.why}", *lines])


@dataclass(frozen=True)
class Explored:
    """The behaviours that were gone through.

    Attributes
    ----------
    scope : Scope
        What was explored.
    states, transitions : int
        Different states of the world, and steps between them.
    ends : int
        States in which the run has ended.
    computed : int
        Steps of single nodes that were computed; the others were looked up.
    stopped_by : str
        What ended the search early; empty if the whole scope was gone through.
    seconds : float
        Wall-clock seconds that it took.
    violation : Violation or None
        The shortest history that breaks a property.
    """

    scope: Scope
    states: int
    transitions: int
    ends: int
    computed: int
    stopped_by: str
    seconds: float
    violation: Violation | None

    @property
    def exhausted(self) -> bool:
        """Whether every behaviour of the scope was gone through."""
        return not self.stopped_by

    def __repr__(self) -> str:
        covered = "exhausted" if self.exhausted else f"stopped by {self.stopped_by}"
        return f"<Explored {self.scope.sentence}: {self.states} states, {covered}>"

    def __str__(self) -> str:
        text = (
            f"{self.scope.sentence}: {self.states:,} states, {self.transitions:,} steps between them, "
            f"{self.ends:,} ends, {self.seconds:.1f} s "
            f"({self.states / max(self.seconds, 1e-9):,.0f} states/s). "
        )
        if self.violation is not None:
            return f"{text}\n{self.violation}"
        return text + (
            "Every property holds in all of them." if self.exhausted
            else f"No property is broken so far; the search was stopped by {self.stopped_by}."
        )  # fmt: skip
