"""Breadth first through all states of a scope, up to the first violation or the end."""

from __future__ import annotations

import time
from array import array

from psbook.explorer.nodes import Violated
from psbook.explorer.result import Explored, Violation
from psbook.explorer.scope import Scope
from psbook.explorer.system import State, Step, System


class Search:
    """States in the order in which they were reached, each with the step that led to it.

    Parameters
    ----------
    system
        The world.
    most
        Stop after so many states.
    """

    def __init__(self, system: System, most: int) -> None:
        self.system = system
        self.most = most
        self.states: list[State] = []
        self.transitions = 0
        self._numbers: dict[State, int] = {}
        self._parents = array("l")
        self._by = array("l")
        self._steps: dict[Step, int] = {}
        self._from = array("l")
        self._to = array("l")
        self.ends: list[int] = []

    def _add(self, state: State, parent: int, step: Step | None) -> int:
        """Return the number of a state; a new one goes to the end of the queue."""
        key = self.system.key(state)
        number = self._numbers.setdefault(key, len(self.states))
        if number == len(self.states):
            self.states.append(state)
            self._parents.append(parent)
            self._by.append(-1 if step is None else self._steps.setdefault(step, len(self._steps)))
        return number

    def run(self) -> tuple[list[Step], Violated] | None:
        """Go through the states; return the steps to the first violation, if there is one."""
        system = self.system
        self._add(system.initial(), -1, None)
        at = 0
        while at < len(self.states) and len(self.states) <= self.most:
            state = self.states[at]
            moves = False
            for step, following, violated in system.follow(state):
                self.transitions += 1
                if violated is not None:
                    return [*self.history(at), step], violated
                number = self._add(following, at, step)
                moves = moves or number != at
                self._from.append(at)
                self._to.append(number)
            if system.ended(state):
                self.ends.append(at)
            elif not moves:
                return self.history(at), system.stuck(state)
            at += 1
        return self._trapped() if self.exhausted else None

    @property
    def exhausted(self) -> bool:
        """Whether every state has been gone through."""
        return len(self.states) <= self.most

    def history(self, number: int) -> list[Step]:
        """Return the steps that lead to a state."""
        names = list(self._steps)
        steps = []
        while self._by[number] >= 0:
            steps.append(names[self._by[number]])
            number = self._parents[number]
        return steps[::-1]

    def _trapped(self) -> tuple[list[Step], Violated] | None:
        """Find a state from which no end can be reached: the first in which nothing is under way, if any."""
        before: list[list[int]] = [[] for _ in self.states]
        for source, destination in zip(self._from, self._to, strict=True):
            before[destination].append(source)
        good = bytearray(len(self.states))
        todo = list(self.ends)
        while todo:
            number = todo.pop()
            if not good[number]:
                good[number] = True
                todo += before[number]
        trapped = [number for number, fine in enumerate(good) if not fine]
        if not trapped:
            return None
        quiet = [each for each in trapped if not self.system.under_way(self.states[each])]
        number = (quiet or trapped)[0]
        return self.history(number), self.system.stuck(self.states[number])


def explore(scope: Scope, *, most: int = 1_000_000, symmetric: bool = True, reduced: bool = True) -> Explored:
    """Go through all behaviours of a scope, in order of their length, up to the first violation.

    Parameters
    ----------
    scope
        Who takes part and what may go wrong.
    most : int
        Stop after so many states.
    symmetric, reduced : bool
        Leave out what differs in the names of equal workers, or in the order of steps that commute.

    Examples
    --------
    >>> from psbook.core.consistency import SSP
    >>> explored = explore(Scope(SSP(0), iterations=1))
    >>> explored.exhausted, explored.violation
    (True, None)
    """
    system = System(scope, symmetric, reduced)
    search = Search(system, most)
    began = time.perf_counter()
    found = search.run()
    seconds = time.perf_counter() - began
    violation = None
    if found is not None:
        steps, violated = found
        violation = Violation(violated.name, violated.why, system, steps)
    return Explored(
        scope=scope,
        states=len(search.states),
        transitions=search.transitions,
        ends=len(search.ends),
        computed=system.local.computed,
        stopped_by=""
        if search.exhausted and found is None
        else "violation"
        if found
        else f"most={most} states",
        seconds=seconds,
        violation=violation,
    )
