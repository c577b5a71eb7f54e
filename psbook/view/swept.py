"""What pictures of many runs are made from: a `Sweep`, plain tables like its own, or lists of runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import to_hex

from psbook.core import consistency as models
from psbook.core.consistency import Consistency
from psbook.errors import InvalidJob, PsbookError
from psbook.trace import statistics
from psbook.trace.statistics import documented
from psbook.view.style import Dashes, LineStyle, styles

if TYPE_CHECKING:
    from psbook.experiments.swept import Sweep
    from psbook.run import Run

VIRIDIS = colormaps["viridis"]

Source: TypeAlias = "Sweep | pd.DataFrame | Mapping[str, Sequence[Run]]"
"""A sweep; a table, a row a run (or an evaluation): parameters, then ``seed``, then quantities; or runs by
label, as in `Comparison.runs`."""


@dataclass(frozen=True, eq=False)
class Swept:
    """A sweep or a table, in one form.

    Attributes
    ----------
    table, history : DataFrame
        A row a run that did not fail, a row an evaluation; either may be empty.
    parameters : list of str
        Names of what varies.
    title, unit : str
        What was swept; the unit of times.
    target : float, optional
        Loss to reach.
    """

    table: pd.DataFrame
    history: pd.DataFrame
    parameters: list[str]
    title: str = "Sweep"
    unit: str = "simulated s"
    target: float | None = None

    def by(self, names: str | Sequence[str] | None) -> list[str]:
        """Return names of parameters, all that vary by default; refuse others."""
        if names is None:
            return list(self.parameters)
        found = [names] if isinstance(names, str) else list(names)
        for name in found:
            if name not in self.parameters:
                raise InvalidJob(f"{name!r} does not vary; required: one of {', '.join(self.parameters)}.")
        return found


def swept(source: Source) -> Swept:
    """Return a sweep, a table or lists of runs as `Swept`.

    Raises
    ------
    InvalidJob
        For a table without a column ``seed``, behind the parameters.
    """
    if isinstance(source, Mapping):
        return _of_runs(source)
    if not isinstance(source, pd.DataFrame):
        return Swept(source.good, source.history, source.parameters, source.title, source.time_unit,
                     source.target)  # fmt: skip
    columns = list(map(str, source.columns))
    if "seed" not in columns:
        raise InvalidJob(
            f"a table with columns {columns}; required: parameters, then 'seed', then quantities, as in "
            "Sweep.table or Sweep.history."
        )
    parameters = [name for name in columns[: columns.index("seed")] if name != "run"]
    frame = source if "run" in columns else source.assign(run=_runs(source, [*parameters, "seed"]))
    evaluations = {"time_s", "loss"} <= set(columns)
    empty = frame.iloc[:0]
    return Swept(empty if evaluations else frame, frame if evaluations else empty, parameters)


def _of_runs(runs: Mapping[str, Sequence[Run]]) -> Swept:
    """Label the runs of each list as a model's."""
    rows: list[dict[str, Any]] = []
    histories = []
    for label, each in runs.items():
        for run in each:
            who = {"run": len(rows), "model": label, "seed": run.meta.get("seed", 0)}
            rows.append({**who, **statistics.summary(run.trace)})
            histories.append(statistics.history(run.trace).assign(**who))
    if not rows:
        raise InvalidJob("no runs; required: at least one, as in {'BSP': [run]}.")
    table = documented(pd.DataFrame(rows), dict(statistics.SUMMARY))
    meta = next(iter(runs.values()))[0].meta
    title, unit = str(meta.get("job", "Runs")), str(meta.get("time_unit", "s"))
    return Swept(table, pd.concat(histories, ignore_index=True), ["model"], title, unit)


def _runs(frame: pd.DataFrame, names: list[str]) -> pd.Series[Any]:
    return frame.groupby(names, sort=False, dropna=False).ngroup()


def grouped(frame: pd.DataFrame, names: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the label and the rows of each combination of parameters, in the order of the table.

    >>> frame = pd.DataFrame({"model": ["BSP", "ASP"], "rate": [0.1, 0.2], "seed": [0, 0]})
    >>> [label for label, _ in grouped(frame, ["model", "rate"])]
    ['BSP, rate 0.1', 'ASP, rate 0.2']
    """
    if not names:
        yield "all runs", frame
        return
    for values, part in frame.groupby(list(names), sort=False, dropna=False, observed=True):
        yield ", ".join(_told(name, value) for name, value in zip(names, values, strict=True)), part


def _told(name: str, value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if name == "model" else f"{name} {text}"


def family_of(label: str) -> str:
    """Return the family of a model, given its label.

    >>> [family_of(label) for label in ("SSP(3, gate=clock)", "Delay(2)", "K-batch-async(4)", "Backup(1)")]
    ['ssp', 'boundeddelay', 'kbatchasync', 'backupworkers']
    """
    name = "".join(c for c in label.partition(",")[0].partition("(")[0].lower() if c.isalnum())
    return {"delay": "boundeddelay", "backup": "backupworkers"}.get(name, name)


_MODELS: dict[str, Callable[..., Consistency]] = {
    "serial": models.Serial,
    "bsp": models.BSP,
    "asp": models.ASP,
    "ssp": models.SSP,
    "boundeddelay": models.BoundedDelay,
    "ksync": models.KSync,
    "kasync": models.KAsync,
    "kbatchsync": models.KBatchSync,
    "kbatchasync": models.KBatchAsync,
    "backupworkers": models.BackupWorkers,
}


def model_of(label: str) -> Consistency | None:
    """Return the model that has a label; ``None`` if it is none whose theory psbook knows.

    >>> model_of("SSP(3)"), model_of("K-sync(2)"), model_of("Mine(1)")
    (SSP(s=3.0, gate='read'), KSync(k=2), None)
    """
    kind = _MODELS.get(family_of(label))
    found = re.fullmatch(r"[^(]*(?:\(([\d∞]+)(?:, gate=clock)?\))?", label)
    if kind is None or found is None:
        return None
    try:
        if found[1] is None:
            return kind()
        bound = float(found[1].replace("∞", "inf"))
        return kind(int(bound) if issubclass(kind, models.Rounds) else bound)  # type: ignore[arg-type]
    except (TypeError, PsbookError):
        return None


def looks_of(labels: Sequence[str]) -> list[LineStyle]:
    """Return a style for each label: of the model that it begins with, else along a scale of colours."""
    if any(model_of(label.partition(", ")[0]) for label in labels):
        return styles(family_of(label) for label in labels)
    places = np.linspace(0.0, 0.85, max(len(labels), 2))[: len(labels)]
    return [
        LineStyle(to_hex(VIRIDIS(place)), _DASHES[at % 4], marker="" if at < 4 else "osD^vP"[at % 6])
        for at, place in enumerate(places)
    ]


_DASHES: tuple[Dashes, ...] = ("-", (0, (5, 1.8)), (0, (6, 1.5, 1.2, 1.5)), (0, (1, 1.5)))
