"""Reach a Dask cluster, or start one on this machine, and see that every process can run psbook."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import dask
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster, Security, Status
from distributed.comm import get_address_host_port, normalize_address

from psbook.cluster.process import shares
from psbook.errors import ClusterError, InvalidJob

Target: TypeAlias = Client | str | None
"""A client, the address of a scheduler, or ``None``: a cluster on this machine for one run."""

CONNECT_SECONDS = 3.0
"""How long a scheduler may take to answer before it is taken for dead."""


@contextlib.contextmanager
def connected(target: Target, nodes: int) -> Iterator[Client]:
    """Give a client of the target; close what was opened here, in the end.

    Parameters
    ----------
    target
        What the user gave.
    nodes
        Programs and servers of the run: a cluster of our own has no more processes than these.

    Raises
    ------
    ClusterError
        If the scheduler does not answer within `CONNECT_SECONDS`, or the client is closed or asynchronous.
    """
    if isinstance(target, Client):
        yield _checked(target)
        return
    with contextlib.ExitStack() as stack:
        if target is None:
            target = stack.enter_context(local_cluster(nodes))
        yield stack.enter_context(_client(target))


def _checked(client: Client) -> Client:
    if client.asynchronous:
        raise InvalidJob(
            "an asynchronous Dask client; required: a synchronous one. Pass client.scheduler.address, or "
            "make the client without asynchronous=True."
        )
    if client.status != "running":
        raise ClusterError(
            f"the Dask client is {client.status!r}; required: 'running'. Connect a new one, or pass nothing "
            "to use a cluster on this machine."
        )
    return client


def _client(target: Any) -> Client:
    # In two steps, so that one that cannot connect is closed: collected while another starts, it hangs both.
    client: Any = Client.__new__(Client)
    try:
        if isinstance(target, str) and not target.startswith("inproc"):
            get_address_host_port(normalize_address(target), strict=True)  # Dask leaves such a client open
        client.__init__(target, timeout=CONNECT_SECONDS, set_as_default=False)
    except Exception as error:
        with contextlib.suppress(Exception):
            client.close()
        where = target if isinstance(target, str) else "the cluster"
        if where.startswith("tls") and "ssl_context" in str(error):
            raise ClusterError(
                f"{where} asks for a certificate, and none was given; required: ps.Dask(Client(address, "
                "security=distributed.Security(…))), or distributed.comm.tls in Dask's configuration."
            ) from error
        raise ClusterError(
            f"no Dask scheduler answers at {where} ({type(error).__name__}: {error}); required: a running "
            "scheduler that this machine can reach. Check the address, start one with 'dask scheduler', or "
            "pass nothing to use a cluster on this machine."
        ) from error
    connected: Client = client
    return connected


def local_cluster(nodes: int) -> LocalCluster:
    """Start worker processes on this machine, as many as cores; each has its share of XLA's threads.

    Raises
    ------
    ClusterError
        If the processes do not start.
    """
    processes = max(1, min(CPU_COUNT, nodes))
    allocator = {"MALLOC_TRIM_THRESHOLD_": str(2**30)}
    settings = {
        "distributed.worker.multiprocessing-method": "spawn",  # JAX deadlocks after a fork
        # This is set in the caller's process as well, so only what must be there when a process begins.
        "distributed.nanny.pre-spawn-environ": _with("pre-spawn-environ", allocator),
        "distributed.nanny.environ": _with("environ", shares.environment(processes)),
    }
    try:
        with dask.config.set(settings):
            return LocalCluster(
                n_workers=processes,
                threads_per_worker=2 + math.ceil(nodes / processes),
                processes=True,
                memory_limit=0,
                security=_security(),
                dashboard_address="127.0.0.1:0",  # as all its ports: nobody else's business
            )
    except Exception as error:
        raise ClusterError(
            f"the worker processes did not start ({type(error).__name__}: {error}); required: a script that "
            "can be imported without side effects. Put its body under if __name__ == '__main__'."
        ) from error


def _security() -> Security:
    """Return what Dask's configuration gives; certificates of our own, where it only requires them."""
    given: Any = Security()
    if given.require_encryption and given.tls_worker_cert is None:
        given = Security.temporary()
    security: Security = given
    return security


def _with(where: str, more: Mapping[str, str]) -> dict[str, Any]:
    return {**(dask.config.get(f"distributed.nanny.{where}") or {}), **more}


def processes(client: Client) -> list[str]:
    """Return the addresses of the cluster's usable workers, in the order in which they joined.

    Raises
    ------
    ClusterError
        If there are none.
    """
    # Not client.scheduler_info(): its timer may put another answer, without workers, in the place of ours.
    scheduler: Any = client.scheduler
    workers: Mapping[str, Any] = client.sync(scheduler.identity, n_workers=-1)["workers"]
    usable = [a for a, info in workers.items() if info.get("status") in (None, Status.running.name)]
    if not usable:
        raise ClusterError(
            f"the Dask cluster of {client!r} has {len(workers)} workers, none of them running; required: at "
            "least 1. Start some with 'dask worker', or wait with client.wait_for_workers(1)."
        )
    return sorted(usable, key=lambda address: (str(workers[address].get("name")), address))


# eval is the one function that every process can unpickle whether or not psbook is installed there.
_PROBE = "(__import__('psbook').__version__, '%d.%d' % __import__('sys').version_info[:2])"


def check_versions(client: Client, addresses: list[str], version: str) -> None:
    """See that the scheduler and every worker have this psbook and this Python.

    Raises
    ------
    ClusterError
        If one of them has not; the message names all of them.
    """
    required = (version, "{}.{}".format(*sys.version_info[:2]))
    found: dict[str, Any] = client.run(eval, _PROBE, workers=addresses, on_error="return")
    try:
        found["the scheduler"] = client.run_on_scheduler(eval, _PROBE)
    except Exception as error:  # noqa: BLE001  # said by name below
        found["the scheduler"] = error
    wrong = {name: seen for name, seen in found.items() if seen != required}
    if wrong:
        said = "; ".join(f"{name} has {_said(seen)}" for name, seen in sorted(wrong.items()))
        raise ClusterError(
            f"{said}; required: psbook {required[0]} on Python {required[1]}, as here. Install it in the "
            "environment of the scheduler and of all workers (uploading the file is not enough)."
        )


def _said(seen: object) -> str:
    if isinstance(seen, tuple):
        return f"psbook {seen[0]} on Python {seen[1]}"
    if isinstance(seen, OSError):
        return f"gone ({seen})"
    return f"no usable psbook ({type(seen).__name__}: {seen})"
