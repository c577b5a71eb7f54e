"""A bound on the lead over a few others only, drawn by lot."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from psbook.core.clocks import Clocks
from psbook.core.consistency.base import Consistency
from psbook.core.consistency.bounds import check_bound, check_count
from psbook.core.sampling import sample_of
from psbook.errors import InvalidJob


@dataclass(frozen=True)
class PSP(Consistency):
    """Probabilistic synchronous parallel (Wang, Catterall and Mortier 2017, arXiv 1709.07772).

    A read at clock c waits until each worker of a sample has come to clock c − s. **Re-sampling rule**: one
    sample a worker and clock, drawn from all other workers and kept until all of it have come there; it is a
    function of (seed, rank, clock), the same on every shard. Who has finished is there.

    A program that does not read is never held. Samples of nobody give `ASP`, of all others the times of
    `SSP`.

    Parameters
    ----------
    s
        Staleness in clocks, ``>= 0``.
    beta
        Workers of a sample, from 0 to the number of the others.
    seed
        Of the samples, ``>= 0``.

    Raises
    ------
    InvalidJob
        If a parameter is not whole, or negative; with the job, if a sample would be larger than the others.

    Examples
    --------
    >>> clocks = Clocks([0, 1, 2])
    >>> PSP(1, beta=2).may_read(0, 1, clocks), PSP(1, beta=2).may_read(0, 2, clocks)
    (True, False)
    >>> PSP(1, beta=0).may_read(0, 2, clocks)
    True
    """

    s: float
    beta: int
    seed: int = 0

    def __post_init__(self) -> None:
        check_bound("staleness s", self.s)
        check_count("workers of a sample beta", self.beta)
        check_count("seed", self.seed)

    def check(self, workers: int) -> None:
        """Raise `InvalidJob` if there are not `beta` others."""
        if self.beta >= workers:
            raise InvalidJob(
                f"{self.label} with {workers} workers; required: beta < workers, as a sample is of the "
                f"others. Take beta={workers - 1} or fewer."
            )

    def sampled(self, rank: int, clock: int, clocks: Clocks) -> list[int]:
        """Return whom a worker at `clock` looks at."""
        everyone = sorted(clocks.reached)
        place = bisect_left(everyone, rank)
        beta = min(self.beta, len(everyone) - 1)
        return [everyone[at] for at in sample_of(self.seed, place, clock, len(everyone), beta)]

    def may_read(self, rank: int, clock: int, clocks: Clocks) -> bool:
        """Wait until nobody of the sample is behind ``clock - s``."""
        return clocks.min >= clock - self.s or not self.held_by(rank, clock, clocks)

    def held_by(self, rank: int, clock: int, clocks: Clocks) -> list[int]:
        """Return who of the sample is behind."""
        least, sampled = clock - self.s, self.sampled(rank, clock, clocks)
        return [other for other in sampled if other in clocks and clocks[other] < least]

    def may_reuse(self, clock: int, row_clock: float) -> bool:
        """A copy may be used if nobody at all was behind when it was sent."""
        return row_clock >= max(0, clock - self.s)

    @property
    def label(self) -> str:
        """Such as ``PSP(2, β=10)``."""
        s = "∞" if self.s == float("inf") else str(int(self.s))
        return f"PSP({s}, β={self.beta})"
