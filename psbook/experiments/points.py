"""The points of a sweep: a job, a cluster and a model for each combination of parameters and each seed."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, cast

import numpy as np

from psbook.core.consistency import Consistency
from psbook.errors import InvalidJob, PsbookError
from psbook.experiments.description import Description, Known, describe, fingerprint
from psbook.experiments.parameters import Label, Parameter
from psbook.job import Job, check_cluster, check_model
from psbook.loop import Loop
from psbook.plan import Plan
from psbook.simulator import Simulator

OF_JOB = {"rate": "rate", "batch_size": "size", "epochs": "epochs"}
"""Parameters of any job, and what a `Batching` calls them."""

NOT_SWEPT = ("seed", "trace", "trace_path", "target", "engine")
"""Fields of a cluster that a sweep sets itself, or that change no result."""

ENGINES = ("auto", "compiled", "messages")


@dataclass(frozen=True)
class SweepPoint:
    """One run of a sweep.

    Attributes
    ----------
    values : dict
        Label of each parameter.
    seed : int
        Of everything random.
    job, cluster, model
        What runs where under which consistency model; the cluster has the seed.
    hash : str
        SHA-256 of the run's whole configuration.
    """

    values: dict[str, Label]
    seed: int
    job: Job
    cluster: Any
    model: Consistency
    hash: str

    @property
    def label(self) -> str:
        """The point in words."""
        return told({**self.values, "seed": self.seed})


@dataclass(frozen=True)
class Grid:
    """All points of a sweep, in order, with what does not fit together.

    Attributes
    ----------
    parameters : list of Parameter
        What varies.
    points : list of SweepPoint
        Combinations in the order of ``itertools.product``, and the seeds of each.
    refused : dict
        For the hash of each point that cannot run as described: why.
    configuration : dict
        What all points share, in lines.
    """

    parameters: list[Parameter]
    points: list[SweepPoint]
    refused: dict[str, PsbookError]
    configuration: Description


@dataclass
class Maker:
    """Makes the job and the cluster of a combination; each job is made once.

    Parameters
    ----------
    job
        A `Job`, or a function of parameters that returns one.
    cluster
        A backend, or a function of parameters that returns one.
    """

    job: Job | Callable[..., Job]
    cluster: Any
    _jobs: dict[tuple[Label, ...], Job] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._make_job_of = None if isinstance(self.job, Job) else _function("job", self.job)
        given = hasattr(self.cluster, "run") and not isinstance(self.cluster, type)
        self._make_cluster_of = None if given else _function("cluster", self.cluster)
        self._job_takes = _arguments(self._make_job_of)
        self._cluster_takes = _arguments(self._make_cluster_of)
        kind = type(self.cluster) if given else Simulator
        fields = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
        self._fields = tuple(field.name for field in fields if field.name not in NOT_SWEPT)

    def check(self, names: Sequence[str]) -> None:
        """Raise `InvalidJob` if a parameter is nobody's, or a function needs one that is not there."""
        known = ("model", *OF_JOB, *self._fields, *self._job_takes, *self._cluster_takes)
        for name in names:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                remedy = (
                    f"did you mean {near[0]!r}?" if near else "give job= or cluster= as a function of it."
                )
                listed = ", ".join(dict.fromkeys(known))
                raise InvalidJob(f"over has the key {name!r}; required: one of {listed}; {remedy}")
        for what, function in (("job", self._make_job_of), ("cluster", self._make_cluster_of)):
            if function is not None:
                try:
                    inspect.signature(function).bind(
                        **{name: 0 for name in _arguments(function) if name in names}
                    )
                except TypeError as error:
                    raise InvalidJob(
                        f"{what}= as a function: {error}; required: over={{…}} with it."
                    ) from None

    def make(self, values: Mapping[str, Any], labels: Mapping[str, Label]) -> tuple[Job, Any, Consistency]:
        """Return job, cluster and model of a combination.

        Raises
        ------
        InvalidJob
            If one of them cannot be made of these values.
        """
        try:
            return (
                self._make_job(values, labels),
                self._make_cluster(values),
                check_model(values.get("model")),
            )
        except Exception as error:
            kind = "" if isinstance(error, PsbookError) else f"{type(error).__name__}: "
            raise InvalidJob(f"point {told(labels)}: {kind}{error}") from error

    def _make_job(self, values: Mapping[str, Any], labels: Mapping[str, Label]) -> Job:
        concerned = tuple(labels[name] for name in values if name in OF_JOB or name in self._job_takes)
        if concerned not in self._jobs:
            self._jobs[concerned] = self._new_job(values)
        return self._jobs[concerned]

    def _new_job(self, values: Mapping[str, Any]) -> Job:
        job: Any = self.job
        if self._make_job_of is not None:
            job = self._make_job_of(**{name: values[name] for name in self._job_takes if name in values})
        if not isinstance(job, Job):
            raise InvalidJob(f"job= returned {job!r}; required: a ps.Job.")
        made: Job = job
        left = {name: value for name, value in values.items() if name not in self._taken and name in OF_JOB}
        if "rate" in left:
            if made.rate is None:
                raise InvalidJob("rate is given to a job none of whose update functions has a learning rate.")
            made = made.with_rate(left.pop("rate"))
        if "batch_size" in left and not isinstance(made.program, Loop):
            raise InvalidJob(
                "batch_size is given to a program that makes its batches itself; required: a ps.Loop, which "
                "takes the job's. Give job= as a function of batch_size."
            )
        return made.with_batches(**{OF_JOB[name]: value for name, value in left.items()}) if left else made

    def _make_cluster(self, values: Mapping[str, Any]) -> Any:
        cluster = self.cluster
        if self._make_cluster_of is not None:
            cluster = self._make_cluster_of(**{n: values[n] for n in self._cluster_takes if n in values})
        check_cluster(cluster)
        names = [name for name in values if name not in (*self._taken, *OF_JOB, "model")]
        return dataclasses.replace(cluster, **{name: values[name] for name in names}) if names else cluster

    @property
    def _taken(self) -> tuple[str, ...]:
        """Parameters that go to a function."""
        return (*self._job_takes, *self._cluster_takes)

    def describe(self, known: Known) -> Description:
        """Return what all points share."""
        left_out = NOT_SWEPT if self._make_cluster_of is None else ()
        return describe(self.job, "job", (), known) | describe(self.cluster, "cluster", left_out, known)


