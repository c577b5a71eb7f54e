"""What a job takes as data."""

from __future__ import annotations

import os
from typing import Any

from psbook.data import lazy
from psbook.data.partitions import Partitions
from psbook.data.reading import read


def accepted(data: Any) -> Any:
    """Return a job's data as it is, or as `Partitions` if it is not in memory.

    Examples
    --------
    >>> accepted([1, 2])
    [1, 2]
    """
    if isinstance(data, str | os.PathLike):
        return read(data)
    return Partitions(data) if lazy.is_lazy(data) else data
