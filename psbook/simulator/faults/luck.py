"""`Luck`: the random numbers of one fault on one link, by the number of the message."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

from psbook.laws import Draws, Law, generator

_BLOCK = 256


class Luck:
    """Numbers that are a function of seed, fault, link and message, and of nothing else.

    What other links carry, which other faults there are, and whether anybody looked at the messages before,
    changes none of them.

    Parameters
    ----------
    seed : int
        The seed of the run, 0 … 2^64−1.
    stream : str
        Names the fault among those of the link.
    source, destination : str
        The link.

    Examples
    --------
    >>> here, there = Luck(1, "Loss", "a", "b"), Luck(1, "Loss", "b", "a")
    >>> here.uniform(1000) == Luck(1, "Loss", "a", "b").uniform(1000) != there.uniform(1000)
    True
    """

    __slots__ = ("_block", "_link", "_numbers", "_seed", "_stream")

    def __init__(self, seed: int, stream: str, source: str, destination: str) -> None:
        self._seed = seed
        self._stream = f"faults/{stream}"
        self._link = _word(f"{source}\0{destination}")
        self._block = -1
        self._numbers: list[float] = []

    def uniform(self, number: int) -> float:
        """The number in [0, 1) of message `number` (from 0)."""
        block, place = divmod(number, _BLOCK)
        if block != self._block:  # a generator costs as much as thousands of its numbers
            self._numbers = generator(self._seed, self._stream, self._link, block).random(_BLOCK).tolist()
            self._block = block
        return self._numbers[place]

    def seconds(self, delay: Law | float) -> Callable[[int], float]:
        """The delay in seconds of each message: a number's or, for a law, that of iteration `number`."""
        if not isinstance(delay, Law):
            return lambda number: delay
        # A seed of its own: a law knows no streams but those of workers, and a link is not a worker.
        draws, link = Draws(delay, _word(f"{self._seed}/{self._stream}")), self._link
        return lambda number: draws.at(link, number)


def _word(text: str) -> int:
    """A 64-bit word for a text, the same in every process."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
