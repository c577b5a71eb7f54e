"""What was seen of a run while it was watched, thinned out as it grows."""

from __future__ import annotations

import math
from typing import NamedTuple

from psbook.live import Status

KEPT = 240
"""Most moments that are kept."""


class Moment(NamedTuple):
    """What curves are drawn from: seconds of the run, gap, mean staleness and rates; NaN: not known yet."""

    time: float
    gap: int
    staleness: float
    iterations_per_s: float
    bytes_per_s: float


class History:
    """The moments at which a run was looked at.

    Examples
    --------
    >>> history = History(most=4)
    >>> for second in range(7):
    ...     history.see(Status(time=float(second)))
    >>> [moment.time for moment in history.moments]
    [0.0, 4.0, 6.0]
    """

    def __init__(self, most: int = KEPT) -> None:
        self.moments: list[Moment] = []
        self.most = most

    def see(self, status: Status) -> None:
        """Keep a moment; nothing if the run has not moved, or is over and has no rates any more."""
        if status.over or (self.moments and status.time <= self.moments[-1].time):
            return
        stale = math.nan if status.staleness is None else status.staleness
        rates = status.iterations_per_s, status.bytes_per_s
        if not self.moments and not rates[0]:
            rates = math.nan, math.nan  # the first reading has none to be compared with
        self.moments = [*self._thinned(), Moment(status.time, status.gap, stale, *rates)]

    def _thinned(self) -> list[Moment]:
        return self.moments[::2] if len(self.moments) == self.most else self.moments


def amount(value: float, unit: str = "") -> str:
    """Return a number as one reads it, with thousands as letters.

    >>> amount(0.1234), amount(1234567, "B"), amount(999.9), amount(2000, "B"), amount(float("nan"))
    ('0.123', '1.23 MB', '1 k', '2 kB', '–')
    """
    if math.isnan(value):
        return "–"
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * size:
            return f"{value / size:.3g} {letter}{unit}"
    return f"{value:.3g} {unit}".rstrip()


def ticks(low: float, high: float, count: int = 4, whole: bool = False) -> list[float]:
    """Return round numbers between two.

    >>> ticks(0, 10), ticks(3, 5, whole=True)
    ([0.0, 2.5, 5.0, 7.5, 10.0], [3.0, 4.0, 5.0])
    """
    span = high - low
    if not span > 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(power * each for each in (1, 2, 2.5, 5, 10) if power * each * count >= span)
    if whole:
        step = max(1.0, float(round(step)))
    first = math.ceil(low / step - 1e-9)
    return [step * (first + k) for k in range(math.floor(high / step + 1e-9) - first + 1)]
