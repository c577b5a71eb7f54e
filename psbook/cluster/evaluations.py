"""The held-out objective of a run on a cluster, computed beside the run."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from psbook.evaluation import Evaluator, Piece
from psbook.hosts.watching import Losses
from psbook.plan import Plan
from psbook.trace import Recorder


class Evaluations:
    """Evaluates snapshots in a thread of the client's, so that a slow objective delays no stop.

    Used as a context: what still waits at its end is given up.

    Parameters
    ----------
    plan
        The run.
    recorder
        Takes the rows of kind "loss".
    """

    def __init__(self, plan: Plan, recorder: Recorder) -> None:
        job = plan.job
        self._evaluator: Evaluator | None = None
        if job.evaluate is not None:
            self._evaluator = Evaluator(job.evaluate, job.tables, recorder)
        self.losses = Losses() if self._evaluator is None else self._evaluator.losses
        """The curve so far, for those who watch."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="psbook-evaluation")
        self._pending: list[Future[None]] = []

    @property
    def wanted(self) -> bool:
        """Whether the job has an objective."""
        return self._evaluator is not None

    @property
    def loss(self) -> float | None:
        """Last loss."""
        latest = self._evaluator.latest if self._evaluator else None
        return None if latest is None else latest[1]

    def take(self, snapshots: Sequence[Piece]) -> None:
        """Evaluate a shard's snapshots, each when those of the other shards are there."""
        if self._evaluator is not None:
            self._pending += [self._thread.submit(self._evaluator.take, each) for each in snapshots]

    def check(self) -> None:
        """Raise what the objective raised."""
        done = [future for future in self._pending if future.done()]
        self._pending = [future for future in self._pending if not future.done()]
        for future in done:
            future.result()

    def finish(self, servers: Sequence[dict[str, Any]], pieces: Sequence[Piece], end: float) -> None:
        """Wait for all evaluations; evaluate the final values, at time `end`, if that has not been done."""
        for server in servers:
            self.take(server["snapshots"])
        for future in self._pending:
            future.result()
        if self._evaluator and not self._evaluator.covers(pieces):
            self._evaluator.finish([piece._replace(time=end) for piece in pieces])

    def __enter__(self) -> Evaluations:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
