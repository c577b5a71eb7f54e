"""What a caller may say: whole numbers that are large enough."""

from __future__ import annotations

import numpy as np

from psbook.errors import InvalidJob


def whole(name: str, value: object, least: int) -> int:
    """Return an argument as an int.

    Raises
    ------
    InvalidJob
        If it is no whole number, or smaller than `least`.

    Examples
    --------
    >>> whole("keep", 0, 1)
    Traceback (most recent call last):
    psbook.errors.InvalidJob: keep=0; required: a whole number >= 1.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InvalidJob(f"{name}={value!r}; required: a whole number >= {least}.")
    return int(value)
