"""What ``psbook sweep`` says in the end: the tuned comparison in words, and the pictures that there are."""

from __future__ import annotations

import importlib
from pathlib import Path

from psbook.errors import InvalidJob
from psbook.experiments.swept import PLOTS, Sweep, in_words
from psbook.experiments.tuning import tuned_comparison


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
    several = all(len(sweep.table[name].unique()) > 1 for name in ("model", "rate") if name in sweep.table)
    if not {"model", "rate"} <= set(sweep.parameters) or not several:
        return ""
    if len(sweep.seeds) < 2 or sweep.history.empty:
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
    """Write those pictures of a sweep that this version can draw of it; return their names."""
    view = importlib.import_module("psbook.view")
    names = []
    for what, plot in PLOTS.items():
        if not hasattr(view, plot):
            continue
        try:
            figure = sweep.plot(what)
        except InvalidJob:  # this sweep has not what the picture shows, such as two parameters
            continue
        figure.savefig(folder / f"{what}.png", dpi=150)
        names.append(f"{what}.png")
    return names
