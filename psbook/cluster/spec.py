"""What every process of a run must know, and the few messages between processes instead of nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from psbook.checkpoints import Checkpoints
from psbook.cluster import codec
from psbook.core.controls import CONTROLLER
from psbook.core.layout import Layout
from psbook.core.routes import Segment
from psbook.hosts.watching import Subject


@dataclass(frozen=True, slots=True)
class Spec:
    """One run on a Dask cluster.

    Attributes
    ----------
    run : str
        Unique name; plugins and handlers of the run carry it, so that runs do not meet.
    version : str
        Version of psbook at the client; every process must have the same.
    layout : Layout
        Who takes part.
    routes : mapping
        Dask address of the process of each node; processes are nodes too, see `process_node`.
    lease : float
        Seconds without a sign of life after which a process is taken for lost.
    level : str
        Level of the trace.
    patience : float
        Seconds after which programs that all wait for each other are taken for stuck.
    checkpoints : Checkpoints, optional
        Where the run is saved.
    subject : Subject, optional
        What runs, for those who watch it.
    streams : bool
        Whether the rows of the trace go to the client while the run goes on.
    job : str
        Name by which the job can be found on its cluster; no two that run have the same.
    owner : str
        Who runs it, and where.
    keep : str
        What the Dask keys of its tables begin with, if they shall outlive it.
    """

    run: str
    version: str
    layout: Layout
    routes: Mapping[str, str]
    lease: float = 10.0
    level: str = "full"
    patience: float = 30.0
    checkpoints: Checkpoints | None = None
    subject: Subject | None = None
    streams: bool = False
    job: str = ""
    owner: str = ""
    keep: str = ""

    @property
    def name(self) -> str:
        """Name of both plugins of the run, and of its control handlers."""
        return f"psbook-{self.run}"

    @property
    def channel(self) -> str:
        """Name of the run's handler for streams of messages."""
        return f"psbook-{self.run}-stream"

    @property
    def processes(self) -> dict[str, str]:
        """Process node of each address that takes part."""
        return {address: node for node, address in self.routes.items() if node.startswith("process-")}

    def nodes_of(self, address: str) -> list[str]:
        """Return the programs and servers of one process, as they are at the start."""
        return nodes_of(self.routes, address)


def nodes_of(routes: Mapping[str, str], address: str) -> list[str]:
    """Return the programs and servers of one process.

    >>> nodes_of({"worker-0": "a", "server-0": "a", "process-0": "a", "server-1": "b"}, "a")
    ['worker-0', 'server-0']
    """
    ours = [node for node, at in routes.items() if at == address]
    return [node for node in ours if not node.startswith("process-") and node != CONTROLLER]


@dataclass(slots=True, eq=False)
class Begin:
    """Time 0 of the run is `zero`, in seconds of the controller's monotonic clock."""

    zero: float


@dataclass(slots=True, eq=False)
class Begun:
    """A process knows time 0; programs start when all do, so that no message meets a clock not yet set."""

    process: str


@dataclass(slots=True, eq=False)
class Members:
    """Where every node is from now on; a program that is elsewhere has no business here any more."""

    routes: dict[str, str]


@dataclass(slots=True, eq=False)
class Fetch:
    """To a server: bring this shard back from the last checkpoint; no copy of it is left."""

    segment: Segment


@dataclass(slots=True, eq=False)
class Severed:
    """A stream to a peer broke; the peer may be gone, or only hard to reach."""

    address: str
    why: str


@dataclass(slots=True, eq=False)
class Halt:
    """End the programs; the run is over."""

    why: str


@dataclass(slots=True, eq=False)
class Pulse:
    """A process lives; its programs are at these clocks, and stand like this (`Standing`).

    `vitals` is what its nodes tell those who watch the run, see `psbook.hosts.vitals`.
    """

    process: str
    clocks: dict[str, int]
    standing: dict[str, Standing]
    vitals: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a program stands: how often it was resumed, and which node-dependent operation it waits for.

    `waits_for` is empty while the program can go on by itself.
    """

    steps: int
    waits_for: str


@dataclass(slots=True, eq=False)
class Trouble:
    """Something raised: `kind` is the name of the psbook error it is to become at the caller.

    `error` is Dask's packed form of the exception and its traceback.
    """

    kind: str
    node: str
    detail: str
    error: bytes = b""


codec.register(Begin, Begun, Members, Fetch, Severed, Halt, Standing, Pulse, Trouble)
