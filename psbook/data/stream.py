"""`Stream`: batches of a program whose data is read partition by partition.

Rows are shuffled within partitions, and partitions among themselves, each epoch afresh; a batch may begin in
one partition and end in the next. With one partition the batches are those of its rows in memory; without
shuffling they are those of all its partitions, one behind the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psbook.data.ordering import check
from psbook.data.portion import Portion
from psbook.data.shelf import Shelf
from psbook.data.structure import join, take
from psbook.errors import DataError, InvalidJob
from psbook.laws.streams import generator

Ints = NDArray[np.int64]


def whole(shard: Any) -> Any:
    """Return all rows of a program's data: those in memory as they are, those in partitions read.

    Examples
    --------
    >>> whole([1, 2])
    [1, 2]
    """
    return shard.whole() if isinstance(shard, Stream) else shard


class Stream:
    """A portion that is being read.

    Parameters
    ----------
    portion
        What is to be read.

    Examples
    --------
    >>> from psbook.data import Partitions
    >>> (portion,) = Partitions([np.arange(3), np.arange(3, 5)]).deal(1)
    >>> [batch.tolist() for batch in portion.open().batches(2, shuffle=False)]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, portion: Portion) -> None:
        self.portion = portion
        self._shelf = Shelf(portion.parts, portion.keep)

    @property
    def queue(self) -> bool:
        """Whether partitions are handed out one by one."""
        return self.portion.queue

    def whole(self) -> Any:
        """Return all rows, in the order of the partitions.

        Raises
        ------
        InvalidJob
            If nobody knows yet which partitions are the program's.
        DataError
            If a partition cannot be read, or there are no rows.
        """
        if self.queue:
            raise InvalidJob(
                "all the data of a program that gets it from a queue; required: worker.batches(), or "
                "ps.Partitions(…, queue=False)."
            )
        positions = range(len(self.portion.parts))
        filled = [rows for at in positions for rows in [self._shelf.get(at)] if self._shelf.length(at)]
        if not filled:
            raise self._nothing()
        return join(filled)

    def batches(
        self,
        size: int | None = None,
        *,
        epochs: int | None = None,
        iterations: int | None = None,
        seed: int = 0,
        worker: int = 0,
        shuffle: bool = True,
        skip: int = 0,
    ) -> Iterator[Any]:
        """Return the batches as they are read; parameters as of `psbook.data.batches`.

        Without a size all rows are one batch, in memory.
        """
        check(size, epochs, iterations)
        if self.queue:
            return self._sample(size, iterations)
        epochs = 1 if epochs is None else epochs
        if size is None:
            times = (epochs if iterations is None else iterations) - skip
            return repeat(self.whole(), times) if times > 0 else iter(())
        rest = self._epochs(size, epochs if iterations is None else None, seed, worker, shuffle, skip)
        return rest if iterations is None else islice(rest, max(0, iterations - skip))

    def of_item(
        self, item: int, size: int | None, *, seed: int = 0, shuffle: bool = True, skip: int = 0
    ) -> Iterator[Any]:
        """Return the batches of one partition that a queue has handed out, see `handed_out`.

        Without a size the whole partition is one batch.
        """
        position = self.handed_out(item, seed, shuffle)

        def index(at: int, n: int) -> Ints:
            rng = generator(seed, f"data/queue/{at}", item // len(self.portion.parts))
            return rng.permutation(n) if shuffle and size is not None else np.arange(n)

        length = max(1, self._shelf.length(position)) if size is None else size
        return self._pass([position], index, length, skip * length)

    def handed_out(self, item: int, seed: int, shuffle: bool) -> int:
        """Return the number of the partition that is handed out as `item`, counted on through the epochs.

        Each epoch hands out every partition once, in an order of its own.
        """
        epoch, place = divmod(item, len(self.portion.parts))
        return self._order(generator(seed, "partitions/queue", epoch), shuffle)[place]

    def _sample(self, size: int | None, iterations: int | None) -> Iterator[Any]:
        """Give a batch for a kernel to be compiled with, of whatever partition."""
        if iterations != 1:
            raise InvalidJob(
                "data handed out from a queue, iterated by `for`; required: `async for batch in "
                "worker.batches()`, which can wait for the next partition."
            )
        return islice(self.of_item(0, size), 1)

    def _epochs(
        self, size: int, epochs: int | None, seed: int, worker: int, shuffle: bool, skip: int
    ) -> Iterator[Any]:
        for epoch in count() if epochs is None else range(epochs):

            def index(at: int, n: int, epoch: int = epoch) -> Ints:
                name = f"data/{at}" if at else "data"
                return generator(seed, name, worker, epoch).permutation(n) if shuffle else np.arange(n)

            order = self._order(generator(seed, "partitions", worker, epoch), shuffle)
            if skip < (self._a_pass(size) or math.inf):
                yield from self._pass(order, index, size, skip * size)
            done = self._a_pass(size)
            if not done:
                raise self._nothing()
            skip = max(0, skip - done)

    def _pass(
        self, order: Sequence[int], index: Callable[[int, int], Ints], size: int, skip: int
    ) -> Iterator[Any]:
        """Cut partitions, one behind the other, into batches; leave out `skip` rows at the beginning."""
        pieces: list[Any] = []
        missing = size
        for at, ahead in zip(order, [*order[1:], None], strict=True):
            n = self._shelf.length(at)
            start = min(skip, n)
            skip -= start
            if start == n:
                continue
            permuted, rows = index(at, n), self._shelf.get(at, ahead)
            while start < n:
                some = permuted[start : start + missing]
                pieces.append(take(rows, some))
                start += len(some)
                missing -= len(some)
                if not missing:
                    batch, pieces, missing = join(pieces), [], size
                    yield batch
            rows = None  # the next partition but one is about to be read
        if pieces:
            yield join(pieces)

    def _order(self, rng: np.random.Generator, shuffle: bool) -> list[int]:
        n = len(self.portion.parts)
        order: list[int] = rng.permutation(n).tolist() if shuffle else list(range(n))
        return order

    def _a_pass(self, size: int) -> int | None:
        """Return the number of batches in an epoch, if the length of every partition is known."""
        total = self._shelf.total
        return None if total is None else -(-total // size)

    def _nothing(self) -> DataError:
        first, *others = [part.label for part in self.portion.parts]
        named = f"{first} and {len(others)} more have" if others else f"{first} has"
        return DataError(
            f"{named} no rows; required is at least one row for each worker: use fewer workers or other "
            "partitions"
        )
