"""Signs of life: which process has not been heard of for too long, and which program does not begin."""

from __future__ import annotations

import math
from collections.abc import Iterable

from psbook.core.membership import MARGIN

START_SECONDS = 120.0
"""A program that is started again, and has not begun by then, has no thread to run in."""


class Leases:
    """When each process was last heard of, in seconds of a monotonic clock.

    Examples
    --------
    >>> leases = Leases()
    >>> leases.hear(["process-0"], 10.0)
    >>> leases.overdue(now=10.5, lease=1.0), leases.overdue(now=12.0, lease=1.0)
    ([], [('process-0', 2.0)])
    """

    def __init__(self) -> None:
        self._beats: dict[str, float] = {}
        self._starting: dict[str, tuple[int, float]] = {}
        """Programs that are started again: incarnation, and since when."""

    def hear(self, processes: Iterable[str], now: float) -> None:
        """Note a sign of life."""
        self._beats.update(dict.fromkeys(processes, now))

    def hear_known(self, processes: Iterable[str], now: float) -> None:
        """Note a sign of life of those that have said hello and were not given up."""
        self.hear([process for process in processes if process in self._beats], now)

    def forget(self, processes: Iterable[str]) -> None:
        """Expect nothing of these any more."""
        for process in processes:
            self._beats.pop(process, None)

    def put_off(self, now: float) -> None:
        """Take all for alive: whoever listens has stood still itself, and has not read the last beats."""
        self._beats = dict.fromkeys(self._beats, now)

    def overdue(self, now: float, lease: float) -> list[tuple[str, float]]:
        """Return processes that were silent for longer than a lease and its margin, and for how long."""
        return [(process, now - beat) for process, beat in self._beats.items() if now - beat > MARGIN * lease]

    def silent(self, process: str, now: float) -> float:
        """Return for how many seconds nothing has been heard of a process; 0 for one that is not expected."""
        return max(0.0, now - self._beats.get(process, now))

    # Programs that are started again

    def starting(self, node: str, incarnation: int, now: float) -> None:
        """A program is to begin again."""
        self._starting[node] = incarnation, now

    def begun(self, node: str, incarnation: int) -> None:
        """A program has given a sign of life."""
        if incarnation >= self._starting.get(node, (math.inf, 0.0))[0]:
            del self._starting[node]

    def not_begun(self, now: float) -> list[str]:
        """Return programs that should have begun again by now."""
        return [node for node, (_, since) in self._starting.items() if now - since > START_SECONDS]
