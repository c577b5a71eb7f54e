"""What a sweep varies: a parameter, its values, and the short labels that stand for them in tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from psbook.errors import InvalidJob

Label: TypeAlias = bool | int | float | str

RESERVED = (
    "run", "seed", "engine", "engine_why", "time_s", "time_to_target_s", "loss", "diverged", "error", "hash",
    "seconds", "iterations", "updates", "iterations_per_s", "staleness_mean", "staleness_max", "idle_share",
    "blocked_share", "bytes_sent", "loss_final",
)  # fmt: skip
"""Columns of a sweep's own tables; a parameter cannot have such a name."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a sweep.

    Attributes
    ----------
    name : str
        Its column.
    labels : tuple
        What the column holds, one for each value, all different: the numbers themselves if all values are
        numbers, texts otherwise.
    values : tuple
        The values.

    Examples
    --------
    >>> from psbook.laws import Constant, Exponential
    >>> Parameter.of("compute", [Constant(0.1), Exponential(0.1)]).labels
    ('Constant(0.1)', 'Exponential(0.1)')
    >>> Parameter.of("severity", {1: Constant(0.1), 8: Constant(0.8)}).labels
    (1, 8)
    """

    name: str
    labels: tuple[Label, ...]
    values: tuple[Any, ...]

    @classmethod
    def of(cls, name: str, values: object) -> Parameter:
        """Make a parameter of a list of values, or of a mapping from labels to values.

        Raises
        ------
        InvalidJob
            If there are no values, one comes twice, or the name is taken.
        """
        if not isinstance(name, str) or not name.isidentifier():
            raise InvalidJob(f"over has the key {name!r}; required: a name of letters, digits and _.")
        if name in RESERVED:
            raise InvalidJob(
                f"over has the key {name!r}, which is a column of every sweep; required: another name. "
                + (
                    "Use seeds=."
                    if name == "seed"
                    else "Give job= as a function of an argument of that name."
                )
            )
        if isinstance(values, str | bytes) or not isinstance(values, Iterable):
            raise InvalidJob(f"over[{name!r}] is {values!r}; required: a list of values, as [{values!r}].")
        found = list(values.values()) if isinstance(values, Mapping) else [_plain(value) for value in values]
        labels = _labels([_plain(key) for key in values] if isinstance(values, Mapping) else found)
        if not found or len(set(labels)) != len(labels):
            raise InvalidJob(f"over[{name!r}] is {list(labels)}; required: at least one value, each once.")
        return cls(name, labels, tuple(found))

    @property
    def texts(self) -> dict[str, str]:
        """The full ``repr`` of each value, by its label."""
        return {str(label): repr(value) for label, value in zip(self.labels, self.values, strict=True)}


def _labels(values: list[Any]) -> tuple[Label, ...]:
    """Short and different: numbers, else texts, else the whole ``repr``."""
    if all(isinstance(value, bool) for value in values):
        return tuple(values)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        whole = all(isinstance(value, int) for value in values)
        return tuple(values) if whole else tuple(map(float, values))
    labels = tuple(value if isinstance(value, str) else _label(value) for value in values)
    return labels if len(set(labels)) == len(labels) else tuple(map(repr, values))


def _label(value: Any) -> str:
    label = getattr(value, "label", None)
    return label if isinstance(label, str) else repr(value)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
