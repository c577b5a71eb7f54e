"""Consistency models: when a read is answered and when a clock returns (semantics.md A).

A model is a small immutable object. A shard asks it two questions, each about one worker and the clocks that
the shard has counted: `may_read` and `may_clock`. A model of your own answers them:

>>> from dataclasses import dataclass
>>> @dataclass(frozen=True)
... class LeadersWait(Consistency):
...     '''Only the worker that is ahead of all others waits.'''
...
...     lead: int = 2
...
...     def may_read(self, rank, clock, clocks):
...         return clock - clocks.min <= self.lead or len(clocks) == 1
"""

from psbook.core.consistency.base import Consistency
from psbook.core.consistency.bulk import BSP, Serial
from psbook.core.consistency.dynamic import DSSP
from psbook.core.consistency.eager import ESSP
from psbook.core.consistency.parsing import parse_model
from psbook.core.consistency.rounds import (
    BackupWorkers,
    KAsync,
    KBatchAsync,
    KBatchSync,
    KSync,
    Rounds,
)
from psbook.core.consistency.sampled import PSP
from psbook.core.consistency.stale import ASP, SSP, BoundedDelay
from psbook.core.consistency.values import VAP

__all__ = [
    "ASP",
    "BSP",
    "DSSP",
    "ESSP",
    "PSP",
    "SSP",
    "VAP",
    "BackupWorkers",
    "BoundedDelay",
    "Consistency",
    "KAsync",
    "KBatchAsync",
    "KBatchSync",
    "KSync",
    "Rounds",
    "Serial",
    "parse_model",
]
