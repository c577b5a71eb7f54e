r"""When iterations begin and end: the max-plus recursion of the gated models, for many runs at once.

Under BSP, SSP, bounded delay and ASP an iteration begins when its own worker is ready and when the gate is
open, whichever comes last (theory T7):

.. math:: F_{i,c} = \max(F_{i,c-1},\ \max_j F_{j,c-1-s}) + X_{i,c},

with the latencies of the messages in between. No value enters, so the times of a run are a recursion over its
iterations, in which all workers of all runs advance together; in float64, on whatever device JAX computes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from psbook.core.consistency import ASP, BSP, PSP, SSP, BoundedDelay, Consistency
from psbook.core.sampling import sample
from psbook.errors import InvalidJob, Unsupported
from psbook.simulator.compiled.cores import cores

Seconds = NDArray[np.float64]

RUNS = 128
"""Runs that advance together: enough to hide the cost of a step, few enough to stay in a core's cache."""

NEVER = 2**40
"""A staleness at which no gate ever closes."""


@dataclass(frozen=True)
class Gates:
    """Where a model waits, and how far ahead of the slowest it lets a worker be.

    Attributes
    ----------
    bound : int
        Iterations; `NEVER`: no bound.
    reads, clocks : bool
        Whether reads wait, and whether ``clock()`` does.
    lot : tuple of int, optional
        Seed and number of those that a read looks at, drawn by lot; by default it looks at all.
    """

    bound: int
    reads: bool
    clocks: bool
    lot: tuple[int, int] | None = None

    def sampled(self, workers: int, iterations: int) -> NDArray[np.int64] | None:
        """Whom each worker looks at before each iteration, shape (iterations, workers, number)."""
        if self.lot is None:
            return None
        seed, number = self.lot
        return sample(seed, np.arange(workers), np.arange(iterations)[:, None], workers, number)


def gates(model: Consistency) -> Gates | None:
    """Return the gates of a model; ``None`` if it waits for something else than the slowest clock.

    >>> from psbook.core.consistency import SSP
    >>> gates(SSP(2))
    Gates(bound=2, reads=True, clocks=False, lot=None)
    """
    kind = type(model)
    if kind is ASP:
        return Gates(NEVER, False, False)
    if kind is BSP:
        return Gates(0, True, False)
    if kind is SSP and isinstance(model, SSP):
        return Gates(_whole(model.s), True, model.gates_clock)
    if kind is BoundedDelay and isinstance(model, BoundedDelay):
        return Gates(_whole(model.tau), True, True)
    if kind is PSP and isinstance(model, PSP):
        return Gates(_whole(model.s), True, False, (model.seed, model.beta))
    return None


def _whole(bound: float) -> int:
    return NEVER if math.isinf(bound) else int(bound)


@dataclass(frozen=True, eq=False)
class Timeline:
    """When everything happens in some runs; seconds, each array of shape (..., workers, iterations).

    Iterations that a worker does not make stand at the end of its last one.

    Attributes
    ----------
    served
        When the shards answered the read that the iteration begins with, if it does with one.
    end
        When it ended to compute, pushed and called ``clock()``.
    back
        When ``clock()`` returned.
    latency : float
        Of each message.
    n_fetch : int
        Iterations from one read to the next.
    """

    served: Seconds
    end: Seconds
    back: Seconds
    latency: float
    n_fetch: int

    @cached_property
    def ready(self) -> Seconds:
        """When the iteration began: the program asked for what it computes from, if it did."""
        first = np.zeros((*self.back.shape[:-1], 1))
        return np.concatenate([first, self.back[..., :-1]], axis=-1)

    @cached_property
    def start(self) -> Seconds:
        """When it began to compute."""
        fetch = np.arange(self.end.shape[-1]) % self.n_fetch == 0
        return np.where(fetch, np.minimum(self.served + self.latency, self.end), self.ready)

    @cached_property
    def finish(self) -> Seconds:
        """When each program had ended, shape (..., workers)."""
        last = self.back[..., -1] if self.back.shape[-1] else np.zeros(self.back.shape[:-1])
        return np.asarray(last + self.latency + self.latency)

    @property
    def blocked(self) -> Seconds:
        """How long the model held each iteration's read and ``clock()``."""
        fetch = np.arange(self.end.shape[-1]) % self.n_fetch == 0
        read = np.where(fetch, self.served - self.ready - self.latency, 0.0)
        clock = np.maximum(self.back - self.end - 2 * self.latency, 0.0)
        return np.asarray(np.maximum(read, 0.0) + clock)

    def run(self, number: int) -> Timeline:
        """Return one of several runs."""
        served, end, back = (part[number] for part in (self.served, self.end, self.back))
        return Timeline(served, end, back, self.latency, self.n_fetch)

    @property
    def seconds(self) -> Seconds:
        """Length of each run."""
        return np.asarray(self.finish.max(axis=-1))


