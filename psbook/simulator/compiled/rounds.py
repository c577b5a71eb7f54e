"""The rounds of K gradients: who is first, event by event, for many runs at once (Dutta et al. 2018).

Which gradients make an update depends on which come first, so there is no recursion over iterations. A run
is a sequence of ends of computations; each costs O(workers). Messages take no time here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from psbook.core.consistency import Rounds
from psbook.errors import InvalidJob
from psbook.simulator.compiled.order import Ints, Order
from psbook.simulator.compiled.timing import Timeline


@dataclass(frozen=True, eq=False)
class Collected:
    """What became of each gradient, arrays of shape (..., workers, iterations).

    Attributes
    ----------
    times
        When each iteration began and ended.
    accepted
        Whether the gradient counts.
    group
        The update that it is part of, from 0; of a dropped one, the update that was next when it came.
    number
        Its place among all ends of computations, in order of time.
    closes
        1: its end completed an update; 2: the end of its worker did, behind it; 0: neither.
    """

    times: Timeline
    accepted: NDArray[np.bool_]
    group: Ints
    number: Ints
    closes: Ints

    def run(self, number: int) -> Collected:
        """Return one of several runs."""
        rest = (part[number] for part in (self.accepted, self.group, self.number, self.closes))
        return Collected(self.times.run(number), *rest)

    def updates(self) -> NDArray[np.float64]:
        """When each update was applied; of one run."""
        return np.sort(self.times.end[self.closes > 0])


def collected(
    models: Rounds | Sequence[Rounds], compute: ArrayLike, counts: ArrayLike | None = None
) -> Collected:
    """Return when each iteration of each run begins and ends, and what becomes of its gradient.

    Parameters
    ----------
    models
        Of all runs, or one for each run of the leading axis; of one kind, with any K.
    compute
        Seconds that each iteration would compute if it is not cut short, shape (..., workers, iterations).
    counts
        Iterations of each worker, if they differ; shape (workers,).

    Raises
    ------
    InvalidJob
        If the models are of different kinds.

    Notes
    -----
    Time grows with runs × iterations × workers², memory with runs × iterations × workers.

    Examples
    --------
    >>> from psbook.core.consistency import KSync
    >>> found = collected(KSync(1), [[1.0, 1.0], [2.0, 0.5]])
    >>> found.times.end, found.accepted
    (array([[1. , 1.5],
           [1. , 1.5]]), array([[ True, False],
           [False,  True]]))
    """
    X = np.asarray(compute, np.float64)
    runs = X.reshape(-1, *X.shape[-2:])
    each = [models] * len(runs) if isinstance(models, Rounds) else list(models)
    kinds = {(model.waits, model.drops, model.cuts_short) for model in each}
    if len(kinds) != 1 or len(each) != len(runs):
        raise InvalidJob(
            f"{len(each)} models of {len(kinds)} kinds for {len(runs)} runs; required: one kind, and one "
            "model, or one a run."
        )
    workers, iterations = X.shape[-2:]
    many = np.broadcast_to(iterations if counts is None else np.asarray(counts), (workers,))
    needed = np.array([model.needed(workers) for model in each])
    made = np.arange(iterations) < many[:, None]
    ends = _ends(runs, needed, np.array(many), *kinds.pop())
    end, accepted, group, number, closes = (part.reshape(X.shape) for part in _gridded(ends, runs.shape))
    last = np.take_along_axis(
        end, np.broadcast_to(np.maximum(many - 1, 0)[:, None], (*end.shape[:-1], 1)), -1
    )
    end = np.where(made, end, np.where(many[:, None] > 0, last, 0.0))
    start = _starts(runs, ends).reshape(X.shape)
    return Collected(
        Timeline(np.where(made, start, end), end, end, 0.0, 1), accepted > 0, group, number, closes
    )


class _State(NamedTuple):
    """A run between two events; arrays of shape (workers,) unless said otherwise."""

    until: Any
    """When its computation ends; infinite if it does not compute."""
    step: Any
    read: Any
    """Updates there were when it read."""
    inside: Any
    """Whether a gradient of it is in the open collection."""
    size: Any
    """Gradients in the open collection; a number."""
    round: Any


class _Ends(NamedTuple):
    """Ends of computations, one item an event: whose, when, and what came of it."""

    worker: Any
    time: Any
    accepted: Any
    round: Any
    """Updates there were before."""
    closes: Any
    cut: Any
    """Who else was told to stop, shape (workers,)."""
    begins: Any
    """Who began to compute, shape (workers,)."""


def _ends(runs: Any, needed: Any, counts: Any, waits: bool, drops: bool, cuts: bool) -> _Ends:
    """Go from event to event until every run is over; arrays of shape (runs, events, ...)."""
    number, workers, iterations = runs.shape
    none = np.zeros((number, workers), np.int64)
    first = runs[:, :, 0] if iterations else np.full((number, workers), np.inf)
    state = _State(
        np.where(counts > 0, first, np.inf), none, none, none > 0, np.zeros(number, np.int64),
        np.zeros(number, np.int64),
    )  # fmt: skip
    parts = []
    with jax.enable_x64(True):
        drawn = jnp.asarray(runs)
        while np.isfinite(np.asarray(state.until)).any():
            state, found = _some(state, drawn, needed, counts, waits, drops, cuts)
            parts.append(jax.tree.map(np.asarray, found))
    if not parts:
        return _Ends(*(np.zeros((number, 0, *rest)) for rest in [()] * 5 + [(workers,)] * 2))
    return _Ends(*(np.concatenate(part, axis=1) for part in zip(*parts, strict=True)))


EVENTS = 256
"""Events that are simulated before the host asks whether any run goes on."""


@partial(jax.jit, static_argnames=("waits", "drops", "cuts"))
def _some(state: Any, compute: Any, needed: Any, counts: Any, waits: bool, drops: bool, cuts: bool) -> Any:
    """Simulate the next events of all runs."""

    def simulate(state: _State, seconds: Any, k: Any) -> Any:
        step = partial(_after, seconds=seconds, k=k, counts=counts, waits=waits, drops=drops, cuts=cuts)
        return jax.lax.scan(step, state, None, length=EVENTS)

    return jax.vmap(simulate)(state, compute, needed)


def _after(
    s: _State, _: None, seconds: Any, k: Any, counts: Any, waits: bool, drops: bool, cuts: bool
) -> tuple[_State, _Ends]:
    """Return the state after the next end of a computation, and what came of it."""
    everyone = jnp.arange(len(counts))
    i = jnp.argmin(s.until)
    now = s.until[i]
    goes_on = jnp.isfinite(now)
    own = (everyone == i) & goes_on
    accepted = ((s.read[i] >= s.round) | (not drops)) & goes_on
    inside, size, step = s.inside | (own & accepted), s.size + accepted, s.step + own

    def enough(gone: Any) -> Any:
        here = jnp.sum(~gone) + jnp.sum(gone & inside)
        return (size >= jnp.maximum(1, jnp.minimum(k, here))) & goes_on

    gone = step >= counts
    closes = jnp.where(enough(s.step >= counts), 1, jnp.where(gone[i] & enough(gone), 2, 0))
    closed = closes > 0
    computing = jnp.isfinite(s.until)
    cut = closed & computing & ~own if cuts else jnp.zeros_like(own)
    step = step + cut
    ended, waiting = own | cut, ~computing & (s.step < counts)
    stays = inside & ~closed if waits else jnp.zeros_like(own)
    begins = ((ended & ~stays) | (waiting & closed)) & (step < counts)
    drawn = jnp.take_along_axis(seconds, jnp.minimum(step, seconds.shape[1] - 1)[:, None], 1)[:, 0]
    until = jnp.where(begins, now + drawn, jnp.where(ended, jnp.inf, s.until))
    updates = s.round + closed
    after = _State(
        until, step, jnp.where(begins, updates, s.read), inside & ~closed, jnp.where(closed, 0, size), updates
    )
    return after, _Ends(jnp.where(goes_on, i, -1), now, accepted, s.round, closes, cut, begins)


def _gridded(ends: _Ends, shape: tuple[int, ...]) -> tuple[NDArray[Any], ...]:
    """Return end, whether it counts, group, number and what it closes, by run, worker and iteration."""
    run, event = np.nonzero(ends.worker >= 0)
    cut_run, cut_event, cut_worker = np.nonzero(ends.cut)
    at = ends.round[cut_run, cut_event] + 1
    none = np.zeros(len(cut_run), int)
    every = (
        np.concatenate([run, cut_run]),
        np.concatenate([event, cut_event]),
        np.concatenate([ends.worker[run, event], cut_worker]),
        np.concatenate([np.zeros(len(run), int), none + 1]),
    )
    order = np.lexsort((every[2], every[3], every[1], every[0]))
    run_of, _, worker, _ = (part[order] for part in every)
    number = np.arange(len(order)) - np.searchsorted(run_of, run_of, side="left")
    values = (
        np.concatenate([ends.time[run, event], ends.time[cut_run, cut_event]]),
        np.concatenate([ends.accepted[run, event], none]),
        np.concatenate([ends.round[run, event], at]),
        np.concatenate([ends.closes[run, event], none]),
    )
    end, accepted, group, closes = (part[order] for part in values)
    place = np.lexsort((number, worker, run_of))
    whose = (run_of * shape[1] + worker)[place]
    step = np.zeros(len(order), int)
    step[place] = np.arange(len(order)) - np.searchsorted(whose, whose, side="left")
    grids = []
    for part in (end, accepted, group, number, closes):
        grid = np.zeros(shape, part.dtype)
        grid[run_of, worker, step] = part
        grids.append(grid)
    return tuple(grids)


def _starts(runs: NDArray[Any], ends: _Ends) -> NDArray[np.float64]:
    """Return when each iteration began to compute, by run, worker and iteration."""
    run, event, worker = np.nonzero(ends.begins)
    order = np.lexsort((event, worker, run))
    run, event, worker = run[order], event[order], worker[order]
    whose = run * runs.shape[1] + worker
    step = np.arange(len(whose)) - np.searchsorted(whose, whose, side="left") + 1
    start = np.zeros(runs.shape)
    start[run, worker, step] = ends.time[run, event]
    return start


def rounds_order(found: Collected, counts: Ints, waits: bool, every: int) -> Order:
    """Return the order of a run under a model of rounds; parameters as for `gated_order`.

    An update's gradients are in the order in which a shard sums them, of worker id, where workers wait for
    its end; else in the order of time, for a worker reads anew right behind its gradient. What is dropped
    comes first, as its worker too reads at once.
    """
    workers, iterations = found.accepted.shape
    worker, step = np.nonzero(np.arange(iterations) < counts[:, None])
    accepted = found.accepted[worker, step]
    group, number, closes = (part[worker, step] for part in (found.group, found.number, found.closes))
    keys = (step, worker, np.where(accepted, 0, number), accepted, group) if waits else (number, group)
    order = np.lexsort(keys)
    worker, step, group, number, closes = (part[order] for part in (worker, step, group, number, closes))
    accepted = accepted[order]
    entries = np.arange(len(worker))
    last = np.searchsorted(group, np.arange(int(group.max(initial=-1)) + 1), side="right") - 1
    applies = np.zeros(len(worker), bool)
    shares = np.zeros(len(last) + 1, int)
    np.add.at(shares, group[accepted], 1)
    applies[last[shares[:-1] > 0]] = True
    own = np.full((workers, iterations + 1), -1)
    own[worker, step + 1] = entries
    before = own[worker, step]
    if waits:  # who is in an update reads behind its last gradient
        taken = np.zeros((workers, iterations + 1), bool)
        taken[worker, step + 1] = accepted
        of = np.zeros((workers, iterations + 1), int)
        of[worker, step + 1] = group
        before = np.where(taken[worker, step], last[of[worker, step]], before)
    counted = np.arange(0, len(worker) + 1, every) if every else np.zeros(0, np.int64)
    at = np.sort(np.where(closes > 0, 2 * number + closes - 1, -1)[closes > 0])
    closed = np.searchsorted(at, 2 * (counted - 1), side="right")
    state, always = np.concatenate([[-1], last]), np.ones(len(worker), bool)
    return Order(
        workers, worker, step, before, always, always, always, accepted, applies, shares[group],
        state[closed], counted,
    )  # fmt: skip
