"""Which of a server's actions are over sooner than it takes to hand them to another thread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from psbook.core.actions import Action, Answer, Apply, Parked, Send, Serves, Unparked
from psbook.core.keys import KeyRange, Keys, count
from psbook.core.messages import value_bytes
from psbook.storage import Storage

QUICK_BYTES = 2**16
"""Rows of so many bytes are read or updated in some 20 µs; two threads take longer to take turns."""

_ALWAYS_QUICK = frozenset({Send, Parked, Unparked, Serves})


def are_quick(actions: Iterable[Action], shards: Mapping[int, Mapping[str, Storage]]) -> bool:
    """Whether a server may do these at once, on the loop that takes its messages in.

    Parameters
    ----------
    actions
        What its state machine asks for.
    shards
        The values that it holds.

    Examples
    --------
    >>> are_quick([Send("worker-0", None)], {}), are_quick([object()], {})
    (True, False)
    """
    return all(_is_quick(action, shards) for action in actions)


def _is_quick(action: Action, shards: Mapping[int, Mapping[str, Storage]]) -> bool:
    kind = type(action)
    if kind in _ALWAYS_QUICK:
        return True
    if isinstance(action, Answer):
        storage = shards[action.shard][action.reply.table]
        return _reads_quickly(storage, action.reply.keys)
    if isinstance(action, Apply) and not action.shadow:
        return _updates_quickly(shards[action.shard][action.table], action)
    return False


def _reads_quickly(storage: Storage, keys: Keys) -> bool:
    if isinstance(keys, KeyRange) and keys == storage.keys and not storage.table.is_sparse:
        return True  # a view
    return count(keys) * _row_bytes(storage) <= QUICK_BYTES


def _updates_quickly(storage: Storage, apply: Apply) -> bool:
    update = storage.table.update
    ours = type(update).__module__.startswith("psbook.") and not update.compiled and not update.needs
    # A shard that is small as a whole: an update of some rows may copy all of them, if a reader holds them.
    return ours and storage.nbytes <= 4 * QUICK_BYTES and _pushed(apply) <= QUICK_BYTES


def _pushed(apply: Apply) -> int:
    return sum(value_bytes(push.value) for push in apply.pushes)


def _row_bytes(storage: Storage) -> int:
    row = storage.table.dtype.itemsize
    for length in storage.table.row_shape:
        row *= length
    return row
