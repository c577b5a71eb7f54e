"""Checks of a fault's arguments, with one wording for all faults; what passes is a plain Python value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from numbers import Integral, Real
from typing import NoReturn

from psbook.errors import InvalidJob
from psbook.laws import Law
from psbook.simulator.faults.names import is_pattern

Pairs = tuple[tuple[str, str], ...]


def refuse(fault: object, name: str, value: object, required: str, remedy: str) -> NoReturn:
    """Raise `InvalidJob`: found, required, remedy."""
    kind = fault if isinstance(fault, str) else type(fault).__name__
    raise InvalidJob(f"{kind}: {name} is {value!r}; required: {required}; {remedy}")


def moment(fault: object, name: str, value: object) -> float:
    """A point in time: finite seconds ≥ 0."""
    number = _number(value)
    if number is None or not 0 <= number < inf:
        refuse(fault, name, value, "finite seconds ≥ 0", f"pass for example {name}=3.0")
    return number


def duration(fault: object, name: str, value: object, *, endless: bool = True) -> float:
    """A length of time: seconds > 0; inf only where something may last for ever."""
    number = _number(value)
    if number is None or not number > 0 or (number == inf and not endless):
        required = "seconds > 0" if endless else "finite seconds > 0"
        refuse(fault, name, value, required, f"pass for example {name}=2.0")
    return number


def probability(fault: object, value: object) -> float:
    """A probability: 0 … 1."""
    number = _number(value)
    if number is None or not 0 <= number <= 1:
        refuse(fault, "probability", value, "a number 0 … 1", "pass for example 0.05 for 5 %")
    return number


def at_least_one(fault: object, name: str, value: object, remedy: str) -> float:
    """A finite number ≥ 1."""
    number = _number(value)
    if number is None or not 1 <= number < inf:
        refuse(fault, name, value, "a finite number ≥ 1", remedy)
    return number


def delay(fault: object, value: object) -> Law | float:
    """Extra seconds of a message: finite and ≥ 0, or a law."""
    if isinstance(value, Law):
        if value.measured:
            refuse(fault, "delay", value, "a law that can be drawn", "nothing measures a delay: give seconds")
        return value
    number = _number(value)
    if number is None or not 0 <= number < inf:
        refuse(fault, "delay", value, "finite seconds ≥ 0 or a law", "pass 0.1 or ps.Exponential(0.1)")
    return number


def node(fault: object, name: str, value: object) -> str:
    """Name of a node, or a pattern of names."""
    if not isinstance(value, str) or not value:
        refuse(fault, name, value, "the name of a node", "pass for example 'server-0' or 'worker-*'")
    return str(value)


def nodes(fault: object, name: str, value: object) -> tuple[str, ...]:
    """Names or patterns of nodes, one or more; a single text is one name."""
    listed = (value,) if isinstance(value, str) else _listed(value)
    if not listed or len(set(map(repr, listed))) < len(listed):
        refuse(fault, name, value, "one or more different nodes", "pass for example ['server-0', 'worker-0']")
    return tuple(node(fault, name, entry) for entry in listed)


def plain_names(what: str, value: object) -> list[str]:
    """Different names of nodes, one or more, without patterns."""
    names = nodes(what, "nodes", value)
    if any(map(is_pattern, names)):
        refuse(what, "nodes", value, "names, no patterns", "pass ['worker-0', 'worker-1']")
    return list(names)


def seed(what: str, value: object) -> int:
    """A seed: a whole number 0 … 2^64−1."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not 0 <= int(value) < 2**64:
        refuse(what, "seed", value, "a whole number 0 … 2^64−1", "pass for example seed=0")
    return int(value)


def links(fault: object, value: object) -> Pairs | None:
    """Pairs of names or patterns, (source, destination); None: every link."""
    if value is None:
        return None
    pairs = [_listed(pair) for pair in _listed(value)]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        refuse(
            fault,
            "links",
            value,
            "None (every link) or pairs (source, destination)",
            "pass for example [('worker-*', 'server-0')]",
        )
    return tuple((node(fault, "links", a), node(fault, "links", b)) for a, b in pairs)


def _listed(value: object) -> Sequence[object]:
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes) else ()


def _number(value: object) -> float | None:
    """A real number as a float, which repr and JSON can write; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        return float(value)
    except OverflowError:
        return None
