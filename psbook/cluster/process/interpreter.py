"""Threads of one interpreter take turns more often while a run goes on."""

from __future__ import annotations

import sys
import threading

SWITCH_SECONDS = 5e-4
"""Longest turn of a thread that computes in Python, while others wait: Python's own is ten times as long.

A program that computes in Python holds the interpreter, and the shards of its process answer between its
turns only: a small pull then takes some .7 ms in the place of 5 to 6 (measured on two shared cores). JAX and
numpy let go of the interpreter while they compute, and nobody waits for them.
"""

_lock = threading.Lock()
_holders = 0
_usual = sys.getswitchinterval()


def hold() -> None:
    """Shorten the turns, until `release` has been called as often.

    Examples
    --------
    >>> before = sys.getswitchinterval()
    >>> hold()
    >>> sys.getswitchinterval() <= SWITCH_SECONDS
    True
    >>> release()
    >>> sys.getswitchinterval() == before
    True
    """
    global _holders, _usual  # noqa: PLW0603  # there is one interpreter
    with _lock:
        if not _holders:
            _usual = sys.getswitchinterval()
            sys.setswitchinterval(min(_usual, SWITCH_SECONDS))
        _holders += 1


def release() -> None:
    """Let turns last as long as before, when nobody holds them short any more."""
    global _holders  # noqa: PLW0603
    with _lock:
        if _holders == 1:
            sys.setswitchinterval(_usual)
        _holders = max(0, _holders - 1)
