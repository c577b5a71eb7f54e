"""`Comparison`: runs of several consistency models side by side, as a table, a picture and files."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from psbook.core.consistency import Consistency
from psbook.run import Run
from psbook.simulator.faults import Faults
from psbook.trace import statistics

COLUMNS = {
    "model": "consistency model",
    "faults": "whether the faults struck: without, with; only in a comparison of the two",
    "rate": "learning rate, tuned for the model or the job's own",
    "time_to_target_s": "seconds to the target loss, median over seeds; NaN if most seeds never reached it",
    "time_to_target_min_s": "the fastest seed",
    "time_to_target_max_s": "the slowest seed that reached it",
    "reached": "seeds that reached the target, of all",
    "loss_final": "last loss, median over seeds",
    "seconds": "length of the run in seconds, median over seeds",
    "updates": "updates applied, median over seeds",
    "iterations_per_s": "worker iterations a second, median over seeds",
    "staleness_mean": "updates applied between a read and the update computed from it, mean over seeds",
    "staleness_max": "the largest of all seeds",
    "idle_share": "share of the workers' time that is not compute, mean over seeds",
    "blocked_share": "share of the workers' time held by the consistency model, mean over seeds",
    "bytes": "bytes sent in messages, median over seeds",
}
"""Columns of `Comparison.table`; times are simulated seconds on the simulator, real ones on Dask."""


@dataclass(frozen=True)
class Entry:
    """Runs of one model, one a seed, at one learning rate; `faults` is "without", "with", or neither."""

    model: Consistency
    rate: float | None
    runs: list[Run]
    faults: str = ""

    @property
    def label(self) -> str:
        """Name of the model, and whether faults struck it."""
        return f"{self.model.label} with faults" if self.faults == "with" else self.model.label


class Comparison:
    """The outcome of `psbook.compare`.

    Attributes
    ----------
    entries : list of Entry
        Runs by model.
    target : float
        Loss whose time is measured.
    tuned : bool
        Whether each model runs at its own best learning rate.
    faults : Faults, optional
        What went wrong in the runs "with" faults.
    table : DataFrame
        One row a model, or two: without and with faults; columns are explained in ``table.attrs["columns"]``.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        seeds: Sequence[int],
        target: float | None,
        *,
        tuned: bool,
        faults: Faults | None = None,
    ) -> None:
        self.entries = list(entries)
        self.seeds = list(seeds)
        self.tuned = tuned
        self.faults = faults
        self.target = self._default_target() if target is None else target
        self.table = pd.DataFrame([self._row(entry) for entry in self.entries])
        self.table.attrs["columns"] = {name: COLUMNS[name] for name in self.table.columns}

    @property
    def runs(self) -> dict[str, list[Run]]:
        """Runs by the model's label, one a seed; those with faults as in ``"BSP with faults"``."""
        return {entry.label: entry.runs for entry in self.entries}

    @property
    def meta(self) -> dict[str, Any]:
        """What is known about the first run."""
        return self.entries[0].runs[0].meta

    @property
    def time_unit(self) -> str:
        """Unit of all times."""
        return str(self.meta.get("time_unit", "s"))

    def _default_target(self) -> float:
        """Nine tenths of the best model's way from the first loss to its lowest, where no fault struck."""
        runs = [run for entry in self.entries if entry.faults != "with" for run in entry.runs]
        losses = [statistics.history(run.trace)["loss"].to_numpy() for run in runs]
        first = float(np.median([loss[0] for loss in losses if len(loss)]))
        best = min(float(np.nanmin(loss)) for loss in losses if len(loss))
        return first - 0.9 * (first - best)

    def _row(self, entry: Entry) -> dict[str, Any]:
        rows = [statistics.summary(run.trace) for run in entry.runs]
        times = np.array([statistics.time_to_target(run.trace, self.target) for run in entry.runs])
        reached = times[~np.isnan(times)]
        most = len(reached) * 2 > len(times)

        def over_seeds(name: str, how: Any) -> float:
            values = [float(row[name]) for row in rows]
            return math.nan if all(map(math.isnan, values)) else float(how(values))

        return {
            "model": entry.model.label,
            **({"faults": entry.faults} if entry.faults else {}),
            "rate": entry.rate,
            "time_to_target_s": float(np.median(np.where(np.isnan(times), np.inf, times)))
            if most
            else math.nan,
            "time_to_target_min_s": float(reached.min()) if len(reached) else math.nan,
            "time_to_target_max_s": float(reached.max()) if len(reached) else math.nan,
            "reached": f"{len(reached)}/{len(times)}",
            "loss_final": over_seeds("loss_final", np.median),
            "seconds": over_seeds("seconds", np.median),
            "updates": over_seeds("updates", np.median),
            "iterations_per_s": over_seeds("iterations_per_s", np.median),
            "staleness_mean": over_seeds("staleness_mean", np.nanmean),
            "staleness_max": over_seeds("staleness_max", np.nanmax),
            "idle_share": over_seeds("idle_share", np.nanmean),
            "blocked_share": over_seeds("blocked_share", np.nanmean),
            "bytes": over_seeds("bytes_sent", np.median),
        }

    @property
    def title(self) -> str:
        """What was compared, in a line."""
        meta = self.meta
        rates = "learning rate tuned for each model" if self.tuned else "learning rate untuned"
        seeds = f"{len(self.seeds)} seeds" if len(self.seeds) > 1 else f"seed {self.seeds[0]}"
        return f"{meta['job']}: {len(meta['workers'])} workers, {meta['iteration_unit']}, {seeds}, {rates}"

    @property
    def cost(self) -> str:
        """What the faults cost each model, in a sentence; empty without faults."""
        if self.faults is None:
            return ""
        said = []
        for label, rows in self.table.groupby("model", sort=False):
            without, struck = (rows[rows["faults"] == name].iloc[0] for name in ("without", "with"))
            said.append(f"{label} {_difference(without, struck, self.time_unit)}")
        return f"Faults: {' '.join(self.faults.sentences)} They cost {'; '.join(said)}."

    def plot(self) -> Any:
        """Draw losses over time and over updates, where time went, and staleness; a matplotlib Figure."""
        return importlib.import_module("psbook.view").plot_comparison(self)

    def text(self) -> str:
        """The table as text for a terminal."""
        shown = self.table.drop(columns=["time_to_target_min_s", "time_to_target_max_s"])
        unit = self.time_unit
        lines = shown.to_string(index=False, float_format=lambda value: f"{value:.4g}", na_rep="–")
        cost = f"\n{self.cost}" if self.cost else ""
        return f"{self.title}\n{lines}\ntarget loss {self.target:.4g}; times in {unit}{cost}"

    def save(self, folder: str | Path) -> dict[str, Path]:
        """Write table, picture, report and traces into a folder; return the paths by what they are."""
        folder = Path(folder)
        (folder / "traces").mkdir(parents=True, exist_ok=True)
        paths = {
            "table": folder / "table.csv",
            "picture": folder / "comparison.png",
            "report": folder / "report.html",
        }
        self.table.to_csv(paths["table"], index=False)
        figure = self.plot()
        figure.savefig(paths["picture"], dpi=150)
        report = importlib.import_module("psbook.view.report")
        paths["report"].write_text(report.report(self, figure), encoding="utf-8")
        for entry in self.entries:
            for seed, run in zip(self.seeds, entry.runs, strict=True):
                run.trace.save(folder / "traces" / f"{file_name(entry.label)}-seed{seed}.parquet")
        return {**paths, "traces": folder / "traces"}

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return str(importlib.import_module("psbook.view.report").table_html(self))


def _difference(without: pd.Series[Any], struck: pd.Series[Any], unit: str) -> str:
    """What faults cost a model: time to the target, or if one run never got there, length and loss."""
    before, after = without["time_to_target_s"], struck["time_to_target_s"]
    missed = [name for name, time in (("without", before), ("with", after)) if math.isnan(time)]
    if missed:
        longer = f"{struck['seconds'] - without['seconds']:+.3g} {unit} of the whole run"
        return f"{longer}, and the target is not reached {' and '.join(missed)} them"
    share = f" ({after / before - 1:+.0%})" if before > 0 else ""
    return f"{after - before:+.3g} {unit} to the target{share}"


def file_name(label: str) -> str:
    """Return a label as part of a file name.

    >>> file_name("SSP(3, gate=clock)"), file_name("SSP(∞)")
    ('ssp-3-gate-clock', 'ssp-inf')
    """
    words = "".join(c if c.isalnum() else " " for c in label.lower().replace("∞", "inf"))
    return "-".join(words.split())
