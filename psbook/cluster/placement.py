"""Which process of the cluster runs which node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TypeAlias

from psbook.errors import InvalidJob

Placement: TypeAlias = str | Mapping[str, str]
"""``"together"``, ``"apart"``, or the Dask address of each node."""


def place(
    programs: Sequence[str],
    servers: Sequence[str],
    processes: Sequence[str],
    placement: Placement = "together",
) -> dict[str, str]:
    """Return the address of each node.

    Parameters
    ----------
    programs, servers
        Names of the nodes.
    processes
        Addresses of the cluster's workers.
    placement
        ``"together"``: programs and servers both go round all processes. ``"apart"``: the first
        processes hold servers only, one each as long as one is left for the programs. A mapping says
        where each node goes.

    Raises
    ------
    InvalidJob
        If the placement is unknown, names a process that is not there, or misses a node.

    Examples
    --------
    >>> place(["worker-0", "worker-1"], ["server-0"], ["a", "b"])
    {'worker-0': 'a', 'worker-1': 'b', 'server-0': 'a'}
    >>> place(["worker-0", "worker-1"], ["server-0"], ["a", "b"], "apart")
    {'worker-0': 'b', 'worker-1': 'b', 'server-0': 'a'}
    """
    if isinstance(placement, Mapping):
        return _explicit([*programs, *servers], processes, placement)
    if placement == "together":
        of_servers = of_programs = list(processes)
    elif placement == "apart":
        if len(processes) < 2:
            raise InvalidJob(
                "placement 'apart' with 1 process; required: at least 2. Use placement='together', "
                "or a cluster of more workers."
            )
        split = min(len(servers), len(processes) - 1)
        of_servers, of_programs = list(processes[:split]), list(processes[split:])
    else:
        raise InvalidJob(
            f"placement {placement!r}; required: 'together', 'apart' or a mapping node -> address."
        )
    return {
        **dict(zip(programs, cycle(of_programs), strict=False)),
        **dict(zip(servers, cycle(of_servers), strict=False)),
    }


def _explicit(nodes: Sequence[str], processes: Sequence[str], placement: Mapping[str, str]) -> dict[str, str]:
    missing = [node for node in nodes if node not in placement]
    if missing:
        raise InvalidJob(
            f"the placement has no address for {', '.join(missing)}; required: one for each node."
        )
    strange = sorted({placement[node] for node in nodes} - set(processes))
    if strange:
        raise InvalidJob(
            f"the placement names {', '.join(strange)}; required: workers of the cluster, which are "
            f"{', '.join(processes)}."
        )
    return {node: placement[node] for node in nodes}
