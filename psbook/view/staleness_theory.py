"""The distribution of staleness beside its law, and how far they are apart."""

from __future__ import annotations

import ast
import re

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from psbook.errors import DataError, InvalidJob
from psbook.experiments.theory import asp_staleness_pmf, mean_staleness
from psbook.laws import Exponential, Law
from psbook.trace import Trace, statistics
from psbook.view.picture import Picture, name_of, note_of, picture, say, tidy
from psbook.view.staleness import NO_UPDATES
from psbook.view.style import FAINT, INK, style_of

ONE_LAW = re.compile(r"(Exponential)\(([^()]*)\)(?:\.slow\((\{[^{}]*\})\))?")


def plot_staleness(trace: Trace) -> Picture:
    """Draw how stale the applied updates were, theory.md's law dashed where it has one, and the difference.

    Parameters
    ----------
    trace
        A trace with updates: level "iterations" or "full".

    Returns
    -------
    Picture
        Of the updates until the first worker ends; then the others meet fewer. Left their shares, with the
        law of ASP under exponential times (T5), also of unequal rates, and the mean that theory gives for
        ASP and the K family under any times (T6). Right, where there is a law, what was found less what it
        says, with ± 2 standard deviations of as many independent draws.
    """
    label = name_of(trace)
    values = staleness_together(trace)
    shares = np.bincount(values) / len(values) if len(values) else np.empty(0)
    rates = asp_rates(trace)
    expected = None if rates is None or not len(shares) else asp_staleness_pmf(rates, len(shares))
    figure = picture(10.2 if expected is not None else 7.2, 4.0, f"{label}: staleness while all are at work",
                     note_of(trace))  # fmt: skip
    left, *rest = figure.subplots(1, 1 if expected is None else 2, squeeze=False,
                                  width_ratios=[1.0] if expected is None else [1.5, 1.0])[0]  # fmt: skip
    tidy(left)
    left.set_xlabel("staleness, updates (version when applied − version read)")
    left.set_ylabel("share of updates, %")
    if not len(shares):
        say(left, NO_UPDATES)
        figure.psbook_sentence = f"{label}: {NO_UPDATES}".replace("\n", " ")
        return figure
    look = style_of(str(trace.meta.get("model", "")))
    at = np.arange(len(shares))
    mean = float(values.mean())
    left.bar(at, 100 * shares, width=0.86, color=look.color, alpha=0.75, label="found")
    left.axvline(mean, color=look.color, linewidth=1.6, label=f"mean found: {mean:.4g}")
    said = (
        f"{label}: updates are {mean:.4g} updates stale on average while all workers are at work, "
        f"{len(shares) - 1} at most."
    )
    law_mean = mean_of(trace)
    if law_mean is not None:
        left.axvline(
            law_mean, color=INK, linewidth=1.4, linestyle="--", label=f"mean, theory: {law_mean:.4g}"
        )
        said += f" Theory's mean is {law_mean:.4g}: {mean - law_mean:+.3g} off."
    if expected is not None:
        left.plot(at, 100 * expected, color=INK, linestyle="--", marker="o", markersize=2.5,
                  linewidth=1.2, label="theory: geometric by worker")  # fmt: skip
        spread = 2 * np.sqrt(expected * (1 - expected) / len(values))
        beyond = int((np.abs(shares - expected) > spread).sum())
        _difference(rest[0], at, shares - expected, spread, look.color)
        said += (
            f" {beyond} of {len(shares)} shares are more than 2 standard deviations off the geometric law."
        )
    far = int(np.searchsorted(np.cumsum(shares), 0.997)) + 1
    for axes in (left, *rest):
        axes.set_xlim(-0.7, max(far, 4) - 0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.legend(frameon=False, fontsize=9, loc="upper right")
    figure.psbook_sentence = said
    return figure


def _difference(axes: Axes, values: np.ndarray, errors: np.ndarray, spread: np.ndarray, color: str) -> None:
    tidy(axes)
    axes.set_xlabel("staleness, updates")
    axes.set_ylabel("found − theory, points")
    axes.fill_between(values, -100 * spread, 100 * spread, color="#e4e4e4", step="mid", label="± 2 σ")
    axes.axhline(0, color=INK, linewidth=0.9)
    axes.bar(values, 100 * errors, width=0.6, color=color)
    axes.legend(frameon=False, fontsize=8, loc="upper right", labelcolor=FAINT)


def staleness_together(trace: Trace) -> np.ndarray:
    """Return the staleness of the updates that were applied until the first worker ended, (n,) int."""
    try:
        rows = statistics.staleness(trace)
    except DataError:
        return np.empty(0, np.int64)
    ends = trace.of("finish")
    ended = ends.loc[ends["node"].isin(trace.meta.get("workers", ())), "time"].min()
    together = rows if np.isnan(ended) else rows[rows["time_s"] <= ended]
    values: np.ndarray = together["staleness"].to_numpy(np.int64)
    return values


def asp_rates(trace: Trace) -> list[float] | None:
    """Return each worker's iterations a second where T5 holds, else None.

    It holds under ASP with exponential times, equal or ``.slow({…})``, without network or service times.
    """
    meta = trace.meta
    workers = len(meta.get("workers", ()))
    law = _exponential(str(meta.get("compute_label", "")))
    if meta.get("model") != "asp" or law is None or not workers or not _bare(trace):
        return None
    return [1 / law.mean_of(worker) for worker in range(workers)]


def mean_of(trace: Trace) -> float | None:
    """Return theory's mean staleness (T6), or None where it has none."""
    meta, label = trace.meta, name_of(trace)
    bound = re.fullmatch(r"[^(]*\((\d+)\)", label)
    try:
        kind = str(meta.get("model"))
        k = int(bound[1]) if bound and kind.startswith("k") else 1
        return mean_staleness(kind, len(meta.get("workers", ())), k) if _bare(trace) else None
    except InvalidJob:
        return None


def _bare(trace: Trace) -> bool:
    meta = trace.meta
    return (
        meta.get("network_label", "no network cost") == "no network cost"
        and meta.get("service_label", "") in ("", "0")
        and not meta.get("faults")
        and meta.get("backend", "simulator") == "simulator"
    )


def _exponential(label: str) -> Law | None:
    """Return the law that a label names, if it is one of T5.

    >>> _exponential("Exponential(0.1).slow({0: 2})").mean_of(0), _exponential("Gamma(1, 2)")
    (0.2, None)
    """
    found = ONE_LAW.fullmatch(label)
    if found is None:
        return None
    try:
        law = Exponential(float(found[2]))
        return law if found[3] is None else law.slow(ast.literal_eval(found[3]))
    except (ValueError, SyntaxError):
        return None
