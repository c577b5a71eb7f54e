"""The held-out objective on snapshots of the servers' tables (semantics.md, words: loss)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from psbook.assembly import whole
from psbook.core.keys import Keys
from psbook.errors import ProgramError
from psbook.table import Table
from psbook.trace import Recorder

Pieces = dict[str, tuple[Keys, Any]]


class Evaluator:
    """Collects the shards' snapshots and evaluates each that is complete.

    Snapshot i is, on every shard, the state in which the shard had counted i worker iterations. Evaluating
    costs no simulated time and disturbs nothing.

    Parameters
    ----------
    evaluate
        ``evaluate(**tables) -> float``.
    tables
        The job's tables.
    shards
        Number of shards.
    recorder
        Takes the rows of kind "loss".
    """

    def __init__(
        self, evaluate: Callable[..., float], tables: Mapping[str, Table], shards: int, recorder: Recorder
    ) -> None:
        self._evaluate = evaluate
        self._tables = tables
        self._shards = shards
        self._recorder = recorder
        self._pieces: dict[int, dict[int, tuple[float, Pieces, int]]] = {}
        self._updates: tuple[int, ...] = ()
        self.latest: tuple[int, float] | None = None
        """Worker iterations and loss of the last evaluation."""

    def covers(self, iterations: int, updates: Sequence[int]) -> bool:
        """Whether the last evaluation saw these iterations and these updates, one number a shard.

        What a program pushes behind its last ``clock()`` changes the tables, but counts no iteration.
        """
        return self.latest is not None and self.latest[0] == iterations and self._updates == tuple(updates)

    def take(self, shard: int, iterations: int, time: float, values: Pieces, updates: int) -> None:
        """Take in one shard's snapshot; evaluate when it was the last one missing."""
        pieces = self._pieces.setdefault(iterations, {})
        pieces[shard] = (time, values, updates)
        if len(pieces) == self._shards:
            self._finish(iterations, self._pieces.pop(iterations))

    def _finish(self, iterations: int, pieces: dict[int, tuple[float, Pieces, int]]) -> None:
        ordered = [pieces[shard] for shard in range(self._shards)]
        tables = {
            name: whole(table, [values[name] for _, values, _ in ordered])
            for name, table in self._tables.items()
        }
        loss = self._loss(tables, iterations)
        time = max(at for at, _, _ in ordered)
        self._updates = tuple(updates for _, _, updates in ordered)
        most = max(self._updates)
        self._recorder.add(time, "evaluator", "loss", clock=iterations, version=most, value=loss)
        self.latest = (iterations, loss)

    def _loss(self, tables: dict[str, Any], iterations: int) -> float:
        try:
            return float(self._evaluate(**tables))
        except Exception as error:
            raise ProgramError(
                f"evaluate raised {type(error).__name__}: {error} after {iterations} worker iterations; "
                f"required: evaluate({', '.join(tables)}) returns a number."
            ) from error
