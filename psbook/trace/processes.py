"""What a trace tells of the processes in which its run took place."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


def processes_text(meta: Mapping[str, Any]) -> str:
    """Return in a few words what the processes of a run took of their machines; empty for the simulator.

    Parameters
    ----------
    meta
        Of a trace: ``threads`` of XLA, ``devices`` that JAX computed on and ``hosts`` by address of the
        process, ``cores`` by host.

    Examples
    --------
    >>> meta = {
    ...     "threads": {"tcp://a:1": 2, "tcp://a:2": 2},
    ...     "cores": {"h": 4},
    ...     "devices": {"tcp://a:1": ["cpu"], "tcp://a:2": []},
    ...     "hosts": {"tcp://a:1": "h", "tcp://a:2": "h"},
    ... }
    >>> processes_text(meta)
    '2 processes on 1 host, 2 threads of 4 cores each, JAX on cpu'
    """
    threads = meta.get("threads")
    if not threads:
        return ""
    hosts = len(set(meta["hosts"].values()))
    share = f"{_range(threads.values())} of {_range(meta['cores'].values(), 'core')} each"
    devices = sorted({device for found in meta["devices"].values() for device in found})
    where = f", JAX on {', '.join(devices)}" if devices else ""
    return f"{_number(len(threads), 'process', 'es')} on {_number(hosts, 'host')}, {share}{where}"


def _number(count: int, what: str, plural: str = "s") -> str:
    return f"{count} {what}{plural if count != 1 else ''}"


def _range(numbers: Collection[int], what: str = "thread") -> str:
    low, high = min(numbers), max(numbers)
    return _number(low, what) if low == high else f"{low} to {high} {what}s"
