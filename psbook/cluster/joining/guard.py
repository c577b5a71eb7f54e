"""A plugin in a form that every worker process can open: one that joins without psbook says so, and lives."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
from distributed.diagnostics.plugin import WorkerPlugin

from psbook.cluster.joining import stranger
from psbook.errors import UnusableProcess
from psbook.versions import VERSION

PYTHON = "{}.{}".format(*sys.version_info[:2])

_OPEN = "(exec(source, scope), scope['unpickled'](*arguments))[1]"


class Guarded(WorkerPlugin):
    """Stands for a plugin while it travels; what arrives is the plugin itself, or a `stranger.Stranger`.

    Parameters
    ----------
    plugin
        A worker plugin with a name.
    name
        Its name, also that of the run's handlers.

    Notes
    -----
    Dask gives a plugin to every worker that joins. One that cannot be unpickled there would keep the process
    from joining at all, whatever else it came for, and only its own log would say why.

    Examples
    --------
    >>> class Plugin(WorkerPlugin):
    ...     pass
    >>> type(cloudpickle.loads(cloudpickle.dumps(Guarded(Plugin(), "psbook-1")))).__name__
    'Plugin'
    """

    def __init__(self, plugin: WorkerPlugin, name: str) -> None:
        self.name = name
        self._plugin = plugin

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return eval, (
            _OPEN,
            {
                "source": inspect.getsource(stranger),
                "scope": {"__name__": "psbook_stranger"},
                "arguments": (self.name, VERSION, PYTHON, cloudpickle.dumps(self._plugin)),
            },
        )


def warn_unusable(address: str, found: str) -> None:
    """Warn that a process which joined the cluster takes no part in the run.

    Warns
    -----
    UnusableProcess
        With what it has, and what to do.
    """
    warnings.warn(
        f"{address} joined the cluster, but has {found}; required: psbook {VERSION} on Python {PYTHON}, and "
        "the modules that the job is made of. It takes no part in the run; install them in its environment.",
        UnusableProcess,
        stacklevel=2,
    )
