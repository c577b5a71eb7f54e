"""Who wins where: a phase diagram over two parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.patches import Patch, Rectangle
from scipy import stats

from psbook.errors import InvalidJob
from psbook.trace.statistics import documented
from psbook.view.heatmap import frame_cells
from psbook.view.picture import Picture, picture, thin_hatches
from psbook.view.style import INK, LineStyle, blend
from psbook.view.swept import Source, looks_of, swept

HATCHES = ("", "///", "...", "\\\\\\", "xx", "++", "oo", "--")

COLUMNS = {
    "winner": "who has the least median over seeds",
    "second": "who comes next; empty if there is nobody",
    "advantage": "median of the second / median of the winner; infinite if only the winner got there",
    "clear": "whether more seeds favour the winner over the second than chance explains (sign test, 5 %)",
}


def winners(source: Source, quantity: str, x: str, y: str, compare: str = "model") -> pd.DataFrame:
    """Return who wins at each pair of values of two parameters; less is better.

    Parameters
    ----------
    source
        A sweep, or a table with columns of parameters, ``seed`` and the quantity, one row a run.
    quantity
        Column, such as ``"time_to_target_s"``.
    x, y
        Parameters of the places.
    compare
        Parameter whose values compete. Each runs at its best: what else varies, such as the learning rate,
        is chosen by the median over seeds (which flatters all alike; `tuned_comparison` does not).

    Returns
    -------
    DataFrame
        A row a place; ``.attrs["columns"]`` explains the columns.

    Raises
    ------
    InvalidJob
        If a name is no parameter or no quantity.
    """
    data = swept(source)
    data.by([x, y, compare])
    if quantity not in data.table:
        raise InvalidJob(
            f"quantity={quantity!r}; required: one of {', '.join(map(str, data.table.columns))}."
        )
    others = [name for name in data.parameters if name not in (x, y, compare)]
    rows = []
    for (at, up), place in data.table.groupby([x, y], sort=False, observed=True):
        runs = {who: _tuned(part, others, quantity) for who, part in place.groupby(compare, sort=False)}
        order = sorted(runs, key=lambda who: float(runs[who].median()))
        rows.append((at, up, *_contest(runs, order)))
    frame = pd.DataFrame(rows, columns=[x, y, *COLUMNS])
    return documented(frame, {x: "parameter", y: "parameter", **COLUMNS})


def _tuned(part: pd.DataFrame, others: Sequence[str], quantity: str) -> pd.Series[Any]:
    """Values by seed at the best setting of the other parameters; NaN counts as never."""
    settings = [part] if not others else [each for _, each in part.groupby(list(others), sort=False)]
    tried = [each.set_index("seed")[quantity].fillna(np.inf) for each in settings]
    return min(tried, key=lambda values: (float(values.median()), float(np.mean(np.isinf(values)))))


def _contest(runs: dict[Any, pd.Series[Any]], order: Sequence[Any]) -> tuple[str, str, float, bool]:
    first = runs[order[0]]
    if not np.isfinite(first.median()):
        return "", "", np.nan, False
    if len(order) < 2:
        return str(order[0]), "", np.nan, True
    second = runs[order[1]].reindex(first.index)
    wins, losses = int((first < second).sum()), int((first > second).sum())
    clear = bool(wins and 2 * stats.binom.sf(wins - 1, wins + losses, 0.5) < 0.05)
    advantage = float(second.median() / first.median()) if first.median() > 0 else np.inf
    return str(order[0]), str(order[1]), advantage, clear


def plot_winners(
    source: Source,
    x: str,
    y: str,
    quantity: str = "time_to_target_s",
    *,
    compare: str = "model",
    title: str = "",
) -> Picture:
    """Draw who wins where: a colour, a hatch and a name for each winner, and how far ahead it is.

    Parameters
    ----------
    source
        A sweep or a table of its runs; or the outcome of `psbook.experiments.tuned_comparison`, whose
        ``rank`` and ``clear`` are then taken.
    x, y
        Parameters along and up.
    quantity
        Column, of which less is better; not needed for a tuned comparison.
    compare
        Parameter whose values compete.
    title
        What was swept.

    Returns
    -------
    Picture
        Pale cells: the lead is no clearer than chance. A number is the factor by which the second is behind.

    Examples
    --------
    >>> table = pd.DataFrame(
    ...     {
    ...         "model": ["BSP", "ASP"] * 2,
    ...         "slow": [1, 1, 8, 8],
    ...         "n": 4,
    ...         "seed": 0,
    ...         "time_to_target_s": [1.0, 2.0, 8.0, 4.0],
    ...     }
    ... )
    >>> plot_winners(table, "slow", "n")
    Who has the least time_to_target_s over slow and n: BSP in 1 of 2 cells, ASP in 1; 0 clear by a sign test.
    """
    if isinstance(source, pd.DataFrame) and "rank" in source:
        frame, names, quantity = _from_ranks(source, x, y, compare)
        how = "by a bootstrap interval of paired differences"
    else:
        frame = winners(source, quantity, x, y, compare)
        names = [str(name) for name in swept(source).table[compare].unique()]
        how = "by a sign test"
    present = [name for name in names if (frame["winner"] == name).any()]
    looks = dict(zip(names, looks_of(names), strict=True))
    hatches = {name: HATCHES[at % len(HATCHES)] for at, name in enumerate(names)}
    cells = frame.pivot_table(index=y, columns=x, values="winner", aggfunc="first", sort=False, observed=True)
    rows, columns = cells.shape
    note = f"winner: least median over seeds; pale: not clear {how}; ×: how far the second is behind"
    figure = picture(min(3.2 + 0.95 * columns, 12), min(2.3 + 0.55 * rows, 9),
                     title or f"Who has the least {quantity}", note)  # fmt: skip
    axes = figure.subplots()
    frame_cells(axes, cells)
    along, up = list(cells.columns), list(cells.index)
    with thin_hatches():
        for _, row in frame.iterrows():
            at, height = along.index(row[x]), up.index(row[y])
            look = looks.get(row["winner"])
            _draw(axes, at, height, row, look, hatches.get(row["winner"], ""))
        handles = [_sample(name, looks[name], hatches[name]) for name in present]
    if handles:
        figure.legend(handles=handles, loc="outside upper right", ncols=6, frameon=False, fontsize=9,
                      handlelength=2.2)  # fmt: skip
    counts = frame["winner"].value_counts()
    said = ", ".join(f"{name} in {counts[name]}" + (f" of {len(frame)} cells" if place == 0 else "")
                     for place, name in enumerate(present))  # fmt: skip
    figure.psbook_sentence = (
        f"{title or 'Who has the least ' + quantity} over {x} and {y}: {said or 'nobody got there'}; "
        f"{int(frame['clear'].sum())} clear {how}."
    )
    return figure


def _from_ranks(source: pd.DataFrame, x: str, y: str, compare: str) -> tuple[pd.DataFrame, list[str], str]:
    """Winners of a tuned comparison; its score is ``time_s`` or ``loss``."""
    quantity = "time_s" if "time_s" in source else "loss"
    rows = []
    for (at, up), part in source.groupby([x, y], sort=False, observed=True):
        order = part.sort_values("rank", kind="stable")
        first = order.iloc[0]
        got_there = bool(np.isfinite(first[quantity]))
        second = order.iloc[1] if len(order) > 1 else None
        comparable = got_there and first[quantity] > 0
        ahead = second[quantity] / first[quantity] if comparable and second is not None else np.nan
        rows.append((at, up, str(first[compare]) if got_there else "",
                     "" if second is None else str(second[compare]), ahead,
                     bool(first["clear"]) and got_there))  # fmt: skip
    names = [str(name) for name in source[compare].unique()]
    return pd.DataFrame(rows, columns=[x, y, *COLUMNS]), names, quantity


def _draw(axes: Any, at: int, height: int, row: pd.Series[Any], look: LineStyle | None, hatch: str) -> None:
    if look is None:
        axes.text(at, height, "nobody", ha="center", va="center", fontsize=8, color=INK)
        return
    color = look.color if row["clear"] else blend(look.color, "#ffffff", 0.62)
    axes.add_patch(Rectangle((at - 0.5, height - 0.5), 1, 1, facecolor=color, edgecolor="#00000055",
                             hatch=hatch, linewidth=0.6))  # fmt: skip
    lead = row["advantage"]
    text = f"{row['winner']}\n" + ("" if np.isnan(lead) else "only one" if np.isinf(lead) else f"×{lead:.2f}")
    axes.text(at, height, text.strip(), ha="center", va="center", fontsize=8, color=INK,
              bbox={"boxstyle": "round,pad=0.15", "fc": "#ffffffc8", "ec": "none"})  # fmt: skip


def _sample(name: str, look: LineStyle, hatch: str) -> Patch:
    return Patch(facecolor=look.color, hatch=hatch, edgecolor="#00000055", linewidth=0.6, label=name)
