"""What delays cost under bounded staleness, exactly (theory T10)."""

from __future__ import annotations

from psbook.errors import InvalidJob
from psbook.experiments.theory.validation import positive, whole


def delayed_makespan(iterations: int, period: float, delay: float) -> float:
    """Seconds of N iterations of T seconds when one worker is delayed once by d: N·T + d for every s (T10).

    Holds if the delay is in iteration N − s − 1 or earlier.

    Examples
    --------
    >>> delayed_makespan(24, 1.0, 3.25)
    27.25
    """
    whole("iterations", iterations, least=1)
    positive("period", period, "seconds")
    return iterations * period + delay


def blocked_by_delay(s: int, period: float, delay: float) -> float:
    """Seconds that each other worker is blocked by one delay d, max(0, d − sT) (T10).

    Parameters
    ----------
    s : int
        Staleness, clocks.
    period : float
        T, seconds of every other iteration.
    delay : float
        d, seconds.

    Examples
    --------
    >>> [blocked_by_delay(s, 1.0, 3.25) for s in (0, 2, 4)]
    [3.25, 1.25, 0.0]
    """
    whole("s", s)
    positive("period", period, "seconds")
    return max(0.0, delay - s * period)


def rotating_makespan(iterations: int, period: float, delay: float, s: int, workers: int) -> float:
    """Seconds of N iterations when a delay visits each of n workers once (T10).

    Parameters
    ----------
    iterations, period
        N iterations of T seconds.
    delay : float
        d, seconds; visits are at least d apart.
    s : int
        Staleness, clocks.
    workers : int
        n.

    Returns
    -------
    float
        N·T + d + (n − 1)·max(0, d − s·T) seconds.

    Examples
    --------
    >>> rotating_makespan(40, 1.0, 3.0, s=2, workers=5)
    47.0
    """
    whole("workers", workers, least=1)
    return delayed_makespan(iterations, period, delay) + (workers - 1) * blocked_by_delay(s, period, delay)


def slow_makespan(iterations: int, period: float, factor: float) -> float:
    """Seconds of N iterations with one worker permanently k ≥ 1 times slower: N·k·T for every finite s (T10).

    Examples
    --------
    >>> slow_makespan(24, 1.0, 2.5)
    60.0
    """
    whole("iterations", iterations, least=1)
    positive("period", period, "seconds")
    if not factor >= 1:
        raise InvalidJob(f"factor={factor!r}; required: ≥ 1, the slowest worker's times over the others'.")
    return iterations * factor * period
