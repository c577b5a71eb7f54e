"""`Loop`: the commonest program, declared instead of written."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from psbook.core.keys import KeyRange
from psbook.data import batches
from psbook.errors import InvalidJob
from psbook.operation import gather
from psbook.table import Table

if TYPE_CHECKING:
    from psbook.worker import Batching, Worker


@dataclass(frozen=True)
class Loop:
    """Fetch, compute, push, clock, for every batch (Dean et al. 2012, Algorithm 7.1; semantics.md F).

    For step 0, 1, 2, …: if step mod `n_fetch` = 0, pull; compute loss and gradient; accrue; if `local` is
    given, step locally with that rate; if (step − `first_push`) mod `n_push` = 0, push what accrued and clear
    it; clock. What is left at the end is pushed.

    Both fire at step 0, as Downpour has it. With ``n_fetch=n_push=H, first_push=H-1`` and a table updated by
    ``SGD(local)`` under BSP it is local SGD: after every H local steps the models are averaged (Stich 2019,
    Algorithm 1).

    Parameters
    ----------
    kernel
        ``kernel(*parameters, batch) -> (loss, gradients)``, one parameter a table of `pull`; gradients is one
        value, or a tuple with one for each table of `push`.
    pull, push
        Names of tables; `push` is `pull` by default.
    n_fetch, n_push
        Steps between two pulls and two pushes, >= 1.
    local
        Rate of local steps between pulls, ``None``: none.
    first_push
        Step of the first push, 0 <= `first_push` < `n_push`.

    Raises
    ------
    InvalidJob
        If counts or rate make no sense.

    Examples
    --------
    >>> import numpy as np, psbook as ps
    >>> loop = ps.Loop(kernel=lambda w, x: (float(w.sum()), np.ones_like(w)))
    >>> job = ps.Job(loop, tables={"w": ps.Table(2, update=ps.SGD(0.5))}, data=np.arange(8), batch_size=1)
    >>> job.run(ps.Simulator(workers=2), ps.BSP()).tables["w"]
    array([-2., -2.], dtype=float32)
    """

    kernel: Callable[..., tuple[Any, Any]]
    pull: str | tuple[str, ...] = "w"
    push: str | tuple[str, ...] | None = None
    n_fetch: int = 1
    n_push: int = 1
    local: float | None = None
    first_push: int = 0

    def __post_init__(self) -> None:
        for name, value in (("n_fetch", self.n_fetch), ("n_push", self.n_push)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidJob(f"Loop({name}={value!r}); required: a whole number >= 1.")
        first = self.first_push
        if isinstance(first, bool) or not isinstance(first, int) or not 0 <= first < self.n_push:
            raise InvalidJob(f"Loop(first_push={first!r}); required: 0 <= first_push < n_push={self.n_push}.")
        if not callable(self.kernel):
            raise InvalidJob(f"Loop(kernel={self.kernel!r}); required: a function (*parameters, batch).")
        if self.local is not None:
            if not self.local > 0:
                raise InvalidJob(f"Loop(local={self.local!r}); required: a rate > 0, or None.")
            if self.pulled != self.pushed:
                raise InvalidJob("Loop(local=…) with other tables pushed than pulled; required: the same.")

    @property
    def pulled(self) -> tuple[str, ...]:
        """Tables that are pulled."""
        return (self.pull,) if isinstance(self.pull, str) else tuple(self.pull)

    @property
    def pushed(self) -> tuple[str, ...]:
        """Tables that are pushed."""
        if self.push is None:
            return self.pulled
        return (self.push,) if isinstance(self.push, str) else tuple(self.push)

    def pushes_at(self, step: Any) -> Any:
        """Whether what has accrued is pushed at a step, or at each step of an array.

        >>> [step for step in range(7) if Loop(print, n_push=3, first_push=2).pushes_at(step)]
        [2, 5]
        """
        return (step - self.first_push) % self.n_push == 0

    def prepare(self, tables: Mapping[str, Table], data: Any, batching: Batching) -> None:
        """Compute once on a first batch and initial values, so that XLA compiles before clock 0."""
        batch = next(batches(data, batching.size, iterations=1))
        parameters = [tables[name].decode(tables[name].initial(KeyRange(0, tables[name].size), 0))
                      for name in self.pulled if name in tables and not tables[name].is_sparse]  # fmt: skip
        if len(parameters) == len(self.pulled):
            self.kernel(*parameters, batch)

    async def __call__(self, worker: Worker) -> None:
        """Run the loop: the program of each worker."""
        parameters, accrued = worker.saved or ([], None)
        async for batch in worker.batches():
            step = worker.iteration
            if step % self.n_fetch == 0:
                parameters = await gather(*[worker.pull(table) for table in self.pulled])
            loss, gradients = await worker.compute(self.kernel, *parameters, batch)
            worker.report(batch_loss=loss)
            gradients = gradients if len(self.pushed) > 1 else (gradients,)
            accrued = gradients if accrued is None else zipped(operator.add, accrued, gradients)
            if self.local is not None:
                parameters = [
                    zipped(self._local_step, w, g) for w, g in zip(parameters, gradients, strict=True)
                ]
            if self.pushes_at(step):
                self._push(worker, accrued)
                accrued = None
            carried = self.n_fetch > 1 or self.n_push > 1
            await worker.clock((parameters, accrued) if carried else None)
        if accrued is not None:
            self._push(worker, accrued)

    def _push(self, worker: Worker, accrued: tuple[Any, ...]) -> None:
        for table, gradient in zip(self.pushed, accrued, strict=True):
            worker.push(table, gradient)

    def _local_step(self, value: Any, gradient: Any) -> Any:
        return value - self.local * gradient


def zipped(function: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    """Return ``function(left, right)`` for arrays, leaf by leaf for pytrees."""
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        return function(left, right)
    import jax

    return jax.tree.map(function, left, right)
