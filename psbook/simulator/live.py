"""A simulated run, watched from another thread: it answers between two events, and nothing else changes."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from psbook.errors import Stopped
from psbook.hosts.vitals import of_program, of_server
from psbook.hosts.watching import Losses, Meter, Subject, assemble
from psbook.live import ProcessStatus, Status

if TYPE_CHECKING:
    from psbook.simulator.simulation import Simulation
    from psbook.simulator.troubles import Troubles

PATIENCE = 0.5
"""Real seconds to wait for the end of the event that goes on; a kernel that compiles may take longer."""

GOLDEN = (5**0.5 - 1) / 2
"""Its multiples are spread evenly over the unit interval, without luck."""


class Watched:
    """Status of a simulated run.

    Parameters
    ----------
    simulation
        The run.
    losses
        Its losses so far, if it has an objective.
    troubles
        Its processes, if they may fail.

    Attributes
    ----------
    wanted : bool
        Whether somebody asks: the run looks at it after each event.
    """

    def __init__(self, simulation: Simulation, losses: Losses | None, troubles: Troubles | None) -> None:
        self.wanted = False
        self._losses = losses
        self._troubles = troubles
        plan = simulation.plan
        self._simulation = simulation
        self._subject = Subject.of(plan.job.name, plan.model, "simulator", "simulated s")
        self._meter = Meter()
        self._last: Status | None = None
        self._due = -1.0
        """Simulated time at which the next answer is due; negative if none is."""
        self._part = 0.0
        self._answered = threading.Condition()

    def ask(self) -> Status | None:
        """Return the status now, or that of before if an event takes long; from any thread but the run's."""
        with self._answered:
            if self._last is None or not self._last.over:
                self.wanted = True
                self._answered.wait(PATIENCE)
            return self._last

    def between(self, now: float, following: float) -> None:
        """Answer, if somebody asks, between two events; on the thread of the run.

        Real time passes where kernels compute, at the start of an iteration: seen at the moment of the
        question, nobody would ever be held. So it is put off by a part of an iteration of simulated time.
        """
        if self._due < 0:
            self._part = (self._part + GOLDEN) % 1.0
            ended = max((host.clock for host in self._simulation.programs), default=0)
            self._due = now + self._part * now / max(ended, 1)
        if following > self._due:
            self._tell(self._status("running", self._due))

    def end(self, time: float, error: BaseException | None) -> None:
        """Write down how the run ended, and when."""
        if error is None:
            self._tell(self._status("ended", time))
        else:
            state = "stopped" if isinstance(error, Stopped) else "failed"
            self._tell(replace(self._status(state, time), error=f"{type(error).__name__}: {error}"))

    def _tell(self, status: Status) -> None:
        with self._answered:
            self._last = status
            self.wanted = False
            self._due = -1.0
            self._answered.notify_all()

    def _status(self, state: str, now: float) -> Status:
        simulation, troubles = self._simulation, self._troubles
        programs = {host.node: of_program(host, now) for host in simulation.programs}
        servers = {host.node: of_server(host, now) for host in simulation.servers}
        processes = {}
        for node, process in (troubles.processes if troubles is not None else {}).items():
            standing = "silent" if process.hangs else "alive"
            processes[node] = ProcessStatus("", standing if process.alive else "lost", (node,))
            if not process.alive and node in programs and programs[node]["state"] != "ended":
                programs[node] |= {"state": "lost", "waits_for": ""}
            if not process.alive and node in servers:
                servers[node] |= {"parked": [], "more": 0}
        points = self._losses.points if self._losses is not None else ()
        return assemble(self._subject, now, state, programs, servers, processes, self._meter, points)
