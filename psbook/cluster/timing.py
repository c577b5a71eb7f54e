"""One time for all processes of a run: seconds since the start signal, on the controller's clock."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Awaitable, Callable
from pathlib import Path


def boot_id() -> str:
    """Return what two processes have in common iff they read the same monotonic clock.

    Linux: the identity of the machine's boot. Elsewhere the host name.

    >>> boot_id() == boot_id()
    True
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node()


async def measure_offset(ask: Callable[[], Awaitable[float]], rounds: int = 8) -> tuple[float, float]:
    """Estimate how far the other clock is ahead of ours: Cristian's method, the fastest round trip counts.

    Parameters
    ----------
    ask
        Returns the other side's monotonic time, in seconds.
    rounds
        Round trips to make.

    Returns
    -------
    offset, error : float
        Their time minus ours, and half of the shortest round trip, in seconds.

    References
    ----------
    Cristian, F. (1989). Probabilistic clock synchronization. Distributed Computing 3.

    Examples
    --------
    >>> import asyncio
    >>> async def ask():
    ...     return time.monotonic() + 5.0
    >>> offset, error = asyncio.run(measure_offset(ask))
    >>> abs(offset - 5.0) <= error
    True
    """
    best = (math.inf, 0.0)
    for _ in range(rounds):
        before = time.monotonic()
        theirs = await ask()
        after = time.monotonic()
        best = min(best, (after - before, theirs - (before + after) / 2))
    return best[1], best[0] / 2


class RunClock:
    """Seconds since the start signal.

    Attributes
    ----------
    offset : float
        Controller's monotonic clock minus ours, seconds.
    zero : float
        The start signal on the controller's clock; infinite before it is known.

    Examples
    --------
    >>> clock = RunClock()
    >>> clock.now()
    0.0
    >>> clock.zero = time.monotonic() - 3.0
    >>> 3.0 <= clock.now() < 4.0
    True
    """

    __slots__ = ("offset", "zero")

    def __init__(self, offset: float = 0.0) -> None:
        self.offset = offset
        self.zero = math.inf

    def now(self) -> float:
        """Return the time of the run; 0 until it has begun."""
        return max(0.0, time.monotonic() + self.offset - self.zero)
