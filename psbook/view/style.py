"""One colour and one line style for each consistency family, one colour and hatch for each kind of time.

The colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart. Families and kinds
of time share none, so that a figure can show both.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from matplotlib.colors import to_hex, to_rgb

Dashes: TypeAlias = str | tuple[float, tuple[float, ...]]

INK = "#222222"
FAINT = "#6b6b6b"


@dataclass(frozen=True)
class LineStyle:
    """How the lines of a model are drawn.

    Attributes
    ----------
    color : str
        Colour of the family, or a shade of it.
    dashes : str or tuple
        Line style of the family.
    width : float
        Line width, points.
    marker : str
        Marker that tells variants of a family apart; empty for the first.
    hollow : bool
        Whether the marker is filled with white, as it is where faults struck.
    """

    color: str
    dashes: Dashes
    width: float = 1.8
    marker: str = ""
    hollow: bool = False

    def line(self) -> dict[str, Any]:
        """Keyword arguments of `matplotlib.axes.Axes.plot`.

        >>> style_of("bsp").line()["color"]
        '#0072B2'
        """
        return {
            "color": self.color,
            "linestyle": self.dashes,
            "linewidth": self.width,
            "marker": self.marker or None,
            "markersize": 6.5 if self.hollow else 5,
            "markerfacecolor": "white" if self.hollow else self.color,
            "markevery": 0.12,
            "solid_capstyle": "round",
        }


FAMILIES: dict[str, LineStyle] = {
    "serial": LineStyle("#000000", (0, (1, 1.5))),
    "bsp": LineStyle("#0072B2", "-"),
    "ssp": LineStyle("#009E73", (0, (5, 1.8))),
    "asp": LineStyle("#D55E00", (0, (6, 1.5, 1.2, 1.5))),
    "boundeddelay": LineStyle("#CC79A7", (0, (3, 1.2, 1, 1.2, 1, 1.2))),
    "ksync": LineStyle("#3f90da", (0, (10, 1.5))),
    "backupworkers": LineStyle("#0b3954", (0, (10, 1.5, 3, 1.5))),
    "kbatchsync": LineStyle("#1f8a8c", (0, (10, 1.5, 1, 1.5))),
    "kasync": LineStyle("#bd1f01", (0, (4, 1.5, 1, 1.5))),
    "kbatchasync": LineStyle("#f0746e", (0, (4, 1.5, 1, 1.5, 1, 1.5))),
    "essp": LineStyle("#5aa02c", (0, (5, 1, 2.5, 1))),
    "dssp": LineStyle("#8c9a00", (0, (5, 1, 1, 1, 1, 1))),
    "psp": LineStyle("#7c1d6f", (0, (2.5, 1.2))),
    "vap": LineStyle("#b08d57", (0, (1.5, 1))),
}

OTHERS: tuple[LineStyle, ...] = (
    LineStyle("#832db6", (0, (8, 3))),
    LineStyle("#a96b59", (0, (2, 1))),
    LineStyle("#717581", (0, (9, 2, 3, 2))),
)
"""Styles of families that psbook does not know, from the ten colours of Petroff (2021)."""


@dataclass(frozen=True)
class KindStyle:
    """How a kind of a program's time is drawn: its colour, its hatch, and what it is called."""

    color: str
    hatch: str
    label: str


KINDS: dict[str, KindStyle] = {
    "compute": KindStyle("#56B4E9", "", "compute"),
    "network": KindStyle("#F0E442", "////", "network"),
    "blocked": KindStyle("#E69F00", "xxx", "blocked by the model"),
    "queued": KindStyle("#9a9a9a", "....", "queued at a server"),
    "idle": KindStyle("#ececec", "---", "idle"),
}


@dataclass(frozen=True)
class MarkStyle:
    """How a moment is marked: colour, sign, size in points, line through the picture, and name."""

    color: str
    marker: str
    size: float
    dashes: Dashes
    label: str


MARKS: dict[str, MarkStyle] = {
    "fault": MarkStyle("#a50034", "X", 8.0, "-", "fault or change"),
    "lost": MarkStyle("#a50034", "v", 7.0, (0, (4, 2)), "given up, lost"),
    "restart": MarkStyle("#3b3b98", "^", 7.0, (0, (1, 1.6)), "starts again, goes on"),
    "checkpoint": MarkStyle("#444444", "s", 5.0, "", "checkpoint"),
}
"""How what befell a run is marked in pictures of it; an empty line style leaves the line out."""


def style_of(family: str) -> LineStyle:
    """Return the style of a family; one that psbook does not know gets one of `OTHERS` by its name.

    >>> style_of("asp").color, style_of("mine") == style_of("mine")
    ('#D55E00', True)
    """
    return FAMILIES.get(family) or OTHERS[zlib.crc32(family.encode()) % len(OTHERS)]


def styles(families: Iterable[str]) -> list[LineStyle]:
    """Return a style for each model, given its family; variants of one family differ in more than colour.

    >>> one, three = styles(["ssp", "ssp"])
    >>> one.dashes == three.dashes, one.marker, three.marker
    (True, '', 'o')
    """
    seen: dict[LineStyle, int] = {}
    found = []
    for family in families:
        base = style_of(family)
        number = seen.get(base, 0)
        seen[base] = number + 1
        found.append(_variant(base, number))
    return found


def _variant(base: LineStyle, number: int) -> LineStyle:
    if number == 0:
        return base
    marker = "osD^vP"[(number - 1) % 6]
    # Alternately darker and lighter, so that neighbours are far apart.
    other, share = ("#000000", 0.35) if number % 2 else ("#ffffff", 0.3)
    return replace(base, color=blend(base.color, other, share), width=base.width * 0.85, marker=marker)


def struck(look: LineStyle) -> LineStyle:
    """Return how a model's runs with faults are drawn: its colour and dashes, thinner, with hollow markers.

    >>> struck(style_of("asp")).color == style_of("asp").color, struck(style_of("asp")).marker
    (True, 'X')
    """
    return replace(look, width=look.width * 0.8, marker=look.marker or "X", hollow=True)


def blend(color: str, other: str, share: float) -> str:
    """Return `color` with a share of `other` in it.

    >>> blend("#ffffff", "#000000", 0.5)
    '#808080'
    """
    mixed = ((1 - share) * one + share * two for one, two in zip(to_rgb(color), to_rgb(other), strict=True))
    return to_hex(tuple(mixed))  # type: ignore[arg-type]  # three numbers, as asked for


def seconds_label(time_unit: str) -> str:
    """Name an axis of seconds: simulated time is never called by a real clock's name.

    >>> seconds_label("simulated s"), seconds_label("s")
    ('simulated seconds', 'seconds')
    """
    return "simulated seconds" if time_unit.startswith("simulated") else "seconds"
