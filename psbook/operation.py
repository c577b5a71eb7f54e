"""What ``worker.pull`` and its like return: an operation that has already begun, to be awaited."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Generic, NoReturn, TypeVar

from psbook.core.messages import Reply
from psbook.errors import InvalidJob, NotAwaited

T = TypeVar("T")


class Operation(Generic[T]):
    """An operation of a program: begun when it is made, its result there when it is awaited.

    Operations that are not awaited at once run side by side, so that a pull can go on during a compute.
    Using an operation in place of its result raises `NotAwaited`.

    Attributes
    ----------
    label : str
        The call, as the program wrote it.
    kind : str
        What a program that waits for it does: "compute", "reply" or the named cause of idling.
    done : bool
        Whether the result is there.
    """

    __slots__ = ("_finish", "_result", "_watchers", "asked", "awaited", "compiling", "done", "error", "kind",
                 "label", "last")  # fmt: skip

    def __init__(self, label: str, kind: str) -> None:
        self.label = label
        self.kind = kind
        self.done = False
        self.awaited = False
        self.error: BaseException | None = None
        self.last: Reply | None = None
        self.asked = 0.0
        self.compiling = 0.0
        self._watchers: tuple[Callable[[Operation[Any]], None], ...] = ()
        self._result: Any = None
        self._finish: Callable[[Any], T] | None = None

    def then(self, finish: Callable[[Any], T]) -> Operation[T]:
        """Turn the raw result into what the program gets, at the moment it takes it up."""
        self._finish = finish
        return self

    def watch(self, watcher: Callable[[Operation[Any]], None]) -> None:
        """Call ``watcher(operation)`` when the result is there, which it is not yet."""
        self._watchers = (*self._watchers, watcher)

    def resolve(self, result: Any = None, error: BaseException | None = None) -> None:
        """Set the result, or the error, and wake whoever waits."""
        self._result, self.error, self.done = result, error, True
        watchers, self._watchers = self._watchers, ()
        for watcher in watchers:
            watcher(self)

    def take(self) -> T:
        """Return the result, or raise the error."""
        if self.error is not None:
            raise self.error
        if self._finish is not None:
            self._result = self._finish(self._result)
            self._finish = None
        result: T = self._result
        return result

    def __await__(self) -> Generator[Operation[T], None, T]:
        self.awaited = True
        if not self.done:
            yield self
        return self.take()

    def _misused(self, *_: Any, **__: Any) -> NoReturn:
        raise NotAwaited(f"{self.label} was used without await; required: `await {self.label}`.")

    __array__ = __getitem__ = __iter__ = __len__ = __float__ = __int__ = __bool__ = _misused
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _misused
    __matmul__ = __rmatmul__ = __neg__ = __pow__ = __lt__ = __gt__ = __le__ = __ge__ = _misused

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        self._misused()

    def __repr__(self) -> str:
        return f"<{self.label}: {'done' if self.done else 'under way'}>"


def gather(*operations: Operation[Any]) -> Operation[list[Any]]:
    """Wait for several operations; the result is the list of theirs.

    Raises
    ------
    InvalidJob
        If something else than operations of the worker is given.

    Examples
    --------
    >>> one, two = Operation("worker.pull('a')", "reply"), Operation("worker.pull('b')", "reply")
    >>> both = gather(one, two)
    >>> one.resolve(1)
    >>> two.resolve(2)
    >>> both.done, both.take()
    (True, [1, 2])
    """
    for operation in operations:
        if not isinstance(operation, Operation):
            raise InvalidJob(
                f"ps.gather got {type(operation).__name__}; required: operations such as worker.pull(…), "
                "not awaited."
            )
    together: Operation[list[Any]] = Operation(f"ps.gather({len(operations)} operations)", "gather")
    missing = [operation for operation in dict.fromkeys(operations) if not operation.done]
    left = len(missing)

    def one_done(operation: Operation[Any]) -> None:
        nonlocal left
        left -= 1
        if not left:
            together.kind, together.last, together.asked = operation.kind, operation.last, operation.asked
            together.compiling = operation.compiling
            together.resolve()

    for operation in operations:
        operation.awaited = True
    for operation in missing:
        operation.watch(one_done)
    if not missing:
        together.resolve()
    return together.then(lambda _: [operation.take() for operation in operations])
