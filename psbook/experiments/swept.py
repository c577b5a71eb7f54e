"""`Sweep`: the runs of a sweep as tidy tables, with files and summaries."""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from psbook.errors import InvalidJob
from psbook.experiments.intervals import Statistic
from psbook.experiments.store import Store
from psbook.experiments.tidy import estimated, frame_of, groups, in_words
from psbook.trace.statistics import SUMMARY, documented

COLUMNS = {
    "run": "number of the point: combinations in the order of the parameters, then seeds",
    "seed": "seed of the run",
    "engine": "what ran it: messages, compiled or dask",
    "engine_why": "why the compiled engine did not run it; empty if it did",
    **SUMMARY,
    "loss_final": "last loss; infinite if the run diverged",
    "time_to_target_s": "seconds to the first evaluation with at most the target loss; infinite if none [s]",
    "diverged": "whether the run ended with values that are not finite; it counts up to there",
    "error": "what ended the run, which then has no quantities; empty if nothing did",
    "hash": "SHA-256 of the run's whole configuration",
}
"""Columns of `Sweep.table` beside the parameters; times are simulated seconds, on Dask real ones."""

HISTORY_COLUMNS = {
    "time_s": "when the snapshot was taken [s]",
    "iterations": "worker iterations ended by then",
    "updates": "updates applied by then",
    "loss": "the objective there",
}
"""Columns of `Sweep.history` beside ``run``, the parameters, ``seed`` and ``hash``."""

PLOTS = {
    "bands": "plot_sweep_bands",
    "efficiency": "plot_efficiency",
    "frontier": "plot_frontier",
    "heatmap": "plot_heatmap",
    "shares": "plot_waiting_shares",
    "throughput": "plot_throughput",
    "winners": "plot_winners",
}
"""What `Sweep.plot` draws, by the functions of `psbook.view` that do."""


