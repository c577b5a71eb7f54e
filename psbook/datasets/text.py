"""What the readers of text files share: opening, and saying what is wrong with a token."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import IO

import numpy as np

_LARGEST = float(np.finfo(np.float32).max)


def open_text(path: Path | bytes) -> IO[str]:
    """Open a text file, gzipped or not, or bytes, whatever these are: for reading up to the faulty line."""
    if isinstance(path, bytes):
        return io.TextIOWrapper(io.BytesIO(path), encoding="utf-8-sig", errors="replace", newline="")
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", errors="replace", newline="")
    return path.open(encoding="utf-8-sig", errors="replace", newline="")


def fault(token: str) -> str | None:
    """What keeps a token from being a float32 number, or None.

    Examples
    --------
    >>> fault("1e3"), fault("x1"), fault("nan"), fault("1e99")
    (None, "'x1' is not a number", "'nan' is not finite", "'1e99' is too large for float32")
    """
    try:
        value = float(token)
    except ValueError:
        return f"{token!r} is not a number"
    if not np.isfinite(value):
        return f"{token!r} is not finite"
    return f"{token!r} is too large for float32" if abs(value) > _LARGEST else None
