"""Iterations a second against the number of workers, with theory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, ScalarFormatter
from scipy.special import stdtrit

from psbook.errors import InvalidJob
from psbook.experiments.theory import iteration_rate
from psbook.laws import Law
from psbook.trace.statistics import documented
from psbook.view.picture import Picture, haloed, picture, tidy
from psbook.view.style import FAINT, INK, LineStyle
from psbook.view.swept import Source, looks_of, model_of, swept

COLUMNS = {
    "model": "consistency model",
    "workers": "workers",
    "runs": "runs, one a seed",
    "iterations_per_s": "worker iterations a second, mean over seeds [1/s]",
    "half_width": "half of Student's 95 % confidence interval of the mean; NaN for one run [1/s]",
    "theory": "closed form; NaN where none is known [1/s]",
    "deviation": "iterations_per_s / theory − 1",
}
"""Columns of `throughputs`."""


def throughputs(source: Source, law: Law | None = None) -> pd.DataFrame:
    """Return iterations a second by model and workers, and what theory says (T1, T3, T8, T9).

    Parameters
    ----------
    source
        A sweep over ``workers``, and ``model``; or a table with columns ``model`` (label), ``workers``,
        ``seed`` and ``iterations_per_s`` [1/s].
    law
        Compute times, without cost of communication; without it there is no theory.

    Returns
    -------
    DataFrame
        A row a model and number of workers; ``.attrs["columns"]`` explains the columns.

    Raises
    ------
    InvalidJob
        If workers do not vary.
    """
    data = swept(source)
    data.by("workers")
    table = data.table if "model" in data.table else data.table.assign(model="all")
    if "iterations_per_s" not in table:
        raise InvalidJob("a table without 'iterations_per_s'; required: a row a run, as in Sweep.table.")
    rows = []
    for (label, number), part in table.groupby(["model", "workers"], sort=False, observed=True):
        workers = int(str(number))
        values = part["iterations_per_s"].dropna().to_numpy(float)
        model = model_of(str(label))
        expected = math.nan if law is None or model is None else iteration_rate(model, law, workers)
        count, mean = len(values), float(np.mean(values)) if len(values) else math.nan
        width = math.nan
        if count > 1:
            width = float(stdtrit(count - 1, 0.975)) * float(values.std(ddof=1)) / math.sqrt(count)
        rows.append((str(label), workers, count, mean, width, expected, mean / expected - 1))
    return documented(pd.DataFrame(rows, columns=list(COLUMNS)), COLUMNS)


def plot_throughput(source: Source, law: Law | None = None, *, title: str = "") -> Picture:
    """Draw iterations a second against workers, theory dashed, and beside it how far off theory is.

    Parameters
    ----------
    source, law
        As for `throughputs`.
    title
        What was swept.

    Returns
    -------
    Picture
        Left, both axes logarithmic: dots are means over seeds, dashes theory, the dotted line what n workers
        would do if nobody waited. Right: simulated / theory − 1 with 95 % confidence intervals.

    Examples
    --------
    >>> from psbook.laws import Exponential
    >>> table = pd.DataFrame({"model": "BSP", "workers": [2, 4], "seed": 0, "iterations_per_s": [1.34, 1.9]})
    >>> plot_throughput(table, Exponential(1.0))
    Iterations a second against workers. BSP from 1.34 (2 workers) to 1.9 (4), off theory by 1.0 % at most.
    """
    frame = throughputs(source, law)
    labels = [str(label) for label in frame["model"].unique()]
    looks = looks_of(labels)
    known = bool(frame["theory"].notna().any())
    note = (f"compute {law.label}  ·  " if law is not None else "") + (
        "dots: mean over seeds; dashed: theory in the long run, which a run that ends with its slowest "
        "worker stays below; dotted: nobody waits"
        if known
        else "dots: mean over seeds"
    )
    head = title or "Iterations a second against workers"
    figure = picture(10.5 if known else 6.6, 4.3, head, note)
    left, *rest = figure.subplots(1, 2 if known else 1, squeeze=False, width_ratios=[1.35, 1][: 1 + known])[0]
    tidy(left)
    left.set_xscale("log", base=2)
    left.set_yscale("log")
    left.set_xlabel("workers")
    left.set_ylabel("iterations / second, all workers")
    ends, said = [], []
    for label, look in zip(labels, looks, strict=True):
        rows = frame[frame["model"] == label].sort_values("workers")
        left.errorbar(rows["workers"], rows["iterations_per_s"], yerr=rows["half_width"].fillna(0.0), fmt="o",
                      color=look.color, markersize=5, capsize=2, label=label)  # fmt: skip
        left.plot(rows["workers"], rows["theory"], color=look.color, linestyle=(0, (5, 2)), linewidth=1.3)
        first, last = rows.iloc[0], rows.iloc[-1]
        ends.append((float(last["iterations_per_s"]), label, look.color, float(last["workers"])))
        worst = rows["deviation"].abs().max()
        off = f", off theory by {100 * worst:.1f} % at most" if rows["theory"].notna().any() else ""
        said.append(
            f"{label} from {first['iterations_per_s']:.3g} ({first['workers']} workers) to "
            f"{last['iterations_per_s']:.3g} ({last['workers']}){off}"
        )
    workers = sorted(frame["workers"].unique())
    if law is not None and np.isfinite(law.mean) and law.mean > 0:
        left.plot(workers, np.array(workers) / law.mean, color=FAINT, linestyle=":", linewidth=1.0)
    left.set_xticks(workers)
    left.xaxis.set_major_formatter(ScalarFormatter())
    left.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    left.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    for axis in (left.xaxis, left.yaxis):
        axis.set_minor_formatter(NullFormatter())
    left.set_xlim(workers[0] / 1.25, workers[-1] * 2.1)
    _name(left, ends)
    if known:
        _deviations(rest[0], frame, labels, looks, workers)
    figure.psbook_sentence = f"{head}. {'; '.join(said)}."
    return figure


def _name(axes: Axes, ends: list[tuple[float, str, str, float]]) -> None:
    """Write labels to the right of the last dots, moved apart where they would overlap."""
    taken = -math.inf
    for value, label, color, at in sorted(ends):
        _, y = axes.transData.transform((at, value))
        y = float(y) * 72 / axes.figure.dpi
        shift = max(0.0, taken + 11 - y)
        taken = y + shift
        haloed(axes, label, (at, value), xytext=(9, shift - 3), fontsize=9, color=color, weight="bold")


def _deviations(
    axes: Axes, frame: pd.DataFrame, labels: Sequence[str], looks: Sequence[LineStyle], workers: Sequence[int]
) -> None:
    tidy(axes)
    axes.set_xscale("log", base=2)
    axes.axhline(0, color=INK, linewidth=0.9)
    axes.set_xlabel("workers")
    axes.set_ylabel("simulated / theory − 1, %")
    axes.set_title("how far off theory, 95 % confidence", fontsize=9, color=FAINT, loc="left")
    for place, (label, look) in enumerate(zip(labels, looks, strict=True)):
        rows = frame[(frame["model"] == label) & frame["theory"].notna()]
        if rows.empty:
            continue
        shift = 1 + 0.06 * (place - (len(labels) - 1) / 2)
        width = 100 * (rows["half_width"] / rows["theory"]).fillna(0.0)
        axes.errorbar(rows["workers"] * shift, 100 * rows["deviation"], yerr=width, fmt=look.marker or "o",
                      color=look.color, markersize=5, capsize=2)  # fmt: skip
    axes.set_xticks(workers)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    most = max(1.0, 1.15 * max(abs(limit) for limit in axes.get_ylim()))
    axes.set_ylim(-most, most)
