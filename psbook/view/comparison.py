"""Several consistency models side by side, each over several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from psbook.trace import Trace, statistics
from psbook.trace.schema import SPANS
from psbook.view.convergence import scale_loss
from psbook.view.marks import Moment, draw_moments, moments
from psbook.view.picture import Picture, haloed, note_of, picture, say, tidy, unit_of
from psbook.view.staleness import NO_UPDATES, pmf
from psbook.view.style import FAINT, INK, LineStyle, seconds_label, struck, styles
from psbook.view.waiting import NO_SPANS, kinds_of, patches, seconds_of, stacked_bars

if TYPE_CHECKING:
    from psbook.experiments.comparison import Comparison

Row: TypeAlias = tuple[str, str, Sequence[Trace]]
"""Label and family of a model, and its traces, one a seed."""

DIRECT = 6
"""Lines that get their label beside them; more get a legend."""

POINTS = 240
"""Points at which the losses of several seeds are put together."""


@dataclass(frozen=True)
class Band:
    """Losses of several seeds along one axis.

    Attributes
    ----------
    at : (p,) float
        Seconds, or updates.
    low, middle, high : (p,) float
        Minimum, median and maximum over the seeds; straight between evaluations.
    """

    at: np.ndarray
    low: np.ndarray
    middle: np.ndarray
    high: np.ndarray


def plot_comparison(
    compared: Comparison | Sequence[Row],
    target: float | None = None,
    *,
    untuned: bool = False,
    title: str = "Consistency models side by side",
) -> Picture:
    """Draw models side by side: loss over time and over updates, where time went, how stale updates were.

    Parameters
    ----------
    compared
        The outcome of `psbook.compare`, which brings its own target and title; or a row for each model.
    target
        Loss to reach; a dotted line, and a dot where the median of the seeds gets there.
    untuned
        Whether all models ran at the same learning rate; the title says so.
    title
        What was compared.

    Returns
    -------
    Picture
        Four axes. Lines are medians over seeds, bands reach from the smallest to the largest.
    """
    if isinstance(compared, Sequence):
        rows = [(label, family, list(traces)) for label, family, traces in compared]
        if untuned:
            title += " (learning rate untuned: the same for all)"
    else:
        rows = [(e.label, e.model.family, [run.trace for run in e.runs]) for e in compared.entries]
        target, title = compared.target, compared.title
        if compared.faults is not None:
            return _draw_faults(compared, rows)
    return _draw(rows, styles(family for _, family, _ in rows), target, title)


def _draw_faults(compared: Comparison, rows: Sequence[Row]) -> Picture:
    """Draw each model twice, without and with the faults, which are marked, and say what they cost."""
    families = [entry.model.family for entry in compared.entries[::2]]
    looks = [look for plain in styles(families) for look in (plain, struck(plain))]
    befell = {
        moment for _, _, traces in rows[1::2] for trace in traces for moment in moments(trace)
        if moment.kind == "fault"
    }  # fmt: skip
    rows = [
        (f"{entry.model.label}, faults" if entry.faults == "with" else label, family, traces)
        for entry, (label, family, traces) in zip(compared.entries, rows, strict=True)
    ]
    figure = _draw(rows, looks, compared.target, compared.title, sorted(befell))
    figure.psbook_sentence += f" {compared.cost}"
    return figure


def _draw(
    rows: Sequence[Row],
    looks: Sequence[LineStyle],
    target: float | None,
    title: str,
    befell: Sequence[Moment] = (),
) -> Picture:
    first = rows[0][2][0]
    unit = unit_of(first)
    figure = picture(11.5, 5.0 + 0.36 * len(rows), title, note_of(first))
    (left, right), (below, ridge) = figure.subplots(2, 2, height_ratios=[3.0, 0.9 + 0.36 * len(rows)])
    bands = [{column: band_of(traces, column) for column in ("time_s", "updates")} for _, _, traces in rows]
    labels = [label for label, _, _ in rows]
    losses(left, labels, looks, [band["time_s"] for band in bands], seconds_label(unit))
    losses(right, labels, looks, [band["updates"] for band in bands], "updates applied")
    right.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    left.set_ylabel("held-out loss")
    right.sharey(left)
    right.tick_params(labelleft=False)
    seen = [band["time_s"] for band in bands if len(band["time_s"].at)]
    if seen:
        scale_loss(left, np.concatenate([band.middle for band in seen]))
        leave_room(left, seen, min(len(seen), DIRECT))
    for axes, column in ((left, "time_s"), (right, "updates")):
        name_lines(axes, labels, looks, [band[column] for band in bands])
    if target is not None:
        _target(left, right, rows, looks, target)
    draw_moments(left, befell, 330.0)
    times = time_by_model(rows)
    below.set_xlabel(f"{seconds_label(unit)} of a worker, mean")
    if times[list(SPANS)].notna().any(axis=None):
        stacked_bars(below, labels, times)
        # A legend wider than its axes would squeeze them; names with faults leave them narrow.
        below.legend(handles=patches(kinds_of(times.sum())), loc="lower left", bbox_to_anchor=(0, 1),
                     ncols=3 if befell else 5, frameon=False, fontsize=8, handlelength=1.4,
                     columnspacing=1.2)  # fmt: skip
    else:
        say(below, NO_SPANS)
        below.set_yticks([])
    ridges(ridge, labels, looks, [pooled_pmf(traces) for _, _, traces in rows])
    _color_labels((below, ridge), looks)
    figure.psbook_sentence = _sentence(title, rows, times, target, unit)
    return figure


def band_of(traces: Sequence[Trace], column: str) -> Band:
    """Return the band of the losses of several seeds along ``"time_s"`` or ``"updates"``.

    A run that has ended keeps its last loss; one that diverged leaves the band where it did.
    """
    histories = []
    for trace in traces:
        history = statistics.history(trace).dropna(subset=[column]).sort_values(column, kind="stable")
        history = history[np.isfinite(history["loss"])]
        diverged = "diverged" in trace.meta
        histories.append((history[column].to_numpy(float), history["loss"].to_numpy(float), diverged))
    return band_from(histories)


def band_from(histories: Sequence[tuple[np.ndarray, np.ndarray, bool]]) -> Band:
    """Return the band of losses given as places, finite losses, and whether the run diverged then."""
    histories = [history for history in histories if len(history[0])]
    if not histories:
        empty = np.empty(0)
        return Band(empty, empty, empty, empty)
    at = np.linspace(0.0, max(times[-1] for times, _, _ in histories), POINTS)
    values = np.array(
        [np.interp(at, x, y, right=np.nan if diverged else None) for x, y, diverged in histories]
    )
    inside = ~np.isnan(values).all(axis=0)
    at, values = at[inside], values[:, inside]
    return Band(at, np.nanmin(values, axis=0), np.nanmedian(values, axis=0), np.nanmax(values, axis=0))


def losses(
    axes: Axes, labels: Sequence[str], looks: Sequence[LineStyle], bands: Sequence[Band], name: str
) -> None:
    """Draw the band of each model."""
    tidy(axes)
    axes.set_xlabel(name)
    for label, look, band in zip(labels, looks, bands, strict=True):
        if len(band.at):
            axes.fill_between(band.at, band.low, band.high, color=look.color, alpha=0.16, linewidth=0)
            axes.plot(band.at, band.middle, label=label, **look.line())
            axes.plot(band.at[-1:], band.middle[-1:], marker="o", color=look.color, markersize=4)
    drawn = [each for each in zip(labels, looks, bands, strict=True) if len(each[2].at)]
    if not drawn:
        say(axes, "no loss was measured")
        return
    axes.set_xlim(0, 1.04 * max(float(band.at[-1]) for *_, band in drawn) or None)


def name_lines(axes: Axes, labels: Sequence[str], looks: Sequence[LineStyle], bands: Sequence[Band]) -> None:
    """Write each label below the end of its line, further down where another label stands already.

    The label of a line that leaves the picture at the top stands to the right of where it does.
    """
    dots = axes.figure.dpi / 72
    taken: list[tuple[float, float, float]] = []
    drawn = [each for each in zip(labels, looks, bands, strict=True) if len(each[2].at)]
    if len(drawn) > DIRECT:
        axes.legend(loc="upper right", frameon=False, fontsize=9, handlelength=3.2, labelcolor="linecolor")
        return
    top = axes.get_ylim()[1]
    for label, look, band in sorted(drawn, key=lambda each: -float(each[2].middle[-1])):
        leaves = bool(band.middle[-1] > top)
        last = int(np.argmax(band.middle > top)) if leaves else -1
        end = (float(band.at[last]), min(float(band.middle[last]), top))
        x, y = (float(number) / dots for number in axes.transData.transform(end))
        width, drop = 6.5 * len(label), 12.0
        left, right = (x, x + width) if leaves else (x - width, x)
        while any(
            left < other_right and other_left < right and abs(y - drop - other) < 11
            for other_left, other_right, other in taken
        ):
            drop += 1
        taken.append((left, right, y - drop))
        haloed(axes, label, end, xytext=(8 if leaves else 4, -drop), ha="left" if leaves else "right",
               fontsize=9, color=look.color, weight="bold")  # fmt: skip


def leave_room(axes: Axes, bands: Sequence[Band], labels: int) -> None:
    """Cut a model that diverges off where it can still be seen to; leave room for the labels below.

    That is at three times the worst first loss on a straight axis, at a thousand times on a logarithmic one.
    """
    first = max(float(band.middle[0]) for band in bands)
    top = max(float(band.high.max()) for band in bands)
    most = (1000 if axes.get_yscale() == "log" else 3) * first
    if top > most > 0:
        axes.set_ylim(top=most)
    scale = axes.transScale
    low, high = scale.transform([(1.0, limit) for limit in axes.get_ylim()])[:, 1]
    room = low - 0.055 * labels * (high - low)
    axes.set_ylim(bottom=float(scale.inverted().transform((1.0, room))[1]))


def _target(left: Axes, right: Axes, rows: Sequence[Row], looks: Sequence[LineStyle], target: float) -> None:
    low, high = left.get_ylim()
    if not low <= target <= high:
        side = "below" if target < low else "above"
        left.annotate(f"target {target:.3g} lies {side}", (1, 0 if target < low else 1), xytext=(0, 3),
                      xycoords="axes fraction", textcoords="offset points", ha="right", fontsize=8,
                      color=FAINT)  # fmt: skip
        return
    for axes in (left, right):
        axes.axhline(target, color=FAINT, linestyle=":", linewidth=1.0)
    left.annotate(f"target {target:.3g}", (1, target), xycoords=("axes fraction", "data"), xytext=(0, 3),
                  textcoords="offset points", ha="right", fontsize=8, color=FAINT)  # fmt: skip
    for (_, _, traces), look in zip(rows, looks, strict=True):
        time = median_time(traces, target)
        if np.isfinite(time):
            left.plot([time], [target], marker="D", markersize=6, color=look.color, markeredgecolor="white")


def median_time(traces: Sequence[Trace], target: float) -> float:
    """Return the median over seeds of the seconds to a loss; infinite if most seeds never reach it."""
    times = np.array([statistics.time_to_target(trace, target) for trace in traces])
    return float(np.median(np.where(np.isnan(times), np.inf, times)))


def time_by_model(rows: Sequence[Row]) -> pd.DataFrame:
    """Return a row a model: seconds of each kind of time, mean over workers and seeds."""
    means = []
    for _, _, traces in rows:
        tables = []
        for trace in traces:
            table = seconds_of(trace)
            workers = trace.meta.get("workers") or table["node"].tolist()
            tables.append(table.loc[table["node"].isin(workers), list(SPANS)].mean())
        means.append(pd.DataFrame(tables).mean())
    return pd.DataFrame(means, columns=list(SPANS)).reset_index(drop=True)


def pooled_pmf(traces: Sequence[Trace]) -> np.ndarray:
    """Return the mean of the seeds' distributions of staleness, shape (largest + 1,)."""
    each = [shares for shares in map(pmf, traces) if len(shares)]
    if not each:
        return np.empty(0)
    size = max(map(len, each))
    mean: np.ndarray = np.mean([np.pad(shares, (0, size - len(shares))) for shares in each], axis=0)
    return mean


