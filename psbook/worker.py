"""The handle that a program gets: everything it can do, the same on every backend."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, SupportsFloat

import numpy as np
import numpy.typing as npt

from psbook.assembly import assemble
from psbook.core.commands import DoBarrier, DoCall, DoChangeModel, DoFlush, DoPull, DoPush
from psbook.core.consistency import Consistency
from psbook.data import Stream, batches, whole
from psbook.data.ordering import check
from psbook.errors import InvalidJob, NonFinite, UnknownTable
from psbook.hosts.feed import Cut, Feed, QueueFeed
from psbook.hosts.mailbox import Wanted
from psbook.hosts.program import ProgramHost
from psbook.hosts.threads import in_turn, rows_of, side_by_side
from psbook.laws.streams import generator
from psbook.operation import Operation
from psbook.table import Table


@dataclass(frozen=True, slots=True)
class Batching:
    """Defaults of ``worker.batches()``: rows a batch, and epochs or iterations."""

    size: int | None = None
    epochs: int | None = None
    iterations: int | None = None


class Worker:
    """A program's view of the system.

    Every method that takes time returns an `Operation`: it has begun already, and ``await`` waits for it.

    Attributes
    ----------
    rank : int
        Number of this program within its role, from 0.
    workers : int
        Number of programs of its role.
    role : str
        Its role, "worker" by default.
    rng : numpy.random.Generator
        Random numbers of its own, the same under every consistency model and on every backend.
    saved
        What the program gave to ``clock`` when it last ended an iteration before it was lost; ``None`` at its
        first start. Random numbers and the place in the data are restored without it.
    """

    def __init__(
        self,
        host: ProgramHost,
        tables: Mapping[str, Table],
        data: Any,
        batching: Batching,
        seed: int,
        nonfinite: str,
    ) -> None:
        layout, rank = host.client.layout, host.client.rank
        self._host = host
        self._tables = tables
        self._batching = batching
        self._seed = seed
        self._nonfinite = nonfinite
        self._programs = layout.programs
        self.role = layout.role(rank)
        self._first = layout.roles.index(self.role)  # programs of a role have consecutive ranks
        self.rank = rank - self._first
        self.workers = layout.roles.count(self.role)
        self._data = data
        self.rng = generator(seed, "program", rank)
        self.saved: Any = None
        self._queued = False
        self._keeps = layout.safety.active or bool(layout.safety.checkpoint_every)
        if host.saved is not None:
            self.saved = host.saved["program"]
            self.rng.bit_generator.state = host.saved["rng"]

    @property
    def name(self) -> str:
        """Name of this program, as in the trace."""
        return self._host.node

    @property
    def now(self) -> float:
        """Seconds since clock 0 began, simulated or real."""
        return self._host.driver.now()

    @property
    def model(self) -> Consistency:
        """Consistency model of the run, as it is now."""
        return self._host.client.model

    @property
    def iteration(self) -> int:
        """Number of ``clock()`` calls made so far."""
        return self._host.clock

    @property
    def data(self) -> Any:
        """Its shard of the job's data; ``None`` if there is none.

        Of data in partitions this reads all that are its own into memory, which `batches` does not.
        """
        return whole(self._data)

    # Tables

    def pull(self, table: str, keys: Any = None) -> Operation[Any]:
        """Read a table, or some of its keys, as fresh as the consistency model demands.

        Parameters
        ----------
        table
            Name of the table.
        keys
            Sorted unique integers, a slice, or ``None`` for the whole table.

        Returns
        -------
        Operation
            Its result is a read-only array with one row a key; for a whole table made from a pytree, that
            pytree.

        Raises
        ------
        UnknownTable, InvalidKeys
            At the call.
        """
        spec = self._table(table)
        checked = spec.check_keys(table, keys)
        whole = keys is None

        def finish(parts: Any) -> Any:
            self._host.took(parts)
            rows = assemble(spec, checked, parts)
            return spec.decode(rows) if whole else rows

        operation: Operation[Any] = Operation(f"worker.pull({table!r})", "reply")
        self._host.submit(lambda ticket: DoPull(ticket, table, checked), operation)
        return operation.then(finish)

    def push(self, table: str, value: Any, keys: Any = None) -> Operation[None]:
        """Send an update; the table's update function applies it. It need not be awaited.

        Awaited, it waits for the acknowledgement.

        Parameters
        ----------
        table
            Name of the table.
        value
            One row a key, of the table's row shape; a pytree for a whole table made from one.
        keys
            Sorted unique integers, a slice, or ``None`` for the whole table.

        Raises
        ------
        UnknownTable, InvalidKeys, ShapeMismatch
            At the call.
        NonFinite
            If the value holds NaN or infinity and the job says ``nonfinite="raise"``.
        """
        spec = self._table(table)
        checked, rows = spec.check(table, keys, value)
        operation: Operation[None] = Operation(f"worker.push({table!r})", "reply")
        if rows.dtype.kind not in "biu" and not np.isfinite(rows).all():
            if self._nonfinite == "raise":
                raise NonFinite(
                    f"{self.name} pushed {_count_nonfinite(rows)} to table {table!r} at clock "
                    f"{self.iteration}; required: finite values. Lower the learning rate, or use "
                    "Job(nonfinite='skip')."
                )
            self.report(skipped=1.0)
            operation.resolve()
            return operation
        if shared(rows, value):
            rows = rows.copy()
        normed = self._host.client.model.normed and rows.size
        norm = float(np.abs(rows).max()) if normed else 0.0
        self._host.submit(lambda ticket: DoPush(ticket, table, checked, rows, norm), operation)
        return operation

    def clock(self, state: Any = None) -> Operation[int]:
        """End an iteration; the result is the number of iterations ended so far.

        Parameters
        ----------
        state
            What the program would need to go on from here: arrays, numbers, and lists, tuples and dicts of
            them. If it is lost, it is started again and finds it in ``worker.saved`` (semantics.md E7b).
        """
        operation: Operation[int] = Operation("worker.clock()", "reply")
        self._host.end_iteration(operation, self._state(state) if self._keeps else None)
        return operation

    def _state(self, state: Any) -> dict[str, Any]:
        supply = self._host.supply
        return {
            "program": detached(state),
            "taken": supply.taken,
            "given": supply.given,
            "adopted": supply.taken_adopted,
            "asked": (supply.asked, supply.before),
            "barriers": self._host.client.barriers,
            "rng": self.rng.bit_generator.state,
        }

    def flush(self) -> Operation[None]:
        """Wait until every push so far is acknowledged."""
        operation: Operation[None] = Operation("worker.flush()", "reply")
        self._host.submit(DoFlush, operation)
        return operation

    def barrier(self) -> Operation[None]:
        """Wait until every unfinished program of this role has called ``barrier()`` as often as this one."""
        operation: Operation[None] = Operation("worker.barrier()", "barrier")
        self._host.submit(DoBarrier, operation)
        return operation

    def call(
        self,
        table: str,
        function: Callable[..., Any],
        *arguments: Any,
        merge: Callable[[list[Any]], Any] | None = None,
    ) -> Operation[Any]:
        """Run ``function(rows, *arguments)`` on every shard of a table, behind this worker's pushes.

        Under BSP a push waits for its round, and the function sees the rounds that are closed.

        Parameters
        ----------
        table
            Name of the table.
        function
            Gets the shard's rows, returns a result; to change the rows it returns `psbook.NewValues`.
        merge
            Turns the list of the shards' results, in key order, into one; without it the list is returned.
        """
        self._table(table)
        if not callable(function):
            raise InvalidJob(f"worker.call got {function!r}; required: a function of the shard's rows.")
        arguments = detached(arguments)
        operation: Operation[Any] = Operation(f"worker.call({table!r})", "reply")
        self._host.submit(lambda ticket: DoCall(ticket, table, function, arguments), operation)
        return operation if merge is None else operation.then(merge)

    def change_model(self, model: Consistency) -> Operation[None]:
        """Go on with another parameter of the consistency model, for instance another τ, on every shard."""
        if not isinstance(model, Consistency):
            raise InvalidJob(f"worker.change_model({model!r}); required: a model such as ps.SSP(3).")
        operation: Operation[None] = Operation(f"worker.change_model({model.label})", "barrier")
        self._host.submit(lambda ticket: DoChangeModel(ticket, model), operation)
        return operation

    # Time and data

    def compute(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Operation[Any]:
        """Compute ``function(*arguments, **options)``; simulated or real time passes here."""
        if not callable(function):
            raise InvalidJob(
                f"worker.compute got {type(function).__name__}; required: a function, not its result."
            )
        if inspect.iscoroutinefunction(function):
            raise InvalidJob(
                f"worker.compute got the coroutine function {function.__name__}; required: a function."
            )
        operation: Operation[Any] = Operation(
            f"worker.compute({getattr(function, '__name__', 'function')})", "compute"
        )
        self._host.compute(functools.partial(function, *arguments, **options), operation)
        return operation

    def compute_each(self, function: Callable[..., Any], *columns: Iterable[Any]) -> Operation[list[Any]]:
        """Compute ``function(*row)`` for every row of some columns, side by side in threads of this process.

        It is one computation: a law draws its time once, and the simulator computes the rows in turn.

        Parameters
        ----------
        function
            What runs in the threads; JAX and numpy let others run meanwhile.
        columns
            As many rows each.

        Returns
        -------
        Operation
            Its result is the list of results, in the order of the rows.

        Raises
        ------
        InvalidJob
            At the call: no function, no row, or columns of different lengths.
        """
        rows = rows_of(function, columns)
        together = side_by_side if self._host.driver.has_threads else in_turn
        name = getattr(function, "__name__", "function")
        operation: Operation[list[Any]] = Operation(f"worker.compute_each({name})", "compute")
        self._host.compute(functools.partial(together, function, rows), operation)
        return operation

    def sleep(self, seconds: float) -> Operation[None]:
        """Let time pass, simulated or real."""
        if not isinstance(seconds, int | float) or not 0 <= seconds < float("inf"):
            raise InvalidJob(f"worker.sleep({seconds!r}); required: seconds >= 0, finite.")
        operation: Operation[None] = Operation(f"worker.sleep({seconds:g})", "sleeping")
        self._host.sleep(seconds, operation)
        return operation

    def batches(
        self,
        size: int | None = None,
        *,
        epochs: int | None = None,
        iterations: int | None = None,
        shuffle: bool = True,
    ) -> Feed:
        """Cut this worker's data into batches, each epoch in a fresh order; defaults are the job's.

        They can be taken by ``for``, and by ``async for``, which also works where a queue hands the data out.

        Parameters
        ----------
        size
            Rows a batch.
        epochs, iterations
            How often through the data, or exactly how many batches.
        shuffle
            Fresh order in each epoch.

        Notes
        -----
        Data in partitions is read as it is wanted, with two partitions in memory at most: rows are shuffled
        within a partition, and the partitions among themselves. From a queue, a partition is named in
        ``run.reports`` when its turn comes; one that a program has not worked through when it ends, or is
        lost for good, is handed out again as a whole, as long as somebody asks.
        """
        given, supply, host = self._batching, self._host.supply, self._host
        if epochs is None and iterations is None:
            epochs, iterations = given.epochs, given.iterations
        size = given.size if size is None else size
        if isinstance(self._data, Stream) and self._data.queue:
            check(size, epochs, iterations)
            if self._queued:
                raise InvalidJob(
                    f"{self.name} calls worker.batches() a second time for data that a queue hands out; "
                    "required: one loop over it. For several rounds give epochs=, or leave queue= out."
                )
            self._queued = True
            cut = Cut(size, 1 if epochs is None else epochs, iterations, self._seed, shuffle)
            return QueueFeed(host, self._data, self.role, cut)
        if self._data is None and host.joined:
            own: Iterator[Any] = iter(())
        else:
            own = batches(
                self._data, size, epochs=epochs, iterations=iterations, seed=self._seed,
                worker=host.client.rank, shuffle=shuffle, skip=supply.skipped(),
            )  # fmt: skip
        return Feed(supply.feed(own, lambda: host.clock))

    def upcoming(self) -> Any:
        """Return the batch that ``batches()`` will give next, and do not take it; ``None`` at the end.

        What it needs can so be pulled while the present batch is computed. If batches move between workers
        while the run goes on, another one may come; where a queue hands the data out, ``None`` comes at the
        end of each partition, as nobody knows the next one yet.
        """
        return self._host.supply.upcoming()

    def report(self, **values: float) -> None:
        """Record numbers by name, such as the loss of a mini-batch; they are in ``run.reports``.

        Raises
        ------
        InvalidJob
            If a value is no number.
        """
        for name, value in values.items():
            if not isinstance(value, SupportsFloat):
                raise InvalidJob(f"worker.report({name}={value!r}); required: a number.")
        for name, value in values.items():
            self._host.report(name, float(value))

    # Channels

    def send(self, to: int | str, value: Any, tag: str = "") -> None:
        """Send a value to another program: a rank of this role, or a name such as "coordinator-0"."""
        self._host.send(self._program(to), tag, detached(value))

    def receive(self, source: int | str | None = None, tag: str = "") -> Operation[Any]:
        """Wait for a value with `tag` from a rank of this role, a name, or (``None``) anybody."""
        operation: Operation[Any] = Operation(f"worker.receive({source!r}, {tag!r})", "receiving")
        wanted = None if source is None else self._program(source)
        self._host.wait_for_parcel(Wanted(wanted, tag, operation))
        return operation

    def _program(self, peer: int | str) -> int:
        if isinstance(peer, str):
            if peer not in self._programs:
                raise InvalidJob(f"no program {peer!r}; required: one of {', '.join(self._programs)}.")
            return self._programs.index(peer)
        if not isinstance(peer, int) or not 0 <= peer < self.workers:
            raise InvalidJob(f"rank {peer!r} of role {self.role!r}; required: 0 <= rank < {self.workers}.")
        return self._first + peer

    def _table(self, name: str) -> Table:
        try:
            return self._tables[name]
        except KeyError:
            known = ", ".join(map(repr, self._tables))
            raise UnknownTable(f"table {name!r}; required: one of the job's tables, {known}.") from None

    def __repr__(self) -> str:
        return f"<{self.name} of {self.workers}, clock {self.iteration}>"


def shared(rows: npt.NDArray[Any], value: object) -> bool:
    """Whether somebody may still write to the memory of `rows`, which were made of `value`.

    >>> mine = np.zeros(4)
    >>> shared(mine, mine), shared(mine.astype("float32"), mine), shared(np.broadcast_to(mine, (2, 4)), mine)
    (True, False, True)
    """
    if rows.base is None:
        return rows is value and rows.flags.writeable
    owner: Any = rows
    while isinstance(owner, np.ndarray):
        if owner.flags.writeable:
            return True
        owner = owner.base
    return False


def detached(value: Any) -> Any:
    """Copy the arrays in a value, its lists, tuples and dicts: the program may go on writing to its own.

    >>> mine = [np.zeros(2)]
    >>> sent = detached(mine)
    >>> mine[0][:] = 1
    >>> sent
    [array([0., 0.])]
    """
    if isinstance(value, np.ndarray):
        return value.copy()
    if type(value) in (list, tuple):
        return type(value)(map(detached, value))
    if type(value) is dict:
        return {name: detached(part) for name, part in value.items()}
    return value


def _count_nonfinite(rows: Any) -> str:
    nan, infinite = int(np.isnan(rows).sum()), int(np.isinf(rows).sum())
    return f"{nan} NaN and {infinite} infinite of {rows.size} numbers"
