"""Checks of a law's numbers, with one wording for all laws."""

from __future__ import annotations

from math import isfinite

import numpy as np

from psbook.errors import InvalidJob


def require(law: object, name: str, value: object, *, zero: bool = False, unit: str = "seconds") -> None:
    """Raise `InvalidJob` unless `value` is finite and > 0 (≥ 0 where `zero` is allowed)."""
    number = isinstance(value, (int, float, np.number)) and isfinite(value)
    if number and (value > 0 or (zero and value == 0)):  # type: ignore[operator]
        return
    bound = "≥ 0" if zero else "> 0"
    raise InvalidJob(f"{type(law).__name__}: {name} is {value!r}; required: a finite number {bound} "
                     f"({unit}); pass for example {name}={1 if unit == 'a pure number' else 0.1}")


def require_count(law: object, name: str, value: object, *, least: int) -> None:
    """Raise `InvalidJob` unless `value` is an integer ≥ `least`."""
    if isinstance(value, (int, np.integer)) and int(value) >= least:
        return
    raise InvalidJob(f"{type(law).__name__}: {name} is {value!r}; required: an integer ≥ {least}; "
                     f"pass for example {name}={max(least, 1)}")


def require_law(law: object, name: str, value: object, base: type) -> None:
    """Raise `InvalidJob` unless `value` is a law."""
    if not isinstance(value, base):
        raise InvalidJob(f"{type(law).__name__}: {name} is {value!r}; required: a law; "
                         f"wrap a number as Constant({value!r})")
