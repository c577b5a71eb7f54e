"""Jobs of a cluster: list them, find one by its name, watch it, stop it; from any client."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import time
from typing import Any

import pandas as pd
from distributed import Client

from psbook.cluster.controller.registry import Record, listing
from psbook.cluster.joining.connect import Target
from psbook.cluster.reach import reached
from psbook.errors import ClusterError, InvalidJob, Unsupported
from psbook.live import Status

ASK_SECONDS = 10.0
"""How long a scheduler may take to answer."""

POLL_SECONDS = 0.25
"""How often the end of a job is looked for."""

COLUMNS = {
    "name": "the job's name, or the id of its run",
    "state": "starting, running, ended, stopped or failed",
    "owner": "who started it, and where",
    "since": "when it was started, by the scheduler's clock, UTC",
    "seconds": "length of the run so far, s",
    "slowest": "least clock of its workers",
    "fastest": "greatest clock of its workers",
    "job": "the `Job`'s name",
    "model": "consistency model",
    "error": "why it was stopped or has failed",
}
"""Columns of `jobs`."""


def jobs(target: Target = None) -> pd.DataFrame:
    """Return the jobs of a cluster: those that run, and the last 50 that have ended; oldest first.

    Parameters
    ----------
    target
        A Dask client, the address of a scheduler, or ``None``: the cluster whose task this is, or the client
        that was made last.

    Returns
    -------
    pandas.DataFrame
        One row a job; columns and units are in ``.attrs["columns"]``. Dask's scheduler keeps the list of
        those that have ended, for as long as it lives.

    Raises
    ------
    ClusterError
        If the scheduler does not answer, or has no psbook.

    Examples
    --------
    >>> from distributed import Client
    >>> with Client(processes=False, dashboard_address="127.0.0.1:0", set_as_default=False) as client:
    ...     len(jobs(client))
    0
    """
    with reached(target) as client:
        table = pd.DataFrame(_records(client), columns=list(COLUMNS))
    table["since"] = pd.to_datetime(table["since"].astype(float), unit="s", utc=True).dt.floor("s")
    table.attrs["columns"] = COLUMNS
    return table


def _records(client: Client) -> list[Record]:
    try:
        found: list[Record] = client.run_on_scheduler(listing)
    except Exception as error:
        raise ClusterError(
            f"the scheduler of {client!r} does not tell its jobs ({type(error).__name__}: {error}); "
            "required: one that answers, in an environment with psbook."
        ) from error
    return found


def find_job(target: Target, name: str) -> FoundJob:
    """Find a job on a cluster, whoever has started it.

    Parameters
    ----------
    target
        As for `jobs`.
    name
        The name that `psbook.Dask` was given, or the id of a run without one. Of several, the one that runs
        is found, or else the last.

    Returns
    -------
    FoundJob
        A handle to watch or stop it.

    Raises
    ------
    InvalidJob
        If there is none.
    """
    stack = contextlib.ExitStack()
    client = stack.enter_context(reached(target))
    try:
        found = _records(client)
        for each in reversed(found):
            if each["name"] == name:
                return FoundJob(client, each, stack)
        names = ", ".join(repr(each["name"]) for each in found) or "none"
        raise InvalidJob(f"no job {name!r} on {client.scheduler!r}; there are: {names}.")
    except BaseException:
        stack.close()
        raise


class FoundJob:
    """A handle on a job that somebody else, or an earlier process, has started; made by `find_job`.

    Attributes
    ----------
    name : str
        The job's name.
    """

    def __init__(self, client: Client, record: Record, stack: contextlib.ExitStack) -> None:
        self.name: str = record["name"]
        self._client = client
        self._record = record
        self._stack = stack
        self._status: Status | None = None

    def live(self) -> Status | None:
        """Return the status of the job now; of one that is over, the last that is known."""
        if self.done:
            known = self._status or Status(self._record["job"], self._record["model"], "dask", self.name)
            return _closed(known, self._record)
        plain = self._ask("live")
        if plain is not None:
            self._status = Status.from_dict(plain)
            if self._status.over:  # its owner has still to fetch what it has learned
                self._status = dataclasses.replace(self._status, state="running", error="")
        return self._status

    def watch(self) -> Any:
        """Show the job until it ends: as a widget in a notebook; in a terminal, where this waits for it.

        See `psbook.view.live_watch.Watch`.
        """
        return importlib.import_module("psbook.view.live_watch").watch(self)

    @property
    def state(self) -> str:
        """One of "starting", "running", "ended", "stopped" and "failed"; "forgotten" if it ended long ago."""
        return str(self._look()["state"])

    @property
    def error(self) -> str:
        """Why it was stopped or has failed; else empty."""
        return str(self._look()["error"])

    @property
    def done(self) -> bool:
        """Whether the job is over."""
        return self.state in ("ended", "stopped", "failed", "forgotten")

    def stop(self) -> None:
        """End the job; its owner's run raises `Stopped`, which carries trace and tables."""
        if not self.done:
            self._ask("stop", why=f"it was stopped by {self._client!r}")

    def wait(self, timeout: float | None = None) -> str:
        """Wait for the end of the job and return its last state.

        Raises
        ------
        TimeoutError
            If it still goes on after `timeout` seconds; it is not stopped by that.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.done:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"{self.name!r} still goes on after {timeout} s; wait again, or stop it")
            time.sleep(POLL_SECONDS)
        return self.state

    def result(self, timeout: float | None = None) -> Any:
        """Refuse: values and trace go to the client that has started the job.

        Raises
        ------
        Unsupported
            Always. Tables that are to outlive their job are kept with ``psbook.Dask(keep=…)``.
        """
        raise Unsupported(
            f"the result of {self.name!r} goes to {self._record['owner']}; required: ps.Dask(…, keep='name') "
            "there, and ps.served(client, 'name') here, for tables that others are to read."
        )

    def close(self) -> None:
        """Let go of the connection, if it was opened for this handle."""
        self._stack.close()

    def __enter__(self) -> FoundJob:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _look(self) -> Record:
        """Return what the scheduler knows of the job now."""
        if self._record["state"] in ("starting", "running"):
            now = [each for each in _records(self._client) if each["run"] == self._record["run"]]
            self._record = now[-1] if now else {**self._record, "state": "forgotten"}
        return self._record

    def _ask(self, action: str, **arguments: Any) -> Any:
        scheduler: Any = self._client.scheduler

        async def ask() -> Any:
            return await getattr(scheduler, f"psbook-{self._record['run']}")(action=action, **arguments)

        return self._client.sync(ask, callback_timeout=ASK_SECONDS)

    def __repr__(self) -> str:
        return f"<Job {self.name!r} of {self._record['owner']}: {self.state}>"


def _closed(status: Status, record: Record) -> Status:
    return dataclasses.replace(
        status, state=record["state"], error=record["error"], time=record["seconds"], name=record["name"]
    )
