"""Small tables of results: groups of runs, estimates with intervals, documented columns, text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from psbook.experiments.intervals import Statistic, bootstrap
from psbook.trace.statistics import documented


def in_words(frame: pd.DataFrame) -> str:
    """Return a table as text, each interval in the column of its quantity.

    >>> print(in_words(pd.DataFrame({"x": [2.0], "x_low": [1.5], "x_high": [3.0], "n": [4]})))
               x  n
    2 [1.5, 3]  4
    """
    frame = frame.copy()
    for name in [name for name in frame if f"{name}_low" in frame]:
        columns = [frame.pop(f"{name}{end}") if end else frame[name] for end in ("", "_low", "_high")]
        frame[name] = ["{:.4g} [{:.4g}, {:.4g}]".format(*row) for row in zip(*columns, strict=True)]
    return frame.to_string(index=False, float_format=lambda value: f"{value:.4g}", na_rep="–")


def groups(table: pd.DataFrame, names: Sequence[str]) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """Return the labels and rows of each group, in the order in which they come in the table."""
    if not names:
        return [({}, table)]
    found = table.groupby(list(names), sort=False, dropna=False, observed=True)
    return [(dict(zip(names, labels, strict=True)), part) for labels, part in found]


def estimated(
    name: str, values: np.ndarray[Any, Any], confidence: float, statistic: Statistic = "median"
) -> dict[str, float]:
    """Return a quantity's statistic and interval as three columns."""
    value, low, high = bootstrap(values[~np.isnan(values)], statistic, confidence)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def frame_of(
    rows: Sequence[Mapping[str, Any]], by: Sequence[str], meanings: Mapping[str, str], confidence: float
) -> pd.DataFrame:
    """Return rows as a documented table; columns ``x_low`` and ``x_high`` are the interval of ``x``."""
    frame = pd.DataFrame(rows)
    known = {
        **dict.fromkeys(by, "parameter"),
        "runs": "runs that count",
        "failed": "runs that failed and are left out",
        **meanings,
    }
    interval = f"{confidence:.4g} bootstrap interval"
    for name in meanings:
        known |= {
            f"{name}_low": f"lower end of its {interval}",
            f"{name}_high": f"upper end of its {interval}",
        }
    return documented(frame, {str(name): known[str(name)] for name in frame.columns})