def timeline(
    model: Consistency | Sequence[Consistency],
    compute: ArrayLike,
    *,
    latency: float = 0.0,
    counts: ArrayLike | None = None,
    n_fetch: int = 1,
) -> Timeline:
    """Return when each iteration of each run begins and ends.

    Parameters
    ----------
    model
        Of all runs; or one for each run of the leading axis, with equal gates and any staleness.
    compute
        Seconds that each iteration computes, shape (..., workers, iterations).
    latency
        Seconds of each message, >= 0.
    counts
        Iterations of each worker, if they differ; shape (workers,).
    n_fetch
        Iterations from one read to the next.

    Returns
    -------
    Timeline

    Raises
    ------
    Unsupported
        If the model waits for something else than the slowest clock.
    InvalidJob
        If the models of the runs differ in their gates.

    Notes
    -----
    Time and memory grow with runs × workers × iterations: two or three float64 numbers each.

    Examples
    --------
    >>> from psbook.core.consistency import BSP
    >>> timeline(BSP(), [[1.0, 1.0], [2.0, 0.5]]).end
    array([[1. , 3. ],
           [2. , 2.5]])
    """
    X = np.asarray(compute, np.float64)
    runs = X.reshape(-1, *X.shape[-2:])
    models = [model] * len(runs) if isinstance(model, Consistency) else list(model)
    kinds = [gates(each) for each in models]
    if len(models) != len(runs):
        raise InvalidJob(f"{len(models)} models for {len(runs)} runs; required: one, or one a run.")
    for each, kind in zip(models, kinds, strict=True):
        if kind is None:
            raise Unsupported(f"{each.label} waits for more than the slowest clock; required: BSP, SSP, "
                              "bounded delay or ASP. Run it message by message.")  # fmt: skip
    known = [kind for kind in kinds if kind is not None]
    if len({(kind.reads, kind.clocks, kind.lot) for kind in known if kind.bound < NEVER}) > 1:
        raise InvalidJob("models that wait at different gates in one call; required: one call a kind.")
    bounded = next((kind for kind in known if kind.bound < NEVER), known[0])
    workers, iterations = X.shape[-2:]
    active = np.arange(iterations)[:, None] < np.broadcast_to(
        iterations if counts is None else np.asarray(counts), (workers,)
    )
    fetch = np.arange(iterations) % n_fetch == 0
    bounds = np.array([kind.bound for kind in known], np.int64)
    lot = bounded.sampled(workers, iterations)

    found = [np.empty((iterations, len(runs), workers)) for _ in range(2 + bounded.clocks)]

    def some(first: int) -> None:
        part = np.ascontiguousarray(np.moveaxis(runs[first : first + RUNS], -1, 0))
        with jax.enable_x64(True):
            parts = _recursion(part, active, fetch, bounds[first : first + RUNS], float(latency), lot,
                               bounded.reads, bounded.clocks)  # fmt: skip
        for whole, each in zip(found, parts, strict=True):
            whole[:, first : first + RUNS] = each

    firsts = range(0, len(runs), RUNS)
    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(some, firsts) if len(firsts) > 1 else map(some, firsts))
    served, end, *back = (np.moveaxis(whole, 0, -1).reshape(X.shape) for whole in found)
    return Timeline(served, end, back[0] if back else end, float(latency), n_fetch)


@partial(jax.jit, static_argnames=("reads", "clocks"))
def _recursion(
    compute: Any, active: Any, fetch: Any, bounds: Any, latency: Any, lot: Any, reads: bool, clocks: bool
) -> tuple[Any, ...]:
    """Advance all workers of all runs by an iteration at a time; arrays are (iterations, runs, workers)."""
    iterations, runs, workers = compute.shape
    each = jnp.arange(runs)

    def reached(last: Any, needed: Any) -> Any:
        """When the clocks of iteration `needed` have arrived, by run."""
        when = last[jnp.clip(needed, 0, iterations - 1), each]
        open_ = (needed < 0).reshape(-1, *[1] * (when.ndim - 1))
        return jnp.where(open_, -jnp.inf, when)

    def step(carry: tuple[Any, ...], x: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        ready, last, gate = carry
        c, seconds, makes, reads_now, whom = x
        served = ready + latency
        if reads:
            gate = gate[:, None] if whom is None else gate[:, whom].max(axis=-1, initial=-jnp.inf)
            served = jnp.maximum(served, gate)
        start = jnp.where(reads_now, served + latency, ready)
        end = jnp.where(makes, start + seconds, ready)
        arrived = end + latency
        came = arrived.max(axis=1) if lot is None else arrived
        last = jax.lax.dynamic_update_index_in_dim(last, came, c, 0)
        # The next read's gate, which is this clock's too: looked up behind the write. In front of the next
        # one, XLA would copy all that is written so far.
        gate = reached(last, c - bounds)
        back = jnp.where(makes, jnp.maximum(arrived, gate[:, None]) + latency, ready) if clocks else end
        return (back, last, gate), (jnp.where(makes, served, ready), end, back if clocks else None)

    kept = (iterations, runs) if lot is None else (iterations, runs, workers)
    first = (jnp.zeros((runs, workers)), jnp.zeros(kept), jnp.full(kept[1:], -jnp.inf))
    _, (served, end, back) = jax.lax.scan(step, first, (jnp.arange(iterations), compute, active, fetch, lot))
    return (served, end, back) if clocks else (served, end)
