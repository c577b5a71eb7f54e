"""Laws that replay samples: `Empirical` from memory, `Recorded` from a file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from psbook.errors import InvalidJob
from psbook.laws.base import Law, Seconds
from psbook.laws.recording import read_samples
from psbook.laws.streams import Streams
from psbook.laws.validation import require

Replay = Literal["in order", "bootstrap", "one each"]
Samples = tuple[NDArray[np.float64], ...]


@dataclass(frozen=True, eq=False)
class Empirical(Law):
    """Recorded seconds, replayed.

    Simulated worker k plays recorded worker k; when there are more simulated than recorded workers, they
    start again at recorded worker 0.

    Parameters
    ----------
    samples : array of seconds, or a sequence of such arrays
        One recorded worker, or one array for each recorded worker.
    replay : {"in order", "bootstrap", "one each"}
        "in order": as recorded, again from the start after the end, so slow spells stay together; of several
        workers that play the same recording all but the first begin at a random place of it.
        "bootstrap": every iteration draws one of the worker's samples, independently.
        "one each": a worker draws one of all samples and keeps it: machines that differ for good.

    Raises
    ------
    InvalidJob
        No samples, a sample that is not a finite number > 0, or an unknown replay.

    Examples
    --------
    >>> Empirical([0.1, 0.3]).times(worker=0, count=5, seed=0)
    array([0.1, 0.3, 0.1, 0.3, 0.1])
    """

    samples: Samples | Sequence[ArrayLike] | ArrayLike
    replay: Replay = "in order"

    def __post_init__(self) -> None:
        if self.replay not in get_args(Replay):
            raise InvalidJob(f"replay is {self.replay!r}; required: one of "
                             f"{', '.join(map(repr, get_args(Replay)))}; 'in order' keeps slow spells")
        object.__setattr__(self, "samples", tuple(_frozen(part) for part in _split(self.samples)))
        for number, part in enumerate(self.arrays):
            if part.size == 0 or not (np.isfinite(part) & (part > 0)).all():
                raise InvalidJob(f"samples of recorded worker {number}: {part.size} values, not all of them "
                                 f"finite and > 0; required: at least one, all > 0 (seconds); drop the rest")

    @property
    def arrays(self) -> Samples:
        """The samples of each recorded worker, in seconds."""
        return self.samples  # type: ignore[return-value]  # made so by __post_init__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Empirical) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        return self.replay, *(part.tobytes() for part in self.arrays)

    @property
    def mean(self) -> float:
        """Mean over all samples, each recorded worker with equal weight, in seconds."""
        return self.mean_of(None)

    @property
    def label(self) -> str:
        """Short text for plots."""
        return f"Empirical({sum(part.size for part in self.arrays)} samples, {self.replay})"

    def mean_of(self, worker: int | None) -> float:
        """Mean seconds of an iteration of one worker in the long run (over seeds, for "one each")."""
        if self.replay == "one each":
            return float(np.concatenate(self.arrays).mean())
        if worker is None:
            return float(np.mean([part.mean() for part in self.arrays]))
        return float(self.arrays[worker % len(self.arrays)].mean())

    def draw(self, worker: int, count: int, streams: Streams) -> Seconds:
        """Seconds of the first `count` iterations."""
        rng = streams.rng(worker)
        if self.replay == "one each":
            every = np.concatenate(self.arrays)
            return np.full(count, every[int(rng.random() * every.size)])
        lap, recorded = divmod(worker, len(self.arrays))
        part = self.arrays[recorded]
        if self.replay == "bootstrap":
            return part[(rng.random(count) * part.size).astype(np.int64)]
        start = int(rng.random() * part.size) if lap else 0
        return part[(start + np.arange(count)) % part.size]


def _split(samples: Any) -> Iterator[NDArray[np.float64]]:
    """One array for each recorded worker."""
    vector = isinstance(samples, np.ndarray) and samples.ndim < 2
    parts: list[Any] = [samples] if vector else list(samples)
    flat = all(np.ndim(part) == 0 for part in parts)
    for part in [parts] if flat else parts:
        yield np.asarray(part, dtype=np.float64).reshape(-1)


def _frozen(part: NDArray[np.float64]) -> NDArray[np.float64]:
    part = part.copy()
    part.setflags(write=False)
    return part


@dataclass(frozen=True)
class Recorded(Law):
    r"""Times read from a file (CSV, TSV, also compressed, or Parquet); the law carries the samples along.

    Parameters
    ----------
    path : path
        The file.
    column : str, optional
        Column of the times. May be left out when the file has one column.
    worker : str, optional
        Column that names the worker of each row; recorded workers are sorted. Without it all rows are one
        recording.
    scale : float
        Seconds that one unit of the column stands for; see also `Law.with_mean`.
    speed : bool
        The column holds speeds (work per time), so the time is ``scale / value``.
    replay : {"in order", "bootstrap", "one each"}
        See `Empirical`.

    Raises
    ------
    DataError
        The file or column is missing or empty, or a line holds something that is not a finite number > 0.

    Notes
    -----
    Public recordings of real stragglers that it reads as they are: minibatch times of Alibaba's GPU cluster
    (Weng et al., NSDI 2022; normalised units; column "batch_time_norm", worker "worker") and speeds of
    Azure's machines (TUNA, EuroSys 2025; one row a machine; column "value", ``speed=True``, replay
    "one each").

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "times.csv"
    >>> _ = path.write_text("worker,ms\n0,100\n1,300\n0,200\n")
    >>> Recorded(path, "ms", worker="worker", scale=0.001).times(0, 3, seed=0)
    array([0.1, 0.2, 0.1])
    """

    path: str | os.PathLike[str]
    column: str | None = None
    worker: str | None = None
    scale: float = 1.0
    speed: bool = False
    replay: Replay = "in order"
    names: tuple[str, ...] = field(init=False, repr=False, compare=False)
    empirical: Empirical = field(init=False, repr=False)
    _own_streams: ClassVar[int] = 1

    def __post_init__(self) -> None:
        require(self, "scale", self.scale)
        by_worker = read_samples(self.path, self.column, self.worker)
        times = [self.scale / part if self.speed else self.scale * part for part in by_worker.values()]
        object.__setattr__(self, "names", tuple(by_worker))
        object.__setattr__(self, "empirical", Empirical(times, self.replay))

    @property
    def mean(self) -> float:
        """Mean over all samples, each recorded worker with equal weight, in seconds."""
        return self.empirical.mean

    @property
    def label(self) -> str:
        """Short text for plots."""
        return f"{Path(self.path).name}, {self.replay}"

    def mean_of(self, worker: int | None) -> float:
        """Mean seconds of an iteration of one worker in the long run."""
        return self.empirical.mean_of(worker)

    def draw(self, worker: int, count: int, streams: Streams) -> Seconds:
        """Seconds of the first `count` iterations."""
        return self.empirical.draw(worker, count, streams)
