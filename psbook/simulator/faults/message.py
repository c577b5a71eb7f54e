"""`MessageFault`: faults that decide the fate of single messages, and how several of them go together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce

from psbook.simulator.faults import validation
from psbook.simulator.faults.fault import Fault, span
from psbook.simulator.faults.luck import Luck
from psbook.simulator.faults.names import covers

Fate = tuple[float, ...]
"""Extra seconds of each copy of a message that arrives, the first copy first; none: it is lost."""

NORMAL: Fate = (0.0,)
LOST: Fate = ()

Effect = Callable[[int], Fate]
"""What a fault does to the messages of one link: the fate of message number n, asked in rising order."""


def together(fates: Iterable[Fate]) -> Fate:
    """The fate under several faults: each copy that one leaves meets all the others, and delays add up.

    So the order of the faults does not matter: what one loses is lost, and two duplications make four copies.

    Examples
    --------
    >>> together([(0.5,), (0.0, 3.0), NORMAL])
    (0.5, 3.5)
    >>> together([(0.5,), LOST])
    ()
    """
    return reduce(_sums, fates, NORMAL)


def _sums(some: Fate, others: Fate) -> Fate:
    if others is NORMAL:
        return some
    if some is NORMAL:
        return others
    return tuple(sorted(a + b for a in some for b in others))


class MessageFault(Fault):
    """A fault of messages: it touches what is sent in [at, at + seconds)."""

    seconds: float

    @property
    def end(self) -> float:
        """Seconds from which on messages are safe."""
        return self.at + self.seconds

    def concerns(self, source: str, destination: str) -> bool:
        """Whether it touches the messages from one node to another."""
        raise NotImplementedError(f"{type(self).__name__} must define concerns")

    def effect(self, luck: Luck) -> Effect:
        """What it does on the one link whose `luck` this is; a fresh one for each link and run."""
        raise NotImplementedError(f"{type(self).__name__} must define effect")


class LinkFault(MessageFault):
    """A fault of messages on some links, or on every link."""

    links: Sequence[tuple[str, str]] | None

    def names(self) -> Iterable[str]:
        """The names and patterns at the ends of its links."""
        return [name for link in self.links or () for name in link]

    def concerns(self, source: str, destination: str) -> bool:
        """Whether it touches the messages from one node to another."""
        if self.links is None:
            return True
        return any(covers([a], source) and covers([b], destination) for a, b in self.links)

    def _check_where(self) -> None:
        """Check window and links."""
        self._set(
            at=validation.moment(self, "at", self.at),
            seconds=validation.duration(self, "seconds", self.seconds),
            links=validation.links(self, self.links),
        )

    def _where(self) -> str:
        """Links and window in words, to follow a sentence about messages."""
        ends = [f"from {a} to {b}" for a, b in self.links or ()]
        return f"{' or '.join(ends) or 'on every link'}, {span(self.at, self.seconds)}"
