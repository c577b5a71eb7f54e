"""A worker plugin opened in a process that may have no psbook, or another one.

The text of this file travels with the plugin, see `psbook.cluster.joining.guard`: it imports nothing of
psbook, and holds for every Python that Dask runs on.
"""

from __future__ import annotations

import importlib
import logging
import pickle
import sys
from typing import TYPE_CHECKING

from distributed.diagnostics.plugin import WorkerPlugin

if TYPE_CHECKING:
    from distributed.worker import Worker

logger = logging.getLogger("psbook")


class Stranger(WorkerPlugin):
    """Tells the controller why this process takes no part in the run, and lets the process live.

    Parameters
    ----------
    name
        Of the run's handlers.
    found
        What is wrong here, to go behind "the process has".
    error
        What `setup` raises: Dask reports it to a client that waits for this process, and else logs it.
    """

    def __init__(self, name: str, found: str, error: Exception) -> None:
        self.name = name
        self.found = found
        self.error = error

    async def setup(self, worker: Worker) -> None:
        """Tell the controller; called by Dask when the process joins."""
        try:
            controller = getattr(worker.scheduler, self.name)
            await controller(action="stranger", address=worker.address, found=self.found)
        except Exception as error:  # noqa: BLE001  # a run that is over answers nobody
            logger.info("%s: nobody answers %s: %r", self.name, worker.address, error)
        raise self.error


def unpickled(name: str, version: str, python: str, pickled: bytes) -> WorkerPlugin:
    """Return the plugin where psbook and Python are the client's, else a `Stranger`.

    Examples
    --------
    >>> unpickled("psbook-1", "another", "3.0", b"").found.startswith("psbook 0.")
    True
    """
    here = "{}.{}".format(*sys.version_info[:2])
    try:
        psbook = importlib.import_module("psbook")  # whichever is there; this file belongs to none
        if (psbook.__version__, here) != (version, python):
            found = f"psbook {psbook.__version__} on Python {here}"
            return Stranger(
                name, found, RuntimeError(f"{found}; required: psbook {version} on Python {python}")
            )
    except Exception as error:  # noqa: BLE001  # an installation may be broken in any way
        return Stranger(name, f"no usable psbook ({type(error).__name__}: {error})", error)
    try:
        plugin: WorkerPlugin = pickle.loads(pickled)
    except Exception as error:  # noqa: BLE001  # whatever the user's modules do when they are imported
        return Stranger(name, f"not what the job needs ({type(error).__name__}: {error})", error)
    return plugin
