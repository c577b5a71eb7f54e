"""`Picture`: a matplotlib figure that shows itself, with a sentence for those who cannot see it."""

from __future__ import annotations

import io
import textwrap
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from psbook.trace import Trace
from psbook.view.style import FAINT, INK

RESOLUTION = 160
"""Dots an inch of the picture in a notebook, which shows it at 80."""


class Picture(Figure):
    """A figure outside of pyplot: it is drawn where it is displayed, saved with ``savefig``, and forgotten.

    Attributes
    ----------
    psbook_sentence : str
        What the picture shows, in words.
    """

    psbook_sentence: str = ""

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=RESOLUTION)
        width, height = self.get_size_inches() * (RESOLUTION / 2)
        size = {"width": round(width), "height": round(height), "alt": self.psbook_sentence}
        return {"image/png": buffer.getvalue(), "text/plain": self.psbook_sentence}, {"image/png": size}

    def __repr__(self) -> str:
        return self.psbook_sentence or super().__repr__()


def picture(width: float, height: float, title: str, note: str) -> Picture:
    """Return an empty picture, `width` × `height` inches, with a title above and a note below."""
    figure = Picture(figsize=(width, height), layout="constrained")
    # Some 10 letters of the title and 16 of the note go into an inch.
    figure.suptitle(wrapped(title, int(10 * width)), x=0.012, ha="left", fontsize=12, color=INK)
    figure.supxlabel(wrapped(note, int(16 * width)), x=0.012, ha="left", fontsize=8, color=FAINT)
    return figure


def wrapped(text: str, letters: int) -> str:
    """Return a text in lines of so many letters.

    >>> print(wrapped("one two three", 8))
    one two
    three
    """
    return "\n".join(textwrap.wrap(text, letters, break_on_hyphens=False))


def haloed(axes: Axes, text: str, at: tuple[float, float], **how: Any) -> None:
    """Write a text that can be read on top of lines and hatches."""
    halo = [withStroke(linewidth=2.2, foreground="white", alpha=0.85)]
    axes.annotate(text, at, textcoords="offset points", path_effects=halo, **how)


def tidy(axes: Axes, grid: str = "y") -> None:
    """Leave of the frame only what is read from, and a faint grid along one axis."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.tick_params(color="#999999", labelsize=9)
    axes.grid(axis=grid, color="#e3e3e3", linewidth=0.7)  # type: ignore[arg-type]  # "x" or "y"
    axes.set_axisbelow(True)


def say(axes: Axes, text: str) -> None:
    """Write why there is nothing to see, in the middle of the axes."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=10, color=FAINT,
              wrap=True)  # fmt: skip


def thin_hatches() -> Any:
    """Return a context in which hatches are drawn with thin lines."""
    return mpl.rc_context({"hatch.linewidth": 0.5})


def note_of(trace: Trace) -> str:
    """Return what a reader must know of a run, in a line: the unit of an iteration above all.

    >>> from psbook.trace import Recorder
    >>> note_of(Recorder().trace({"workers": ["worker-0"], "iteration_unit": "mini-batch of 32", "seed": 1}))
    '1 worker  ·  one iteration = mini-batch of 32  ·  seed 1'
    """
    meta = trace.meta
    parts = [
        meta.get("job", ""),
        _counted(meta.get("workers"), "worker") + _counted(meta.get("servers"), "server", ", "),
        f"one iteration = {meta['iteration_unit']}" if meta.get("iteration_unit") else "",
        f"compute {meta['compute_label']}" if meta.get("compute_label") else "",
        meta.get("network_label", "") if meta.get("backend") == "simulator" else meta.get("backend", ""),
        f"seed {meta['seed']}" if "seed" in meta else "",
    ]
    return "  ·  ".join(part for part in parts if part)


def _counted(nodes: list[str] | None, what: str, before: str = "") -> str:
    return "" if not nodes else f"{before}{len(nodes)} {what}{'s' if len(nodes) > 1 else ''}"


def name_of(trace: Trace) -> str:
    """Return the name of the run's consistency model."""
    return str(trace.meta.get("model_label") or trace.meta.get("model") or "run")


def unit_of(trace: Trace) -> str:
    """Return the unit of the run's times: ``"simulated s"`` or ``"s"``."""
    return str(trace.meta.get("time_unit", "s"))
