"""Reach a cluster to ask it something: with a client, by an address, or from inside one of its tasks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from distributed import Client, get_client
from distributed.comm import connect

from psbook.cluster.joining.connect import CONNECT_SECONDS, Target, connected
from psbook.errors import InvalidJob

REACH_SECONDS = 1.0
"""A worker that does not answer the client by then is reached by way of the scheduler."""


@contextlib.contextmanager
def reached(target: Target) -> Iterator[Client]:
    """Give a client of a cluster that is there already; one that is opened for this is closed in the end.

    Parameters
    ----------
    target
        A client, the address of a scheduler, or ``None``: the cluster whose task this is, or else the Dask
        client made last in this process.

    Raises
    ------
    ClusterError
        If the scheduler does not answer.
    InvalidJob
        If there is no client, or it is asynchronous.
    """
    if target is None:
        target = _present()
    with connected(target, 0) as client:
        yield client


def _present() -> Client:
    """Return the client that is here; a task's first call may meet another task's, which makes it."""
    try:
        client = get_client()
    except ValueError:
        raise InvalidJob(
            "no cluster was named, and this process has no Dask client; required: a client, the address "
            "of a scheduler, or a call inside a Dask task."
        ) from None
    deadline = time.monotonic() + CONNECT_SECONDS
    while client.status in ("newly-created", "connecting") and time.monotonic() < deadline:
        time.sleep(0.005)
    return client


async def reachable(address: str, security: Any) -> bool:
    """Whether this machine can connect to a worker; behind a gateway it cannot."""
    try:
        comm = await connect(address, timeout=REACH_SECONDS, **security.get_connection_args("client"))
    except OSError:
        return False
    await comm.close()
    return True
