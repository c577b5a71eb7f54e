"""Checks of the models' parameters."""

from __future__ import annotations

import math

from psbook.errors import InvalidJob


def check_bound(name: str, value: float) -> None:
    """Raise `InvalidJob` unless `value` is a whole number >= 0 or infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise InvalidJob(f"{name} is {value!r}; required: a whole number >= 0, or math.inf.")
    if math.isfinite(value) and value != int(value):
        raise InvalidJob(f"{name} is {value!r}; required: a whole number >= 0, or math.inf.")


def check_count(name: str, value: int, least: int = 0) -> None:
    """Raise `InvalidJob` unless `value` is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidJob(f"{name} is {value!r}; required: a whole number >= {least}.")
