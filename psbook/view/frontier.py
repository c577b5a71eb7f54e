"""Time against quality: which settings no other one beats in both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from psbook.errors import InvalidJob
from psbook.experiments.questions import front_of
from psbook.view.picture import Picture, haloed, picture, tidy
from psbook.view.style import FAINT, INK, LineStyle
from psbook.view.swept import Source, grouped, looks_of, swept


def plot_frontier(
    source: Source,
    by: str | Sequence[str] | None = None,
    *,
    time: str = "seconds",
    quality: str = "loss_final",
    title: str = "",
) -> Picture:
    """Draw a dot a combination of parameters, and the front of those that none beats in time and quality.

    Parameters
    ----------
    source
        A sweep; or a table with columns of parameters, ``seed``, and the two quantities, one row a run.
    by
        Parameters, a dot a combination; all by default.
    time, quality
        Columns, of which less is better; medians over runs are drawn.
    title
        What was swept.

    Returns
    -------
    Picture
        One axes; dots are coloured by model where that varies, those on the front are named.

    Examples
    --------
    >>> table = pd.DataFrame(
    ...     {
    ...         "model": ["BSP", "SSP(2)", "ASP"],
    ...         "seed": 0,
    ...         "seconds": [3.0, 2.0, 4.0],
    ...         "loss_final": [0.1, 0.2, 0.3],
    ...     }
    ... )
    >>> plot_frontier(table)
    Time against quality: 2 of 3 settings are beaten by none: SSP(2) (2, 0.2); BSP (3, 0.1).
    """
    data = swept(source)
    for name in (time, quality):
        if name not in data.table:
            raise InvalidJob(f"{name!r}; required: a column of {', '.join(map(str, data.table.columns))}.")
    rows = [
        (label, float(part[time].median()), float(part[quality].median()))
        for label, part in grouped(data.table, data.by(by))
    ]
    frame = pd.DataFrame(rows, columns=["label", "time", "quality"])
    frame["front"] = front_of(frame["time"], frame["quality"])
    head = title or data.title.replace("Sweep", "Time against quality")
    finite = np.isfinite(frame["time"].to_numpy()) & np.isfinite(frame["quality"].to_numpy())
    lost = int((~finite).sum())
    note = "medians over seeds; filled: no other setting is better in both" + (
        f"; {lost} settings that diverged or never arrived are left out" if lost else ""
    )
    figure = picture(7.6, 4.4, head, note)
    axes = figure.subplots()
    tidy(axes)
    timed = time == "seconds" or time.endswith("_s")
    axes.set_xlabel(f"{time}, {data.unit}" if timed else time)
    axes.set_ylabel(quality)
    arrived = frame[finite].sort_values("time", kind="stable")
    front = arrived[arrived["front"]]
    axes.step(front["time"], front["quality"], where="post", color=FAINT, linewidth=1.0, linestyle="--")
    told = []
    firsts = list(dict.fromkeys(label.partition(", ")[0] for label in frame["label"]))
    modelled = "model" in data.by(by)
    looks = dict(zip(firsts, looks_of(firsts), strict=True))
    for label, x, y, best in zip(*(arrived[name].tolist() for name in frame.columns), strict=True):
        look = looks[label.partition(", ")[0]] if modelled else LineStyle(INK, "-")
        axes.plot([x], [y], look.marker or "o", color=look.color, markersize=7,
                  markerfacecolor=look.color if best else "white")  # fmt: skip
        if best:
            told.append(f"{label} ({x:.3g}, {y:.3g})")
            haloed(axes, label, (x, y), xytext=(7, 6), fontsize=8, color=look.color, weight="bold")
    if modelled:
        handles = [
            Line2D([], [], linestyle="none", marker=look.marker or "o", color=look.color, label=first)
            for first, look in looks.items()
        ]
        figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=9,
                      labelcolor="linecolor")  # fmt: skip
    beaten = f"{len(front)} of {len(frame)} settings are beaten by none"
    figure.psbook_sentence = f"{head}: {beaten}: {'; '.join(told) or 'none arrived'}."
    return figure
