"""Ctrl-C in a terminal, or a notebook's stop button, reaches worker processes of this machine as well."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import threading
from typing import Any

_runs: set[str] = set()
_before: list[Any] = []


def shield(run: str) -> None:
    """Let this worker process live on when SIGINT comes, as long as a run goes on: it holds what was learned.

    Only where a nanny started it, which ends it in other ways; others keep their own handling. Called on the
    process's loop.
    """
    if threading.current_thread() is not threading.main_thread() or not multiprocessing.parent_process():
        return
    if not _runs:
        _before.append(signal.signal(signal.SIGINT, signal.SIG_IGN))
    _runs.add(run)


def unshield(run: str) -> None:
    """Handle SIGINT as before, when no run is left."""
    _runs.discard(run)
    if not _runs and _before:
        with contextlib.suppress(ValueError):  # the process ends, and not on its main thread
            before = _before.pop()
            signal.signal(signal.SIGINT, signal.default_int_handler if before is None else before)
