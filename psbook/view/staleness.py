"""How stale the applied updates were."""

from __future__ import annotations

import re

import numpy as np
from matplotlib.ticker import MaxNLocator

from psbook.errors import DataError
from psbook.trace import Trace, statistics
from psbook.view.picture import Picture, name_of, note_of, picture, say, tidy
from psbook.view.style import INK, style_of


def pmf(trace: Trace) -> np.ndarray:
    """Return the share of updates that were 0, 1, 2, … updates stale, shape (largest + 1,), float64.

    Empty if the trace holds no updates that were computed from a read.

    >>> from psbook.trace import Recorder
    >>> recorder = Recorder()
    >>> for stale in (0, 2, 2, 2):
    ...     recorder.add(0.0, "server-0", "apply", peer="worker-0", staleness=stale)
    >>> pmf(recorder.trace({})).tolist()
    [0.25, 0.0, 0.75]
    """
    try:
        values = statistics.staleness(trace)["staleness"].to_numpy()
    except DataError:
        return np.empty(0)
    return np.bincount(values) / len(values) if len(values) else np.empty(0)


def geometric(workers: int, count: int) -> np.ndarray:
    """Return the pmf of staleness 0 … count − 1 under ASP with exponential compute times (theory.md T5).

    Equal rates and no cost of communication: geometric with p = 1/n and mean n − 1.

    >>> geometric(2, 3).tolist()
    [0.5, 0.25, 0.125]
    """
    return (1.0 - 1.0 / workers) ** np.arange(count) / workers


def theory_applies(trace: Trace) -> bool:
    """Whether `geometric` is what the staleness of this run should follow."""
    meta = trace.meta
    return (
        meta.get("model") == "asp"
        and re.fullmatch(r"Exponential\([^()]*\)", str(meta.get("compute_label"))) is not None
        and meta.get("network_label", "no network cost") == "no network cost"
        and not meta.get("service_label")
        and meta.get("backend", "simulator") == "simulator"
    )


def staleness(trace: Trace) -> Picture:
    """Draw the distribution of the applied updates' staleness, its mean, and the theory where it holds.

    Parameters
    ----------
    trace
        A trace with updates: level "iterations" or "full".
    """
    label = name_of(trace)
    figure = picture(7.2, 3.9, f"{label}: staleness of the updates", note_of(trace))
    axes = figure.subplots()
    tidy(axes)
    axes.set_xlabel("staleness, updates (version when applied − version read)")
    axes.set_ylabel("share of updates")
    shares = pmf(trace)
    if not len(shares):
        say(axes, NO_UPDATES)
        figure.psbook_sentence = f"{label}: {NO_UPDATES}".replace("\n", " ")
        return figure
    color = style_of(str(trace.meta.get("model", ""))).color
    values = np.arange(len(shares))
    axes.bar(values, shares, width=0.86, color=color, alpha=0.75)
    mean = float(values @ shares)
    axes.axvline(mean, color=INK, linewidth=1.2)
    axes.annotate(f"mean {mean:.3g}", (mean, 1.0), xycoords=("data", "axes fraction"), xytext=(5, -3),
                  textcoords="offset points", va="top", fontsize=9, color=INK)  # fmt: skip
    axes.set_xlim(-0.7, max(len(shares), 4) - 0.3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.psbook_sentence = (
        f"{label}: the applied updates are {mean:.3g} updates stale on average and {len(shares) - 1} at most."
    )
    workers = len(trace.meta.get("workers", ()))
    if theory_applies(trace) and workers:
        expected = geometric(workers, len(shares))
        axes.plot(values, expected, color=INK, linestyle="--", marker="o", markersize=3, linewidth=1.2,
                  label=f"theory: geometric, mean n − 1 = {workers - 1}")  # fmt: skip
        axes.legend(frameon=False, fontsize=9, loc="center right")
        figure.psbook_sentence += f" Theory: geometric with mean n − 1 = {workers - 1}, drawn dashed."
    return figure


NO_UPDATES = (
    "this trace holds no update that was computed from a read;\n"
    "required: trace='iterations' or 'full', and a program that pulls before it pushes"
)
