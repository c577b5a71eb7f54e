"""Memory that is freed and wanted again a moment later stays with the process while a run goes on."""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from typing import Any

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Names of glibc's parameters (malloc.h)."""

KEPT_BYTES = 2**26
"""Free bytes at the end of a heap that are not given back."""

MAPPED_BYTES = 2**25
"""Blocks from this size on are mapped from the system one by one: 32 MiB, the most that glibc takes."""

USUAL_MAPPED_BYTES = 2**17
"""The same where nobody has said otherwise."""

VARIABLE = "MALLOC_TRIM_THRESHOLD_"
"""What Dask's nanny sets in its worker processes, to 64 KiB unless it is configured otherwise."""

_lock = threading.Lock()
_holders = 0


def hold() -> None:
    """Keep freed memory for what comes next, until `release` has been called as often.

    An iteration allocates arrays of the same sizes as the one before. Dask's nanny has glibc give freed
    memory back at once, so each array of 128 KiB or more is mapped anew and faults on its every page: with
    26,000 keys in a batch, a third of all CPU time. Processes that no nanny started are left as they are.
    """
    global _holders  # noqa: PLW0603  # the allocator is one of the process's own
    with _lock:
        _holders += 1
        if _holders == 1 and (given := _given()) is not None:
            _set(max(KEPT_BYTES, given), MAPPED_BYTES)


def release() -> None:
    """Let freed memory go when nobody holds it any more, and from then on as Dask wants it."""
    global _holders  # noqa: PLW0603
    with _lock:
        _holders = max(0, _holders - 1)
        if not _holders and (given := _given()) is not None:
            _set(given, USUAL_MAPPED_BYTES)
            _glibc().malloc_trim(0)


def _given() -> int | None:
    """Return what the environment tells glibc to keep; ``None`` where this does not apply."""
    said = os.environ.get(VARIABLE, "")
    return int(said) if said.isdecimal() and _glibc() is not None else None


def _set(trim: int, mapped: int) -> None:
    _glibc().mallopt(TRIM_THRESHOLD, min(trim, 2**31 - 1))
    _glibc().mallopt(MMAP_THRESHOLD, mapped)


@functools.cache
def _glibc() -> Any:
    """Return the C library if it is glibc; others have no such parameters."""
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):
        return None
    names = ("gnu_get_libc_version", "mallopt", "malloc_trim")
    return library if all(hasattr(library, name) for name in names) else None
