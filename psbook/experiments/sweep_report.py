"""What ``psbook sweep`` says in the end: the tuned comparison in words, and the pictures that there are."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from psbook.errors import InvalidJob
from psbook.experiments.swept import Sweep
from psbook.experiments.tidy import in_words
from psbook.experiments.tuning import at_best_rate, tuned_comparison


def tuned_text(sweep: Sweep) -> str:
    """Return the tuned comparison of the models as text; empty if there are no rates or models to choose of.

    Raises
    ------
    InvalidJob
        Never for a sweep with losses.

    Examples
    --------
    >>> from psbook.experiments.by_hand import by_hand
    >>> curves = {(model, rate): [[1, rate]] * 2 for model in ("BSP", "ASP") for rate in (0.1, 0.5)}
    >>> print(tuned_text(by_hand(["model", "rate"], curves)).splitlines()[0])
    Each model at its own best rate, chosen on 1 seeds and reported on 1 others:
    """
    if not _tunable(sweep):
        return ""
    places = [name for name in sweep.parameters if name not in ("model", "rate")]
    frame = tuned_comparison(sweep, by=places, target=sweep.target)
    shown = frame.drop(columns=["failed", "chosen_by"])
    half = len(sweep.seeds) // 2
    edges = "\nat_edge: a better rate may lie outside the candidates" if shown["at_edge"].any() else ""
    head = (
        f"Each model at its own best rate, chosen on {half} seeds and reported on {len(sweep.seeds) - half}"
    )
    return f"{head} others:\n{in_words(shown)}{edges}"


def save_pictures(sweep: Sweep, folder: Path) -> list[str]:
    """Write the pictures of a sweep that it has the parameters for; return their names.

    Models are compared at their own best rates, where there is a choice.
    """
    tuned = sweep
    if _tunable(sweep):
        by = [name for name in sweep.parameters if name != "rate"]
        tuned = at_best_rate(sweep, by, target=sweep.target)
    varied = [name for name in sweep.parameters if sweep.table[name].nunique() > 1]
    wanted: dict[str, tuple[Sweep, dict[str, Any]]] = {"shares": (tuned, {})}
    if not sweep.history.empty:
        wanted |= {"bands": (tuned, {}), "frontier": (sweep, {})}
        if len(varied) > 1:
            wanted["heatmap"] = sweep, {"x": varied[-1], "y": varied[-2]}
    names = [
        what for what, (shown, options) in wanted.items() if _drawn(folder, what, shown.plot, what, **options)
    ]
    places = [name for name in varied if name not in ("model", "rate")]
    if _tunable(sweep) and len(places) == 2:
        contest = tuned_comparison(sweep, by=places, target=sweep.target)
        draw = importlib.import_module("psbook.view").plot_winners
        names += ["winners"] if _drawn(folder, "winners", draw, contest, *places) else []
    return [f"{name}.png" for name in names]


def _drawn(folder: Path, name: str, draw: Callable[..., Any], *arguments: Any, **options: Any) -> bool:
    try:
        figure = draw(*arguments, **options)
    except InvalidJob:  # nothing finite to draw, say: the tables are there
        return False
    figure.savefig(folder / f"{name}.png", dpi=150)
    return True


def _tunable(sweep: Sweep) -> bool:
    """Whether there are models to compare and rates to choose, and seeds for both."""
    varied = [
        name for name in ("model", "rate") if name in sweep.parameters and sweep.table[name].nunique() > 1
    ]
    return len(varied) == 2 and len(sweep.seeds) > 1 and not sweep.history.empty
