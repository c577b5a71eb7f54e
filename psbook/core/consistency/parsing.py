"""Models by their short names, as on the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from psbook.core.consistency.base import Consistency
from psbook.core.consistency.bulk import BSP, Serial
from psbook.core.consistency.dynamic import DSSP
from psbook.core.consistency.eager import ESSP
from psbook.core.consistency.rounds import BackupWorkers, KAsync, KBatchAsync, KBatchSync, KSync
from psbook.core.consistency.sampled import PSP
from psbook.core.consistency.stale import ASP, SSP, BoundedDelay
from psbook.core.consistency.values import VAP
from psbook.errors import InvalidJob


class Form(NamedTuple):
    """How a model is written: its parameters' names, how many may be left out, and what makes it."""

    names: tuple[str, ...]
    optional: int
    make: Callable[..., Consistency]


FORMS: dict[str, Form] = {
    "serial": Form((), 0, Serial),
    "bsp": Form((), 0, BSP),
    "asp": Form((), 0, ASP),
    "ssp": Form(("s",), 1, SSP),
    "delay": Form(("tau",), 1, BoundedDelay),
    "essp": Form(("s",), 0, ESSP),
    "dssp": Form(("low", "high"), 0, DSSP),
    "vap": Form(("bound",), 0, VAP),
    "psp": Form(("s", "beta"), 0, PSP),
    "backup": Form(("b",), 0, BackupWorkers),
    "ksync": Form(("k",), 0, KSync),
    "kbatchsync": Form(("k",), 0, KBatchSync),
    "kasync": Form(("k",), 0, KAsync),
    "kbatchasync": Form(("k",), 0, KBatchAsync),
}


def forms() -> str:
    """Return how models may be written, in one line.

    >>> forms().split(", ")[:4]
    ['serial', 'bsp', 'asp', 'ssp:S']
    """
    return ", ".join(_shape(name) for name in FORMS)


def _shape(name: str) -> str:
    return ":".join((name, *(each.upper() for each in FORMS[name].names)))


def parse_model(text: str) -> Consistency:
    """Read a model from its short form, as on the command line: its name, and numbers behind colons.

    Raises
    ------
    InvalidJob
        If the name or a number is not understood.

    Examples
    --------
    >>> [parse_model(m).label for m in ("bsp", "ssp:3", "asp", "delay:2", "ksync:3")]
    ['BSP', 'SSP(3)', 'ASP', 'Delay(2)', 'K-sync(3)']
    """
    name, *numbers = text.strip().lower().split(":")
    form = FORMS.get(name)
    if form is None or len(numbers) > len(form.names):
        raise InvalidJob(f"model {text!r}; required: one of {forms()}.")
    if len(numbers) < len(form.names) - form.optional:
        raise InvalidJob(
            f"model {text!r} without {form.names[len(numbers)]}; required: {_shape(name)}, with numbers."
        )
    return form.make(*[_number(text, number) for number in numbers])


def _number(text: str, number: str) -> float:
    try:
        value = float(number)
    except ValueError as error:
        raise InvalidJob(
            f"model {text!r}: {number!r}; required: a number, as in {text.partition(':')[0]}:3."
        ) from error
    return int(value) if value.is_integer() else value
