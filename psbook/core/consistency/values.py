"""A bound on what others have not seen yet, in the size of the updates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from psbook.core.consistency.base import Consistency
from psbook.errors import InvalidJob


@dataclass(frozen=True)
class VAP(Consistency):
    r"""Value-bounded asynchronous parallel (Wei et al. 2013, arXiv 1312.7869; Dai et al. 2015, AAAI).

    A push of worker p is *in transit* until every other worker has read the table behind it: every worker
    that is active, has read the table before, and is not itself parked at a read, whose answer will hold it.
    p's read at clock c waits while the sum of the max-norms of its pushes in transit is above
    :math:`v / \sqrt{c + 1}`, or above v without `decay`.

    The norm is of the value that is pushed, times its scale, over all its keys, as the host measures it: that
    of a gradient, for a table whose update function takes gradients. A read of some keys of a table counts
    for all those of the shard. Programs are meant to read whole tables in each iteration; one that stops
    reading a table without ending holds up all who push to it.

    Parameters
    ----------
    bound
        v, in the unit of the values, > 0; ``math.inf`` behaves as `ASP`.
    decay
        Whether the bound falls with the clock, as convergence needs.

    Raises
    ------
    InvalidJob
        If `bound` is no positive number. With the job, if there are several servers, where two workers could
        wait for each other; or if nodes may be lost, as only one that answers knows who has read what.

    Examples
    --------
    >>> VAP(2.0).limit(clock=3), VAP(2.0, decay=False).limit(clock=3)
    (1.0, 2.0)
    """

    bound: float
    decay: bool = True
    normed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        number = isinstance(self.bound, int | float) and not isinstance(self.bound, bool)
        if not number or not self.bound > 0:
            raise InvalidJob(f"bound of the values is {self.bound!r}; required: a number > 0, or math.inf.")
        if not isinstance(self.decay, bool):
            raise InvalidJob(f"decay={self.decay!r}; required: True or False.")

    def limit(self, clock: int) -> float:
        """Return how much of a worker at `clock` may be in transit."""
        return self.bound / math.sqrt(clock + 1) if self.decay else self.bound

    @property
    def label(self) -> str:
        """Such as ``VAP(0.5)``."""
        return f"VAP({self.bound:g})" if self.decay else f"VAP({self.bound:g}, no decay)"
