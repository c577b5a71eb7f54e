"""`RunPlots`: the pictures of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psbook.trace import Trace
from psbook.view.convergence import convergence
from psbook.view.holders import holders
from psbook.view.picture import Picture
from psbook.view.staleness import staleness
from psbook.view.timeline import timeline
from psbook.view.waiting import waiting

if TYPE_CHECKING:
    from psbook.run import Run


class RunPlots:
    """Pictures of a run; ``run.plot`` is one of these.

    Each method returns a matplotlib Figure whose ``psbook_sentence`` says in words what it shows. Nothing
    is kept in pyplot.

    Parameters
    ----------
    run
        A finished run; anything with a ``trace`` will do.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from psbook.trace import Recorder
    >>> recorder = Recorder()
    >>> recorder.add(0.0, "worker-0", "compute", duration=0.5, clock=0)
    >>> trace = recorder.trace({"model_label": "ASP", "workers": ["worker-0"], "time_unit": "simulated s"})
    >>> RunPlots(SimpleNamespace(trace=trace)).waiting()
    ASP: where the time of 1 program went, 0.5 simulated s each. On average compute 100 %.
    """

    def __init__(self, run: Run | Any) -> None:
        self.trace: Trace = run.trace

    def convergence(self) -> Picture:
        """Draw the held-out loss against time and against updates."""
        return convergence(self.trace)

    def timeline(self, start: float | None = None, stop: float | None = None) -> Picture:
        """Draw what each program did when.

        Parameters
        ----------
        start, stop
            Seconds; by default from 0 to where the fastest worker ends its 30th iteration.
        """
        return timeline(self.trace, start, stop)

    def staleness(self) -> Picture:
        """Draw how stale the applied updates were, and for ASP with exponential times what theory says."""
        return staleness(self.trace)

    def waiting(self) -> Picture:
        """Draw where each program's time went: five kinds that add up to the run."""
        return waiting(self.trace)

    def holders(self, table: str | None = None) -> Picture:
        """Draw which server answered for which keys of a table, by default the first, and when."""
        return holders(self.trace, table)

    def __repr__(self) -> str:
        return (
            f"<Plots of {self.trace!r}: convergence(), timeline(start, stop), staleness(), waiting(), "
            "holders(table)>"
        )
