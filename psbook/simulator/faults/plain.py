"""Faults and the laws in them as plain data that JSON can write, and back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

import psbook.laws
from psbook.errors import InvalidJob
from psbook.laws import Law
from psbook.simulator.faults.crashes import Crash, Pause, Rack
from psbook.simulator.faults.delays import Delay, Duplicate, Reorder, SlowLink
from psbook.simulator.faults.fault import Fault
from psbook.simulator.faults.losses import BurstyLoss, Loss, Partition
from psbook.simulator.faults.members import Join, Leave
from psbook.simulator.faults.slow import SlowNode

KINDS: Mapping[str, type[Fault]] = {
    kind.__name__: kind
    for kind in (
        Crash,
        Rack,
        Pause,
        Join,
        Leave,
        SlowNode,
        SlowLink,
        Delay,
        Loss,
        BurstyLoss,
        Duplicate,
        Reorder,
        Partition,
    )
}
_LAWS: Mapping[str, type[Law]] = {
    name: kind
    for name, kind in vars(psbook.laws).items()
    if isinstance(kind, type) and issubclass(kind, Law) and kind is not Law
}


def to_plain(value: Any) -> Any:
    """Numbers, texts, lists and dictionaries for a fault, a law, or what they are made of.

    Raises
    ------
    InvalidJob
        Something that could not be read back, such as a law of the user's own.

    Examples
    --------
    >>> to_plain(Loss(0.1, links=[("worker-*", "server-0")]))
    {'kind': 'Loss', 'probability': 0.1, 'links': [['worker-*', 'server-0']]}
    """
    name = type(value).__name__
    if isinstance(value, Fault) and KINDS.get(name) is type(value):
        return {"kind": name} | {key: to_plain(entry) for key, entry in value.values().items()}
    if isinstance(value, Law) and _LAWS.get(name) is type(value):
        arguments = (field.name for field in fields(value) if field.init)  # type: ignore[arg-type]
        return {"kind": name} | {key: to_plain(getattr(value, key)) for key in arguments}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, tuple | list):
        return [to_plain(entry) for entry in value]
    raise InvalidJob(
        f"{value!r} has no plain form; required: a fault or law of psbook's own; take one, or pickle"
    )


def fault_from_plain(data: object) -> Fault:
    """The fault that `to_plain` described.

    Raises
    ------
    InvalidJob
        An unknown kind, or arguments that do not fit.
    """
    made = _made(data, KINDS, "fault")
    if not isinstance(made, Fault):
        raise InvalidJob(
            f"a fault is {data!r}; required: a dictionary with its kind; as Faults.to_dict gives"
        )
    return made


def _made(value: Any, kinds: Mapping[str, type[Any]], what: str) -> Any:
    if isinstance(value, list):
        return tuple(_made(entry, _LAWS, "law") for entry in value)
    if not isinstance(value, Mapping):
        return value
    arguments = {key: _made(entry, _LAWS, "law") for key, entry in value.items() if key != "kind"}
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise InvalidJob(
            f"a {what} is of kind {kind!r}; required: one of {', '.join(kinds)}; correct the entry"
        )
    try:
        return kinds[kind](**arguments)
    except TypeError as error:
        takes = ", ".join(field.name for field in fields(kinds[kind]) if field.init)
        raise InvalidJob(
            f"{kind} with {', '.join(map(str, arguments)) or 'nothing'}: {error}; required: {takes}; "
            f"correct the entry"
        ) from None