def lay_out(
    job: Any, cluster: Any, over: Mapping[str, object], seeds: int | Iterable[int], engine: str = "auto"
) -> Grid:
    """Make all points of a sweep and check them.

    Raises
    ------
    InvalidJob
        If a key is unknown, or a value is wrong whatever it is combined with.
    """
    if not isinstance(over, Mapping):
        raise InvalidJob(f"over={over!r}; required: a mapping from parameters to lists of values.")
    if engine not in ENGINES:
        raise InvalidJob(f"engine={engine!r}; required: one of {', '.join(map(repr, ENGINES))}.")
    maker = Maker(job, cluster)
    parameters = [Parameter.of(name, values) for name, values in over.items()]
    maker.check([parameter.name for parameter in parameters])
    known: Known = {}
    configuration = maker.describe(known) | {"engine": engine}
    points: list[SweepPoint] = []
    refused: dict[str, PsbookError] = {}
    for picked in itertools.product(*(range(len(parameter.values)) for parameter in parameters)):
        pairs = list(zip(parameters, picked, strict=True))
        values = {parameter.name: parameter.values[index] for parameter, index in pairs}
        labels = {parameter.name: parameter.labels[index] for parameter, index in pairs}
        made = maker.make(values, labels)
        described = _described(made, known) | describe(labels, "over") | {"engine": engine}
        new = [
            SweepPoint(labels, seed, made[0], dataclasses.replace(made[1], seed=seed), made[2],
                       fingerprint(described, {"seed": str(seed)}))
            for seed in seeds_of(seeds, made[1])
        ]  # fmt: skip
        points += new
        if (wrong := _misfit(*made)) is not None:
            refused |= {point.hash: wrong for point in new}
    return Grid(parameters, points, refused, configuration)


def seeds_of(seeds: int | Iterable[int], cluster: Any) -> list[int]:
    """Return the seeds: so many from the cluster's own on, or those given.

    Raises
    ------
    InvalidJob
        If there is none, one comes twice, or one is no whole number.
    """
    if isinstance(seeds, int | np.integer) and not isinstance(seeds, bool):
        found = [cluster.seed + k for k in range(int(seeds))]
    else:
        found = [_seed(seed) for seed in seeds] if isinstance(seeds, Iterable) else []
    if not found or len(set(found)) != len(found):
        raise InvalidJob(f"seeds={seeds!r}; required: at least one, each once.")
    return found


def _seed(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise InvalidJob(f"seeds has {seed!r}; required: whole numbers.")
    return int(seed)


def told(labels: Mapping[str, Label]) -> str:
    """Return a point in words.

    >>> told({"model": "SSP(3)", "seed": 4})
    'model=SSP(3), seed=4'
    """
    return ", ".join(f"{name}={label}" for name, label in labels.items()) or "(no parameters)"


def _function(what: str, value: Any) -> Callable[..., Any]:
    if not callable(value):
        kind = "ps.Job" if what == "job" else "backend"
        raise InvalidJob(f"{what} {value!r}; required: a {kind}, or a function that returns one.")
    return cast("Callable[..., Any]", value)


def _arguments(function: Callable[..., Any] | None) -> tuple[str, ...]:
    if function is None:
        return ()
    parameters = inspect.signature(function).parameters.values()
    return tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))


def _described(made: tuple[Job, Any, Consistency], known: Known) -> Description:
    job, cluster, model = made
    return (
        describe(job, "job", (), known) | describe(cluster, "cluster", NOT_SWEPT) | describe(model, "model")
    )


def _misfit(job: Job, cluster: Any, model: Consistency) -> PsbookError | None:
    """Why a job does not fit on a cluster under a model, each of which is right in itself."""
    try:
        Plan.of(
            job, model, cluster.workers, cluster.servers, cluster.seed, cluster.safety, cluster.checkpoints
        )
    except PsbookError as error:
        return error
    return None
