"""Every error psbook raises by name.

Each message says what was found, what is required and what to do. All derive from `PsbookError`; those
that mean "the input was wrong" are also `ValueError`, so that ordinary handlers catch them.
"""

from __future__ import annotations

from typing import Any


class PsbookError(Exception):
    """Base of all errors raised by psbook.

    Attributes
    ----------
    trace
        The record of the run that it ended, up to there; ``None`` if there was no run.
    tables
        What was learned: the values by table as the servers had them at the end; ``None`` where they could
        not be had, because a part of them was lost.
    """

    trace: Any = None
    tables: dict[str, Any] | None = None


class InvalidJob(PsbookError, ValueError):
    """A job, table, law or cluster description that cannot be run as written."""


class UnknownTable(InvalidJob):
    """A program names a table that the job does not have."""


class InvalidKeys(InvalidJob):
    """Keys that are unsorted, repeated, not integers or outside the table."""


class ShapeMismatch(InvalidJob):
    """A pushed value whose shape or dtype is not the table's."""


class NonFinite(PsbookError, ArithmeticError):
    """A worker pushed NaN or infinity; the message names worker, table and clock."""


class NotAwaited(PsbookError, TypeError):
    """The result of a worker operation was used, or dropped, without ``await``."""


class ForeignAwaitable(PsbookError, TypeError):
    """A program awaited something that is not one of psbook's own awaitables."""


class ProgramError(PsbookError, RuntimeError):
    """A worker program raised; the original exception is the ``__cause__``."""


class ModelError(PsbookError, RuntimeError):
    """A consistency model raised when a shard asked it; the original exception is the ``__cause__``."""


class UpdateError(PsbookError, RuntimeError):
    """An update or server-side function raised; the original exception is the ``__cause__``."""


class Deadlock(PsbookError, RuntimeError):
    """Nothing can happen any more, yet some programs still wait; the message says who waits for what."""


class NodeFailure(PsbookError, RuntimeError):
    """A process that the run depends on was lost; the message says which, since when, and what it means."""


class Stopped(PsbookError, RuntimeError):
    """The run was stopped from outside before it finished."""


class Interrupted(KeyboardInterrupt):
    """A run in the foreground was ended by Ctrl-C, or by a notebook's stop button.

    Attributes
    ----------
    trace, tables
        As those of a `PsbookError`: the record of the run up to there, and the values that it had learned.
    """

    trace: Any = None
    tables: dict[str, Any] | None = None


class ClusterError(PsbookError, RuntimeError):
    """The cluster cannot be reached or cannot run psbook."""


class Unsupported(PsbookError, ValueError):
    """An option that this backend cannot honour."""


class DataError(PsbookError, ValueError):
    """A data or trace file that is missing, empty or malformed; the message gives file and line."""


class CheckpointError(PsbookError, OSError):
    """A checkpoint that is missing, torn, altered or written for another job; nothing was restored."""


class ProtocolError(PsbookError, AssertionError):
    """An invariant of the protocol does not hold: a bug in psbook, never in a program."""


class PropertyViolated(PsbookError, AssertionError):
    """A trace breaks a property that its run promised; the message names it, and the first row at fault."""


class Malformed(PsbookError, ValueError):
    """Bytes on the data plane that are no message of psbook's; the connection that brought them is closed."""


class TooLarge(PsbookError, ValueError):
    """A message of more bytes than any process takes in."""


class UnencryptedCluster(UserWarning):
    """A Dask cluster listens to other machines without TLS; the message says where, and what to do."""


class UnusableProcess(UserWarning):
    """A process joined the cluster without what a run needs, and takes no part in it."""
