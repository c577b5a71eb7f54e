"""Values of programs as what a checkpoint can hold: strict JSON, with the arrays beside it."""

from __future__ import annotations

from typing import Any

import numpy as np

from psbook.errors import CheckpointError

Arrays = dict[str, Any]


def plain(value: Any, arrays: Arrays) -> Any:
    """Return a value as JSON would have it; its arrays go to `arrays`, each under a name of its own.

    Raises
    ------
    CheckpointError
        If it holds something else than arrays, numbers, texts, and lists, tuples and dicts of them.

    Examples
    --------
    >>> arrays = {}
    >>> text = plain({"step": 3, "momentum": (np.zeros(2), None)}, arrays)
    >>> restored(text, arrays)
    {'step': 3, 'momentum': (array([0., 0.]), None)}
    """
    if value is None or isinstance(value, bool | int | float | str):
        return ["plain", _number(value)]
    if isinstance(value, np.generic):
        arrays[name := f"array-{len(arrays)}"] = np.asarray(value)
        return ["scalar", name]
    if isinstance(value, np.ndarray) or hasattr(value, "__array__"):
        arrays[name := f"array-{len(arrays)}"] = np.asarray(value)
        return ["array", name]
    if type(value) in (list, tuple):
        return [type(value).__name__, [plain(each, arrays) for each in value]]
    if type(value) is dict:
        return ["dict", [[plain(key, arrays), plain(each, arrays)] for key, each in value.items()]]
    raise CheckpointError(
        f"a program's state holds a {type(value).__name__}; required: arrays, numbers, texts, and lists, "
        "tuples and dicts of them. Give worker.clock(state) what the program needs in that form."
    )


def restored(text: Any, arrays: Arrays) -> Any:
    """Return the value that `plain` was given."""
    kind, content = text
    if kind == "plain":
        return float(content[1:]) if isinstance(content, str) and content[:1] == "#" else _text(content)
    if kind in ("array", "scalar"):
        return arrays[content] if kind == "array" else arrays[content][()]
    if kind == "dict":
        return {restored(key, arrays): restored(each, arrays) for key, each in content}
    items = [restored(each, arrays) for each in content]
    return items if kind == "list" else tuple(items)


def _number(value: Any) -> Any:
    """Write what JSON has no number for as a text behind a sign that a text cannot begin with."""
    if isinstance(value, float) and not np.isfinite(value):
        return f"#{value}"
    return f"'{value}" if isinstance(value, str) else value


def _text(content: Any) -> Any:
    return content[1:] if isinstance(content, str) else content
