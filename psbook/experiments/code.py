"""What functions and classes do, as text that is the same in every process: for descriptions of jobs."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np

CONSTANTS = (bool, int, float, complex, str, bytes, tuple, np.ndarray, np.generic)
"""Global values that count where a function names them."""


def code_text(code: CodeType) -> str:
    """Return what a function does, without where it stands: instructions, names and constants.

    >>> code_text((lambda x: x + 1).__code__) == code_text((lambda x: x + 1).__code__)
    True
    """
    return "\n".join(_lines(code))


def _lines(code: CodeType) -> Iterator[str]:
    yield code.co_code.hex()
    yield repr((code.co_names, code.co_varnames, code.co_freevars))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _lines(constant)
        elif isinstance(constant, frozenset):  # its order depends on the hash seed
            yield repr(sorted(map(repr, constant)))
        else:
            yield repr(constant)


def callable_parts(value: Any) -> tuple[str, dict[str, Any]] | None:
    """Return a head line and the named parts of a function or what wraps one; ``None`` for other objects."""
    if isinstance(value, functools.partial):
        return "partial", {"function": value.func, "args": value.args, **value.keywords}
    if isinstance(value, MethodType):
        return "method", {"of": value.__self__, "function": value.__func__}
    if (plain := inspect.unwrap(value)) is not value:  # jitted, cached, decorated
        return "wrapped", {"function": plain}
    if isinstance(value, FunctionType):
        cells = (_held(cell) for cell in value.__closure__ or ())
        held = dict(zip(value.__code__.co_freevars, cells, strict=True))
        defaults = (value.__defaults__, value.__kwdefaults__)
        head = f"function {value.__module__}.{value.__qualname__}"
        return head, {"code": value.__code__, "defaults": defaults, **held, **_globals(value)}
    return None


def _held(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return None


def _globals(function: FunctionType) -> dict[str, Any]:
    """Global constants, and functions of the same module, that a function names."""
    found = {name: function.__globals__.get(name) for name in sorted(_names(function.__code__))}
    return {
        f"global {name}": value
        for name, value in found.items()
        if not name.startswith("__") and _counts(value, function.__module__)
    }


def _names(code: CodeType) -> set[str]:
    nested = (_names(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*nested)


def _counts(value: Any, module: str) -> bool:
    if isinstance(value, CONSTANTS):
        return True
    plain = inspect.unwrap(value) if callable(value) else value
    return isinstance(plain, FunctionType) and plain.__module__ == module


def class_code(kind: type) -> dict[str, Any]:
    """Return the methods of a class, those of its bases included, that no installed package defines."""
    methods: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        if not _installed(base.__module__):
            own = vars(base).items()
            methods |= {name: value for name, value in own if isinstance(value, FunctionType | property)}
    return {name: value.fget if isinstance(value, property) else value for name, value in methods.items()}


@functools.cache
def _installed(module: str) -> bool:
    """Whether the versions tell what a module holds: psbook, an installed package, the standard library."""
    top = module.partition(".")[0]
    if top == "psbook" or top in sys.stdlib_module_names:
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and bool({"site-packages", "dist-packages"} & set(Path(file).parts))