def ridges(
    axes: Axes, labels: Sequence[str], looks: Sequence[LineStyle], shares: Sequence[np.ndarray]
) -> None:
    """Draw the distribution of staleness in a row a model, each scaled to its highest bar."""
    tidy(axes, "x")
    axes.set_xlabel("staleness, updates (each row scaled to its highest bar)")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.7)
    longest = max((_nearly_all(each) for each in shares), default=0)
    if not longest:
        say(axes, NO_UPDATES)
        return
    axes.set_xlim(-0.7, max(longest, 4) * 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for position, (each, look) in enumerate(zip(shares, looks, strict=True)):
        base = position + 0.38
        if not len(each):
            axes.text(0, base, "no update was computed from a read", fontsize=8, color=FAINT)
            continue
        values = np.arange(len(each))
        axes.bar(
            values[:longest],
            -0.8 * each[:longest] / each.max(),
            bottom=base,
            width=0.9,
            color=look.color,
            alpha=0.75,
        )
        if len(each) > longest:
            far = f"{100 * each[longest:].sum():.2g} % further right, up to {len(each) - 1}"
            axes.annotate(far, (1, base - 0.45), xycoords=("axes fraction", "data"), ha="right", fontsize=8,
                          color=FAINT)  # fmt: skip
        mean = float(values @ each)
        axes.vlines(mean, base - 0.8, base, color=INK, linewidth=1.3)
        axes.annotate(f"mean {mean:.3g}", (mean, base - 0.8), xytext=(4, -1), textcoords="offset points",
                      va="top", fontsize=8, color=INK,
                      bbox={"boxstyle": "round,pad=0.1", "fc": "#ffffffb0", "ec": "none"})  # fmt: skip


def _nearly_all(shares: np.ndarray) -> int:
    """Bars that hold 99.5 % of the updates."""
    return int(np.searchsorted(np.cumsum(shares), 0.995)) + 1 if len(shares) else 0


def _color_labels(several: Sequence[Axes], looks: Sequence[LineStyle]) -> None:
    for axes in several:
        for text, look in zip(axes.get_yticklabels(), looks, strict=False):
            text.set_color(look.color)


def _sentence(title: str, rows: Sequence[Row], times: pd.DataFrame, target: float | None, unit: str) -> str:
    said = []
    for (label, _, traces), (_, seconds) in zip(rows, times.iterrows(), strict=True):
        total = float(seconds.sum())
        parts = []
        if target is not None:
            time = median_time(traces, target)
            parts.append(
                f"target {target:.4g} after {time:.4g} {unit}" if np.isfinite(time) else "target not reached"
            )
        if total > 0:
            parts.append(f"{100 * (1 - seconds['compute'] / total):.0f} % of the time not computing")
        said.append(f"{label}: {', '.join(parts)}" if parts else label)
    return f"{title}. {'; '.join(said)}."
