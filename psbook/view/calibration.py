"""How well a calibration fits: compute times, their quantiles against the law's, messages and servers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes

from psbook.view.picture import Picture, haloed, note_of, picture, say, tidy
from psbook.view.style import FAINT, FAMILIES, INK, OTHERS

if TYPE_CHECKING:
    from psbook.experiments.calibrate_compute import Floats
    from psbook.experiments.calibration import Calibration

MARKERS = "os^Dv<>P"
COLORS = [style.color for style in (*OTHERS, *FAMILIES.values())]
MILLI = 1e3

DIRECT = 6
"""Workers up to which each is named."""


def plot_calibration(calibration: Calibration) -> Picture:
    """Draw a calibration in three panels.

    Parameters
    ----------
    calibration
        What `psbook.calibrate` returns.

    Returns
    -------
    Picture
        Work of each iteration, by worker; quantiles of each worker's work against those of the fitted law, on
        the diagonal where they agree; shares of messages and requests that took less than so long.
    """
    unit = "simulated ms" if calibration.trace.meta.get("time_unit") == "simulated s" else "ms"
    figure = picture(12.0, 4.4, f"Fitted: {_short(calibration.law.label, 100)}", note_of(calibration.trace))
    left, middle, right = figure.subplots(1, 3)
    _series(left, calibration, unit)
    _quantiles(middle, calibration, unit)
    _messages(right, calibration, unit)
    figure.psbook_sentence = str(calibration)
    return figure


def _short(label: str, letters: int) -> str:
    return label if len(label) <= letters else label[: letters - 1] + "…"


def _looks(count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        yield {"color": COLORS[number % len(COLORS)], "marker": MARKERS[number % len(MARKERS)]}


def _series(axes: Axes, calibration: Calibration, unit: str) -> None:
    tidy(axes)
    for work, look in zip(calibration.works, _looks(len(calibration.works)), strict=True):
        axes.plot(work.clocks, MILLI * work.seconds, linestyle="", markersize=2.6, alpha=0.8,
                  label=work.worker, **look)  # fmt: skip
    axes.set_xlabel("iteration")
    axes.set_ylabel(f"work of an iteration, {unit}")
    axes.set_title("Work", fontsize=10, loc="left", color=INK)
    _stretch(axes, np.concatenate([work.seconds for work in calibration.works]))


def _stretch(axes: Axes, seconds: Floats) -> None:
    """Make the axis logarithmic where a straight one would flatten most of the times."""
    if seconds.max() > 12 * np.median(seconds):
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.08 * MILLI * float(seconds.max()))


def _quantiles(axes: Axes, calibration: Calibration, unit: str) -> None:
    tidy(axes, "both")
    highest = 0.0
    lowest = np.inf
    for rank, (work, look) in enumerate(zip(calibration.works, _looks(len(calibration.works)), strict=True)):
        mine = np.sort(work.seconds)
        at = (np.arange(len(mine)) + 0.5) / len(mine)
        law = np.quantile(calibration.law.times(rank, 20_000, 1), at)
        far = calibration.distances[rank]
        name = f"{work.worker}, KS {far:.2f}" if len(calibration.works) <= DIRECT else None
        axes.plot(MILLI * law, MILLI * mine, linestyle="", markersize=3.2, alpha=0.8, label=name, **look)
        highest, lowest = max(highest, float(law.max()), float(mine.max())), min(lowest, float(mine.min()))
    line = np.array([0.0 if highest < 12 * lowest else 0.5 * lowest, 1.05 * highest]) * MILLI
    axes.plot(line, line, color=FAINT, linewidth=1.0, linestyle="--", zorder=0)
    if highest > 12 * max(lowest, 1e-12) and lowest > 0:
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.set_xlabel(f"quantile of the law, {unit}")
    axes.set_ylabel(f"quantile of the worker, {unit}")
    axes.set_title("Fit: on the line where it is good", fontsize=10, loc="left", color=INK)
    if len(calibration.works) <= DIRECT:
        axes.legend(frameon=False, fontsize=8, loc="upper left", handletextpad=0.2)


def _messages(axes: Axes, calibration: Calibration, unit: str) -> None:
    tidy(axes, "both")
    costs = calibration.costs
    parts = [
        (name, costs.messages.loc[costs.messages["near"] == near, "seconds"].to_numpy(), style)
        for name, near, style in (
            ("message between processes", False, "-"), ("message within a process", True, "--"),
        )
    ] if len(costs.messages) else []  # fmt: skip
    parts += [
        (f"a {'push' if role == 'head' else 'pull'} at a server", x, style)
        for (role, x), style in zip(costs.served.items(), (":", "-."), strict=False) if role in costs.service
    ]  # fmt: skip
    parts = [(name, x[x > 0], style) for name, x, style in parts if (x > 0).any()]
    axes.set_xlabel(f"took at most, {unit}")
    axes.set_ylabel("share")
    axes.set_title("Messages and servers", fontsize=10, loc="left", color=INK)
    if not parts:
        say(axes, "messages and servers took no time,\nor the trace does not tell")
        return
    for number, (name, x, style) in enumerate(parts):
        x = np.sort(x)
        axes.plot(MILLI * x, (np.arange(len(x)) + 1) / len(x), linestyle=style, label=name,
                  color=COLORS[number], linewidth=1.8)  # fmt: skip
    axes.set_xscale("log")
    if costs.latency:
        axes.axvline(MILLI * costs.latency, color=FAINT, linewidth=1.0, linestyle=":")
        haloed(axes, f"latency {MILLI * costs.latency:.3g}", (MILLI * costs.latency, 0.0), xytext=(3, 4),
               fontsize=8, color=FAINT)  # fmt: skip
    axes.set_ylim(0, 1.28)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.legend(frameon=False, fontsize=8, loc="upper left")
