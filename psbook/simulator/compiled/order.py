"""In which order gradients are computed, pushed and applied, and which state each was computed from.

A run's numbers depend on its times through whole numbers only: which update came before which read. `Order`
holds them. States are numbered by what made them: state k is what the tables hold after the first k + 1
entries, state -1 what they hold at the start.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from psbook.loop import Loop
from psbook.simulator.compiled.timing import NEVER, Gates, Timeline

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Order:
    """What one run computes, in the order in which the tables take it in; all arrays have one item an entry.

    An entry is a gradient, or what a worker pushes behind its last clock.

    Attributes
    ----------
    workers : int
        How many there are.
    worker, step
        Who, and its iteration.
    read
        State that the worker's last read before the entry gave it.
    fetches
        Whether the entry begins with that read.
    computes
        Whether a gradient is computed; else the entry only pushes what is left.
    pushes
        Whether what has accrued is pushed.
    accepted
        Whether a push counts, or comes too late.
    applies
        Whether the pushes since the last update are applied as one, behind this entry.
    share
        Workers among which a mean of that update is taken.
    evaluated
        States that are evaluated, in order, -1 first.
    counted
        Worker iterations ended by then, one for each of `evaluated`.
    """

    workers: int
    worker: Ints
    step: Ints
    read: Ints
    fetches: Flags
    computes: Flags
    pushes: Flags
    accepted: Flags
    applies: Flags
    share: Ints
    evaluated: Ints
    counted: Ints

    @cached_property
    def version(self) -> Ints:
        """Updates applied before each entry; one item more, for the end."""
        return np.concatenate([[0], np.cumsum(self.applies)])

    @cached_property
    def staleness(self) -> Ints:
        """Updates between an entry's read and the update that it is part of."""
        return self.version[:-1] - self.version[self.read + 1]

    @property
    def staleness_of_pushes(self) -> Ints:
        """Staleness of each push that counts."""
        return self.staleness[self.pushes & self.accepted]

    @property
    def staleness_of_updates(self) -> NDArray[np.float64]:
        """Mean staleness of the pushes of the update that each entry is part of."""
        pushes = self.pushes & self.accepted
        update, number = self.version[:-1], int(self.version[-1]) + 1
        sums = np.bincount(update[pushes], self.staleness[pushes], minlength=number)
        return (sums / np.maximum(np.bincount(update[pushes], minlength=number), 1))[update]

    def slots(self) -> tuple[Ints, Ints]:
        """Say where each entry finds what it read, and where the state behind it is kept.

        As many places are enough as there are workers: a state is kept in the place of the one among its
        readers that needs it longest, who reads nothing newer before. States that nobody reads go to place
        `workers`, which nobody looks at.
        """
        last = np.full(len(self.worker) + 1, -1)
        np.maximum.at(last, self.read + 1, np.arange(len(self.worker)))
        owner = np.where(last >= 0, self.worker[last] if len(self.worker) else last, self.workers)
        return owner[self.read + 1], owner[1:]


