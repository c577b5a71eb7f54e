"""How a run is ended from outside: by its handle, or by Ctrl-C; either way it keeps what it has learned."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

from psbook.errors import Interrupted, Stopped
from psbook.run import Run

STOPPED = (
    "the run was stopped from outside; the error has its trace so far as `trace`, its values as `tables`."
)


def interruptible(run: Callable[[threading.Event], Run]) -> Run:
    """Run in the foreground such that Ctrl-C, or a notebook's stop button, ends the run cleanly.

    Parameters
    ----------
    run
        Runs to the end, or until the event is set, and then raises `psbook.errors.Stopped`.

    Raises
    ------
    psbook.errors.Interrupted
        On Ctrl-C; a `KeyboardInterrupt` with the trace and the tables as they were then.
    KeyboardInterrupt
        On a second Ctrl-C, at once; and where somebody else handles SIGINT, or this is not the main thread,
        whatever they make of it.

    Examples
    --------
    >>> interruptible(lambda stop: stop.is_set())  # nobody presses anything
    False
    """
    with _Interrupts() as interrupts:
        try:
            done = run(interrupts.stop)
        except Stopped as error:
            if not interrupts.pressed:
                raise
            raise _interrupted(error.trace, error.tables) from None
    if interrupts.pressed:  # it came too late for the run, not for what follows it
        raise _interrupted(done.trace, done.tables)
    return done


def _interrupted(trace: object, tables: dict[str, object] | None) -> Interrupted:
    error = Interrupted("interrupted; what was learned is the exception's `tables`, its record `trace`")
    error.trace, error.tables = trace, tables
    return error


class _Interrupts:
    """Sets an event at the first SIGINT instead of raising wherever the program happens to be."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.pressed = False
        self._taken_over = False

    def __enter__(self) -> _Interrupts:
        ours = threading.current_thread() is threading.main_thread()
        if ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._press)
            self._taken_over = True
        return self

    def _press(self, number: int, frame: FrameType | None) -> None:
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True
        self.stop.set()

    def __exit__(self, *_: object) -> None:
        if self._taken_over:
            signal.signal(signal.SIGINT, signal.default_int_handler)
