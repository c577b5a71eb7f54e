"""Pictures of published figures beside what psbook simulates: published hollow, simulated filled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from psbook.experiments.published.result import Reproduction
from psbook.view.picture import Picture, haloed, picture, tidy
from psbook.view.style import FAINT, FAMILIES, INK, LineStyle, style_of, styles
from psbook.view.swept import looks_of

PUBLISHED: dict[str, Any] = {
    "color": INK,
    "marker": "o",
    "markersize": 7,
    "markerfacecolor": "white",
    "markeredgewidth": 1.4,
}
"""How published numbers are drawn: hollow circles."""


def draw(result: Reproduction) -> Picture:
    """Draw a reproduction; what its picture shows is in ``psbook_sentence``.

    Parameters
    ----------
    result
        Of `psbook.experiments.published.reproduce`.
    """
    figure = picture(9.6, 4.4, result.title, f"{result.paper}  ·  calibration: {result.calibrated}")
    said = _DRAWN[result.name](figure, result)
    verdict = "; ".join(map(str, result.gates))
    figure.psbook_sentence = f"{result.title} ({result.paper}). {said} {verdict}."
    return figure


def _labelled(axes: Axes, x: str, y: str) -> None:
    tidy(axes)
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def _li(figure: Picture, result: Reproduction) -> str:
    curve = result.curves["idle"]
    left, right = figure.subplots(1, 2, width_ratios=[1.7, 1])
    at = np.arange(len(curve))
    look = FAMILIES["boundeddelay"]
    _labelled(left, "bounded delay τ, iterations", "time not computing, %")
    left.plot(at, curve["published"], label="published", linestyle="none", **PUBLISHED)
    left.plot(at, curve["simulated"], label="simulated, slow spells", **{**look.line(), "marker": "s"})
    left.plot(at, curve["independent"], label="simulated, slowness drawn afresh",
              color=FAINT, linestyle=":", marker="x", linewidth=1.4)  # fmt: skip
    left.axvspan(-0.4, 1.4, color="#f2f2f2", zorder=0)
    left.text(0.5, 1.0, "calibrated here", transform=left.get_xaxis_transform(), ha="center", va="top",
              fontsize=8, color=FAINT)  # fmt: skip
    left.set_xticks(at, curve["tau"])
    left.set_xlim(-0.4, len(curve) - 0.6)
    left.set_ylim(bottom=-1)
    left.legend(frameon=False, fontsize=9)
    _errors(right, curve["simulated"] - curve["published"], curve["tau"], look, 4)
    worst = (curve["simulated"] - curve["published"]).abs().max()
    return (
        f"Idle share from {curve['simulated'].iloc[0]:.1f} % at τ = 0 to {curve['simulated'].iloc[-1]:.1f} % "
        f"at τ = 16, published 50.2 and 1.69 %; off by {worst:.1f} points at most. "
        f"{curve.attrs['also']}."
    )


def _errors(
    axes: Axes, errors: pd.Series[float], names: pd.Series[int], look: LineStyle, allowed: float
) -> None:
    _labelled(axes, "bounded delay τ, iterations", "simulated − published, points")
    at = np.arange(len(errors))
    axes.bar(at, errors, color=look.color, width=0.6)
    axes.axhline(0, color=INK, linewidth=0.8)
    for edge in (-allowed, allowed):
        axes.axhline(edge, color=FAINT, linestyle="--", linewidth=1.0)
    haloed(axes, f"gate: ±{allowed:g} points", (0, allowed), xytext=(0, -12), fontsize=8, color=FAINT)
    axes.set_xticks(at, list(map(str, names)))
    axes.set_ylim(-1.15 * allowed, 1.15 * allowed)


def _chen(figure: Picture, result: Reproduction) -> str:
    collect, hours = result.curves["collect"], result.curves["hours"]
    left, right = figure.subplots(1, 2)
    look = style_of("backupworkers")
    _labelled(left, "gradients collected, k of 100", "mean seconds since the round began")
    left.plot(collect["k"], collect["simulated"], label="simulated", color=look.color, linewidth=1.8)
    left.plot(collect["k"], collect["published"], label="published", linestyle="none", **PUBLISHED)
    fitted = collect[collect["calibrated"]]
    left.plot(fitted["k"], fitted["published"], label="published, calibrated on", linestyle="none",
              **{**PUBLISHED, "markerfacecolor": INK})  # fmt: skip
    left.set_ylim(bottom=0)
    left.legend(frameon=False, fontsize=9, loc="lower left")
    _labelled(right, "gradients waited for, N of 100", "hours to converge")
    shown = hours[hours["n"] >= 85]
    right.plot(shown["n"], shown["simulated"], label="simulated: N first of a full round",
               color=look.color, linewidth=1.8)  # fmt: skip
    right.plot(shown["n"], shown["late_go_on"], label="simulated: late workers go on", color=look.color,
               linestyle=":", linewidth=1.6)  # fmt: skip
    right.plot(shown["n"], shown["published"], label="published", linestyle="none", **PUBLISHED)
    best = hours.iloc[int(hours["simulated"].argmin())]
    right.plot([best["n"]], [best["simulated"]], marker="D", color=look.color, markersize=6)
    haloed(right, f"best: N = {best['n']:.0f}", (best["n"], best["simulated"]), xytext=(0, -16), ha="center",
           fontsize=9, color=look.color, weight="bold")  # fmt: skip
    right.set_ylim(34, 58)
    right.legend(frameon=False, fontsize=9, loc="upper left")
    return (
        f"The quickest is N = {best['n']:.0f} with {best['simulated']:.1f} h (published 96 with 38.0 h). If "
        "late workers end their computation, as the paper's do, fewer gradients are worth waiting for."
    )


def _dutta(figure: Picture, result: Reproduction) -> str:
    times = result.curves["times"]
    left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
    _labelled(left, "gradients an update, K", "seconds of 2000 updates")
    _labelled(right, "gradients an update, K", "simulated / published − 1, %")
    names = list(times["model"].unique())
    looks = styles(name.lower().replace("-", "") for name in names)
    beside = {"K-sync": (1, (0, 10), "center"), "K-async": (3, (14, -6), "left"),
              "K-batch-async": (4, (4, -32), "right")}  # fmt: skip
    for shift, (name, look) in enumerate(zip(names, looks, strict=True)):
        rows = times[times["model"] == name]
        left.plot(rows["k"], rows["simulated"], **{**look.line(), "marker": "sv^"[shift], "markevery": 1})
        left.plot(rows["k"], rows["published"], linestyle="none", **PUBLISHED)
        place, offset, side = beside[name]
        point = rows.iloc[place]
        haloed(left, name, (point["k"], point["simulated"]), xytext=offset, ha=side, fontsize=9,
               color=look.color, weight="bold")  # fmt: skip
        error = 100 * (rows["simulated"] / rows["published"] - 1)
        right.bar(np.arange(len(rows)) + 0.27 * (shift - 1), error, width=0.25, color=look.color, label=name)
    ks = times["k"].unique()
    left.set_xticks(ks)
    left.set_ylim(0, 10_500)
    left.plot([], [], label="published", linestyle="none", **PUBLISHED)
    left.plot([], [], label="simulated", color=FAINT, marker="s")
    left.legend(frameon=False, fontsize=9, loc="upper left")
    right.set_xticks(np.arange(len(ks)), ks)
    right.axhline(0, color=INK, linewidth=0.8)
    right.set_ylim(-3.3, 3.3)
    right.legend(frameon=False, fontsize=8, loc="upper center", ncols=3, columnspacing=0.9, handlelength=1.0)
    worst = 100 * (times["simulated"] / times["published"] - 1).abs().max()
    return f"Simulated times are off by {worst:.1f} % at most, for three models and five K."


def _psp(figure: Picture, result: Reproduction) -> str:
    progress = result.curves["progress"]
    axes = figure.subplots()
    _labelled(axes, "iterations that a worker has ended after 400 s, all abreast at the start",
              "share of workers with at most so many")  # fmt: skip
    names = list(progress["model"].unique())
    looks = styles(name.split("(")[0].lower() for name in names)
    said = []
    for name, look in zip(names, looks, strict=True):
        values = np.sort(progress.loc[progress["model"] == name, "progress"].to_numpy())
        share = (np.arange(len(values)) + 1) / len(values)
        axes.plot(values, share, color=look.color, linestyle=look.dashes, linewidth=look.width)
        middle = float(np.median(values))
        said.append(f"{name} {middle:.0f}")
    for name, look in zip(names, looks, strict=True):
        middle, beta = _median(progress, name), name.partition(", ")[2].rstrip(")")
        if beta:
            axes.annotate(beta, (middle, 1.0), xytext=(0, 10), textcoords="offset points", ha="center",
                          fontsize=9, color=look.color, weight="bold")  # fmt: skip
        else:
            beyond = -9 if "(" in name else 9  # SSP's neighbour on the right is near
            haloed(axes, name, (middle, 0.5), xytext=(beyond, 4), ha="right" if "(" in name else "left",
                   fontsize=9, color=look.color, weight="bold")  # fmt: skip
    haloed(axes, "PSP(4, β), β =", (245, 1.0), xytext=(-12, 10), ha="right", fontsize=9, color=INK)
    for value in (227, 400):
        axes.plot([value], [0.5], **PUBLISHED)
    axes.plot([], [], label="published", linestyle="none", **PUBLISHED)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    axes.set_ylim(0, 1.02)
    return f"Median iterations after 400 s: {', '.join(said)}."


def _momentum(figure: Picture, result: Reproduction) -> str:
    curves, best = result.curves["losses"], result.curves["best"]
    left, right = figure.subplots(1, 2, width_ratios=[1.4, 1])
    _labelled(left, "explicit momentum μ", "loss after 320 updates, geometric mean")
    left.set_yscale("log")
    looks = looks_of([f"M = {workers}" for workers in best["workers"]])
    for look, workers, mu in zip(looks, best["workers"], best["best"], strict=True):
        rows = curves[curves["workers"] == workers]
        left.plot(rows["momentum"], rows["loss"], color=look.color, linestyle=look.dashes, linewidth=1.6)
        at = (float(mu), float(rows.loc[rows["momentum"] == mu, "loss"].iloc[0]))
        left.plot(*at, marker="D", color=look.color, markersize=6)
        side = {"xytext": (6, -14), "ha": "left"} if mu < -0.5 else {"xytext": (-6, -13), "ha": "right"}
        haloed(left, f"M = {workers}", at, **side, fontsize=9, color=look.color,
               weight="bold")  # fmt: skip
        right.plot([workers], [mu], marker="D", color=look.color, markersize=7, zorder=3)
    left.set_ylim(top=10.0 * float(curves.loc[curves["momentum"] == 0, "loss"].max()))
    _labelled(right, "asynchronous workers, M", "momentum")
    right.set_xscale("log", base=2)
    right.set_xticks(best["workers"].tolist(), list(map(str, best["workers"])))
    right.plot(best["workers"], best["best"], color=FAINT, linewidth=1.0, label="best explicit, simulated")
    right.plot(best["workers"], best["implicit"], color=INK, linestyle="--", linewidth=1.4,
               label="implicit, theory: 1 − 1/M")  # fmt: skip
    right.axhline(0, color=INK, linewidth=0.8)
    right.legend(frameon=False, fontsize=9, loc="lower left")
    told = ", ".join(f"{mu:g} for {m}" for m, mu in zip(best["workers"], best["best"], strict=True))
    return f"Best explicit momentum by workers: {told}; theory's implicit momentum rises as 1 − 1/M."


def _median(progress: pd.DataFrame, name: str) -> float:
    return float(np.median(progress.loc[progress["model"] == name, "progress"]))


_DRAWN: dict[str, Callable[[Picture, Reproduction], str]] = {
    "li": _li,
    "chen": _chen,
    "dutta": _dutta,
    "psp": _psp,
    "momentum": _momentum,
}
