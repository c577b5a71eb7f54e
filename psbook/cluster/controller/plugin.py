"""The controller of a run as Dask sees it: a scheduler plugin, and what processes and the client may ask."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any

import cloudpickle  # type: ignore[import-untyped]
from distributed.diagnostics.plugin import SchedulerPlugin

from psbook.cluster.controller.driver import ControllerDriver
from psbook.cluster.controller.population import servers_of
from psbook.cluster.controller.registry import note_end, refuse_second
from psbook.cluster.live import dashboard
from psbook.cluster.spec import Spec, Trouble
from psbook.cluster.timing import boot_id
from psbook.core.controls import CONTROLLER, Failed

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, WorkerState

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 5.0
"""How long processes may take to let go of their shards."""

NOTICE = ("retire-workers", "worker-close-gracefully")
"""What Dask calls the loss of a worker that is still there: somebody retires it, or its lifetime is over."""


class ControllerPlugin(SchedulerPlugin):
    """Holds the run's controller, hears of lost processes, and answers processes and the client.

    Parameters
    ----------
    spec
        The run.
    client
        Id of the Dask client that runs it: when it disconnects, the run is over.

    Raises
    ------
    InvalidJob
        If a job of the same name is there.
    """

    idempotent = True

    def __init__(self, spec: Spec, client: str) -> None:
        self.spec = spec
        self.client = client
        self.name = spec.name

    async def start(self, scheduler: Scheduler) -> None:
        """Open the plane and the control handler; called by Dask when the plugin is registered."""
        refuse_second(scheduler, self.spec.job)
        self.since = time.time()
        self.scheduler = scheduler
        self.driver = ControllerDriver(self.spec, scheduler)
        self._leaves: dict[str, asyncio.Task[None]] = {}
        self._strangers: dict[str, str] = {}
        """What is wrong with processes that joined, but cannot take part."""
        self._control_actions: dict[str, Callable[..., Coroutine[Any, Any, Any]]] = {
            "ping": self._ping,
            "hello": self._hello,
            "status": self._status,
            "stop": self._stop,
            "close": self._close_run,
            "leave": self._leave,
            "live": self.driver.vitals.answer,
            "stranger": self._stranger,
            "keep": self._keep,
        }
        scheduler.handlers[self.name] = self._control
        dashboard.join(scheduler, self.spec.job or self.spec.run, self.driver.vitals.status)
        self._timers: list[asyncio.Task[None]] = [asyncio.create_task(self.driver.watch_leases())]
        for address in self.spec.processes:
            if address not in scheduler.workers:
                self.driver.lost(address, "its process left the Dask cluster before the run began")

    # What processes and the client ask for

    async def _control(self, action: str, **arguments: Any) -> Any:
        return await self._control_actions[action](**arguments)

    async def _ping(self) -> float:
        return time.monotonic()

    async def _hello(self, address: str, process: str) -> dict[str, Any]:
        driver = self.driver
        if not process and driver.state != "ended":
            process = driver.people.newcomer(address)
            driver.tell_members()
        if process:
            driver.leases.hear([process], time.monotonic())
        logger.info("psbook run %s: %s at %s says hello", self.spec.run, process, address)
        return {
            "boot": boot_id(),
            "state": driver.state,
            "process": process,
            "routes": driver.people.routes,
            "zero": driver.zero if math.isfinite(driver.zero) else None,
        }

    async def _stranger(self, address: str, found: str) -> None:
        self._strangers[address] = found
        self.driver.changed.set()

    async def _status(self, wait: float, losses: Iterable[Any] = ()) -> dict[str, Any]:
        """Answer when the state changes, or after `wait` seconds; the client tells its evaluations."""
        driver = self.driver
        driver.vitals.learn(losses)
        if driver.state != "ended":
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(driver.changed.wait(), wait)
        driver.changed.clear()
        why, ended = driver.trouble, driver.state == "ended"
        return {
            "state": driver.state,
            "clocks": driver.clocks,
            "trouble": why and (why.kind, why.detail, why.error),
            "node": why.node if why else "",
            "seconds": driver.seconds,
            "gone": list(driver.people.silent),
            "absent": sorted(driver.core.absent),
            "restarts": driver.restarts,
            "routes": driver.people.routes,
            "map": cloudpickle.dumps(driver.core.membership.routes) if ended else b"",
            "rows": driver.recorder.rows() if ended else [],
            "strangers": self._strangers,
        }

    async def _stop(self, why: str) -> None:
        self.driver.end(Trouble("Stopped", CONTROLLER, why))

    async def _close_run(self) -> None:
        """Take everything of the run off the cluster; processes that hang are not waited for."""
        self.driver.end(None)
        if not self.driver.closing:
            self.driver.closing = True
            note_end(self.scheduler, self)
        self._cancel_timers()
        self.scheduler.worker_plugins.pop(self.name, None)
        silent = self.driver.people.silent
        live = [address for address in self.scheduler.workers if address not in silent]
        remove = {"op": "plugin-remove", "name": self.name}
        removing = self.scheduler.broadcast(msg=remove, workers=live, on_error="ignore")
        try:
            await asyncio.wait_for(removing, CLOSE_SECONDS)
        except TimeoutError:
            logger.warning(
                "psbook run %s: not every process let go of its shards in %g s", self.spec.run, CLOSE_SECONDS
            )
        await self.driver.plane.close()
        dashboard.leave(self.scheduler, self.spec.job or self.spec.run)
        self.scheduler.handlers.pop(self.name, None)
        self.scheduler.plugins.pop(self.name, None)

    # Who leaves, with notice

    async def _leave(self, address: str) -> None:
        """Let a process go when others hold what it holds; it may ask, or Dask, or both."""
        if self.driver.state == "starting":
            return  # there is nothing to hand over yet, and no run without this process
        if address not in self._leaves:
            self.driver.people.leaving.add(address)
            self._leaves[address] = asyncio.create_task(self._hand_on(address))
        await asyncio.shield(self._leaves[address])

    async def _keep(self, rows: list[Any]) -> None:
        """Take the rows of a process that leaves, and that nobody will ask any more."""
        self.driver.recorder.extend(rows)

    async def _hand_on(self, address: str) -> None:
        """Let others take over what a process holds; its programs go on elsewhere at once."""
        driver = self.driver
        nodes = driver.people.nodes_at(address)
        servers = servers_of(self.spec, driver.people.routes, address)
        if driver.state != "running":
            return
        for node in servers:
            driver.carry_out(driver.core.leave(node))
        for node in nodes:
            if node not in servers:
                failed = Failed(node, f"{node}: its process leaves")
                driver.carry_out(driver.core.handle(failed, driver.now()))
        while driver.state == "running" and driver.core.membership.servers.intersection(servers):  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # the core tells nobody
        driver.people.gone.add(address)
        driver.leases.forget(driver.people.processes_at(address))

    # Dask's hooks

    def remove_worker(self, scheduler: Scheduler, worker: str, *, stimulus_id: str, **_: Any) -> None:
        """Dask lost a worker, or lets it go; of one that it retires we hear while the process still lives."""
        driver = self.driver
        retires = stimulus_id.startswith(NOTICE)
        if driver.safety.active and driver.state == "running" and retires:
            self._timers.append(asyncio.create_task(self._leave(worker)))
        elif worker not in driver.people.leaving:
            driver.lost(worker, "its process left the Dask cluster")

    def valid_workers_downscaling(
        self, scheduler: Scheduler, workers: list[WorkerState]
    ) -> list[WorkerState]:
        """Keep adaptive scaling from processes that cannot hand over what they hold."""
        if self.driver.safety.active:
            return workers
        return [each for each in workers if not self.driver.people.nodes_at(each.address)]

    def remove_client(self, scheduler: Scheduler, client: str) -> None:
        """Nobody waits for the run any more."""
        if client == self.client:
            self.driver.end(Trouble("Stopped", CONTROLLER, "the client that ran it has gone"))
            asyncio.create_task(self._close_run())  # noqa: RUF006  # ends itself, nothing may cancel it

    async def close(self) -> None:
        """The scheduler closes."""
        dashboard.leave(self.scheduler, self.spec.job or self.spec.run)
        self._cancel_timers()

    def _cancel_timers(self) -> None:
        for timer in (*self._timers, *self._leaves.values()):
            timer.cancel()
