"""Laws as text, for the command line: ``exponential:0.1,spells:0.01:4:5``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from psbook.errors import InvalidJob
from psbook.laws.base import Law
from psbook.laws.distributions import (
    Constant,
    Exponential,
    Gamma,
    LogNormal,
    Measured,
    Pareto,
    ShiftedExponential,
    Uniform,
)
from psbook.laws.empirical import Recorded

LAWS: Mapping[str, Callable[..., Law]] = {
    "constant": Constant,
    "uniform": Uniform,
    "exponential": Exponential,
    "shifted-exponential": ShiftedExponential,
    "gamma": Gamma,
    "log-normal": LogNormal,
    "pareto": Pareto,
    "measured": Measured,
    "recorded": Recorded,
}
STEPS = ("spells", "rotating", "delayed", "with-mean", "slow", "common", "plus", "times")


def parse(text: str) -> Law:
    """A law from text: a law, then any number of steps that change it, all joined by commas.

    The name comes first, then its arguments, joined by colons, by position or as ``name=value``. A bare
    number is a constant. Hyphens, underscores and capitals in names don't matter.

    ==========================  ============================================================
    ``exponential:0.1``         ``constant:s``, ``uniform:low:high``, ``gamma:mean:shape``,
                                ``shifted-exponential:shift:tail``, ``log-normal:mean:sigma``,
                                ``pareto:scale:shape``, ``measured:scale``,
                                ``recorded:path:column:worker:scale=…:replay=bootstrap``
    ``spells:0.01:4:5``         also ``rotating:delay:every:workers``, ``with-mean:seconds``,
                                ``delayed:worker:iteration:delay``
    ``slow:3=2:7=1.5``          worker=factor, as many as needed
    ``common:gamma:1:4``        ``common:``, ``plus:`` and ``times:`` take a law
    ==========================  ============================================================

    Parameters
    ----------
    text : str
        The description; times in seconds.

    Returns
    -------
    Law

    Raises
    ------
    InvalidJob
        An unknown name, or arguments that do not fit.
    DataError
        A recording that cannot be read.

    Examples
    --------
    >>> parse("exponential:0.1,spells:0.01:4:5").label
    'Exponential(0.1).spells(0.01, 4, 5)'
    """
    first, *steps = (item.strip() for item in text.split(","))
    law = _law(first, text)
    for step in steps:
        law = _step(law, step, text)
    return law


def _law(item: str, text: str) -> Law:
    number = _value(item)
    if isinstance(number, (int, float)):
        return Constant(number)
    name, *arguments = item.split(":")
    return _call(LAWS[_name(name, LAWS, text)], name, arguments, text)


def _step(law: Law, item: str, text: str) -> Law:
    name, *arguments = item.split(":")
    match _name(name, STEPS, text):
        case "slow":
            return law.slow(_factors(arguments, text))
        case "common":
            return law.common(_law(":".join(arguments), text))
        case "plus":
            return law + _law(":".join(arguments), text)
        case "times":
            return law * _law(":".join(arguments), text)
        case method:
            return _call(getattr(law, method.replace("-", "_")), name, arguments, text)


def _call(make: Callable[..., Law], name: str, arguments: list[str], text: str) -> Law:
    signature = inspect.signature(make)
    positional = [_value(argument) for argument in arguments if "=" not in argument]
    named = {key: _value(value) for key, _, value in (a.partition("=") for a in arguments if "=" in a)}
    try:
        signature.bind(*positional, **named)
    except TypeError as error:
        takes = ":".join(signature.parameters)
        raise InvalidJob(f"law {text!r}: {name} with {len(arguments)} arguments: {error}; required: "
                         f"{name}:{takes}; give them in this order or as name=value") from None
    return make(*positional, **named)


def _factors(arguments: list[str], text: str) -> dict[int, float]:
    try:
        pairs = [argument.split("=") for argument in arguments]
        factors = {int(worker): float(factor) for worker, factor in pairs}
    except ValueError:
        factors = {}
    if not factors:
        raise InvalidJob(f"law {text!r}: slow has arguments {arguments}; required: worker=factor; "
                         f"write for example slow:3=2.5")
    return factors


def _name(name: str, known: Mapping[str, Any] | tuple[str, ...], text: str) -> str:
    plain = {entry.replace("-", ""): entry for entry in known}
    found = name.strip().lower().replace("-", "").replace("_", "")
    if found in plain:
        return plain[found]
    near = get_close_matches(found, plain, n=1)
    remedy = f"did you mean {plain[near[0]]}?" if near else "write for example exponential:0.1"
    raise InvalidJob(f"law {text!r}: no {'law' if known is LAWS else 'step'} is called {name!r}; "
                     f"required: one of {', '.join(known)}; {remedy}")


def _value(text: str) -> Any:
    for kind in (int, float, {"true": True, "false": False}.__getitem__):
        try:
            return kind(text)
        except (ValueError, KeyError):
            continue
    return text
