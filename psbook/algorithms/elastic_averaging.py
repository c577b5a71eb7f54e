"""Elastic averaging SGD: every worker trains a copy of its own, tied to a common center by a spring.

Zhang, Choromanska & LeCun 2015, "Deep learning with elastic averaging SGD": algorithm 1 (asynchronous EASGD)
and algorithm 2 (EAMSGD, with Nesterov's momentum). The tables are the center.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psbook.errors import InvalidJob
from psbook.loop import Loop, zipped
from psbook.operation import gather
from psbook.table import Table
from psbook.updates import Add
from psbook.updates.base import number
from psbook.worker import Batching, Worker


@dataclass(frozen=True)
class ElasticAveraging:
    """Explore from the center, and pull it along.

    Worker i with its copy xⁱ does, for t = 0, 1, 2, …: if t mod `period` = 0, read the center c, and with the
    old xⁱ let xⁱ ← xⁱ − α (xⁱ − c) and c ← c + α (xⁱ − c); then xⁱ ← xⁱ − η ∇fⁱ at the old xⁱ; clock. With
    `momentum` δ the last step is v ← δ v − η ∇fⁱ(xⁱ + δ v), xⁱ ← xⁱ + v, again at the old xⁱ.

    A copy starts at what its worker reads first, where the spring has no force. Under `psbook.BSP` this is
    the paper's synchronous EASGD (its equations 5 and 6); under `psbook.ASP` its algorithm 1. Large models
    explore more with a small α; the paper takes α = 0.9 / workers, and says α = η ρ.

    The copies are what the programs return: one value, or a list with one for each table.

    Parameters
    ----------
    kernel
        ``kernel(*parameters, batch) -> (loss, gradients)``, as of `psbook.Loop`.
    rate
        Learning rate η > 0 of the workers' steps.
    alpha
        Moving rate α in (0, 1).
    period
        Steps between two reads of the center, τ >= 1.
    momentum
        δ in [0, 1).
    center
        Names of the tables, which add what is pushed: dense, of any pytree.

    Raises
    ------
    InvalidJob
        If a number makes no sense; when the programs are prepared, if a table does something else than add.

    Examples
    --------
    >>> import numpy as np, psbook as ps
    >>> from psbook.algorithms import ElasticAveraging
    >>> def kernel(x, batch):
    ...     return float(0.5 * (x**2).sum()), x  # f(x) = x² / 2
    >>> program = ElasticAveraging(kernel, rate=0.1, alpha=0.9 / 4, period=2)
    >>> job = ps.Job(program, tables={"w": ps.Table(2, init=1.0)}, data=np.arange(8), iterations=200)
    >>> run = job.run(ps.Simulator(workers=4, compute=ps.Exponential(0.1)), ps.ASP())
    >>> bool(abs(run.tables["w"]).max() < 1e-6)
    True
    """

    kernel: Callable[..., tuple[Any, Any]]
    rate: float
    alpha: float
    period: int = 1
    momentum: float = 0.0
    center: str | tuple[str, ...] = "w"

    def __post_init__(self) -> None:
        number(self, "rate", 0)
        number(self, "alpha", 0, 1)
        number(self, "momentum", 0, 1, closed=True)
        if isinstance(self.period, bool) or not isinstance(self.period, int) or self.period < 1:
            raise InvalidJob(f"ElasticAveraging(period={self.period!r}); required: a whole number >= 1.")
        if not callable(self.kernel):
            raise InvalidJob(
                f"ElasticAveraging(kernel={self.kernel!r}); required: a function (*parameters, batch)."
            )

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the center's tables."""
        return (self.center,) if isinstance(self.center, str) else tuple(self.center)

    def prepare(self, tables: Mapping[str, Table], data: Any, batching: Batching) -> None:
        """Check that the tables add; compile as a `Loop` does."""
        for name in self.tables:
            table = tables.get(name)
            if table is not None and (not isinstance(table.update, Add) or table.aggregate == "mean"):
                raise InvalidJob(
                    f"ElasticAveraging on table {name!r}, {table!r}; required: update=ps.Add() and sums, as "
                    "the workers push how far the center moves. Leave update and aggregate out."
                )
        Loop(self.kernel, self.tables).prepare(tables, data, batching)

    async def __call__(self, worker: Worker) -> Any:
        """Run the program of one worker; return its copy."""
        saved: tuple[Any, Any] = worker.saved or (None, None)
        own, velocity = saved
        for batch in worker.batches():
            before = own
            if own is None:
                before = own = await self._read(worker)
                velocity = both(operator.sub, own, own)
            elif worker.iteration % self.period == 0:
                moves = both(lambda x, c: self.alpha * (x - c), own, await self._read(worker))
                for table, move in zip(self.tables, moves, strict=True):
                    worker.push(table, move)
                own = both(operator.sub, own, moves)
            ahead = both(lambda x, v: x + self.momentum * v, before, velocity)
            loss, gradients = await worker.compute(self.kernel, *ahead, batch)
            worker.report(batch_loss=loss)
            gradients = gradients if len(self.tables) > 1 else (gradients,)
            velocity = both(lambda v, g: self.momentum * v - self.rate * g, velocity, gradients)
            own = both(operator.add, own, velocity)
            await worker.clock((own, velocity))
        return own[0] if own is not None and len(own) == 1 else own

    async def _read(self, worker: Worker) -> list[Any]:
        """Read the center."""
        return await gather(*[worker.pull(table) for table in self.tables])


def both(function: Callable[[Any, Any], Any], left: Sequence[Any], right: Sequence[Any]) -> list[Any]:
    """Return ``function(left, right)``, table by table and leaf by leaf.

    >>> import numpy as np
    >>> both(operator.add, [np.ones(2)], [np.ones(2)])
    [array([2., 2.])]
    """
    return [zipped(function, one, other) for one, other in zip(left, right, strict=True)]
