"""A quantity over two swept parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from psbook.errors import InvalidJob
from psbook.view.picture import Picture, picture
from psbook.view.style import FAINT, INK
from psbook.view.swept import VIRIDIS, Source, Swept, swept


def plot_heatmap(
    source: Source,
    quantity: str = "loss_final",
    x: str | None = None,
    y: str | None = None,
    *,
    where: Mapping[str, Any] | None = None,
    best: str | None = "least",
    log: bool | None = None,
    title: str = "",
) -> Picture:
    """Draw the median over seeds of a quantity, a cell a pair of values of two parameters.

    Parameters
    ----------
    source
        A sweep; or a table with columns of parameters, ``seed`` and the quantity, one row a run.
    quantity
        Column; its meaning and unit in ``table.attrs["columns"]`` are written beside the colours.
    x, y
        Parameters; by default the first two that vary.
    where
        Values of other parameters, to look at a part of the runs. Without it the median is over all.
    best
        "least" or "most": the best cell gets a frame and is named; None: neither.
    log
        Whether colours are logarithmic; by default where values span a factor of 20.
    title
        What was swept.

    Returns
    -------
    Picture
        Numbers stand in the cells; infinite ones (never reached, diverged) are hatched.

    Raises
    ------
    InvalidJob
        If a name is no parameter or no quantity, or no run is left.

    Examples
    --------
    >>> table = pd.DataFrame(
    ...     {"s": [0, 0, 4, 4], "rate": [0.1, 1.0] * 2, "seed": 0, "loss_final": [0.5, 0.2, 0.4, 0.9]}
    ... )
    >>> plot_heatmap(table)
    loss_final, median over seeds, over s and rate: from 0.2 at s 0, rate 1 to 0.9 at s 4, rate 1.
    """
    data = swept(source)
    cells = cells_of(data, quantity, x, y, where)
    values = cells.to_numpy(float)
    finite = values[np.isfinite(values)]
    meaning = data.table.attrs.get("columns", {}).get(quantity, quantity)
    rows, columns = values.shape
    note = f"{meaning}; median over seeds" + "".join(f"  ·  {k} = {v}" for k, v in (where or {}).items())
    head = title or f"{quantity} over {cells.columns.name} and {cells.index.name}"
    figure = picture(min(3.4 + 0.85 * columns, 12), min(2.0 + 0.5 * rows, 9), head, note)
    axes = figure.subplots()
    frame_cells(axes, cells)
    if len(finite):
        low, high = float(finite.min()), float(finite.max())
        logarithmic = low > 0 and high / low > 20 if log is None else log
        norm = LogNorm(low, high) if logarithmic and low > 0 else Normalize(low, high)
        image = axes.imshow(np.where(np.isfinite(values), values, np.nan), norm=norm, cmap=VIRIDIS,
                            aspect="auto")  # fmt: skip
        bar = figure.colorbar(image, ax=axes, label=quantity, fraction=0.05)
        if isinstance(norm, LogNorm):
            few = high / low < 1e4  # decades, so that there is room for marks within them
            bar.ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
            bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            bar.ax.yaxis.set_minor_formatter(NullFormatter())
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                dark = sum(VIRIDIS(norm(value))[:3]) < 1.7
                axes.text(column, row, f"{value:.3g}", ha="center", va="center", fontsize=8,
                          color="white" if dark else INK)  # fmt: skip
    for row, column in np.argwhere(~np.isfinite(values)):
        hatch(axes, row, column)
        text = "∞" if np.isinf(values[row, column]) else "–"
        axes.text(column, row, text, ha="center", va="center", fontsize=10, color=INK)
    if best is not None and len(finite):
        row, column = np.argwhere(values == (finite.min() if best == "least" else finite.max()))[0]
        axes.add_patch(_cell(row, column, fill=False, edgecolor="white", linewidth=4, zorder=3))
        axes.add_patch(_cell(row, column, fill=False, edgecolor=INK, linewidth=1.8, zorder=4))
    figure.psbook_sentence = _sentence(cells, quantity, title)
    return figure


def cells_of(
    data: Swept, quantity: str, x: str | None, y: str | None, where: Mapping[str, Any] | None
) -> pd.DataFrame:
    """Return medians over all runs, values of `y` down and of `x` along, in the order of the table."""
    names = [name for name in (x, y) if name is not None]
    names += [name for name in data.parameters if name not in (*names, *(where or {}))]
    if len(names) < 2 or quantity not in data.table:
        raise InvalidJob(
            f"{quantity!r} over {' and '.join(names) or 'nothing'}; required: two parameters of "
            f"{', '.join(data.parameters)}, and a quantity of {', '.join(map(str, data.table.columns))}."
        )
    along, down = (x or names[0]), (y or next(name for name in names if name != (x or names[0])))
    data.by([along, down])
    table = data.table
    for name, value in (where or {}).items():
        table = table[table[data.by(name)[0]] == value]
    if table.empty:
        raise InvalidJob(f"no run has {where}; required: values that were swept.")
    medians = table.groupby([down, along], sort=False, observed=True)[quantity].median().unstack(along)
    return medians.reindex(index=table[down].unique(), columns=table[along].unique())


def frame_cells(axes: Axes, cells: pd.DataFrame) -> None:
    """Name rows and columns, the first row at the bottom."""
    rows, columns = cells.shape
    axes.set_xticks(range(columns), [_told(value) for value in cells.columns])
    axes.set_yticks(range(rows), [_told(value) for value in cells.index])
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(-0.5, rows - 0.5)
    axes.set_autoscale_on(False)
    if max(len(_told(value)) for value in cells.columns) * columns > 60:
        axes.tick_params(axis="x", rotation=30)
    axes.set_xlabel(str(cells.columns.name))
    axes.set_ylabel(str(cells.index.name))
    axes.tick_params(length=0, labelsize=9)
    axes.spines[:].set_visible(False)


def hatch(axes: Axes, row: int, column: int) -> None:
    """Hatch a cell that has no finite value."""
    axes.add_patch(_cell(row, column, facecolor="#f2f2f2", edgecolor=FAINT, hatch="///", linewidth=0))


def _cell(row: int, column: int, **how: Any) -> Rectangle:
    return Rectangle((column - 0.5, row - 0.5), 1, 1, **how)


def _told(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)


def _sentence(cells: pd.DataFrame, quantity: str, title: str) -> str:
    down, along = str(cells.index.name), str(cells.columns.name)
    head = f"{title + ': ' if title else ''}{quantity}, median over seeds, over {along} and {down}"
    values = cells.to_numpy(float)
    finite = np.where(np.isfinite(values), values, np.nan)
    if np.isnan(finite).all():
        return f"{head}: no finite value."
    ends = []
    for place in (np.nanargmin(finite), np.nanargmax(finite)):
        row, column = divmod(int(place), values.shape[1])
        ends.append(
            f"{values[row, column]:.3g} at {along} {_told(cells.columns[column])}, "
            f"{down} {_told(cells.index[row])}"
        )
    infinite = int(np.isinf(values).sum())
    rest = f"; infinite in {infinite} cells" if infinite else ""
    return f"{head}: from {ends[0]} to {ends[1]}{rest}."
