"""The jobs of a cluster, as its scheduler knows them: those that run, and the last that have ended.

Nothing of psbook stays on a scheduler for this: who runs is read from the controllers that are there, who has
ended from Dask's own log of events, which forgets the oldest.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from psbook.errors import InvalidJob

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler

    from psbook.cluster.controller.plugin import ControllerPlugin

TOPIC = "psbook-jobs"
"""Topic of Dask's events under which the ends of jobs are written."""

KEPT = 50
"""So many jobs that have ended are listed."""

Record = dict[str, Any]
"""A job in texts and numbers."""


def record(plugin: ControllerPlugin) -> Record:
    """Return what is told of a job; `seconds` are the run's, `since` is by the scheduler's clock."""
    spec, status = plugin.spec, plugin.driver.vitals.status()
    if status.over and not plugin.driver.closing:  # what it has learned is still to be fetched, or kept
        status = dataclasses.replace(status, state="running", error="")
    clocks = [each.clock for each in status.programs.values() if each.counts]
    return {
        "name": spec.job or spec.run,
        "run": spec.run,
        "state": status.state,
        "owner": spec.owner,
        "since": plugin.since,
        "seconds": status.time,
        "slowest": min(clocks, default=0),
        "fastest": max(clocks, default=0),
        "job": status.job,
        "model": status.model,
        "error": status.error,
    }


def running(scheduler: Scheduler) -> list[Record]:
    """Return the jobs that are not over, or have not left yet."""
    plugins = [each for name, each in scheduler.plugins.items() if name.startswith("psbook-")]
    return [record(each) for each in plugins]  # type: ignore[arg-type]  # the name is the controllers'


def refuse_second(scheduler: Scheduler, name: str) -> None:
    """Refuse a name that a job has which is still there.

    Raises
    ------
    InvalidJob
        If there is one.
    """
    for each in running(scheduler):
        if name and name == each["name"]:
            raise InvalidJob(
                f"a job called {name!r} is {each['state']} on this cluster, started by {each['owner']}; "
                "required: another name, or its end. psbook.find_job gives a handle to watch or stop it."
            )


def note_end(scheduler: Scheduler, plugin: ControllerPlugin) -> None:
    """Write down that a job is over."""
    scheduler.log_event(TOPIC, record(plugin))


def listing(dask_scheduler: Scheduler) -> list[Record]:
    """Return the jobs that run, and the last `KEPT` that have ended, oldest first; on the scheduler."""
    there = running(dask_scheduler)
    ids = {each["run"] for each in there}
    ended = [event for _, event in dask_scheduler.get_events(TOPIC)][-KEPT:]
    found = [each for each in ended if each["run"] not in ids] + there
    return sorted(found, key=lambda each: (each["since"], each["run"]))
