"""Several threads to a worker: they read one snapshot, and one push carries what all of them found.

On a machine of many cores a worker for each would hold a copy of the model, and send a gradient, for each.
Angel's workers have *tasks* instead, threads that share what the worker has pulled and whose updates are
merged before they leave (Jiang et al. 2018, "Angel: a new large-scale machine learning system", sections 3
and 5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from psbook.errors import InvalidJob
from psbook.loop import Loop
from psbook.table import Table
from psbook.updates import Add
from psbook.updates.base import number
from psbook.worker import Batching, Worker

Kernel = Callable[[Any, Any], tuple[Any, Any]]
"""``kernel(parameters, batch) -> (loss, gradient)``, as of `psbook.Loop`."""


@dataclass(frozen=True)
class Merged:
    """Each thread takes a batch; the mean of their gradients is pushed once.

    It is a worker with batches `threads` times as large, but for the last of an epoch; bytes and messages are
    those of one thread.

    Parameters
    ----------
    kernel
        Loss and gradient of one batch.
    threads
        Batches of an iteration, one a thread.
    table
        What is pulled and pushed.

    Examples
    --------
    >>> import psbook as ps
    >>> program = Merged(lambda w, x: (0.0, x), threads=2)
    >>> tables = {"w": ps.Table(1, update=ps.SGD(1.0))}
    >>> job = ps.Job(program, tables=tables, data=np.ones(8), batch_size=1)
    >>> run = job.run(ps.Simulator(workers=1), ps.BSP())
    >>> run.tables["w"], int(run.summary["iterations"])
    (array([-4.], dtype=float32), 4)
    """

    kernel: Kernel
    threads: int
    table: str = "w"

    def __post_init__(self) -> None:
        check_threads(self.threads)

    def prepare(self, tables: Mapping[str, Table], data: Any, batching: Batching) -> None:
        """Compile before clock 0, as a `Loop` does."""
        Loop(self.kernel, self.table).prepare(tables, data, batching)

    async def __call__(self, worker: Worker) -> None:
        """Run the program of one worker."""
        for batches in grouped(worker.batches(), self.threads):
            w = await worker.pull(self.table)
            found = await worker.compute_each(self.kernel, [w] * len(batches), batches)
            losses, gradients = zip(*found, strict=True)
            worker.report(batch_loss=float(np.mean(losses)))
            worker.push(self.table, sum(gradients[1:], gradients[0]) / len(gradients))
            await worker.clock()


@dataclass(frozen=True)
class Hogwild:
    """Threads step on one shared snapshot without locks; the worker pushes how far it moved.

    A thread reads whatever the others have written of the snapshot, and adds −`rate` times its gradient to it
    (Niu, Recht, Ré & Wright 2011, "Hogwild!: a lock-free approach to parallelizing stochastic gradient
    descent", algorithm 1). Two that add to one number at the same moment may lose one of the two; that seldom
    matters where gradients are sparse. On the simulator threads run in turn, and nothing is lost.

    One copy of the model is held, whatever the number of threads.

    Parameters
    ----------
    kernel
        Loss and gradient of one batch.
    rate
        Learning rate > 0 of the steps.
    threads
        Batches of an iteration, one a thread.
    table
        What is pulled, and what the difference is added to: its update is `psbook.Add`. With several workers
        ``aggregate="mean"`` averages how far they moved, and the default adds it up.

    Examples
    --------
    >>> import psbook as ps
    >>> program = Hogwild(lambda w, x: (0.0, x), rate=1.0, threads=2)
    >>> job = ps.Job(program, tables={"w": ps.Table(1)}, data=np.ones(8), batch_size=1)
    >>> job.run(ps.Simulator(workers=1), ps.BSP()).tables["w"]
    array([-8.], dtype=float32)
    """

    kernel: Kernel
    rate: float
    threads: int
    table: str = "w"

    def __post_init__(self) -> None:
        check_threads(self.threads)
        number(self, "rate", 0)

    def prepare(self, tables: Mapping[str, Table], data: Any, batching: Batching) -> None:
        """Check that the table adds; compile before clock 0."""
        table = tables.get(self.table)
        if table is not None and not isinstance(table.update, Add):
            raise InvalidJob(
                f"Hogwild on table {self.table!r}, {table!r}; required: update=ps.Add(), as the workers push "
                "how far they have moved."
            )
        Loop(self.kernel, self.table).prepare(tables, data, batching)

    async def __call__(self, worker: Worker) -> None:
        """Run the program of one worker."""
        for batches in grouped(worker.batches(), self.threads):
            begin = await worker.pull(self.table)
            shared = np.array(begin)
            losses = await worker.compute_each(partial(self._step, shared), batches)
            worker.report(batch_loss=float(np.mean(losses)))
            worker.push(self.table, shared - begin)
            await worker.clock()

    def _step(self, shared: Any, batch: Any) -> float:
        loss, gradient = self.kernel(shared, batch)
        np.subtract(shared, self.rate * np.asarray(gradient), out=shared)
        return float(loss)


def grouped(batches: Iterator[Any], size: int) -> Iterator[list[Any]]:
    """Take several at a time; the last group may be smaller.

    >>> list(grouped(iter(range(5)), 2))
    [[0, 1], [2, 3], [4]]
    """
    while group := list(islice(batches, size)):
        yield group


def check_threads(threads: object) -> None:
    """Raise `InvalidJob` unless it is a whole number >= 1."""
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise InvalidJob(f"threads={threads!r}; required: a whole number >= 1.")
