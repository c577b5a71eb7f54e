"""What each worker has read last from a server's shards, for update functions that ask for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from psbook.core.keys import Keys, count, same
from psbook.core.messages import Push
from psbook.errors import UpdateError
from psbook.storage.combine import as_array

Rows = npt.NDArray[Any]

MOST = 4
"""Answers that are kept of one worker, table and shard: it may read so often before it pushes."""


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Rows as they were at a version of the shard."""

    keys: Keys
    version: int
    rows: Rows


class Reads:
    """The rows that pushes may have been computed from.

    Rows are those of the answers themselves, which nobody changes; nothing is copied. Answers older than what
    a push was computed from are dropped when newer ones have the same keys, so a worker that reads, computes
    and pushes has one, of an older version of the shard than it may be: that version's memory is not free.

    Examples
    --------
    >>> from psbook.core.keys import KeyRange
    >>> from psbook.core.messages import MessageId
    >>> reads, id = Reads(), MessageId(0, 0, "w", 0, 1)
    >>> reads.answered(id, KeyRange(0, 3), 7, np.array([1.0, 2.0, 3.0]))
    >>> push = Push(id, "w", np.array([0, 2]), np.zeros(2), 0, read_version=7, read=id)
    >>> reads.of(push)
    array([1., 3.])
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[int, str, int], list[Kept]] = {}

    def answered(self, pull: Any, keys: Keys, version: int, rows: Rows) -> None:
        """Keep what a worker was answered to a pull of this id."""
        kept = self._kept.setdefault((pull.rank, pull.table, pull.shard), [])
        kept[:] = [each for each in kept if each.version != version or not same(each.keys, keys)]
        kept.append(Kept(keys, version, rows))
        del kept[:-MOST]

    def of(self, push: Push) -> Rows | None:
        """Return the rows that a push was computed from, key by key; ``None`` if its worker read nothing.

        Raises
        ------
        UpdateError
            If the worker has not read some of the keys, or too long ago.
        """
        if push.read is None:
            return None
        kept = self._kept.get((push.id.rank, push.table, push.id.shard), [])
        seen = [each for each in reversed(kept) if each.version <= push.read_version]
        if seen and seen[0].version == push.read_version and same(seen[0].keys, push.keys):
            rows = seen[0].rows
        else:
            rows = self._gathered(push, seen)
        self._forget(kept, push.read_version)
        return rows

    def _gathered(self, push: Push, seen: list[Kept]) -> Rows:
        """Take each key from the newest answer that has it."""
        wanted = as_array(push.keys)
        missing = np.ones(len(wanted), bool)
        rows: Rows = np.empty_like(push.value)
        for each in seen:
            held = as_array(each.keys)
            if not len(held):
                continue
            at = np.minimum(np.searchsorted(held, wanted), len(held) - 1)
            found = missing & (held[at] == wanted)
            rows[found] = each.rows[at[found]]
            missing &= ~found
        if missing.any():
            raise UpdateError(
                f"{push.id} has {missing.sum()} of {count(push.keys)} keys that are in none of the last "
                f"{MOST} reads of table {push.table!r} by its worker, such as {wanted[missing][0]}; "
                "required: rows are read before they are pushed, as the update function asks for what was "
                "read. Pull the keys that are pushed, or take another update function."
            )
        return rows

    @staticmethod
    def _forget(kept: list[Kept], version: int) -> None:
        """Drop what is older than the version that a push was computed from, and has been read again."""
        again = [each.keys for each in kept if each.version == version]
        kept[:] = [
            each for each in kept
            if each.version >= version or not any(same(each.keys, keys) for keys in again)
        ]  # fmt: skip
