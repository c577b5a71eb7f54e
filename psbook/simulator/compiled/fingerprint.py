"""What a kernel computes, as a key."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from psbook.loop import Loop
from psbook.simulator.compiled.numbers import gradients
from psbook.table import Table

ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def fingerprint(loop: Loop, tables: Mapping[str, Table], data: Any, size: int) -> str:
    """Return the SHA-256 of the operations of a kernel, and of the constants in them.

    A kernel may look at globals, or at attributes of its object. These are no part of its identity: what is
    kept of it by that alone would go on to compute with their old values.

    Parameters
    ----------
    loop, tables
        The program, and the tables that take part.
    data
        Arrays of all rows.
    size
        Rows of a batch.

    Examples
    --------
    >>> import numpy as np
    >>> rate = 1.0
    >>> loop, tables = Loop(lambda w, x: (x.sum(), rate * w)), {"w": Table(2)}
    >>> first = fingerprint(loop, tables, np.zeros(4, "float32"), 2)
    >>> first == fingerprint(loop, tables, np.zeros(4, "float32"), 2)
    True
    >>> rate = 2.0
    >>> first == fingerprint(loop, tables, np.zeros(4, "float32"), 2)
    False
    """
    rows = {name: np.zeros(tables[name].shape, tables[name].dtype) for name in loop.pulled}
    batch = jax.tree.map(lambda array: np.zeros((size, *array.shape[1:]), array.dtype), data)
    made = jax.make_jaxpr(lambda rows, batch: gradients(loop, tables, rows, batch))(rows, batch)
    found = hashlib.sha256(ADDRESS.sub("", str(made.jaxpr)).encode())
    for constant in map(np.asarray, made.consts):
        found.update(f"{constant.dtype}{constant.shape}".encode() + constant.tobytes())
    return found.hexdigest()
