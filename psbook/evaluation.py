"""The held-out objective on snapshots of the servers' tables (semantics.md, words: loss)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from psbook.assembly import SparseRows, whole
from psbook.core.keys import Keys
from psbook.core.ring import POSITIONS
from psbook.errors import ProgramError
from psbook.hosts.watching import Losses
from psbook.objective import reads_of, restricted
from psbook.table import Table
from psbook.trace import Recorder


class Piece(NamedTuple):
    """One shard's values, as they were when it had counted so many worker iterations.

    Attributes
    ----------
    start, stop : int
        Borders of the shard, in positions of the key space.
    iterations, updates : int
        Worker iterations that the shard has counted, and updates that it has applied.
    time : float
        Seconds.
    values : dict
        Keys and rows by table; never changed afterwards.
    """

    start: int
    stop: int
    iterations: int
    time: float
    values: dict[str, tuple[Keys, Any]]
    updates: int


class Evaluator:
    """Collects the shards' snapshots and evaluates each that is complete.

    Snapshot i is, on every shard, the state in which the shard had counted i worker iterations. Evaluating
    costs no simulated time and disturbs nothing. A snapshot that a lost server has not sent is left out.

    Parameters
    ----------
    evaluate
        ``evaluate(**tables) -> float``.
    tables
        The job's tables.
    recorder
        Takes the rows of kind "loss".
    """

    def __init__(
        self, evaluate: Callable[..., float], tables: Mapping[str, Table], recorder: Recorder
    ) -> None:
        self._evaluate = evaluate
        self._tables = tables
        self._reads = reads_of(evaluate, tables)
        self._recorder = recorder
        self._pieces: dict[int, dict[int, Piece]] = {}
        self._updates: tuple[int, ...] = ()
        self.latest: tuple[int, float] | None = None
        """Worker iterations and loss of the last evaluation."""
        self.losses = Losses()
        """The curve so far, for those who watch."""

    def covers(self, pieces: Sequence[Piece]) -> bool:
        """Whether the last evaluation saw the iterations and the updates of these pieces.

        What a program pushes behind its last ``clock()`` changes the tables, but counts no iteration.
        """
        ordered = sorted(pieces, key=lambda piece: piece.start)
        updates = tuple(piece.updates for piece in ordered)
        most = max(piece.iterations for piece in pieces)
        return self.latest is not None and self.latest[0] == most and self._updates == updates

    def take(self, piece: Piece) -> None:
        """Take in one shard's snapshot; evaluate when it was the last one missing."""
        if self.latest is not None and piece.iterations < self.latest[0]:
            return
        pieces = self._pieces.setdefault(piece.iterations, {})
        pieces[piece.start] = piece
        if sum(each.stop - each.start for each in pieces.values()) == POSITIONS:
            self.finish(list(pieces.values()))
            self._pieces = {later: kept for later, kept in self._pieces.items() if later > piece.iterations}

    def finish(self, pieces: Sequence[Piece]) -> None:
        """Evaluate pieces that hold the whole key space."""
        ordered = sorted(pieces, key=lambda piece: piece.start)
        tables = {
            name: self._read(name, table, [piece.values[name] for piece in ordered])
            for name, table in self._tables.items()
        }
        iterations = max(piece.iterations for piece in ordered)
        loss = self._loss(tables, iterations)
        self._updates = tuple(piece.updates for piece in ordered)
        time, most = max(piece.time for piece in ordered), max(self._updates)
        self._recorder.add(time, "evaluator", "loss", clock=iterations, version=most, value=loss)
        self.latest = (iterations, loss)
        self.losses.add(time, iterations, loss)

    def _read(self, name: str, table: Table, pieces: Sequence[tuple[Keys, Any]]) -> Any:
        """Return a table as the objective gets it: whole, or the rows that it says it reads."""
        wanted = self._reads.get(name)
        if wanted is None:
            return whole(table, pieces)
        some = [restricted(keys, rows, wanted) for keys, rows in pieces]
        return SparseRows(np.concatenate([keys for keys, _ in some]), np.concatenate([r for _, r in some]))

    def _loss(self, tables: dict[str, Any], iterations: int) -> float:
        try:
            return float(self._evaluate(**tables))
        except Exception as error:
            raise ProgramError(
                f"evaluate raised {type(error).__name__}: {error} after {iterations} worker iterations; "
                f"required: evaluate({', '.join(tables)}) returns a number."
            ) from error


def whole_tables(tables: Mapping[str, Table], pieces: Sequence[Piece]) -> dict[str, Any]:
    """Return every table, as a pull of all of it gives it, from the shards' values in the shards' order."""
    return {name: whole(table, [piece.values[name] for piece in pieces]) for name, table in tables.items()}
