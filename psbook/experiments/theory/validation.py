"""Checks of the arguments of closed forms, with one wording for all."""

from __future__ import annotations

import math

import numpy as np

from psbook.errors import InvalidJob


def whole(name: str, value: object, *, least: int = 0) -> None:
    """Raise `InvalidJob` unless `value` is an integer ≥ `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InvalidJob(f"{name}={value!r}; required: a whole number ≥ {least}.")


def positive(name: str, value: object, unit: str) -> None:
    """Raise `InvalidJob` unless `value` is a finite number > 0."""
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and value > 0):  # type: ignore[arg-type, operator]
        raise InvalidJob(f"{name}={value!r}; required: a finite number > 0 ({unit}).")