class Sweep:
    """The outcome of `psbook.sweep`.

    Attributes
    ----------
    table : DataFrame
        One row a run: parameters, seed, then one column a quantity, explained with its unit in
        ``.attrs["columns"]``.
    history : DataFrame
        One row an evaluation of a run, explained likewise.
    meta : dict
        The whole configuration in lines, the full ``repr`` of each parameter's values, the versions.
    target : float, optional
        Loss whose time is measured in ``time_to_target_s``.
    """

    def __init__(
        self, table: pd.DataFrame, history: pd.DataFrame, meta: Mapping[str, Any], target: float | None = None
    ) -> None:
        self.meta = dict(meta)
        self.target = target
        table = table.drop(columns=["run", "time_to_target_s"], errors="ignore").reset_index(drop=True)
        numbers = pd.Series(range(len(table)), index=table["hash"])
        history = history[["hash", *HISTORY_COLUMNS]]
        history = history.assign(run=history["hash"].map(numbers)).sort_values("run", kind="stable")
        names = [*self.parameters, "seed"]
        self.history = documented(
            history.merge(table[[*names, "hash"]], on="hash")[["run", *names, *HISTORY_COLUMNS, "hash"]],
            {"run": COLUMNS["run"], **self._meanings, "seed": COLUMNS["seed"], **HISTORY_COLUMNS,
             "hash": COLUMNS["hash"]},
        )  # fmt: skip
        table.insert(0, "run", range(len(table)))
        if target is not None:
            table.insert(
                list(table.columns).index("diverged"), "time_to_target_s", self._first_time(target, table)
            )
        meanings = {**COLUMNS, **self._meanings}
        self.table = documented(table, {str(name): meanings[str(name)] for name in table.columns})

    @property
    def parameters(self) -> list[str]:
        """Names of what varies."""
        return list(self.meta["parameters"])

    @property
    def _meanings(self) -> dict[str, str]:
        return dict.fromkeys(self.parameters, "parameter; the full text of its values is in Sweep.meta")

    @property
    def seeds(self) -> list[int]:
        """Seeds of the runs."""
        return sorted(int(seed) for seed in self.table["seed"].unique())

    @property
    def time_unit(self) -> str:
        """Unit of all times."""
        return str(self.meta.get("time_unit", "s"))

    @property
    def errors(self) -> pd.DataFrame:
        """The points that failed, with what ended them."""
        names = ["run", *self.parameters, "seed", "error"]
        return self.table.loc[self.table["error"] != "", names].reset_index(drop=True)

    @property
    def good(self) -> pd.DataFrame:
        """Rows of `table` whose runs did not fail."""
        return self.table[self.table["error"] == ""]

    def where(self, **values: Any) -> Sweep:
        """Return the runs that have these values of parameters; a list means any of them.

        Raises
        ------
        InvalidJob
            If a name is no parameter, or no run is left.

        Examples
        --------
        >>> from psbook.experiments.by_hand import by_hand
        >>> sweep = by_hand(["model"], {(name,): [[1, 0.5]] for name in ("BSP", "SSP(2)", "ASP")})
        >>> sweep.where(model=["BSP", "ASP"], seed=0).table["model"].tolist()
        ['BSP', 'ASP']
        """
        kept = pd.Series(True, index=self.table.index)
        for name, wanted in values.items():
            if name not in (*self.parameters, "seed", "engine"):
                raise InvalidJob(f"{name}={wanted!r}; required: a parameter: {', '.join(self.parameters)}.")
            kept &= self.table[name].isin(
                [wanted] if isinstance(wanted, str) or np.isscalar(wanted) else wanted
            )
        if not kept.any():
            raise InvalidJob(f"no run has {values}; required: values of {self.title}.")
        return self.part(kept)

    def part(self, kept: pd.Series[bool]) -> Sweep:
        """Return the sweep of some rows of the table."""
        table = self.table[kept]
        return Sweep(table, self.history[self.history["hash"].isin(table["hash"])], self.meta, self.target)

    def times_to(self, target: float) -> pd.Series[Any]:
        """Seconds to a target loss by ``run``; infinite for a run that never reached it, NaN if it failed."""
        return pd.Series(self._first_time(target, self.table), index=self.table["run"])

    def _first_time(self, target: float, table: pd.DataFrame) -> np.ndarray[Any, Any]:
        reached = self.history[self.history["loss"] <= target]
        times = table["hash"].map(reached.groupby("hash")["time_s"].min()).astype(np.float64)
        return np.where(table["error"] != "", math.nan, times.fillna(math.inf))

    def losses_at(self, seconds: float) -> pd.Series[Any]:
        """Last loss within a time by ``run``; infinite for a run that diverged before, NaN if it failed.

        Of a run that ended earlier it is the last loss.
        """
        within = self.history[self.history["time_s"] <= seconds]
        losses = self.table["hash"].map(within.groupby("hash")["loss"].last()).astype(np.float64)
        gone = self.table["diverged"] & ~(self.table["seconds"] > seconds)
        found = np.where(gone | ~np.isfinite(losses), math.inf, losses)
        return pd.Series(np.where(self.table["error"] != "", math.nan, found), index=self.table["run"])

    def grouping(self, by: str | Sequence[str] | None) -> list[str]:
        """Return the names of parameters to group by, all of them by default; refuse others.

        Raises
        ------
        InvalidJob
            If one is no parameter.
        """
        names = self.parameters if by is None else [by] if isinstance(by, str) else list(by)
        for name in names:
            if name not in (*self.parameters, "engine"):
                raise InvalidJob(
                    f"by={name!r}; required: a parameter of the sweep: {', '.join(self.parameters)}."
                )
        return names

    def summary(
        self,
        by: str | Sequence[str] | None = None,
        quantity: str | Sequence[str] = "loss_final",
        confidence: float = 0.95,
        statistic: Statistic = "median",
    ) -> pd.DataFrame:
        """Quantities over seeds, with bootstrap confidence intervals.

        Parameters
        ----------
        by
            Parameters, one row a combination; all by default.
        quantity
            Columns of `table`.
        confidence
            Probability that the interval covers the statistic of the law behind the runs.
        statistic
            "median" or "mean".

        Returns
        -------
        DataFrame
            ``runs`` counted, ``failed`` ones left out, and for each quantity its statistic and the ends
            ``…_low`` and ``…_high`` of its interval.

        Raises
        ------
        InvalidJob
            If a name is no parameter, or no quantity.
        """
        quantities = [quantity] if isinstance(quantity, str) else list(quantity)
        for name in quantities:
            if name not in self.table or not pd.api.types.is_numeric_dtype(self.table[name]):
                numeric = [str(column) for column in self.table.select_dtypes("number").columns]
                raise InvalidJob(f"quantity={name!r}; required: a column of numbers: {', '.join(numeric)}.")
        names = self.grouping(by)
        rows = []
        for labels, part in groups(self.table, names):
            fine = part[part["error"] == ""]
            row = {**labels, "runs": len(fine), "failed": len(part) - len(fine)}
            for name in quantities:
                row |= estimated(name, fine[name].to_numpy(np.float64), confidence, statistic)
            rows.append(row)
        meanings = {
            name: f"{statistic} over runs: {self.table.attrs['columns'][name]}" for name in quantities
        }
        return frame_of(rows, names, meanings, confidence)

    def plot(self, what: str = "bands", *arguments: Any, **options: Any) -> Any:
        """Draw the sweep; a matplotlib Figure that also says in a sentence what it shows.

        Parameters
        ----------
        what
            "bands": losses over time and updates; "efficiency": hardware × statistical efficiency; "heatmap":
            a quantity over two parameters; "frontier": time against quality; "shares": where the workers'
            time went; "throughput": iterations a second against workers; "winners": who wins where.
        *arguments, **options
            Of the function in `psbook.view`, such as ``plot("heatmap", "time_to_target_s", x="rate")``.

        Raises
        ------
        InvalidJob
            If there is no such picture, or the sweep has not what it shows.
        """
        if what not in PLOTS:
            raise InvalidJob(f"plot({what!r}); required: one of {', '.join(PLOTS)}.")
        return getattr(importlib.import_module("psbook.view"), PLOTS[what])(self, *arguments, **options)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write ``table.parquet``, ``history.parquet`` and ``sweep.json`` into a folder; return it."""
        Store(path).finish(self.table, self.history, {**self.meta, "target": self.target})
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Sweep:
        """Read a sweep, also one that has not ended: what has run is there.

        Raises
        ------
        DataError
            If the folder holds none, or a file is damaged.
        """
        store = Store(path)
        meta = store.meta()
        target = meta.pop("target", None)
        frames = store.read() or _nothing(list(meta["parameters"]))
        return cls(*frames, meta, target)

    @property
    def title(self) -> str:
        """What was swept, in a line."""
        varied = ", ".join(f"{name} × {len(texts)}" for name, texts in self.meta["parameters"].items())
        failed = f", {len(self.errors)} failed" if len(self.errors) else ""
        name = self.meta.get("job", "job")
        return f"{name}: {varied or 'one point'}, {len(self.seeds)} seeds, {len(self.table)} runs{failed}"

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        return f"<Sweep of {self.title}>"

    def text(self, quantity: str | Sequence[str] = ("seconds", "loss_final")) -> str:
        """A summary over seeds, for a terminal."""
        timed = () if self.target is None else ("time_to_target_s",)
        shown = self.summary(quantity=[*timed, *([quantity] if isinstance(quantity, str) else quantity)])
        lines = in_words(shown.drop(columns=[] if shown["failed"].any() else ["failed"]))
        end = f"\ntarget loss {self.target:.4g}; never reached: inf" if self.target is not None else ""
        return f"{self.title}\n{lines}\nmedians with bootstrap 95 % intervals; times in {self.time_unit}{end}"

    def _repr_html_(self) -> str:
        head = self.table.head(20).to_html(index=False, border=0, float_format=lambda value: f"{value:.4g}")
        return f"<p>{self.title}</p>{head}"


def _nothing(parameters: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables of a sweep none of whose runs has ended."""
    kinds = {
        **dict.fromkeys(parameters, "object"), "seed": "int64", "engine": "object", "engine_why": "object",
        **dict.fromkeys(SUMMARY, "float64"), "diverged": "bool", "error": "object", "hash": "object",
    }  # fmt: skip
    table = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in kinds.items()})
    losses = {
        "hash": "object",
        "time_s": "float64",
        "iterations": "int64",
        "updates": "int64",
        "loss": "float64",
    }
    return table, pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in losses.items()})
