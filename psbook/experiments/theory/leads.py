"""SSP in the long run with exponential times: chains of leads (theory T8, T9).

Rule: a worker that has ended c iterations starts the next iff c − min ≤ s, and messages cost nothing.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from psbook.errors import InvalidJob
from psbook.experiments.theory.validation import positive, whole

MOST_STATES = 200_000
"""States of the chain that `ssp_rate` solves: a second or two."""


def ssp_rate_of_two(s: int, fast: float = 1.0, slow: float = 1.0) -> float:
    """Iterations a second of each of two workers under SSP(s), exponential times (T8).

    Parameters
    ----------
    s : int
        Staleness ≥ 0, clocks.
    fast, slow : float
        Iterations a second of either worker when it never waits.

    Returns
    -------
    float
        Iterations a second of each. With L = s + 1 and ρ = λ/μ the difference of clocks is a random walk on
        −L … L, reflected; at equal rates it gives μ(2s+2)/(2s+3).

    Examples
    --------
    >>> ssp_rate_of_two(0), round(ssp_rate_of_two(1, fast=2.0), 5)
    (0.6666666666666666, 0.96774)
    """
    whole("s", s)
    positive("fast", fast, "iterations a second")
    positive("slow", slow, "iterations a second")
    if fast == slow:
        return slow * (2 * s + 2) / (2 * s + 3)
    fast, slow = max(fast, slow), min(fast, slow)
    # Written in 1/ρ < 1, which overflows for no s.
    r, lead = slow / fast, s + 1
    return fast * (1 - (1 - r) / (1 - r ** (2 * lead + 1)))


@lru_cache(maxsize=1024)
def ssp_rate(n: int, s: int) -> float:
    """Iterations a second of each of n workers under SSP(s), exponential times of mean 1 s (T9).

    Parameters
    ----------
    n : int
        Workers ≥ 1.
    s : int
        Staleness ≥ 0, clocks.

    Returns
    -------
    float
        Iterations a second of a worker; ASP would have 1, BSP 1/H_n.

    Raises
    ------
    InvalidJob
        If n or s is out of range, or the chain has more than `MOST_STATES` states.

    Notes
    -----
    A state counts the workers that are 0 … s+1 iterations ahead of the slowest; those s+1 ahead wait. Any
    other moves up one step with rate 1. When nobody is left at 0, all move one step down: a new round.
    Between two such shifts the chain only moves up, so the balance equations are triangular but for the
    shifts; iterating over rounds solves them.

    Examples
    --------
    >>> [round(ssp_rate(4, s), 5) for s in range(4)]
    [0.48, 0.65998, 0.74819, 0.80018]
    """
    whole("n", n, least=1)
    whole("s", s)
    if n == 1:
        return 1.0
    size = math.comb(n + s, s + 1)
    if size > MOST_STATES:
        raise InvalidJob(
            f"SSP({s}) with {n} workers is a chain of {size} states; required: at most {MOST_STATES}. "
            "Take fewer workers or a smaller s, or simulate."
        )
    states = _states(n, s)
    leaving = states[:, :-1].sum(axis=1).astype(np.float64)
    within, shifts = _moves(states, n)
    balance = splu((sparse.diags(leaving) - within).tocsc(), permc_spec="NATURAL", diag_pivot_thresh=0.0)
    share = np.full(size, 1 / size)
    for _ in range(20_000):
        after = balance.solve(shifts @ share)
        after /= after.sum()
        if np.abs(after - share).sum() < 1e-13:
            break
        share = after
    return float(after @ leaving) / n


def _states(n: int, s: int) -> np.ndarray:
    """All ways to have n workers at leads 0 … s+1, at least one at 0; later ones can follow earlier ones."""
    places = n + s  # one worker is at 0, the other n − 1 fall into s + 2 places
    bars = np.array(list(itertools.combinations(range(places), s + 1)), dtype=np.int64)
    edges = np.hstack([np.full((len(bars), 1), -1), bars, np.full((len(bars), 1), places)])
    states = np.diff(edges, axis=1) - 1
    states[:, 0] += 1
    # In the order of the sum of the leads, moves within a round go to later states only.
    ordered: np.ndarray = states[np.argsort(states @ np.arange(s + 2), kind="stable")]
    return ordered


def _moves(states: np.ndarray, n: int) -> tuple[sparse.csc_array, sparse.csc_array]:
    """Rates of the moves within a round and of those that end it, as matrices (to, from)."""
    size, leads = states.shape
    powers = (n + 1) ** np.arange(leads, dtype=np.int64) if (n + 1.0) ** leads < 2**62 else None
    if powers is None:
        raise InvalidJob(f"{n} workers at {leads} leads; required: fewer of either.")
    codes = states @ powers
    order = np.argsort(codes)
    found: list[list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = [[], []]
    for lead in range(leads - 1):
        source = np.flatnonzero(states[:, lead])
        after = states[source].copy()
        after[:, lead] -= 1
        after[:, lead + 1] += 1
        ended = after[:, 0] == 0
        after[ended, :-1] = after[ended, 1:]
        after[ended, -1] = 0
        target = order[np.searchsorted(codes, after @ powers, sorter=order)]
        for kind, chosen in ((0, ~ended), (1, ended)):
            found[kind].append((states[source, lead][chosen], target[chosen], source[chosen]))
    both = []
    for parts in found:
        rates, target, source = (np.concatenate(column) for column in zip(*parts, strict=True))
        both.append(sparse.csc_array((rates.astype(np.float64), (target, source)), shape=(size, size)))
    return both[0], both[1]
