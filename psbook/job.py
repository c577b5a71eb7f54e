"""A job: programs, data, tables and an objective; it runs on any backend under any consistency model."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from psbook.checkpoints import CheckpointStore
from psbook.core.consistency import BSP, Consistency
from psbook.data import accepted
from psbook.errors import InvalidJob
from psbook.objective import KeysRead, reads_of
from psbook.recovery import Saved
from psbook.table import Aggregate, Table
from psbook.worker import Batching

if TYPE_CHECKING:
    from psbook.run import Handle, Run

Program = Callable[..., Any]
Progress = Callable[[int, float | None], object]
"""Called with the worker iterations ended so far and the last loss."""


@dataclass(frozen=True)
class Role:
    """A kind of program in a job.

    Attributes
    ----------
    program
        ``async def`` function of one `Worker`.
    count : int
        How many run.
    clocked : bool, optional
        Whether their clocks count in ``min``. By default those of the job's first role do, and others'
        don't.
    """

    program: Program
    count: int
    clocked: bool | None = None


class Cluster(Protocol):
    """A backend: `psbook.Simulator` or `psbook.Dask`."""

    def run(self, job: Job, model: Consistency, progress: Progress | None = None) -> Run:
        """Run the job to its end."""

    def start(self, job: Job, model: Consistency) -> Handle:
        """Begin to run the job; return at once."""


class Job:
    """What is to be trained, independent of where it runs.

    Parameters
    ----------
    program
        ``async def`` function of one `Worker`, or a `Loop`; instead of it, `roles`. If it is an object with a
        method ``prepare(tables, data, batching)``, that is called where the program will run, before clock 0.
    tables
        Tables by name; names are the parameters of `evaluate`.
    data
        A tuple, dict, array or sparse matrix of rows, cut into one shard a worker; or a list with one shard
        for each worker. Or what is read by the programs themselves, partition by partition: a path or pattern
        (see `psbook.read`), a Dask collection, a list of delayed objects or futures (`psbook.Partitions`).
    evaluate
        ``evaluate(**tables) -> float``, a held-out objective; lower is better. If it has an attribute
        ``reads``, keys by table, snapshots of those tables hold these keys only, and it gets them as
        `psbook.assembly.SparseRows`: of a table of millions of keys, the copies that it needs and no more.
    every
        Evaluate each time this many worker iterations have ended; by default as many as there are workers.
    aggregate
        Whether the workers' gradients are averaged or summed (n workers summed is n times the learning
        rate). Tables may say otherwise; `Add` and `Assign` tables always sum, unless they say so.
    batch_size, epochs, iterations
        Defaults of ``worker.batches()``: rows a batch (``None``: all), and how many.
    roles
        Kinds of program by name: ``{"worker": (train, 8), "coordinator": (schedule, 1)}``.
    nonfinite
        What a push of NaN or infinity does: "raise" ends the run, "skip" leaves the push out and reports it.
    name
        For titles.

    Raises
    ------
    InvalidJob
        If the parts do not fit together; before anything runs.

    Examples
    --------
    >>> import numpy as np, psbook as ps
    >>> async def count(worker):
    ...     for _ in range(3):
    ...         worker.push("total", np.ones(1))
    ...         await worker.clock()
    >>> run = ps.Job(count, tables={"total": ps.Table(1)}).run(ps.Simulator(workers=4), ps.BSP())
    >>> run.tables["total"]
    array([12.], dtype=float32)
    """

    def __init__(
        self,
        program: Program | None = None,
        *,
        tables: Mapping[str, Table],
        data: Any = None,
        evaluate: Callable[..., float] | None = None,
        every: int | None = None,
        aggregate: Aggregate = "mean",
        batch_size: int | None = None,
        epochs: int | None = None,
        iterations: int | None = None,
        roles: Mapping[str, Role | tuple[Program, int]] | None = None,
        nonfinite: Literal["raise", "skip"] = "raise",
        name: str = "job",
    ) -> None:
        if (program is None) == (roles is None):
            raise InvalidJob("a job has either a program or roles; required: exactly one of them.")
        self.program = program
        self.roles = {} if roles is None else {name: as_role(name, role) for name, role in roles.items()}
        if program is not None:
            check_program("program", program)
        self.tables = check_tables(tables)
        self.data = accepted(data)
        self.evaluate = evaluate
        self.every = every
        self.aggregate = aggregate
        self.batching = Batching(batch_size, epochs, iterations)
        self.nonfinite = nonfinite
        self.saved: Saved | None = None
        """The checkpoint that the job goes on from; see `resume`."""
        self.name = name
        self.reads: KeysRead = reads_of(evaluate, self.tables)
        """Keys of the tables that the objective reads in part."""
        self._check()

    def _check(self) -> None:
        if self.aggregate not in ("mean", "sum"):
            raise InvalidJob(f"aggregate={self.aggregate!r}; required: 'mean' or 'sum'.")
        if self.nonfinite not in ("raise", "skip"):
            raise InvalidJob(f"nonfinite={self.nonfinite!r}; required: 'raise' or 'skip'.")
        for name, value in (("batch_size", self.batching.size), ("epochs", self.batching.epochs),
                            ("iterations", self.batching.iterations), ("every", self.every)):  # fmt: skip
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InvalidJob(f"{name}={value!r}; required: a whole number >= 1, or None.")
        if self.evaluate is not None:
            check_evaluate(self.evaluate, self.tables)

    @property
    def iteration_unit(self) -> str:
        """What one clock is, for plots."""
        size = self.batching.size
        return "one pass over a worker's data" if size is None else f"mini-batch of {size}"

    def with_rate(self, rate: float) -> Job:
        """Return the same job with another learning rate in every update function that has one.

        >>> import psbook as ps
        >>> async def idle(worker):
        ...     pass
        >>> job = ps.Job(idle, tables={"w": ps.Table(1, update=ps.SGD(0.1))})
        >>> job.with_rate(0.5).tables["w"].update
        SGD(rate=0.5)
        """
        job = copy.copy(self)
        job.tables = {name: table.with_rate(rate) for name, table in self.tables.items()}
        return job

    def with_batches(self, **counts: int | None) -> Job:
        """Return the same job with another ``size`` of the batches, or other ``epochs`` or ``iterations``.

        Of epochs and iterations the one that is given replaces the other.

        >>> import numpy as np, psbook as ps
        >>> loop = ps.Loop(kernel=lambda w, rows: (0.0, w))
        >>> job = ps.Job(loop, tables={"w": ps.Table(1)}, data=np.zeros(8), batch_size=2, epochs=1)
        >>> job.with_batches(iterations=3).batching
        Batching(size=2, epochs=None, iterations=3)
        """
        job = copy.copy(self)
        lengths: dict[str, int | None] = {"epochs": None, "iterations": None}
        replaced = lengths if lengths.keys() & counts.keys() else {}
        job.batching = dataclasses.replace(self.batching, **{**replaced, **counts})
        job._check()
        return job

    def without_data(self) -> Job:
        """Return the same job without data and objective, as it travels to where programs run."""
        job = copy.copy(self)
        job.data, job.evaluate = None, None
        return job

    @property
    def rate(self) -> float | None:
        """Learning rate of the first table that has one."""
        rates = (table.rate for table in self.tables.values())
        return next((rate for rate in rates if rate is not None), None)

    def all_roles(self, workers: int) -> dict[str, Role]:
        """Return the roles, given how many workers the cluster has."""
        return self.roles or {"worker": Role(self.program, workers)}  # type: ignore[arg-type]  # one is given

    def run(self, cluster: Cluster, model: Consistency | None = None) -> Run:
        """Run to the end.

        Parameters
        ----------
        cluster
            `psbook.Simulator` or `psbook.Dask`.
        model
            Consistency model, `BSP` by default.

        Returns
        -------
        Run
            Values, trace, history and plots.

        Raises
        ------
        ProgramError, UpdateError
            If a program or an update function raises; the original exception is the cause.
        Deadlock, NodeFailure
            If the run cannot go on.
        """
        return check_cluster(cluster).run(self, check_model(model))

    def start(self, cluster: Cluster, model: Consistency | None = None) -> Handle:
        """Begin to run and return a handle at once: watch it, stop it, await it, or ask for its result."""
        return check_cluster(cluster).start(self, check_model(model))

    def resume(
        self,
        checkpoints: str | os.PathLike[str],
        cluster: Cluster,
        model: Consistency | None = None,
        *,
        number: int | None = None,
    ) -> Run:
        """Go on from a checkpoint, on any backend, with any number of servers.

        Every program starts from what it gave to ``worker.clock(state)`` at the checkpoint's clock, with its
        random numbers and its place in the data; under BSP the result is that of a run without a break.

        Parameters
        ----------
        checkpoints
            The folder or URL that `psbook.Checkpoints` was given.
        cluster, model
            As for `run`; the number of workers must be the same.
        number
            Clock of the checkpoint; by default the newest.

        Raises
        ------
        CheckpointError
            If there is none, or it is torn, altered or another job's; the message says which one is good.
        """
        resumed = copy.copy(self)
        resumed.saved = Saved(CheckpointStore(checkpoints).read(number))
        return resumed.run(cluster, model)

    def __repr__(self) -> str:
        what = ", ".join(self.roles) or getattr(self.program, "__name__", type(self.program).__name__)
        return f"<Job {self.name}: {what}; tables {', '.join(self.tables)}; {self.iteration_unit}>"


def check_cluster(cluster: Cluster) -> Cluster:
    """Return the backend; refuse what is none."""
    if isinstance(cluster, type) or not callable(getattr(cluster, "run", None)):
        remedy = f"; write {cluster.__name__}(…)" if isinstance(cluster, type) else ""
        raise InvalidJob(
            f"cluster {cluster!r}; required: a backend first, as job.run(ps.Simulator(workers=8), "
            f"ps.SSP(3)){remedy}."
        )
    return cluster


def check_model(model: Consistency | None) -> Consistency:
    """Return the model, `BSP` if there is none; refuse what is no model."""
    if model is None:
        return BSP()
    if not isinstance(model, Consistency):
        remedy = f"; write {model.__name__}()" if isinstance(model, type) else ""
        raise InvalidJob(
            f"consistency model {model!r}; required: a psbook.Consistency, as ps.SSP(3){remedy}."
        )
    return model


def as_role(name: str, role: Role | tuple[Program, int]) -> Role:
    """Return a role from its short form ``(program, count)``."""
    if not name.isidentifier():
        raise InvalidJob(f"role {name!r}; required: a name of letters, digits and _.")
    if not isinstance(role, Role):
        try:
            role = Role(*role)
        except TypeError as error:
            raise InvalidJob(
                f"role {name!r} is {role!r}; required: (program, count) or ps.Role(…)."
            ) from error
    check_program(f"role {name!r}", role.program)
    if isinstance(role.count, bool) or not isinstance(role.count, int) or role.count < 1:
        raise InvalidJob(f"role {name!r}: {role.count!r} programs; required: a whole number >= 1.")
    return role


def check_program(what: str, program: object) -> None:
    """Raise `InvalidJob` unless `program` is a coroutine function."""
    if isinstance(program, type):
        raise InvalidJob(
            f"{what} is the class {program.__name__}; required: a coroutine function or an instance, as "
            f"{program.__name__}(…)."
        )
    plain = program.func if isinstance(program, functools.partial) else program
    call = plain if inspect.isroutine(plain) else getattr(plain, "__call__", None)  # noqa: B004  # its code is looked at
    if not inspect.iscoroutinefunction(call):
        raise InvalidJob(
            f"{what} is {program!r}, not a coroutine function; required: `async def program(worker): …`."
        )


def check_tables(tables: Mapping[str, Table]) -> dict[str, Table]:
    """Return the tables as a dict; refuse what is no table."""
    if not tables:
        raise InvalidJob("no tables; required: at least one, as tables={'w': ps.Table((10,))}.")
    for name, table in tables.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise InvalidJob(f"table name {name!r}; required: a name of letters, digits and _.")
        if not isinstance(table, Table):
            raise InvalidJob(
                f"table {name!r} is {type(table).__name__}; required: ps.Table(…) or ps.Table.of(…)."
            )
    return dict(tables)


def check_evaluate(evaluate: Callable[..., float], tables: Mapping[str, Table]) -> None:
    """Raise `InvalidJob` unless ``evaluate(**tables)`` can be called."""
    try:
        inspect.signature(evaluate).bind(**tables)
    except TypeError as error:
        named = ", ".join(tables)
        raise InvalidJob(
            f"evaluate cannot take the tables ({error}); required: evaluate({named})."
        ) from error
    except ValueError:
        return  # a builtin without signature: it will say so itself
