"""`Fault`: what all faults share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, Field, fields, replace
from math import inf, nextafter
from typing import Any, Self

from psbook.laws import Law
from psbook.simulator.faults.names import known

_SHORTEST = 1e-6  # s: halving stops here, so that shrinking ends


class Fault:
    """One thing that goes wrong: a frozen dataclass, checked when it is made.

    Attributes
    ----------
    at : float
        Simulated seconds at which it begins.
    """

    at: float

    @property
    def sentence(self) -> str:
        """The fault in a sentence."""
        raise NotImplementedError(f"{type(self).__name__} must define sentence")

    @property
    def end(self) -> float:
        """Simulated seconds after which the fault does nothing more; inf if that never comes."""
        raise NotImplementedError(f"{type(self).__name__} must define end")

    def names(self) -> Iterable[str]:
        """The nodes and patterns of nodes that the fault names."""
        raise NotImplementedError(f"{type(self).__name__} must define names")

    def check(self, nodes: Sequence[str]) -> None:
        """Raise `InvalidJob` unless every name is one of the run's nodes."""
        known(self.names(), nodes, type(self).__name__)

    def simpler(self) -> Iterator[Self]:
        """The same fault, but shorter: candidates for a smaller failing example."""
        for name in ("seconds", "restart"):
            length = getattr(self, name, None)
            if length is not None and 2 * _SHORTEST < length < inf:
                yield self._with(**{name: float(f"{length / 2:.2g}")})

    def values(self) -> dict[str, Any]:
        """The arguments that make this fault, those left out that are the defaults."""
        return {
            field.name: getattr(self, field.name)
            for field in self._fields()
            if getattr(self, field.name) != field.default
        }

    def __repr__(self) -> str:
        named = {field.name for field in self._fields() if field.default is not MISSING} | {"at", "seconds"}
        parts = [f"{k}={v!r}" if k in named else repr(v) for k, v in self.values().items()]
        return f"{type(self).__name__}({', '.join(parts)})"

    @classmethod
    def _fields(cls) -> tuple[Field[Any], ...]:
        return fields(cls)  # type: ignore[arg-type]  # every fault is a dataclass

    def _with(self, **values: object) -> Self:
        return replace(self, **values)  # type: ignore[type-var]

    def _set(self, **values: object) -> None:
        """Put checked values in place of the arguments; only while the fault is made."""
        for name, value in values.items():
            object.__setattr__(self, name, value)


def after(at: float, seconds: float) -> float:
    """`seconds` after `at`, and later than `at` also where floats are too coarse to add so little."""
    return max(at + seconds, nextafter(at, inf))


def span(at: float, seconds: float) -> str:
    """A time window in words.

    Examples
    --------
    >>> span(0, inf), span(3, inf), span(3, 2)
    ('always', 'from 3 s on', 'from 3 s to 5 s')
    """
    if seconds == inf:
        return f"from {at:g} s on" if at else "always"
    return f"from {at:g} s to {at + seconds:g} s"


def listed(names: Iterable[str]) -> str:
    """Names in words: ``a``, ``a and b``, ``a, b and c``."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def lasting(delay: Law | float) -> str:
    """A delay in words."""
    return f"{delay.label if isinstance(delay, Law) else format(delay, 'g')} s"
