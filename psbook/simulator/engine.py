"""The event queue of the simulator: what happens next, and why it is always the same.

**The determinism argument.** A run of the simulator is a sequence of callbacks. Three facts make it a
function of the job, the cluster and the seed alone.

1. *The order of events is total and has one definition.* Events are ordered by ``(time, priority,
   counter)``. The time is a float64 and compared exactly: two events are at the same time only when
   their bits are equal, there is no tolerance. The priority (an int, lower first) expresses what the
   protocol says about simultaneous events, for example that arrivals come before the iterations they
   may release. The counter is the number of events scheduled before this one, so that what was
   scheduled first happens first; it never repeats, hence no comparison ever reaches the callback, and
   nothing depends on an object's address or hash.
2. *Nothing but callbacks schedules events*, and they run one at a time. The counter of an event is
   therefore fixed by the events before it. By induction over the sequence, equal beginnings give equal
   continuations: the same callbacks in the same order at the same times.
3. *Callbacks have no other input.* Times come from laws, which are functions of (seed, worker, iteration)
   and not of who asked first; there is no wall clock, no global random state, no thread, and no iteration
   over a set in anything that schedules.

Two consequences are worth money. The past of a run does not depend on its future: running until t and
then on gives the same events as running through. And two policies with the same seed meet the same
stragglers, so that their difference is the policies' and not the luck's.

What the argument does not cover are the numbers that kernels compute: those may differ in the last bits
between machines. As long as no event time depends on a value, the order of events is the same all the same.

The queue is a binary heap: scheduling and taking an event cost O(log n) comparisons of a float. Cancelling
costs O(1): the event stays in the heap and is passed over when its turn comes, without moving the clock.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from typing import Any

from psbook.errors import InvalidJob, ProtocolError


class InvalidTime(InvalidJob):
    """An event was scheduled in the past, or at a time that is not a finite number."""


# A list and not a tuple, so that cancelling is one assignment with nothing left to clean up
# (.62 against .57 µs an event with tuples).
Event = list[Any]
_CALLBACK = 3


class EventQueue:
    """Callbacks in the order of ``(time, priority, counter)``; its length is the number of events to come.

    Attributes
    ----------
    now : float
        Simulated seconds: the time of the event that is running, or ran last.

    Examples
    --------
    >>> queue = EventQueue()
    >>> _ = queue.at(2.0, print, "second")
    >>> _ = queue.at(2.0, print, "first", priority=-1)
    >>> late = queue.after(3.0, print, "never")
    >>> queue.cancel(late)
    True
    >>> queue.run()
    first
    second
    2
    >>> queue.now
    2.0
    """

    __slots__ = ("_cancelled", "_dropped", "_heap", "_running", "_scheduled", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[Event] = []
        self._scheduled = 0
        self._cancelled = 0  # still in the heap
        self._dropped = 0  # cancelled and out of the heap
        self._running = False

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def at(self, time: float, callback: Callable[..., object], *args: Any, priority: int = 0) -> Event:
        """Schedule ``callback(*args)``.

        Parameters
        ----------
        time : float
            Simulated seconds, not before `now`.
        callback : callable
            What happens; its result is ignored.
        *args
            Its arguments.
        priority : int
            Among events at the same time the lowest goes first.

        Returns
        -------
        Event
            A handle for `cancel`.

        Raises
        ------
        InvalidTime
            A time that is past, infinite or not a number.
        """
        if not self.now <= time < inf:
            raise self._refused(time, callback)
        self._scheduled = counter = self._scheduled + 1
        event = [time, priority, counter, callback, args]
        heappush(self._heap, event)
        return event

    def after(self, delay: float, callback: Callable[..., object], *args: Any, priority: int = 0) -> Event:
        """Schedule ``callback(*args)`` in `delay` simulated seconds; see `at`."""
        return self.at(self.now + delay, callback, *args, priority=priority)

    def cancel(self, event: Event) -> bool:
        """Take an event back; return whether it was to come, and had neither run nor been cancelled."""
        if event[_CALLBACK] is None:
            return False
        event[_CALLBACK] = None
        self._cancelled += 1
        return True

    @property
    def events(self) -> int:
        """How many events have run."""
        return self._scheduled - self._dropped - len(self._heap)

    def peek(self) -> float:
        """Time of the next event in simulated seconds; inf when there is none."""
        heap = self._heap
        while heap and heap[0][_CALLBACK] is None:
            heappop(heap)
            self._drop()
        return float(heap[0][0]) if heap else inf

    def run(self, until: float | None = None, stop: Callable[[], bool] | None = None) -> int:
        """Run events until there are none, or one of the conditions holds. Call it again to go on.

        Parameters
        ----------
        until : float, optional
            Run the events up to and at this time (simulated seconds); `now` is then `until`.
        stop : callable, optional
            Asked after each event; True ends the run there.

        Returns
        -------
        int
            How many events ran in this call. What a callback raises passes through; its event has run.

        Raises
        ------
        InvalidTime
            `until` is past or not a number.
        ProtocolError
            A callback called `run`.
        """
        if until is not None and not until >= self.now:
            raise self._refused(until, self.run)
        if self._running:
            raise ProtocolError(
                "EventQueue.run was called by one of its own callbacks; required: "
                "one loop at a time; "
                "schedule the work with at(now, …) instead"
            )
        before = self.events
        self._running = True
        try:
            if self._loop(inf if until is None else until, stop) and until is not None:
                self.now = until
        finally:
            self._running = False
        return self.events - before

    def _loop(self, until: float, stop: Callable[[], bool] | None) -> bool:
        """Run events; True when none is left up to `until`, False when `stop` said so."""
        heap, pop = self._heap, heappop
        while heap and heap[0][0] <= until:
            event = pop(heap)
            time, _, _, callback, args = event
            if callback is None:
                self._drop()
                continue
            event[_CALLBACK] = None
            self.now = time
            callback(*args)
            if stop is not None and stop():
                return False
        return True

    def _drop(self) -> None:
        self._cancelled -= 1
        self._dropped += 1

    def _refused(self, time: float, callback: Callable[..., object]) -> InvalidTime:
        name = getattr(callback, "__qualname__", repr(callback))
        return InvalidTime(
            f"{name} was scheduled for {time!r} at simulated time {self.now!r}; "
            "required: a finite "
            "time, not before now; look for a negative, infinite or nan delay in a "
            "law or sleep"
        )
