"""What the tests of theory on the compiled engine share: draws, how many are enough, and runs without values.

A test of a mean names its tolerance. From it, and from a standard deviation that theory gives, follows the
number of independent replications at which a right engine passes with 99.9 % confidence; seeds are fixed.
"""

import math

import numpy as np
from scipy import stats

import psbook as ps
from psbook.simulator.compiled import timeline
from psbook.simulator.compiled.order import gated_order
from psbook.simulator.compiled.rounds import collected, rounds_order
from psbook.simulator.compiled.timing import gates

CONFIDENCE = 0.999
Z = stats.norm.ppf((1 + CONFIDENCE) / 2)
LOOP = ps.Loop(print)
"""Reads, computes and pushes in every iteration; only orders are asked of it, which compute nothing."""


def random(seed):
    return np.random.Generator(np.random.Philox(seed))


def replications(deviation, tolerance):
    """How many independent draws put their mean within `tolerance`, both in units of the mean."""
    return math.ceil((Z * deviation / tolerance) ** 2)


def harmonic(n, power=1):
    return math.fsum(1 / i**power for i in range(1, n + 1))


def order_of(model, X, counts=None, latency=0.0, every=0):
    """Times and order of one run, X of shape (workers, iterations)."""
    counts = np.full(len(X), X.shape[1]) if counts is None else np.asarray(counts)
    gate = gates(model)
    if gate is None:
        found = collected(model, X[None], counts).run(0)
        return found.times, rounds_order(found, counts, model.waits, every)
    times = timeline(model, X, latency=latency, counts=counts)
    return times, gated_order(times, gate, model.buffered, counts, LOOP, every)


def max_plus(X, s):
    """F[i, c] = max(F[i, c−1], max_j F[j, c−1−s]) + X[i, c] (T7), over any leading axes of runs."""
    F = np.zeros_like(X)
    for c in range(X.shape[-1]):
        ready = F[..., c - 1] if c else np.zeros(X.shape[:-1])
        if c - 1 - s >= 0:
            ready = np.maximum(ready, F[..., int(c - 1 - s)].max(axis=-1, keepdims=True))
        F[..., c] = ready + X[..., c]
    return F
