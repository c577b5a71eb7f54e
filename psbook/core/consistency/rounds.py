r"""Rounds of K gradients: one mechanism with two switches (semantics.md A11).

A *gradient* is everything that a worker pushes in one clock; it is complete with the clock's message. A shard
collects gradients. When K have come it applies them as one update, and the next round begins.

============== ========================= ==================================== =======================
model          who is in the collection  a gradient computed from a read of   and who is computing
               waits for its end         an older round                       when a round ends
============== ========================= ==================================== =======================
KSync          yes                       is dropped                           is told to stop
BackupWorkers  yes                       is dropped                           goes on
KBatchSync     no                        is dropped                           is told to stop
KAsync         yes                       counts                               goes on
KBatchAsync    no                        counts                               goes on
============== ========================= ==================================== =======================

Each shard counts its own rounds. If messages to several shards overtake one another, one may collect a
gradient that another drops; a worker that hears of a later round elsewhere tells the shard that is behind,
which then closes its round with what it has, so that nobody waits for ever.

A program is meant to read in every iteration. What one pushes that does not counts as computed from its last
read: under a model that drops, it is dropped once that round is over. A gradient from no read at all is never
old. Dutta et al. 2018, "Slow and stale gradients can win the race", AISTATS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from psbook.core.consistency.base import Consistency
from psbook.core.consistency.bounds import check_count
from psbook.errors import InvalidJob


@dataclass(frozen=True)
class Rounds(Consistency):
    """Base of the models that apply some gradients together.

    Attributes
    ----------
    waits : bool
        A worker whose gradient is in the open collection is answered when that is applied.
    drops : bool
        A gradient computed from a read of an older round is dropped, and counted (trace rows "drop").
    cuts_short : bool
        Who computes when a round ends is told, and stops if its backend can stop it: the simulator ends the
        computation, Dask only a delay that a law injected.
    """

    collects: ClassVar[bool] = True
    min_only: ClassVar[bool] = True
    waits: ClassVar[bool] = False
    drops: ClassVar[bool] = False
    cuts_short: ClassVar[bool] = False

    def needed(self, workers: int) -> int:
        """Return how many gradients make an update with so many workers."""
        raise NotImplementedError

    def push_scale(self, workers: int) -> float:
        """The mean is over the gradients of an update, when it is applied (H1)."""
        return 1.0


@dataclass(frozen=True)
class FirstK(Rounds):
    """Base of the models whose parameter is K.

    Parameters
    ----------
    k
        Gradients an update, from 1 to the number of workers; of the workers left, if they are fewer.

    Raises
    ------
    InvalidJob
        If `k` is not whole, or below 1; with the job, if there are fewer workers.
    """

    k: int
    name: ClassVar[str] = ""

    def __post_init__(self) -> None:
        check_count("gradients of an update k", self.k, least=1)

    def needed(self, workers: int) -> int:
        """K, whatever the number of workers."""
        return self.k

    def check(self, workers: int) -> None:
        """Raise `InvalidJob` if K workers are not there."""
        if self.k > workers:
            raise InvalidJob(
                f"{self.label} with {workers} workers; required: k <= workers. Take k={workers} or fewer."
            )

    @property
    def label(self) -> str:
        """Such as ``K-sync(3)``."""
        return f"{self.name}({self.k})"


@dataclass(frozen=True)
class KSync(FirstK):
    """K-sync SGD (Dutta et al. 2018, §2.1): the first K workers of a round count, the others start anew.

    Parameters and errors as of `FirstK`; programs that do not read in each iteration: see the module.

    Examples
    --------
    >>> KSync(3).label, KSync(3).waits, KSync(3).drops
    ('K-sync(3)', True, True)
    """

    name: ClassVar[str] = "K-sync"
    waits: ClassVar[bool] = True
    drops: ClassVar[bool] = True
    cuts_short: ClassVar[bool] = True


@dataclass(frozen=True)
class KBatchSync(FirstK):
    """K-batch-sync SGD (Dutta et al. 2018, §2.1): the first K gradients of a round count, whoever made them.

    A worker that has made one makes the next from the same values.

    Examples
    --------
    >>> KBatchSync(3).label, KBatchSync(3).waits, KBatchSync(3).drops
    ('K-batch-sync(3)', False, True)
    """

    name: ClassVar[str] = "K-batch-sync"
    drops: ClassVar[bool] = True
    cuts_short: ClassVar[bool] = True


@dataclass(frozen=True)
class KAsync(FirstK):
    """K-async SGD (Dutta et al. 2018, §2.1): K workers make an update and start anew, the others go on.

    Examples
    --------
    >>> KAsync(3).label, KAsync(3).waits, KAsync(3).drops
    ('K-async(3)', True, False)
    """

    name: ClassVar[str] = "K-async"
    waits: ClassVar[bool] = True


@dataclass(frozen=True)
class KBatchAsync(FirstK):
    """K-batch-async SGD (Dutta et al. 2018, §2.1): any K gradients make an update, and nobody waits.

    Examples
    --------
    >>> KBatchAsync(3).label, KBatchAsync(3).waits, KBatchAsync(3).drops
    ('K-batch-async(3)', False, False)
    """

    name: ClassVar[str] = "K-batch-async"


@dataclass(frozen=True)
class BackupWorkers(Rounds):
    """Synchronous SGD with backup workers (Chen et al. 2016, "Revisiting distributed synchronous SGD", §3).

    Of the workers of a round all but the last `b` count. A late one computes to its end; its gradient is
    dropped, and then it reads.

    So it begins its next gradient behind the others. Rounds are independent of one another, as the formula
    P(Bin(N + b, p) > b) for a slow round supposes, where the late ones start anew: under ``KSync(N)``.

    Parameters
    ----------
    b
        Backup workers, >= 0 and fewer than the workers.

    Raises
    ------
    InvalidJob
        If `b` is not whole, or negative; with the job, if all workers would be backups.

    Examples
    --------
    >>> BackupWorkers(4).needed(workers=100)
    96
    """

    b: int
    waits: ClassVar[bool] = True
    drops: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_count("backup workers b", self.b)

    def needed(self, workers: int) -> int:
        """All but `b`."""
        return workers - self.b

    def check(self, workers: int) -> None:
        """Raise `InvalidJob` if nobody's gradient would be needed."""
        if self.b >= workers:
            raise InvalidJob(
                f"{self.label} with {workers} workers; required: b < workers. Take b={workers - 1} or fewer."
            )

    @property
    def label(self) -> str:
        """Such as ``Backup(4)``."""
        return f"Backup({self.b})"
