"""A planted bug: one method of psbook is wrong for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Bug:
    """A mistake that real systems have made, as a change of one method.

    Parameters
    ----------
    name : str
        A few words.
    what : str
        What goes wrong, in a sentence.
    real_system : str
        Who made it, or where it lurks.
    source : str
        Where that is written down.
    owner : type
        Class whose method is wrong.
    method : str
        Its name.
    wrong : callable
        What stands in its place.
    breaks : str
        The property that it breaks, in the words of the explorer, or of a run's check.

    Examples
    --------
    >>> from psbook.bugs import GATE_OFF_BY_ONE
    >>> from psbook.core.clocks import Clocks
    >>> from psbook.core.consistency import SSP
    >>> with GATE_OFF_BY_ONE.planted():
    ...     SSP(0).may_read(0, 1, Clocks([0, 1]))
    True
    >>> SSP(0).may_read(0, 1, Clocks([0, 1]))
    False
    """

    name: str
    what: str
    real_system: str
    source: str
    owner: type = field(repr=False)
    method: str = field(repr=False)
    wrong: Callable[..., Any] = field(repr=False)
    breaks: str = ""

    @contextmanager
    def planted(self) -> Iterator[Bug]:
        """Let the bug live inside a ``with`` block."""
        right = vars(self.owner)[self.method]
        setattr(self.owner, self.method, self.wrong)
        try:
            yield self
        finally:
            setattr(self.owner, self.method, right)

    def __str__(self) -> str:
        return f"{self.name}: {self.what} ({self.real_system}; {self.source})"
