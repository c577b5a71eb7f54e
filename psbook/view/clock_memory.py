"""Numbers that vector clocks hold over the keys of a shard: one clock a key, and one a range."""

from __future__ import annotations

import pandas as pd

from psbook.errors import InvalidJob
from psbook.experiments.clock_memory import COLUMNS, LAYERS, SINGLE
from psbook.view.picture import Picture, haloed, picture, tidy
from psbook.view.style import OTHERS, LineStyle

LINES: dict[str, tuple[str, LineStyle]] = {
    "per_key": ("a clock a key", LineStyle("#222222", "-")),
    "single": (f"ranges: {SINGLE} single keys a push", OTHERS[0]),
    "anywhere": ("ranges that begin anywhere", OTHERS[1]),
    "layers": (f"ranges: {LAYERS} layers", OTHERS[2]),
    "whole": ("ranges: the whole shard", LineStyle("#0072B2", (0, (1, 1.2)))),
}


def plot_clock_memory(curve: pd.DataFrame) -> Picture:
    """Draw what `psbook.experiments.clock_memory.clock_memory` counted, both axes logarithmic.

    Raises
    ------
    InvalidJob
        A table that it did not return.

    Examples
    --------
    >>> from psbook.experiments.clock_memory import clock_memory
    >>> plot_clock_memory(clock_memory([100, 10_000]))
    Vector clocks of 8 senders: at 10000 keys a clock a key holds 80000 numbers, a clock a range 8 where
    pushes are of the whole shard, 64 of 8 layers, ... of ranges anywhere, ... of single keys.
    """
    if not set(COLUMNS) <= set(curve):
        raise InvalidJob(
            f"a table of {', '.join(map(str, curve))}; required: what clock_memory(…) returns, as it came."
        )
    senders, pushes = curve.attrs.get("senders"), curve.attrs.get("pushes")
    note = f"{senders} senders  ·  {pushes} pushes of each  ·  a number is one (range, sender) pair"
    figure = picture(8.6, 4.4, "Memory of vector clocks over the keys of a shard", note)
    axes = figure.subplots()
    tidy(axes)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("keys of the shard")
    axes.set_ylabel("numbers held")
    last = curve.iloc[-1]
    for column, (label, look) in LINES.items():
        axes.plot(curve["keys"], curve[column], **look.line())
        haloed(axes, label, (last["keys"], last[column]), xytext=(6, -3), fontsize=9, color=look.color,
               annotation_clip=False)  # fmt: skip
    figure.psbook_sentence = (
        f"Vector clocks of {senders} senders: at {last['keys']} keys a clock a key holds {last['per_key']} "
        f"numbers, a clock a range {last['whole']} where pushes are of the whole shard, {last['layers']} of "
        f"{LAYERS} layers, {last['anywhere']} of ranges anywhere, {last['single']} of single keys."
    )
    return figure
