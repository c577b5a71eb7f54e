"""`Reproduction`: a published figure beside what psbook simulates, and whether it passes its gates."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from psbook.trace.statistics import documented

COLUMNS = {
    "quantity": "what was measured, with its unit",
    "published": "number in the paper, printed or read off its figure",
    "simulated": "number of the simulation, in the same unit",
    "relative_error": "simulated / published − 1; NaN where the published number is 0 or not given",
    "use": "calibrated: the model was fitted to it; predicted: compared only; shown: not part of a gate",
}
"""Columns of `Reproduction.table`."""

FITTED, PREDICTED, SHOWN = "calibrated", "predicted", "shown"


@dataclass(frozen=True)
class Gate:
    """What a reproduction has to meet: its sentence, the number found, and the range it must lie in."""

    what: str
    found: float
    low: float
    high: float

    @property
    def met(self) -> bool:
        """Whether the number lies in the range, ends included."""
        return self.low <= self.found <= self.high

    def __str__(self) -> str:
        """One line.

        >>> print(Gate("largest error, points", 2.5, 0.0, 4.0))
        met: largest error, points: 2.5; required: 0 … 4
        """
        verdict = "met" if self.met else "MISSED"
        return f"{verdict}: {self.what}: {self.found:.4g}; required: {self.low:g} … {self.high:g}"


@dataclass(frozen=True, eq=False)
class Reproduction:
    """A published figure, reproduced.

    Attributes
    ----------
    name : str
        Short name, as in ``psbook reproduce NAME``.
    title : str
        What the figure shows.
    paper : str
        Where it was published.
    calibrated : str
        What was fitted to which published numbers, and what was taken as given.
    table : DataFrame
        One row a number; columns are explained in ``table.attrs["columns"]``.
    gates : tuple of Gate
        What had to be met.
    curves : dict of DataFrame
        What the picture is drawn from.
    """

    name: str
    title: str
    paper: str
    calibrated: str
    table: pd.DataFrame
    gates: tuple[Gate, ...]
    curves: dict[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Whether all gates are met."""
        return all(gate.met for gate in self.gates)

    def plot(self) -> Any:
        """Draw published and simulated numbers; a matplotlib Figure."""
        return importlib.import_module("psbook.view.published").draw(self)

    def text(self) -> str:
        """The table and the verdicts, for a terminal."""
        shown = self.table.copy()
        shown["relative_error"] = [percent(value) for value in shown["relative_error"]]
        lines = shown.to_string(index=False, float_format=lambda value: f"{value:.4g}", na_rep="–")
        gates = "\n".join(map(str, self.gates))
        return f"{self.title}\n{self.paper}\nCalibration: {self.calibrated}\n{lines}\n{gates}"

    def save(self, folder: str | Path) -> dict[str, Path]:
        """Write table and picture into a folder; return the paths by what they are."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths = {"table": folder / f"{self.name}.csv", "picture": folder / f"{self.name}.png"}
        self.table.to_csv(paths["table"], index=False)
        self.plot().savefig(paths["picture"], dpi=150)
        return paths

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        shown = self.table.assign(relative_error=self.table["relative_error"].map(percent))
        gates = "".join(f"<li>{gate}</li>" for gate in self.gates)
        html = shown.to_html(index=False, float_format=lambda value: f"{value:.4g}", na_rep="–")
        return (
            f"<p><b>{self.title}</b> ({self.paper})<br>Calibration: {self.calibrated}</p>{html}"
            f"<ul>{gates}</ul>"
        )


def percent(value: float) -> str:
    """Return a share as text.

    >>> percent(-0.0123), percent(math.nan)
    ('-1.2 %', '–')
    """
    return "–" if math.isnan(value) else f"{100 * value:+.1f} %"


def table_of(rows: Iterable[tuple[str, float, float, str]]) -> pd.DataFrame:
    """Return rows of quantity, published, simulated and use as a documented table.

    >>> table_of([("idle share, %", 50.0, 75.0, PREDICTED)])["relative_error"].tolist()
    [0.5]
    """
    frame = pd.DataFrame(rows, columns=["quantity", "published", "simulated", "use"])
    published = frame["published"].where(frame["published"] != 0)
    frame.insert(3, "relative_error", frame["simulated"] / published - 1)
    return documented(frame, COLUMNS)
