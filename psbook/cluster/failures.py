"""Exceptions of other processes: packed where they happened, raised by name at the caller."""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import TypeAlias

import cloudpickle  # type: ignore[import-untyped]
import distributed.core  # noqa: F401  # installs tblib, with which tracebacks can be pickled

from psbook import errors


class RemoteError(errors.PsbookError):
    """Stands for an exception that cannot be pickled; says its type, its text and its traceback."""


Link: TypeAlias = tuple[BaseException, TracebackType | None]
"""An exception with its traceback, which pickle would leave behind."""


def pack(error: BaseException) -> bytes:
    """Return the bytes of an exception with its traceback; of a `RemoteError` if it has no pickled form.

    >>> unpack(pack(ZeroDivisionError("by zero")))
    ZeroDivisionError('by zero')
    """
    try:
        packed: bytes = cloudpickle.dumps(_chain(error))
        cloudpickle.loads(packed)
    except Exception:  # noqa: BLE001  # whatever a user's class does when it is pickled
        text = "".join(traceback.format_exception(error))
        packed = cloudpickle.dumps([(RemoteError(f"{type(error).__name__}: {error}\n{text}"), None)])
    return packed


def _chain(error: BaseException | None) -> list[Link]:
    """Return an exception and those behind it, outermost first."""
    chain: list[Link] = []
    while error is not None:
        chain.append((error, error.__traceback__))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return chain


def unpack(packed: bytes) -> BaseException:
    """Return the exception, with its traceback and cause as they were where it happened."""
    chain: list[Link] = cloudpickle.loads(packed)
    for (error, trace), (cause, _) in zip(chain, [*chain[1:], (None, None)], strict=True):
        error.with_traceback(trace).__cause__ = cause
    return chain[0][0]


def kind_of(error: BaseException) -> tuple[str, str, BaseException]:
    """Return the name of a psbook error, its text with notes, and the exception that is to be packed.

    That is the one behind it, or itself if a program's line raised it.

    >>> kind_of(errors.UnknownTable("table 'v'"))
    ('UnknownTable', "table 'v'", UnknownTable("table 'v'"))
    """
    ours = next((c.__name__ for c in type(error).__mro__ if c.__module__ == errors.__name__), "ProgramError")
    text = "\n".join([str(error), *getattr(error, "__notes__", ())])
    return ours, text, error.__cause__ or error


def named(kind: str, detail: str, packed: bytes = b"") -> errors.PsbookError:
    """Return the psbook error called `kind`; the packed exception is its cause, or tells where it was raised.

    >>> named("NodeFailure", "server-1 was lost")
    NodeFailure('server-1 was lost')
    """
    error: errors.PsbookError = getattr(errors, kind)(detail)
    if not packed:
        return error
    remote = unpack(packed)
    if isinstance(remote, type(error)):
        return error.with_traceback(remote.__traceback__)
    error.__cause__ = remote
    return error
