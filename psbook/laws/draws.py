"""`Draws`: the times of a law one by one, for an engine that does not know how many it will need."""

from __future__ import annotations

from psbook.errors import InvalidJob
from psbook.laws.base import Law

_FIRST = 64


class Draws:
    """A cursor over the times of a law, amortised O(1) a draw.

    The law is asked for 64 iterations of a worker, then 128, 256, …; prefix stability makes the answers
    agree. `at` goes by the number of the iteration, so that iterations that are cancelled, repeated or
    never asked for change nobody's luck.

    Parameters
    ----------
    law : Law
        Any law; also one that contains `Measured`.
    seed : int
        The seed of the run, 0 … 2^64−1.

    Examples
    --------
    >>> from psbook.laws import Constant, Measured
    >>> draws = Draws(Constant(0.1).delayed(worker=1, iteration=1, delay=1.0), seed=0)
    >>> draws.next(1), draws.next(1), draws.at(worker=1, iteration=0)
    (0.1, 1.1, 0.1)
    >>> Draws(Measured(2.0), seed=0).next(0, measured=0.25)
    0.5
    """

    __slots__ = ("_factors", "_next", "_offsets", "law", "seed")

    def __init__(self, law: Law, seed: int) -> None:
        self.law = law
        self.seed = seed
        self._offsets: dict[int, list[float]] = {}
        self._factors: dict[int, list[float]] | None = {} if law.measured else None
        self._next: dict[int, int] = {}

    def next(self, worker: int, measured: float | None = None) -> float:
        """Seconds of the next iteration of `worker`.

        Parameters
        ----------
        worker : int
            Number of the worker, from 0.
        measured : float, optional
            Seconds that the kernel really took; needed when the law contains `Measured`, else ignored.

        Raises
        ------
        InvalidJob
            The law contains `Measured` and `measured` was not given.
        """
        iteration = self._next.get(worker, 0)
        self._next[worker] = iteration + 1
        return self.at(worker, iteration, measured)

    def at(self, worker: int, iteration: int, measured: float | None = None) -> float:
        """Seconds of one iteration, numbered from 0; parameters and errors as for `next`."""
        try:
            offset = self._offsets[worker][iteration]
        except (KeyError, IndexError):
            self._grow(worker, iteration)
            offset = self._offsets[worker][iteration]
        if self._factors is None:
            return offset
        if measured is None:
            raise InvalidJob(f"{self.law.label}: the measured seconds were not given; required: measured=… "
                             f"for a law that contains Measured(); pass what the kernel took")
        return offset + self._factors[worker][iteration] * measured

    def _grow(self, worker: int, iteration: int) -> None:
        count = max(2 * len(self._offsets.get(worker, ())), _FIRST, iteration + 1)
        if self._factors is None:
            self._offsets[worker] = self.law.times(worker, count, self.seed).tolist()
        else:
            offset, factor = self.law.affine(worker, count, self.seed)
            self._offsets[worker], self._factors[worker] = offset.tolist(), factor.tolist()