def gated_order(times: Timeline, gate: Gates, buffered: bool, counts: Ints, loop: Loop, every: int) -> Order:
    """Return the order of a run under a gated model.

    Parameters
    ----------
    times
        Of this run, arrays of shape (workers, iterations).
    gate
        Where it waits.
    buffered
        Whether pushes are kept until the round closes (BSP).
    counts
        Iterations of each worker.
    loop
        When it reads and pushes.
    every
        Worker iterations between evaluations; 0: none.

    Notes
    -----
    Ties are settled by (worker, iteration), as the message-level engine does. What a worker sends when its
    ``clock()`` has returned comes right behind the clock that let it: see `_Places`.
    """
    workers = len(counts)
    places = _Places.of(times, gate, counts)
    worker, step = np.nonzero(places.made)
    rest = np.flatnonzero([count > 0 and not loop.pushes_at(count - 1) for count in counts])
    worker, step = np.concatenate([worker, rest]), np.concatenate([step, counts[rest]])
    at = places.place[worker, step]
    order = np.lexsort((worker, step)) if buffered else np.argsort(at, kind="stable")
    worker, step, at = worker[order], step[order], at[order]
    computes = step < counts[worker]
    pushes = loop.pushes_at(step) | ~computes
    read_step = np.where(computes, step, step - 1) // loop.n_fetch * loop.n_fetch
    fetches = computes & (step == read_step)
    counted = np.arange(0, int(counts.sum()) + 1, every) if every else np.zeros(0, np.int64)
    clocked = np.where(counted > 0, places.step * (2 * counted - 2), -1)
    if buffered:
        return _rounds(
            places.place, counts, worker, step, read_step, computes, pushes, fetches, counted, clocked
        )
    shown = places.behind[worker, read_step]
    if gate.reads and gate.bound < NEVER:
        needed = read_step - 1 - gate.bound
        lot = gate.sampled(workers, times.end.shape[1] + 1)
        if lot is None:
            opened = places.place.max(axis=0)[np.maximum(needed, 0)]
        else:
            looked_at = lot[read_step, worker]
            opened = places.place[looked_at, np.maximum(needed, 0)[:, None]].max(axis=1, initial=-1)
        shown = np.maximum(shown, np.where(needed >= 0, opened, -1))
    return Order(
        workers, worker, step, np.searchsorted(at, shown, side="right") - 1, fetches, computes, pushes,
        np.ones(len(worker), bool), pushes, np.full(len(worker), workers),
        np.searchsorted(at, clocked, side="right") - 1, counted,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Places:
    """Where in a run's order every message of its workers arrives.

    The end of iteration number e, in order of time, has place ``2 e step``. What is sent because a clock has
    returned stands behind the end that let it return, in the odd block ``(2 e + 1) step``, in the order in
    which those clocks returned.

    Attributes
    ----------
    made
        Iterations that are made, shape (workers, iterations).
    place
        Of each end of an iteration; behind a worker's last one, of the end of its program.
    behind
        Of what a worker sends when call k of ``clock()`` has returned, k = 0, 1, …; -1: before everything.
    step
        Longer than any block.
    """

    made: Flags
    place: Ints
    behind: Ints
    step: int

    @classmethod
    def of(cls, times: Timeline, gate: Gates, counts: Ints) -> _Places:
        """Order the messages of a run."""
        workers, iterations = times.end.shape
        made = np.arange(iterations) < counts[:, None]
        worker, step = np.nonzero(made)
        by_time = np.argsort(times.end[worker, step], kind="stable")
        ends = times.end[worker, step][by_time]
        block = len(ends) + 1
        place = np.full((workers, iterations + 1), -1)
        place[worker[by_time], step[by_time]] = 2 * block * np.arange(len(ends))
        behind = np.full((workers, iterations + 1), -1)
        returned = np.lexsort((place[worker, step], times.back[worker, step]))
        rank = np.zeros_like(place)
        rank[worker[returned], step[returned] + 1] = np.arange(len(ends))
        after = place[:, :-1]
        if gate.clocks and times.latency:
            sent = np.searchsorted(ends, times.back.ravel(), side="left").reshape(times.back.shape)
            after = np.maximum(after, 2 * block * (sent - 1))
        behind[:, 1:] = np.where(made, after + block + rank[:, 1:], -1)
        if gate.clocks and not times.latency:
            for k in range(gate.bound + 1, iterations + 1):
                needed = k - 1 - gate.bound
                gone = behind[np.arange(workers), counts]
                ended = np.where(needed < counts, place[:, needed], -1).max()
                ended = ended + block + rank[:, k] if ended >= 0 else -1
                last = np.where(needed < counts, -1, gone).max()
                behind[:, k] = np.maximum(np.maximum(behind[:, k], ended), last)
        gone = behind[np.arange(workers), counts]
        place = np.where(np.arange(iterations + 1) < counts[:, None], place, gone[:, None])
        return cls(made, place, behind, block)


def _rounds(
    place: Ints, counts: Ints, worker: Ints, step: Ints, read_step: Ints, computes: Flags, pushes: Flags,
    fetches: Flags, counted: Ints, clocked: Ints,
) -> Order:  # fmt: skip
    """Return the order of a run whose pushes are summed round by round, in order of worker id."""
    rounds = int(step.max(initial=-1)) + 1
    last = np.searchsorted(step, np.arange(rounds), side="right") - 1
    pushed = np.zeros(rounds, bool)
    pushed[step[pushes]] = True
    applies = np.zeros(len(worker), bool)
    applies[last[pushed]] = True
    took_part = (counts[:, None] > np.arange(rounds)).sum(axis=0)
    took_part += np.bincount(step[~computes], minlength=rounds)
    state = np.concatenate([[-1], last])  # state[r]: when rounds < r are closed
    closed = np.searchsorted(place[:, :rounds].max(axis=0), clocked, side="right")
    return Order(
        len(counts), worker, step, state[read_step], fetches, computes, pushes, np.ones(len(worker), bool),
        applies, took_part[step], state[closed], counted,
    )  # fmt: skip
