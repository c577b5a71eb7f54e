"""Progress of a run: nothing for two seconds, then one line."""

from __future__ import annotations

import sys
from types import TracebackType

from tqdm import tqdm


class ProgressBar:
    """A line that counts worker iterations and shows the last loss; it appears after two seconds.

    Parameters
    ----------
    label
        What runs.
    unit
        What is counted.
    """

    def __init__(self, label: str, unit: str = "iterations") -> None:
        self._bar = tqdm(desc=label, unit=f" {unit}", delay=2, leave=False, file=sys.stderr)

    def __call__(self, iterations: int, loss: float | None) -> None:
        """Show the state of the run."""
        if loss is not None:
            self._bar.set_postfix(loss=f"{loss:.4g}", refresh=False)
        self._bar.update(iterations - self._bar.n)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()
