"""Closed forms that runs must agree with: what theory says, as functions (theory.md, T1–T21).

T4 (conservation of staleness) is in `psbook.trace.conservation`, T17 in
`psbook.experiments.checkpoint_interval`.
"""

from psbook.experiments.theory.collectives import (
    binomial_broadcast,
    gather_scatter,
    pull_push,
    ring_all_reduce,
)
from psbook.experiments.theory.delays import (
    blocked_by_delay,
    delayed_makespan,
    rotating_makespan,
    slow_makespan,
)
from psbook.experiments.theory.leads import ssp_rate, ssp_rate_of_two
from psbook.experiments.theory.momentum import ImplicitMomentum, implicit_momentum, mean_path
from psbook.experiments.theory.queues import closed_queue, deterministic_throughput, open_response
from psbook.experiments.theory.rates import iteration_rate, seconds_of_updates, update_rate
from psbook.experiments.theory.rounds import harmonic, kth_of, slowest_of, stalled
from psbook.experiments.theory.staleness import (
    asp_staleness_mean,
    asp_staleness_pmf,
    asp_staleness_variance,
    mean_staleness,
    missing_updates,
    regret_bound,
)

__all__ = [
    "ImplicitMomentum",
    "asp_staleness_mean",
    "asp_staleness_pmf",
    "asp_staleness_variance",
    "binomial_broadcast",
    "blocked_by_delay",
    "closed_queue",
    "delayed_makespan",
    "deterministic_throughput",
    "gather_scatter",
    "harmonic",
    "implicit_momentum",
    "iteration_rate",
    "kth_of",
    "mean_path",
    "mean_staleness",
    "missing_updates",
    "open_response",
    "pull_push",
    "regret_bound",
    "ring_all_reduce",
    "rotating_makespan",
    "seconds_of_updates",
    "slow_makespan",
    "slowest_of",
    "ssp_rate",
    "ssp_rate_of_two",
    "stalled",
    "update_rate",
]
