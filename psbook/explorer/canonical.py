"""One form for all states that differ in nothing that matters: for hashing, and for swapping equal workers.

Left out are time stamps, what follows from the rest, and the text of explanations. Sets and the maps by
worker or node are sorted; every other order is kept, because behaviour may depend on it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, TypeAlias

import numpy as np

from psbook.core.cache import Cache
from psbook.core.client import Client, Pending
from psbook.core.clocks import Clocks
from psbook.core.controller import Controller
from psbook.core.controls import Arrive, Finished, Remove
from psbook.core.layout import Layout
from psbook.core.membership import Membership
from psbook.core.replica import Replica
from psbook.core.server import Server
from psbook.core.shard import Shard
from psbook.core.window import Window
from psbook.explorer.nodes import Bag

Form: TypeAlias = Any
"""Nested tuples of plain values, to be compared and hashed."""

STAMPS = {"sent", "received", "parked", "asked", "since"}
"""Fields that tell when something happened, or how long it took."""

NOT_STAMPS = {"Beat", "Lease", "Shard"}
"""Classes in which such a name means something that behaviour depends on."""

EVERYWHERE = {"layout", "explains", "_handlers"}
"""What is the same all through a run."""

LEFT_OUT: dict[type, set[str]] = {
    Client: {
        "model", "max_in_flight", "node", "clocked", "_specs", "_safety", "_ordered", "_segments",
        "_partitions", "_reader", "_home", "_overdue", "_pauses",
    },
    Server: {"model", "every"},
    Shard: {"model", "every", "_at_most_once", "_acknowledges", "_means"},
    Replica: {
        "_sent_before", "_parallel", "_aggregates", "_alone", "_below", "_above", "is_head", "answers",
        "epoch",
    },
    Controller: {"_ranks"},
    Membership: {"_ring"},
    Pending: {"asked"},
}  # fmt: skip

BY_RANK: dict[type, set[str]] = {
    Shard: {"states", "aside", "_pushed", "_halfway", "_windows", "_removed"},
    Clocks: {"_active", "reached"},
    Controller: {"removed"},
}
"""Maps whose keys are ranks."""

RANKS: dict[type, set[str]] = {
    Client: {"rank"},
    Controller: {"active"},
    Remove: {"rank"},
    Arrive: {"rank"},
    Finished: {"rank"},
}
"""Fields that are a rank, or a set of ranks."""

SORTED: dict[type, set[str]] = {
    Controller: {"heard", "incarnations"},
    Shard: {"rounds", "versions"},
    Server: {"replicas"},
    Replica: {"_has", "guests", "_early"},
    Clocks: {"_count"},
    Client: {"_sequence", "_last_write"},
    Cache: {"_copies", "_since"},
    Window: {"_early"},
}
"""Maps whose order changes nothing."""


class Renaming:
    """Workers under other names: ``order[rank]`` is the new rank.

    >>> from psbook.core.messages import MessageId
    >>> Renaming((1, 0)).form(("worker-0", MessageId(1, 0, "w", 0, 3)))
    ('worker-1', ('MessageId', 0, 0, 'w', 0, 3))
    """

    def __init__(self, order: tuple[int, ...]) -> None:
        self.order = order
        self._names = {f"worker-{old}": f"worker-{new}" for old, new in enumerate(order)}
        self._fields: dict[type, list[tuple[str, Callable[[Any], Form]]]] = {}

    def form(self, value: Any) -> Form:
        """Return the canonical form of a state or message, with the workers renamed."""
        kind = type(value)
        if kind is str:
            return self._names.get(value, value)
        if kind is int or value is None or kind is bool or kind is float:
            return value
        if kind is tuple or kind is list or kind is deque:
            return tuple([self.form(each) for each in value])
        if kind is dict:
            return tuple([(self.form(key), self.form(each)) for key, each in value.items()])
        if kind is set or kind is frozenset:
            return tuple(sorted((self.form(each) for each in value), key=repr))
        if kind is Bag:
            return tuple(sorted(self.form(each) for each in value))
        if isinstance(value, tuple):  # a named one; the first field of an id and of a push's name is a rank
            first = self.order[value[0]] if hasattr(value, "rank") else self.form(value[0])
            return (kind.__name__, first, *map(self.form, value[1:]))
        if isinstance(value, np.ndarray):
            return tuple(value.tolist())
        if isinstance(value, Enum | Layout) or callable(value):
            return None
        return (kind.__name__, *(how(getattr(value, name)) for name, how in self._of(kind, value)))

    def _of(self, kind: type, value: Any) -> list[tuple[str, Callable[[Any], Form]]]:
        """Return the fields of a class that count, each with how it is turned into its form."""
        known = self._fields.get(kind)
        if known is None:
            names = list(vars(value)) if hasattr(value, "__dict__") else _slots(kind)
            stamps = set() if kind.__name__ in NOT_STAMPS else STAMPS
            out = EVERYWHERE | stamps | LEFT_OUT.get(kind, set())
            known = [(name, self._how(kind, name)) for name in sorted(names) if name not in out]
            self._fields[kind] = known
        return known

    def _how(self, kind: type, name: str) -> Callable[[Any], Form]:
        if name in BY_RANK.get(kind, ()):
            return self._by_rank
        if name in RANKS.get(kind, ()):
            return self._rank
        if name in SORTED.get(kind, ()):
            return self._sorted
        return self.form

    def _rank(self, value: Any) -> Form:
        if isinstance(value, int):
            return self.order[value]
        return tuple(sorted(self.order[rank] for rank in value))

    def _by_rank(self, value: Mapping[int, Any]) -> Form:
        return tuple(sorted((self.order[rank], self.form(each)) for rank, each in value.items()))

    def _sorted(self, value: Mapping[Any, Any]) -> Form:
        return tuple(sorted(((self.form(key), self.form(each)) for key, each in value.items()), key=repr))


def _slots(kind: type) -> list[str]:
    return [name for base in kind.__mro__ for name in getattr(base, "__slots__", ())]
