"""A law as an argument: a law, a plain number of seconds, or nothing."""

from __future__ import annotations

from psbook.errors import InvalidJob
from psbook.laws.base import Law
from psbook.laws.distributions import Constant


def law_option(name: str, value: object) -> Law | None:
    """Return the law that an argument means; a number means constant seconds.

    Raises
    ------
    InvalidJob
        If it is neither law nor number nor ``None``.

    Examples
    --------
    >>> law_option("compute", 0.1), law_option("compute", None)
    (Constant(seconds=0.1), None)
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Constant(float(value))
    if value is not None and not isinstance(value, Law):
        raise InvalidJob(f"{name}={value!r}; required: a law such as ps.Exponential(0.1), or seconds.")
    return value
