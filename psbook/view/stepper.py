"""`Stepper`: walk through a trace, row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psbook.errors import DataError, InvalidJob
from psbook.trace import Trace
from psbook.trace.schema import KINDS
from psbook.view.picture import unit_of
from psbook.view.sentences import sentence
from psbook.view.spacetime import spacetime
from psbook.view.state import Event, Replay, State
from psbook.view.stepper_page import page, plain

if TYPE_CHECKING:
    import ipywidgets


class Stepper:
    """A cursor on a trace, and what is known of the run there. The trace itself never changes.

    Parameters
    ----------
    trace
        A trace of any level and backend.

    Attributes
    ----------
    trace : Trace
        The trace.
    index : int
        Row of the cursor, that which just happened; −1 in a trace without rows.

    Examples
    --------
    >>> from psbook.trace import Recorder
    >>> recorder = Recorder()
    >>> recorder.add(0.0, "worker-0", "compute", duration=0.5, clock=0)
    >>> recorder.add(0.5, "worker-0", "clock", clock=1)
    >>> stepper = Stepper(recorder.trace({"workers": ["worker-0"], "time_unit": "simulated s"}))
    >>> print(stepper.next().sentence)
    0.5 simulated s: worker-0 ended an iteration: its clock is 1
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._replay = Replay(trace)
        self.index = min(0, len(self._replay) - 1)

    def __len__(self) -> int:
        return len(self._replay)

    # Walking

    def goto(self, index: int) -> Stepper:
        """Set the cursor on a row; return the stepper.

        Raises
        ------
        InvalidJob
            If there is no such row.
        """
        if not 0 <= index < len(self):
            raise InvalidJob(f"row {index} of a trace of {len(self)} rows; required: 0 … {len(self) - 1}.")
        self.index = int(index)
        return self

    def next(self, count: int = 1) -> Stepper:
        """Go on by a row, or by `count`; stay on the last. Return the stepper."""
        self.index = max(min(self.index + count, len(self) - 1), min(0, len(self) - 1))
        return self

    def previous(self, count: int = 1) -> Stepper:
        """Go back by a row, or by `count`; stay on the first. Return the stepper."""
        return self.next(-count)

    def next_of(self, kind: str | None = None, node: str | None = None) -> Stepper:
        """Go on to the next row of a kind, of a node, or of both; return the stepper.

        Raises
        ------
        InvalidJob
            If there is no such kind.
        DataError
            If no later row is like that; the cursor stays.
        """
        if kind is not None and kind not in KINDS:
            raise InvalidJob(f"kind={kind!r}; required: one of {', '.join(KINDS)}.")
        found = self._find(kind, node)
        if found is None:
            conditions = (kind and f"of kind {kind!r}", node and f"of {node!r}")
            wanted = " ".join(condition for condition in conditions if condition)
            raise DataError(
                f"no row {wanted or 'at all'} after row {self.index}; required: a later one. goto(0) goes "
                f"back to the start. {self.missing}".rstrip()
            )
        self.index = found
        return self

    def _find(self, kind: str | None, node: str | None) -> int | None:
        events = self._replay.events
        for index in range(self.index + 1, len(events)):
            event = events[index]
            if (kind is None or event.kind == kind) and (node is None or event.node == node):
                return index
        return None

    # What is known at the cursor

    @property
    def event(self) -> Event | None:
        """The row of the cursor; ``None`` in a trace without rows."""
        return self._replay.events[self.index] if len(self) else None

    @property
    def time(self) -> float:
        """Seconds at the cursor."""
        return self.event.time if self.event is not None else 0.0

    @property
    def state(self) -> State:
        """Clocks, what programs do, messages under way, held requests, versions and loss, as a copy."""
        return self._replay.at(self.index)

    @property
    def sentence(self) -> str:
        """What just happened, and when."""
        if self.event is None:
            return "This trace has no rows."
        said = sentence(self.event, self._replay.at(self.index - 1))
        if self.index in self._replay.lost:
            said += ", which never arrives"
        return f"{self.time:.6g} {unit_of(self.trace)}: {said}"

    @property
    def missing(self) -> str:
        """What this trace's level cannot show; empty if it shows all."""
        return MISSING.get(str(self.trace.meta.get("trace_level", "full")), "")

    # The three forms

    def svg(self) -> str:
        """Return a picture of the nodes along time, around the cursor."""
        return spacetime(self.trace, self._replay, self.index)

    def html(self) -> str:
        """Return a page that needs nothing else: sentence, picture, clocks, messages, loss."""
        return page(self)

    def __repr__(self) -> str:
        return plain(self)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self.html(), "image/svg+xml": self.svg(), "text/plain": repr(self)}

    def widget(self) -> ipywidgets.VBox:
        """Return a slider, buttons and the page; they move this stepper."""
        from psbook.view.stepper_widget import widget

        return widget(self)


MISSING = {
    "iterations": "This trace was recorded at level 'iterations': clocks, times and updates are in it, but "
    "neither messages nor why a request was held. Run the same seed with trace='full' to see them.",
    "off": "This trace was recorded at level 'off': only losses, reports and ends are in it. Run the same "
    "seed with trace='full' to see clocks, times, updates and messages.",
}
