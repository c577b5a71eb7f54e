"""What processes tell of themselves with each `Pulse`, and what the controller makes of it.

Vitals are counters that the hosts keep anyway, read four times a second whether anybody watches or not: to
watch a run costs its processes nothing, adds no message and writes no row.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from psbook.cluster.spec import Pulse, Spec
from psbook.hosts.watching import Losses, Meter, Subject, assemble
from psbook.live import ProcessStatus, Status

if TYPE_CHECKING:
    from psbook.cluster.controller.driver import ControllerDriver

logger = logging.getLogger(__name__)

PULSE_SECONDS = 0.25
"""A process tells how it is about so often."""


def gather(nodes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what the nodes of a process tell of themselves; on the process's loop.

    A node without ``vitals`` tells nothing, and one that fails to tell is left out: a view ends no run.

    >>> class Node:
    ...     def vitals(self):
    ...         return {"clock": 3}
    >>> gather({"worker-0": Node(), "server-0": object()})
    {'worker-0': {'clock': 3}}
    """
    found = {}
    for name, node in list(nodes.items()):
        tell = getattr(node, "vitals", None)
        if tell is None:
            continue
        try:
            found[name] = tell()
        except Exception as error:  # noqa: BLE001  # it changes on another thread while it is read
            logger.debug("psbook: no vitals of %s: %r", name, error)
    return found


class Vitals:
    """The status of a run as the controller knows it.

    Parameters
    ----------
    spec
        The run.
    driver
        Knows who is there, and whether the run goes on.
    """

    def __init__(self, spec: Spec, driver: ControllerDriver) -> None:
        self._spec = spec
        self._driver = driver
        self._subject = spec.subject or Subject(spec.run, "", "dask", "s", None)
        self._nodes: dict[str, dict[str, Any]] = {}
        self._clocks: dict[str, int] = {}
        """Clocks of the workers, as one server has counted them: the one that was ahead when last heard."""
        self._losses = Losses()
        self._meter = Meter(PULSE_SECONDS)

    def hear(self, pulse: Pulse) -> None:
        """Take in what a process tells; of a node that has moved, its new process tells."""
        routes = self._driver.people.routes
        here = routes.get(pulse.process)
        for name, told in pulse.vitals.items():
            if routes.get(name) == here:
                self._count(told.pop("clocks", None) or {})
                self._nodes[name] = told

    def _count(self, clocks: dict[str, int]) -> None:
        """Take a server's clocks over, unless it has heard of less than the one that told before."""
        is_behind = clocks.keys() == self._clocks.keys() and sum(clocks.values()) < sum(self._clocks.values())
        if clocks and not is_behind:
            self._clocks = clocks

    def learn(self, losses: Iterable[tuple[float, int, float]]) -> None:
        """Take in evaluations, which are made at the client: seconds, worker iterations, loss."""
        for time_s, iterations, loss in losses:
            self._losses.add(time_s, iterations, loss)

    async def answer(self) -> dict[str, Any]:
        """Return the status as plain data; the control action "live"."""
        return self.status().to_dict()

    def status(self) -> Status:
        """Return the status now."""
        driver, layout = self._driver, self._spec.layout
        people = driver.people
        lost = {name for name, address in people.routes.items() if address in people.gone}
        programs, servers = {}, {}
        for name, told in self._nodes.items():
            if layout.rank(name) is None:
                servers[name] = told if name not in lost else {**told, "parked": [], "more": 0}
            elif name in lost and told["state"] != "ended":
                programs[name] = {**told, "state": "lost", "waits_for": ""}
            else:
                programs[name] = told
            if name in programs and name in self._clocks and programs[name]["state"] != "ended":
                programs[name] = {**programs[name], "clock": self._clocks[name]}
        programs = {name: programs[name] for name in sorted(programs, key=_in_order)}
        servers = {name: servers[name] for name in sorted(servers, key=_in_order)}
        state, error = _state(driver)
        seconds = driver.seconds if driver.state == "ended" else driver.now()
        status = assemble(
            self._subject, seconds, state, programs, servers, _processes(driver), self._meter,
            self._losses.points,
        )  # fmt: skip
        return dataclasses.replace(status, error=error)


def _state(driver: ControllerDriver) -> tuple[str, str]:
    why = driver.trouble
    if driver.state != "ended" or why is None:
        return driver.state, ""
    return ("stopped" if why.kind == "Stopped" else "failed"), f"{why.kind}: {why.detail}"


def _processes(driver: ControllerDriver) -> dict[str, ProcessStatus]:
    people, now = driver.people, time.monotonic()
    found = {}
    for name, address in people.routes.items():
        if name.startswith("process-"):
            state = "lost" if address in people.gone else "silent" if address in people.hung else "alive"
            silent = driver.leases.silent(name, now)
            found[name] = ProcessStatus(address, state, tuple(people.nodes_at(address)), silent)
    return found


def _in_order(name: str) -> tuple[str, int]:
    """Order of nodes: by role, then by number.

    >>> sorted(["worker-10", "worker-9", "chief"], key=_in_order)
    ['chief', 'worker-9', 'worker-10']
    """
    role, _, number = name.rpartition("-")
    return (role, int(number)) if number.isdigit() else (name, 0)
