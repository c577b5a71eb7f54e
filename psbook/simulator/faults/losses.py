"""Messages that do not arrive: `Loss`, `BurstyLoss` and `Partition`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf

from psbook.simulator.faults import validation
from psbook.simulator.faults.fault import listed, span
from psbook.simulator.faults.luck import Luck
from psbook.simulator.faults.message import LOST, NORMAL, Effect, Fate, LinkFault, MessageFault
from psbook.simulator.faults.names import covers, known


@dataclass(frozen=True, repr=False)
class Loss(LinkFault):
    """Each message is lost with a probability, independently of all others.

    Parameters
    ----------
    probability : float
        0 … 1.
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
    >>> Loss(0.05, links=[("worker-*", "server-0")]).sentence
    '5 % of the messages are lost from worker-* to server-0, always.'
    """

    probability: float
    at: float = 0.0
    seconds: float = inf
    links: Sequence[tuple[str, str]] | None = None

    def __post_init__(self) -> None:
        self._set(probability=validation.probability(self, self.probability))
        self._check_where()

    @property
    def sentence(self) -> str:
        """The fault in a sentence."""
        return f"{100 * self.probability:g} % of the messages are lost {self._where()}."

    def effect(self, luck: Luck) -> Effect:
        """Lose message n when its number is below the probability; so a higher one loses these and more."""
        return lambda number: LOST if luck.uniform(number) < self.probability else NORMAL


@dataclass(frozen=True, repr=False)
class BurstyLoss(LinkFault):
    r"""Messages are lost in bursts: the chain of Gilbert (1960) and Elliott (1963), one for each link.

    A link is good, and loses nothing, or bad, and loses everything. With each message sent on it while the
    fault is active the chain moves a step: from bad to good with probability 1/length, from good to bad with
    probability π/(length·(1−π)), where π is `probability`. It begins in its stationary law. So a share π of
    the messages is lost, in bursts whose length is geometric on 1, 2, … with mean `length`. Losses are
    independent for ``length = 1/(1−π)``, and for less they avoid each other.

    Parameters
    ----------
    probability : float
        π, the share of messages lost in the long run; at most length/(length+1).
    length : float
        Mean length of a burst in messages, ≥ 1.
    at, seconds : float
        From when (simulated seconds), and how long.
    links : sequence of (source, destination), optional
        Names or patterns; None: every link.

    Raises
    ------
    InvalidJob
        If an argument makes no sense.

    References
    ----------
    Gilbert, "Capacity of a Burst-Noise Channel", Bell System Technical Journal 39 (1960); Elliott, "Estimates
    of Error Rates for Codes on Burst-Noise Channels", ibid. 42 (1963).

    Examples
    --------
    >>> BurstyLoss(0.05, 4).sentence
    '5 % of the messages are lost in bursts of 4 on average, on every link, always.'
    """

    probability: float
    length: float
    at: float = 0.0
    seconds: float = inf
    links: Sequence[tuple[str, str]] | None = None

    def __post_init__(self) -> None:
        bursts = "it is the mean number of messages lost in a row, for example 4"
        self._set(
            probability=validation.probability(self, self.probability),
            length=validation.at_least_one(self, "length", self.length, bursts),
        )
        most = self.length / (self.length + 1)
        if self.probability > most:
            validation.refuse(
                self,
                "probability",
                self.probability,
                f"at most length/(length+1) = {most:g}, as every burst is followed by a message that arrives",
                "take longer bursts, or Loss",
            )
        self._check_where()

    @property
    def sentence(self) -> str:
        """The fault in a sentence."""
        share, where = 100 * self.probability, self._where()
        return f"{share:g} % of the messages are lost in bursts of {self.length:g} on average, {where}."

    def effect(self, luck: Luck) -> Effect:
        """Move the link's chain by a step for each message, and lose it when the link is bad then."""
        stationary = self.probability
        stay, begin = 1 - 1 / self.length, stationary / (self.length * (1 - stationary))
        bad: bool | None = None

        def fate(number: int) -> Fate:
            nonlocal bad
            chance = stationary if bad is None else stay if bad else begin
            bad = luck.uniform(number) < chance
            return LOST if bad else NORMAL

        return fate


@dataclass(frozen=True, repr=False)
class Partition(MessageFault):
    """Nothing passes between two sets of nodes, in either direction; inside a set all is well.

    Parameters
    ----------
    a_nodes, b_nodes : sequence of str
        Names or patterns; no node may be on both sides.
    at, seconds : float
        From when (simulated seconds), and how long.

    Raises
    ------
    InvalidJob
        If an argument makes no sense.

    Examples
    --------
    >>> Partition("server-0", ["worker-0", "worker-1"], at=1, seconds=2).sentence
    'Nothing passes between server-0 and {worker-0 and worker-1}, from 1 s to 3 s.'
    """

    a_nodes: Sequence[str]
    b_nodes: Sequence[str]
    at: float
    seconds: float = inf

    def __post_init__(self) -> None:
        self._set(
            a_nodes=validation.nodes(self, "a_nodes", self.a_nodes),
            b_nodes=validation.nodes(self, "b_nodes", self.b_nodes),
            at=validation.moment(self, "at", self.at),
            seconds=validation.duration(self, "seconds", self.seconds),
        )
        self._apart(self.a_nodes, self.b_nodes)

    @property
    def sentence(self) -> str:
        """The fault in a sentence."""
        a, b = (_side(names) for names in (self.a_nodes, self.b_nodes))
        return f"Nothing passes between {a} and {b}, {span(self.at, self.seconds)}."

    def names(self) -> Iterable[str]:
        """The nodes and patterns of both sides."""
        return [*self.a_nodes, *self.b_nodes]

    def check(self, nodes: Sequence[str]) -> None:
        """Raise `InvalidJob` unless all nodes are known and none is on both sides."""
        super().check(nodes)
        self._apart(known(self.a_nodes, nodes, "Partition"), known(self.b_nodes, nodes, "Partition"))

    def concerns(self, source: str, destination: str) -> bool:
        """Whether the two nodes are on different sides."""
        a, b = self.a_nodes, self.b_nodes
        there = covers(a, source) and covers(b, destination)
        return there or (covers(b, source) and covers(a, destination))

    def effect(self, luck: Luck) -> Effect:
        """Lose all."""
        return lambda number: LOST

    def _apart(self, a_nodes: Sequence[str], b_nodes: Sequence[str]) -> None:
        both = [node for node in a_nodes if node in b_nodes]
        if both:
            validation.refuse(
                self, "b_nodes", self.b_nodes, "no node of a_nodes", f"take {listed(both)} out on one side"
            )


def _side(names: Sequence[str]) -> str:
    return listed(names) if len(names) == 1 else f"{{{listed(names)}}}"
