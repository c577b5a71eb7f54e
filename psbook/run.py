"""What a run leaves: values, trace, history, plots; and the handle on a run that goes on."""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections.abc import Callable, Generator
from typing import Any

import pandas as pd

from psbook.errors import Stopped
from psbook.hosts.watching import closed
from psbook.live import Status
from psbook.trace import Trace, check
from psbook.trace import statistics as of_trace
from psbook.trace.checks import Verdicts
from psbook.trace.processes import processes_text


class Run:
    """A finished run.

    Attributes
    ----------
    tables : dict
        Final values by name, as a pull of the whole table gives them; `psbook.SparseRows` for sparse tables.
    results : dict
        What each program returned, by its name.
    trace : Trace
        The record of the run.
    """

    def __init__(self, tables: dict[str, Any], results: dict[str, Any], trace: Trace) -> None:
        self.tables = tables
        self.results = results
        self.trace = trace
        self.compile_seconds = 0.0
        """Real seconds that compiling for this run took, where the engine is compiled."""
        self.by_messages: Callable[[], Run] | None = None
        """Makes the same run again message by message, where the engine was compiled."""

    @property
    def meta(self) -> dict[str, Any]:
        """What is known about the run."""
        return self.trace.meta

    @property
    def seconds(self) -> float:
        """Length of the run: simulated seconds on the simulator, real ones on Dask."""
        return self.trace.end

    @property
    def history(self) -> pd.DataFrame:
        """One row an evaluation; units are in ``.attrs["columns"]``."""
        return of_trace.history(self.trace)

    @property
    def reports(self) -> pd.DataFrame:
        """One row for each number that a program gave to ``worker.report``."""
        return of_trace.reports(self.trace)

    @property
    def loss(self) -> float:
        """Last loss; NaN if the job has no objective."""
        history = self.history
        return float(history["loss"].iloc[-1]) if len(history) else float("nan")

    @property
    def summary(self) -> Any:
        """The run in one row; units are in `psbook.trace.statistics.summary`."""
        return of_trace.summary(self.trace)

    @property
    def plot(self) -> Any:
        """Plots of the run: ``run.plot.convergence()``, ``timeline()``, ``staleness()``, ``waiting()``."""
        return importlib.import_module("psbook.view").RunPlots(self)

    def check(self) -> Verdicts:
        """Judge the run by what it promised: every property of the protocol is true, unknown or false.

        ``psbook.trace.check`` does so for the trace that an error carries. See `psbook.trace.checks`.
        """
        return check(self.trace)

    def step(self) -> Any:
        """Walk through the trace, event by event.

        A compiled run has no messages to walk through; it is made again with them, from the same seed.
        """
        run = self if self.by_messages is None else self.by_messages()
        return importlib.import_module("psbook.view").Stepper(run.trace)

    def __repr__(self) -> str:
        unit = self.meta.get("time_unit", "s")
        processes = processes_text(self.meta)
        return (
            f"<Run of {self.meta.get('job')}: {self.meta.get('model_label')} on {self.meta.get('backend')}, "
            f"{len(self.meta.get('workers', ()))} workers{processes and f' in {processes}'}, "
            f"{self.seconds:.6g} {unit}, loss {self.loss:.6g}>"
        )


class Handle:
    """A run that goes on in the background: watch it, stop it, wait for it or await it.

    Parameters
    ----------
    run
        Runs to the end; gets a function that reports progress.
    stop
        Ends the run from outside.
    live
        Returns the status of the run, or ``None``.
    name
        The job's name on its cluster.
    """

    def __init__(
        self,
        run: Callable[[Callable[[int, float | None], object]], Run],
        stop: Callable[[], object],
        live: Callable[[], Status | None] = lambda: None,
        name: str = "",
    ) -> None:
        self.name = name
        """The job's name on its cluster; empty if it has none."""
        self.iterations = 0
        """Worker iterations ended so far."""
        self.loss: float | None = None
        """Last loss."""
        self._stop = stop
        self._live = live
        self._last: Status | None = None
        self._run: Run | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._main, args=(run,), name="psbook-run", daemon=True)
        self._thread.start()

    def _main(self, run: Callable[[Callable[[int, float | None], object]], Run]) -> None:
        try:
            self._run = run(self._progress)
        except BaseException as error:  # noqa: BLE001  # whatever ends the thread is raised again by result()
            self._error = error

    def _progress(self, iterations: int, loss: float | None) -> None:
        self.iterations, self.loss = iterations, loss

    @property
    def done(self) -> bool:
        """Whether the run is over."""
        return not self._thread.is_alive()

    def live(self) -> Status | None:
        """Return the status of the run now, see `psbook.live.Status`; ``None`` before anything is known."""
        over = self.done
        if over and self._last is not None:
            return self._last
        status = self._live()
        if over:
            trace = self._run.trace if self._run is not None else getattr(self._error, "trace", None)
            known = status is not None and status.over
            self._last = status = status if known else closed(status, self._error, trace)
            self._live = lambda: None  # lets go of the run
        return status

    def watch(self) -> Any:
        """Show the run until it ends: as a widget in a notebook; in a terminal, where this waits for it.

        See `psbook.view.live_watch.Watch`.
        """
        return importlib.import_module("psbook.view.live_watch").watch(self)

    def stop(self) -> None:
        """End the run; `result` raises `Stopped`, which carries trace and tables as they were by then."""
        self._stop()

    def result(self, timeout: float | None = None) -> Run:
        """Wait for the end and return the run, or raise what ended it.

        Raises
        ------
        TimeoutError
            If it still goes on after `timeout` seconds; it is not stopped by that.
        Stopped
            If it was stopped.
        """
        self._thread.join(timeout)
        if not self.done:
            raise TimeoutError(f"the run still goes on after {timeout} s; call result() again, or stop()")
        if self._error is not None:
            raise self._error
        if self._run is None:
            raise Stopped("the run ended without a result")
        return self._run

    def __await__(self) -> Generator[Any, None, Run]:
        return asyncio.get_running_loop().run_in_executor(None, self.result).__await__()

    def __repr__(self) -> str:
        loss = "" if self.loss is None else f", loss {self.loss:.4g}"
        return f"<{'Finished' if self.done else 'Running'}: {self.iterations} worker iterations{loss}>"
