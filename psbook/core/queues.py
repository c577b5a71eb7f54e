"""Queues: who was handed which piece of work. A piece is a number; programs know what it stands for."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field

from psbook.errors import ProtocolError


@dataclass
class Queue:
    """Hands out 0, 1, 2, …, each to one program, and again if that ends before it is done.

    Attributes
    ----------
    handed : int
        How many numbers have been handed out.
    given : dict
        What each program got, in its order.
    returned : list of int
        What is to be handed out again, ascending.

    Notes
    -----
    A program that asks for its n-th piece again, as it was started again or its answer was lost, gets what it
    got before. Asking for the next means that the one before is done. What comes back when every
    other program has ended is left undone: nobody asks any more.

    Examples
    --------
    >>> queue = Queue()
    >>> queue.ask(0, 1), queue.ask(1, 1), queue.ask(0, 1), queue.ask(0, 2)
    (0, 1, 0, 2)
    >>> queue.give_back(1)
    >>> queue.ask(0, 3)
    1
    """

    handed: int = 0
    given: dict[int, list[int]] = field(default_factory=dict)
    returned: list[int] = field(default_factory=list)

    def ask(self, rank: int, number: int) -> int:
        """Return the piece that is the `number`-th of a program, from 1."""
        given = self.given.setdefault(rank, [])
        if not 1 <= number <= len(given) + 1:
            raise ProtocolError(f"program {rank} asks for piece {number}, and has had {len(given)}")
        if number > len(given):
            given.append(self.returned.pop(0) if self.returned else self._next())
        return given[number - 1]

    def give_back(self, rank: int) -> None:
        """A program has ended, or is lost for good: its last piece is for others."""
        given = self.given.pop(rank, [])
        if given:
            insort(self.returned, given[-1])

    def _next(self) -> int:
        self.handed += 1
        return self.handed - 1
