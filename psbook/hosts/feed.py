"""What ``worker.batches()`` returns: batches for ``for`` and ``async for``; from a queue, for the latter."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psbook.core.commands import DoAsk
from psbook.data import Stream
from psbook.errors import InvalidJob
from psbook.operation import Operation

if TYPE_CHECKING:
    from psbook.hosts.program import ProgramHost

_END: Any = object()


class Feed(Iterator[Any], AsyncIterator[Any]):
    """Batches that are the program's from the beginning."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches = batches

    def __iter__(self) -> Feed:
        return self

    def __next__(self) -> Any:
        return next(self._batches)

    def __aiter__(self) -> Feed:
        return self

    async def __anext__(self) -> Any:
        batch = next(self._batches, _END)
        if batch is _END:
            raise StopAsyncIteration
        return batch


@dataclass(frozen=True)
class Cut:
    """How the pieces that a queue hands out are cut into batches."""

    size: int | None
    epochs: int
    iterations: int | None
    seed: int
    shuffle: bool


class QueueFeed(Feed):
    """Batches of partitions that a queue hands out, each when the one before has been worked through.

    Parameters
    ----------
    host
        The program's; its supply knows where it was before it was started again.
    stream
        Reads the partitions.
    queue
        Name of the queue, the same for all programs of the role.
    cut
        How.
    """

    def __init__(self, host: ProgramHost, stream: Stream, queue: str, cut: Cut) -> None:
        super().__init__(iter(()))
        self._host = host
        self._stream = stream
        self._queue = queue
        self._cut = cut

    def __iter__(self) -> Feed:
        raise InvalidJob(
            "data from a queue, iterated by `for`; required: `async for batch in worker.batches()`, which "
            "can wait for the next partition."
        )

    def __next__(self) -> Any:
        return iter(self)

    async def __anext__(self) -> Any:
        cut, supply = self._cut, self._host.supply
        while cut.iterations is None or supply.before + supply.taken < cut.iterations:
            batch = next(self._batches, _END)
            if batch is not _END:
                return batch
            item = await self._ask(supply.ask())
            if cut.iterations is None and item >= cut.epochs * len(self._stream.portion.parts):
                break
            self._host.report("partition", self._stream.handed_out(item, cut.seed, cut.shuffle))
            own = self._stream.of_item(
                item, cut.size, seed=cut.seed, shuffle=cut.shuffle, skip=supply.skipped()
            )
            self._batches = supply.feed(own, lambda: self._host.clock)
        raise StopAsyncIteration

    def _ask(self, number: int) -> Operation[int]:
        operation: Operation[int] = Operation("worker.batches()", "receiving")
        self._host.submit(lambda ticket: DoAsk(ticket, self._queue, number), operation)
        return operation
