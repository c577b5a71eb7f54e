"""What a worker process may take of its machine: threads of XLA, memory of its accelerators."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from dask.system import CPU_COUNT
from distributed.comm import get_address_host


def environment(neighbours: int) -> dict[str, str]:
    """Return what tells XLA in one process to leave room for the others of its machine.

    Parameters
    ----------
    neighbours
        Processes of the run on the machine, this one included.

    Notes
    -----
    XLA makes ``NPROC`` threads when JAX first computes; without it, as many as there are cores in each
    process. On a GPU the first process takes three quarters of the memory, unless it is told not to
    (https://docs.jax.dev/en/latest/gpu_memory_allocation.html).

    Examples
    --------
    >>> environment(10**6)
    {'NPROC': '1', 'XLA_PYTHON_CLIENT_PREALLOCATE': 'false'}
    """
    return {"NPROC": str(max(1, CPU_COUNT // max(1, neighbours))), "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


def limit(address: str, processes: Iterable[str]) -> None:
    """Keep this process to its share, where the user has not said otherwise and JAX has not computed yet.

    Parameters
    ----------
    address
        Dask address of this process.
    processes
        Addresses of the processes of the run.
    """
    if address.startswith("inproc") or _backends():
        return  # the user's own process; or it is too late, and what is set now would not be true
    host = get_address_host(address)
    neighbours = {address} | {other for other in processes if get_address_host(other) == host}
    for name, value in environment(len(neighbours)).items():
        os.environ.setdefault(name, value)


def held() -> dict[str, Any]:
    """Return what this process takes of which machine.

    Returns
    -------
    dict
        ``threads`` of XLA, and ``devices``: what JAX computes on, empty if it has not computed.

    Examples
    --------
    >>> sorted(held())
    ['devices', 'threads']
    """
    threads = os.environ.get("NPROC", "")
    return {
        "threads": int(threads) if threads.isdecimal() and int(threads) else CPU_COUNT,
        "devices": _devices(),
    }


def _backends() -> bool:
    """Whether JAX has computed here; asking JAX for its devices would start it, and take memory of a GPU."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bool(getattr(bridge, "_backends", None))


def _devices() -> list[str]:
    if not _backends():
        return []
    import jax

    devices = jax.local_devices()
    return ["cpu"] if devices[0].platform == "cpu" else [f"{d.device_kind} {d.id}" for d in devices]


def meta(homes: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what a trace tells of the processes, from what each sent home.

    Parameters
    ----------
    homes
        By address of the process.

    Examples
    --------
    >>> meta({"tcp://a:1": {"share": {"threads": 2, "devices": ["cpu"]}}})
    {'threads': {'tcp://a:1': 2}, 'devices': {'tcp://a:1': ['cpu']}}
    """
    return {key: {at: home["share"][key] for at, home in homes.items()} for key in ("threads", "devices")}
