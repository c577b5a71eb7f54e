"""Sweeps written by hand: small enough to know every answer, for examples and tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from psbook.experiments.swept import HISTORY_COLUMNS, Sweep


def by_hand(
    names: Sequence[str],
    curves: Mapping[tuple[Any, ...], Sequence[Sequence[float]]],
    target: float | None = None,
) -> Sweep:
    """Return a sweep with given losses, evaluated at 0 s, 1 s, 2 s and so on.

    Parameters
    ----------
    names
        Parameters.
    curves
        For each combination the losses of its runs: a row a seed. An infinite loss ends a run that diverges,
        an empty row is a run that failed.
    target : float, optional
        Of the sweep.

    Examples
    --------
    >>> by_hand(["model"], {("BSP",): [[1.0, 0.5], [1.0, 0.7]]}).table["loss_final"].tolist()
    [0.5, 0.7]
    """
    table: list[dict[str, Any]] = []
    history: list[dict[str, Any]] = []
    for labels, runs in curves.items():
        for seed, losses in enumerate(runs):
            run = f"{labels}/{seed}"
            table.append({
                **dict(zip(names, labels, strict=True)), "seed": seed, "engine": "messages", "engine_why": "",
                "seconds": float(len(losses) - 1) if losses else np.nan,
                "loss_final": losses[-1] if losses else np.nan,
                "diverged": bool(losses) and not np.isfinite(losses[-1]), "error": "" if losses else "lost",
                "hash": run,
            })  # fmt: skip
            history += [
                {"hash": run, "time_s": float(at), "iterations": at, "updates": at, "loss": loss}
                for at, loss in enumerate(losses)
            ]
    texts = {
        name: {str(labels[place]): repr(labels[place]) for labels in curves}
        for place, name in enumerate(names)
    }
    return Sweep(
        pd.DataFrame(table),
        pd.DataFrame(history, columns=["hash", *HISTORY_COLUMNS]),
        {"parameters": texts},
        target,
    )
