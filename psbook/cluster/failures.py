"""Exceptions of other processes: packed where they happened, raised by name at the caller."""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import distributed.core  # noqa: F401  # installs tblib, with which tracebacks can be pickled

from psbook import errors


class RemoteError(errors.PsbookError):
    """Stands for an exception that cannot be pickled; says its type, its text and its traceback."""


def pack(error: BaseException) -> bytes:
    """Return the bytes of an exception with its traceback; of a `RemoteError` if it has no pickled form.

    >>> unpack(pack(ZeroDivisionError("by zero")))
    ZeroDivisionError('by zero')
    """
    chain: tuple[Any, ...] = (error, error.__traceback__, error.__cause__)
    try:
        packed: bytes = cloudpickle.dumps(chain)
        cloudpickle.loads(packed)
    except Exception:  # noqa: BLE001  # whatever a user's class does when it is pickled
        text = "".join(traceback.format_exception(error))
        packed = cloudpickle.dumps((RemoteError(f"{type(error).__name__}: {error}\n{text}"), None, None))
    return packed


def unpack(packed: bytes) -> BaseException:
    """Return the exception, with its traceback and cause as they were where it happened."""
    error: BaseException
    trace: TracebackType | None
    error, trace, cause = cloudpickle.loads(packed)
    error.__cause__ = cause
    return error.with_traceback(trace)


def kind_of(error: BaseException) -> tuple[str, str, BaseException | None]:
    """Return the name of a psbook error, its text with notes, and the exception behind it.

    >>> kind_of(errors.UnknownTable("table 'v'"))
    ('UnknownTable', "table 'v'", None)
    """
    ours = next((c.__name__ for c in type(error).__mro__ if c.__module__ == errors.__name__), "ProgramError")
    text = "\n".join([str(error), *getattr(error, "__notes__", ())])
    return ours, text, error.__cause__


def named(kind: str, detail: str, packed: bytes = b"") -> errors.PsbookError:
    """Return the psbook error called `kind`; the packed exception is its cause.

    >>> named("NodeFailure", "server-1 was lost")
    NodeFailure('server-1 was lost')
    """
    error: errors.PsbookError = getattr(errors, kind)(detail)
    if packed:
        error.__cause__ = unpack(packed)
    return error
