"""Seconds that collectives take where bandwidth is shared fairly (theory T12).

n nodes with a NIC of B bytes/s in each direction, a message of S bytes, α seconds of latency.
"""

from __future__ import annotations

from psbook.experiments.theory.validation import positive, whole


def ring_all_reduce(n: int, size: float, bandwidth: float, latency: float = 0.0) -> float:
    """2(n−1)/n·S/B + 2(n−1)α seconds: scatter-reduce, then all-gather (Patarasuk and Yuan 2009).

    Parameters
    ----------
    n : int
        Nodes.
    size, bandwidth, latency : float
        S in bytes, B in bytes/s, α in seconds.

    Examples
    --------
    >>> ring_all_reduce(4, 1000.0, 1000.0, 0.01)
    1.56
    """
    _check(n, size, bandwidth)
    return 2 * (n - 1) / n * size / bandwidth + 2 * (n - 1) * latency


def binomial_broadcast(n: int, size: float, bandwidth: float, latency: float = 0.0) -> float:
    """⌈log2 n⌉(α + S/B) seconds: those who have it double each step.

    Examples
    --------
    >>> binomial_broadcast(5, 1000.0, 1000.0, 0.5)
    4.5
    """
    _check(n, size, bandwidth)
    return (n - 1).bit_length() * (latency + size / bandwidth)


def gather_scatter(n: int, size: float, bandwidth: float) -> float:
    """2nS/B seconds: n vectors to one node and n back, one NIC carrying them all.

    Examples
    --------
    >>> gather_scatter(4, 1000.0, 1000.0)
    8.0
    """
    _check(n, size, bandwidth)
    return 2 * n * size / bandwidth


def pull_push(
    workers: int, servers: int, size: float, worker_bandwidth: float, server_bandwidth: float, *,
    overlap: bool = False,
) -> float:  # fmt: skip
    """Seconds of a parameter-server round: n workers pull S bytes from P servers, then push as many.

    Parameters
    ----------
    workers, servers : int
        n and P; the vector is cut evenly.
    size : float
        S, bytes of the whole vector.
    worker_bandwidth, server_bandwidth : float
        Bytes/s of a worker's and a server's NIC, each direction.
    overlap : bool
        Pulls and pushes at the same time (full duplex): half as long.

    Returns
    -------
    float
        2S·max(1/B_w, n/(P·B_s)), or half of that with `overlap`.

    Examples
    --------
    >>> pull_push(8, 2, 1000.0, 1000.0, 1000.0), pull_push(8, 16, 1000.0, 1000.0, 1000.0)
    (8.0, 2.0)
    """
    _check(workers, size, worker_bandwidth)
    _check(servers, size, server_bandwidth)
    once = size * max(1 / worker_bandwidth, workers / (servers * server_bandwidth))
    return once if overlap else 2 * once


def _check(n: int, size: float, bandwidth: float) -> None:
    whole("nodes", n, least=1)
    positive("size", size, "bytes")
    positive("bandwidth", bandwidth, "bytes a second")
