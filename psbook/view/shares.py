"""Where the workers' time went, setting by setting."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from psbook.errors import InvalidJob
from psbook.experiments.theory import iteration_rate
from psbook.laws import Law
from psbook.view.picture import Picture, picture
from psbook.view.style import INK, KINDS
from psbook.view.swept import Source, grouped, looks_of, model_of, swept
from psbook.view.waiting import legend, stacked_bars

ROW = {"compute": 0.0, "network": math.nan, "blocked": 0.0, "queued": math.nan, "idle": 0.0}


def plot_waiting_shares(
    source: Source, by: str | Sequence[str] | None = None, law: Law | None = None, *, title: str = ""
) -> Picture:
    """Draw the share of the workers' time that they computed, were held by the model, or waited otherwise.

    Parameters
    ----------
    source
        A sweep; or a table with columns of parameters, ``seed``, ``idle_share`` (of time that is not compute)
        and ``blocked_share``, one row a run.
    by
        Parameters, a bar a combination; all by default.
    law
        Compute times without cost of communication: theory's share of compute is then marked where there is
        one, rate · E[X] / n. It needs parameters ``model`` and ``workers``, or that number in ``table``.
    title
        What was swept.

    Returns
    -------
    Picture
        One axes; means over seeds.

    Examples
    --------
    >>> table = pd.DataFrame(
    ...     {
    ...         "model": ["BSP", "ASP"],
    ...         "workers": 4,
    ...         "seed": 0,
    ...         "idle_share": [0.5, 0.1],
    ...         "blocked_share": [0.5, 0.0],
    ...     }
    ... )
    >>> plot_waiting_shares(table, "model")
    Where the workers' time went. BSP: 50 % compute, 50 % blocked by the model. ASP: 90 % compute, 0 % ...
    """
    data = swept(source)
    table = data.table
    if not {"idle_share", "blocked_share"} <= set(table):
        raise InvalidJob("a table without 'idle_share' and 'blocked_share'; required: those of Sweep.table.")
    parts = list(grouped(table, data.by(by)))
    labels = [label for label, _ in parts]
    rows, marks, said = [], [], []
    for label, part in parts:
        idle, blocked = float(part["idle_share"].mean()), float(part["blocked_share"].mean())
        rows.append({**ROW, "compute": 1 - idle, "blocked": blocked, "idle": max(0.0, idle - blocked)})
        marks.append(_computing(part, law))
        theory = "" if math.isnan(marks[-1]) else f" (theory {100 * marks[-1]:.0f} %)"
        said.append(
            f"{label}: {100 * (1 - idle):.0f} % compute{theory}, {100 * blocked:.0f} % blocked by the model"
        )
    drawn = pd.DataFrame(rows)
    known = [at for at, mark in enumerate(marks) if not math.isnan(mark)]
    head = title or "Where the workers' time went"
    note = "means over seeds" + ("; black lines: theory's share of compute" if known else "")
    figure = picture(8.6, 1.9 + 0.32 * len(labels), head, note)
    axes = figure.subplots()
    stacked_bars(axes, labels, drawn * 100)
    axes.set_xlabel("share of the workers' time, %")
    axes.set_xlim(0, 100)
    for at in known:
        axes.plot([100 * marks[at]] * 2, [at - 0.45, at + 0.45], color=INK, linewidth=2.4)
    for text, look in zip(axes.get_yticklabels(), looks_of(labels), strict=False):
        text.set_color(look.color)
    legend(figure, [kind for kind in KINDS if (drawn[kind].fillna(0) > 1e-6).any()])
    figure.psbook_sentence = f"{head}. {'. '.join(said)}."
    return figure


def _computing(part: pd.DataFrame, law: Law | None) -> float:
    """Theory's share of time that is compute, where all runs of a part have one model and size."""
    if law is None or not {"model", "workers"} <= set(part):
        return math.nan
    if part["model"].nunique() > 1 or part["workers"].nunique() > 1:
        return math.nan
    model, workers = model_of(str(part["model"].iloc[0])), int(part["workers"].iloc[0])
    if model is None:
        return math.nan
    means = np.array([law.mean_of(worker) for worker in range(workers)])
    if np.ptp(means) > 0:
        return math.nan
    return iteration_rate(model, law, workers) * float(means[0]) / workers
