"""Messages that arrive late, in another order or twice: `Delay`, `SlowLink`, `Reorder` and `Duplicate`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf

from psbook.laws import Law
from psbook.simulator.faults import validation
from psbook.simulator.faults.fault import lasting, span
from psbook.simulator.faults.luck import Luck
from psbook.simulator.faults.message import NORMAL, Effect, LinkFault, MessageFault
from psbook.simulator.faults.names import covers


@dataclass(frozen=True, repr=False)
class Delay(LinkFault):
    """Every message takes longer; under a random law messages also overtake each other.

    Parameters
    ----------
    delay : float or Law
        Extra seconds. A law is drawn by link and message, whether or not the messages before were delayed.
    at, seconds : float
        From when (simulated seconds), and how long.
    links : sequence of (source, destination), optional
        Names or patterns; None: every link.

    Raises
    ------
    InvalidJob
        If an argument makes no sense.

    Examples
    --------
    >>> from psbook.laws import Exponential
    >>> Delay(Exponential(0.1), seconds=5).sentence
    'Messages take Exponential(0.1) s longer on every link, from 0 s to 5 s.'
    """

    delay: Law | float
    at: float = 0.0
    seconds: float = inf
    links: Sequence[tuple[str, str]] | None = None

    def __post_init__(self) -> None:
        self._set(delay=validation.delay(self, self.delay))
        self._check_where()

    @property
    def sentence(self) -> str:
        """The fault in a sentence."""
        return f"Messages take {lasting(self.delay)} longer {self._where()}."

    def effect(self, luck: Luck) -> Effect:
        """Delay each message."""
        seconds = luck.seconds(self.delay)
        return lambda number: (seconds(number),)


@dataclass(frozen=True, repr=False)
class SlowLink(MessageFault):
    """The way from one node to another takes longer; the way back does not.

    Parameters
    ----------
    source, destination : str
        Names, or patterns such as "worker-*".
    delay : float
        Extra seconds.
    at, seconds : float
        From when (simulated seconds), and how long.

    Raises
    ------
    InvalidJob
        If an argument makes no sense.

    Examples
    --------
    >>> SlowLink("worker-0", "server-*", 0.5).sentence
    'Messages from worker-0 to server-* take 0.5 s longer, always.'
    """

    source: str
    destination: str
    delay: float
    at: float = 0.0
    seconds: float = inf

    def __post_init__(self) -> None:
        self._set(
            source=validation.node(self, "source", self.source),
            destination=validation.node(self, "destination", self.destination),
            delay=validation.moment(self, "delay", self.delay),
            at=validation.moment(self, "at", self.at),
            seconds=validation.duration(self, "seconds", self.seconds),
        )

    @property
    def sentence(self) -> str:
        """The fault in a sentence."""
        way = f"from {self.source} to {self.destination}"
        return f"Messages {way} take {self.delay:g} s longer, {span(self.at, self.seconds)}."

    def names(self) -> Iterable[str]:
        """The two ends."""
        return [self.source, self.destination]

    def concerns(self, source: str, destination: str) -> bool:
        """Whether this is the link."""
        return covers([self.source], source) and covers([self.destination], destination)

    def effect(self, luck: Luck) -> Effect:
        """Delay each message by the same time."""
        fate = (self.delay,)
        return lambda number: fate


@dataclass(frozen=True, repr=False)
class Reorder(LinkFault):
    """Some messages are held up, so that those sent after them overtake.

    Parameters
    ----------
    probability : float
        0 … 1; of a message to be held up.
    delay : float or Law
        How long, in seconds; later messages overtake when it is longer than the gap to them.
    at, seconds : float
        From when (simulated seconds), and how long.
    links : sequence of (source, destination), optional
        Names or patterns; None: every link.

    Raises
    ------
    InvalidJob
        If an argument makes no sense.

    Examples
    --------
    >>> Reorder(0.1, 0.3).sentence
    '10 % of the messages are held up for 0.3 s on every link, always.'
    """

    probability: float
    delay: Law | float
    at: float = 0.0
    seconds: float = inf
    links: Sequence[tuple[str, str]] | None = None

    def __post_init__(self) -> None:
        self._set(
            probability=validation.probability(self, self.probability),
            delay=validation.delay(self, self.delay),
        )
        self._check_where()

    @property
    def sentence(self) -> str:
        """The fault in a sentence."""
        share = f"{100 * self.probability:g} % of the messages"
        return f"{share} are held up for {lasting(self.delay)} {self._where()}."

    def effect(self, luck: Luck) -> Effect:
        """Hold a message up when its number is below the probability."""
        seconds = luck.seconds(self.delay)
        return lambda number: (seconds(number),) if luck.uniform(number) < self.probability else NORMAL


@dataclass(frozen=True, repr=False)
class Duplicate(LinkFault):
    """Some messages arrive twice.

    Parameters
    ----------
    probability : float
        0 … 1; of a message to be doubled.
    delay : float or Law
        Seconds that the second copy arrives after the first.
    at, seconds : float
        From when (simulated seconds), and how long.
    links : sequence of (source, destination), optional
        Names or patterns; None: every link.

    Raises
    ------
    InvalidJob
        If an argument makes no sense.

    Examples
    --------
    >>> Duplicate(0.01, 0.3).sentence
    '1 % of the messages arrive again after 0.3 s on every link, always.'
    """

    probability: float
    delay: Law | float = 0.0
    at: float = 0.0
    seconds: float = inf
    links: Sequence[tuple[str, str]] | None = None

    def __post_init__(self) -> None:
        self._set(
            probability=validation.probability(self, self.probability),
            delay=validation.delay(self, self.delay),
        )
        self._check_where()

    @property
    def sentence(self) -> str:
        """The fault in a sentence."""
        share = f"{100 * self.probability:g} % of the messages"
        return f"{share} arrive again after {lasting(self.delay)} {self._where()}."

    def effect(self, luck: Luck) -> Effect:
        """Double a message when its number is below the probability."""
        seconds = luck.seconds(self.delay)
        return lambda number: (0.0, seconds(number)) if luck.uniform(number) < self.probability else NORMAL
