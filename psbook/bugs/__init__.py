"""Mistakes that real systems have made, to be planted and found: they check the checkers.

Each changes one method for the duration of ``with bug.planted():``.
"""

from psbook.bugs.bug import Bug
from psbook.bugs.clocks import CLOCK_TWICE, FINISHED_IN_MIN, GATE_OFF_BY_ONE, ROUND_BY_COUNT
from psbook.bugs.copies import (
    ACK_BEFORE_REPLICATION,
    GIVEN_UP_TOO_EARLY,
    RETRY_TWICE,
    STALE_ROUTE,
    TWO_PRIMARIES,
    WINDOWS_NOT_COPIED,
)
from psbook.bugs.values import ADAGRAD_FORGETS, ORDER_OF_SUM

ALL = (
    GATE_OFF_BY_ONE,
    ROUND_BY_COUNT,
    CLOCK_TWICE,
    ACK_BEFORE_REPLICATION,
    WINDOWS_NOT_COPIED,
    STALE_ROUTE,
    TWO_PRIMARIES,
    GIVEN_UP_TOO_EARLY,
    RETRY_TWICE,
    FINISHED_IN_MIN,
    ADAGRAD_FORGETS,
    ORDER_OF_SUM,
)
"""All of them."""

__all__ = [
    "ACK_BEFORE_REPLICATION",
    "ADAGRAD_FORGETS",
    "ALL",
    "CLOCK_TWICE",
    "FINISHED_IN_MIN",
    "GATE_OFF_BY_ONE",
    "GIVEN_UP_TOO_EARLY",
    "ORDER_OF_SUM",
    "RETRY_TWICE",
    "ROUND_BY_COUNT",
    "STALE_ROUTE",
    "TWO_PRIMARIES",
    "WINDOWS_NOT_COPIED",
    "Bug",
]
