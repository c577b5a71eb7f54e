"""What a backend must give a host: time, messages, and a way to compute."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from psbook.core.messages import Message


@dataclass(slots=True)
class Outcome:
    """What became of a computation: its result or error, and the real seconds it took.

    `compiling` are the seconds that XLA spent compiling; they are not in `seconds`.
    """

    result: Any = None
    error: BaseException | None = None
    seconds: float = 0.0
    compiling: float = 0.0


class Driver(Protocol):
    """A backend as a host sees it."""

    has_threads: bool
    """Whether parts of a computation run side by side; where time is simulated, they run in turn."""

    def now(self) -> float:
        """Seconds since clock 0 began, simulated or real."""

    def call_later(self, seconds: float, function: Callable[..., object], *arguments: Any) -> object:
        """Call `function` when `seconds` have passed."""

    def transmit(self, source: str, destination: str, message: Message) -> object:
        """Carry a message to another node."""

    def compute(self, rank: int, function: Callable[[], Any], done: Callable[[Outcome], None]) -> object:
        """Run `function` for program `rank`, let its time pass, then call `done`."""

    def cut_short(self, rank: int) -> object:
        """End what program `rank` computes, if that can be: nobody needs the result any more."""

    def fail(self, node: str, error: BaseException) -> object:
        """A program, or a shard's function, raised."""

    def ended(self, node: str) -> object:
        """A program has ended; its shards know."""


def attempt(function: Callable[[], Any]) -> Outcome:
    """Run a function where nobody asks how long it takes.

    >>> attempt(lambda: 6 * 7).result
    42
    """
    try:
        return Outcome(function())
    except Exception as error:  # noqa: BLE001  # goes to the program, which may handle it, else to the caller of the run
        return Outcome(error=error)


def measure(function: Callable[[], Any]) -> Outcome:
    """Run a function, wait for JAX, and tell its seconds from those of the compiler.

    >>> outcome = measure(lambda: 6 * 7)
    >>> outcome.result, outcome.seconds >= 0, outcome.compiling
    (42, True, 0.0)
    """
    compiler = _compiler() if "jax" in sys.modules else None
    before = compiler.seconds if compiler else 0.0
    begun = time.perf_counter()
    outcome = Outcome()
    try:
        outcome.result = function()
        if "jax" in sys.modules:
            sys.modules["jax"].block_until_ready(outcome.result)
    except Exception as error:  # noqa: BLE001  # goes to the program, which may handle it, else to the caller of the run
        outcome.error = error
    elapsed = time.perf_counter() - begun
    outcome.compiling = min(elapsed, (_compiler().seconds if "jax" in sys.modules else 0.0) - before)
    outcome.seconds = elapsed - outcome.compiling
    return outcome


class _Compiler:
    """Adds up the seconds that XLA compiles in this process."""

    def __init__(self) -> None:
        import jax

        self.seconds = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **_: Any) -> None:
        if event.startswith("/jax/core/compile/"):
            self.seconds += duration_secs


@cache
def _compiler() -> _Compiler:
    return _Compiler()
