"""A run that goes on as one picture: loss, clocks with the window of the model, and four curves."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from psbook.live import ProgramStatus, Status, listed
from psbook.view.live_history import History, amount, ticks
from psbook.view.spacetime import HATCHES
from psbook.view.style import FAINT, INK, KINDS, MARKS

WIDTH = 860.0
LANES = 12
"""Workers whose bars are drawn; of more, the slowest and the fastest."""

LETTERS = 138
"""Letters of a line of text as wide as the picture."""

LINES = 7
"""Lines of words below the picture."""

LOSS = "#0072B2"
WINDOW = "#d9ece5"
OVER = "#eef1f4"

LOOKS = {"computing": "compute", "waiting": "network", "held": "blocked", "idle": "idle", "starting": "idle"}
"""Kind of time that a program's state is drawn as; the look of the others is their own."""

WORDS = {
    "starting": "starts",
    "computing": "computes",
    "waiting": "waits for messages",
    "held": "held by the model",
    "idle": "idle",
    "ended": "ended",
    "lost": "lost",
}
"""States of a program, for a reader."""


@dataclass(frozen=True)
class Axes:
    """A part of the picture: its place in pixels, and what its borders stand for."""

    x: float
    y: float
    width: float
    height: float
    left: float = 0.0
    right: float = 1.0
    low: float = 0.0
    high: float = 1.0

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return the pixels of a point."""
        return self.across(x), self.up(y)

    def across(self, x: float) -> float:
        """Return the pixels of a value along x, cut off at the borders."""
        share = (x - self.left) / ((self.right - self.left) or 1.0)
        return self.x + self.width * min(max(share, 0.0), 1.0)

    def up(self, y: float) -> float:
        """Return the pixels of a value along y, cut off at the borders."""
        share = (y - self.low) / ((self.high - self.low) or 1.0)
        return self.y + self.height * (1.0 - min(max(share, 0.0), 1.0))


def picture(status: Status, history: History) -> str:
    """Return the picture as SVG that needs nothing else; every text in it is escaped.

    Parameters
    ----------
    status
        The run as it is.
    history
        What was seen of it before.
    """
    programs, left_out = shown(status)
    tall = max(150.0, 17.0 * len(programs) + 8)
    curves = 64.0 + tall + 66.0
    said = words(status)
    height = curves + 88.0 + 15.0 * len(said) + (12.0 if said else 0.0)
    parts = [
        *_head(status),
        *_loss(status, Axes(52, 64, 350, tall)),
        *_clocks(status, programs, left_out, Axes(520, 64, 300, tall)),
        *_curves(status, history, curves),
        *(text(16, curves + 96 + 15 * k, line, size=11) for k, line in enumerate(said)),
    ]
    return _document(height, parts, status.sentence)


def shown(status: Status) -> tuple[list[tuple[str, ProgramStatus]], int]:
    """Return the programs whose clocks are drawn, and how many are not."""
    programs = [(name, each) for name, each in status.programs.items() if each.counts]
    if len(programs) <= LANES:
        return programs, 0
    ordered = sorted(programs, key=lambda item: item[1].clock)
    kept = {name for name, _ in (*ordered[: LANES // 2], *ordered[-LANES // 2 :])}
    return [item for item in programs if item[0] in kept], len(programs) - len(kept)


def words(status: Status, letters: int = LETTERS, most: int = LINES) -> list[str]:
    """Return in lines who waits for whom, and which nodes are not well."""
    parts = together(status.waits)
    parts += [
        f"{name} is {each.state}" + (f", silent for {each.silent:.1f} s" if each.silent > 1 else "")
        for name, each in status.processes.items()
        if each.state != "alive"
    ]
    lost = [name for name, program in status.programs.items() if program.state == "lost"]
    parts += [f"{', '.join(lost)}: lost; starts again elsewhere, if the run can"] if lost else []
    parts = [status.error, *parts] if status.error else parts
    lines = [line for part in parts for line in textwrap.wrap(part, letters, subsequent_indent="    ")]
    return [*lines[: most - 1], f"… and {len(lines) - most + 1} lines more"] if len(lines) > most else lines


def together(waits: dict[str, str]) -> list[str]:
    """Return why workers are held; those for whom it is the same share a sentence.

    >>> together({"worker-1": "worker-1 reads at clock 3", "worker-2": "worker-2 reads at clock 3"})
    ['worker-1, worker-2: reads at clock 3']
    """
    alike: dict[str, list[str]] = {}
    for name, why in waits.items():
        if why:
            alike.setdefault(why.replace(f"{name} ", ""), []).append(name)
    return [f"{listed(names, 6)}: {why}" for why, names in alike.items()]


def _head(status: Status) -> list[str]:
    color = MARKS["fault"].color if status.state == "failed" else INK
    head = f"{status.job or 'run'} · {status.model}"
    unit = status.time_unit
    facts = [f"{status.state} at {status.time:.4g} {unit}", f"{status.iterations:,} worker iterations"]
    facts += [] if math.isnan(status.loss) else [f"loss {status.loss:.5g}"]
    return [
        text(16, 24, shortened(head, 70), size=15, weight="600", color=color),
        text(WIDTH - 16, 24, "   ".join(facts), size=12, anchor="end"),
        f'<path d="M16 34H{WIDTH - 16:.0f}" stroke="#dddddd"/>',
    ]


def _loss(status: Status, place: Axes) -> list[str]:
    parts = [text(place.x - 36, place.y - 12, "loss", size=11, weight="600")]
    points = [(t, loss) for t, _, loss in status.losses if math.isfinite(loss)]
    if not points:
        why = "no evaluation yet" if not status.over else "the job has no objective"
        return [*parts, *_frame(place), _middle(place, why)]
    values = [loss for _, loss in points]
    low, high = min(values), max(values)
    logs = low > 0 and high / low > 50
    scale = math.log10 if logs else float
    low, high = scale(low), scale(high)
    room = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    end = max(status.time, points[-1][0], 1e-12)
    axes = Axes(place.x, place.y, place.width, place.height, 0.0, end, low - room, high + room)
    for value in ticks(axes.low, axes.high, whole=logs):
        y = axes.up(value)
        parts.append(f'<path d="M{axes.x} {y:.1f}H{axes.x + axes.width}" stroke="#e9e9e9"/>')
        parts.append(
            text(axes.x - 5, y + 3.5, f"{10**value if logs else value:.3g}", anchor="end", color=FAINT)
        )
    parts += _across(
        axes, ticks(0.0, end), "simulated seconds" if status.backend == "simulator" else "seconds"
    )
    line = "L".join("{:.1f} {:.1f}".format(*axes.at(t, scale(loss))) for t, loss in points)
    x, y = axes.at(points[-1][0], scale(points[-1][1]))
    parts.append(f'<path d="M{line}" fill="none" stroke="{LOSS}" stroke-width="2" stroke-linejoin="round"/>')
    parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.4" fill="{LOSS}" stroke="#fff"/>')
    return parts


def _clocks(
    status: Status, programs: Sequence[tuple[str, ProgramStatus]], left_out: int, place: Axes
) -> list[str]:
    head = f"clocks, {left_out} workers between these not shown" if left_out else "clocks"
    parts = [text(place.x - 96, place.y - 12, head, size=11, weight="600")]
    if not programs:
        return [*parts, *_frame(place), _middle(place, "nothing known of the workers")]
    going = status.clocks.values()
    reached = [program.clock for _, program in programs]
    low, high = min(going, default=0), max(going, default=max(reached))
    limit = low + status.window if status.window is not None and going else high
    right = max(high, limit, *reached) if len(going) < len(reached) else max(high, limit)
    left = max(0.0, low - max(4.0, 1.5 * (right - low))) if going else 0.0
    axes = Axes(place.x, place.y, place.width, place.height, left, max(right + 0.5, left + 1))
    if going and status.window is not None:
        begin, end = axes.across(low), axes.across(limit)
        parts.append(
            f'<rect x="{begin:.1f}" y="{axes.y}" width="{max(end - begin, 2):.1f}" height="{axes.height}" '
            f'fill="{WINDOW}"><title>a worker reads while its clock is at most {limit:g}</title></rect>'
            f'<path d="M{end:.1f} {axes.y}v{axes.height}" stroke="#009E73" stroke-dasharray="4 3"/>'
        )
        parts.append(
            text(WIDTH - 16, axes.y - 12, f"reads up to clock {limit:g}", anchor="end", color="#00694d")
        )
    lane = axes.height / len(programs)
    for number, (name, program) in enumerate(programs):
        parts += _bar(axes, axes.y + lane * (number + 0.5), min(lane - 4, 16.0), name, program)
    return [*parts, *_across(axes, ticks(left, axes.right, whole=True), "clock"), *_legend(programs, axes)]


def _bar(axes: Axes, y: float, tall: float, name: str, program: ProgramStatus) -> list[str]:
    fill = f"url(#psbook-live-{LOOKS[program.state]})" if program.state in LOOKS else OVER
    edge = MARKS["fault"].color if program.state == "lost" else "#00000080"
    wide = max(axes.across(program.clock) - axes.x, 1.0)
    tip = f"{name}: clock {program.clock}, {WORDS.get(program.state, program.state)}"
    tip += f", {program.waits_for} for {program.seconds:.3g} s" if program.waits_for else ""
    tip += f"; {program.why}" if program.why else ""
    sign = {"ended": " ✓", "lost": " ✖"}.get(program.state, "")
    inside = wide > axes.width - 34
    halo = ' stroke="#ffffff" stroke-width="3" paint-order="stroke" stroke-linejoin="round"'
    at = axes.x + wide + (-5 if inside else 5)
    bar = (
        f'<rect x="{axes.x}" y="{y - tall / 2:.1f}" width="{wide:.1f}" height="{tall:.1f}" fill="{fill}" '
        f'stroke="{edge}" stroke-width=".8"><title>{escape(tip)}</title></rect>'
    )
    anchor = "end" if inside else "start"
    return [
        bar,
        text(axes.x - 6, y + 3.5, shortened(name, 16), anchor="end"),
        text(at, y + 3.5, f"{program.clock}{sign}", anchor=anchor, more=halo, weight="600"),
    ]


def _legend(programs: Sequence[tuple[str, ProgramStatus]], axes: Axes) -> list[str]:
    there = dict.fromkeys(LOOKS[p.state] for _, p in programs if p.state in LOOKS)
    parts, x, y = [], axes.x - 96, axes.y + axes.height + 36
    for kind in (kind for kind in KINDS if kind in there):
        label = {"network": "waits for messages"}.get(kind, KINDS[kind].label)
        parts.append(
            f'<rect x="{x:.1f}" y="{y - 8:.1f}" width="14" height="9" fill="url(#psbook-live-{kind})" '
            'stroke="#00000080" stroke-width=".6"/>'
        )
        parts.append(text(x + 18, y, label, color=FAINT))
        x += 34 + 5.6 * len(label)
    return parts


def _curves(status: Status, history: History, y: float) -> list[str]:
    """Draw gap, staleness and rates along the time at which they were seen, with their last value."""
    moments = history.moments
    stale = math.nan if status.staleness is None else status.staleness
    most = f" of at most {status.window + 1:g}" if status.window is not None else ""
    unit = "simulated s" if status.backend == "simulator" else "s"
    last = moments[-1] if moments and status.over else None
    gaps = [float(m.gap) for m in moments]
    gap, wide = f"gap{most}", float(status.gap)
    if status.over:
        gap, wide = f"largest gap seen{most}", max(gaps, default=wide)
    items = [
        (gap, amount(wide), gaps),
        ("mean staleness", amount(stale), [m.staleness for m in moments]),
        (f"iterations / {unit}", amount(last.iterations_per_s if last else status.iterations_per_s),
         [m.iterations_per_s for m in moments]),
        (f"bytes / {unit}", amount(last.bytes_per_s if last else status.bytes_per_s, "B"),
         [m.bytes_per_s for m in moments]),
    ]  # fmt: skip
    parts = [f'<path d="M16 {y - 8:.1f}H{WIDTH - 16:.0f}" stroke="#dddddd"/>']
    for number, (label, value, series) in enumerate(items):
        x = 16 + number * 211.0
        parts.append(text(x, y + 10, label, color=FAINT, size=11))
        parts.append(text(x, y + 34, value, size=18, weight="600"))
        place = Axes(x + 84, y + 6, 106, 56)
        parts += _curve(place, [m.time for m in moments], series)
    return parts


def _curve(place: Axes, times: Sequence[float], series: Sequence[float]) -> list[str]:
    points = [(t, value) for t, value in zip(times, series, strict=True) if math.isfinite(value)]
    if len(points) < 2:
        return []
    top = max(value for _, value in points) or 1.0
    axes = Axes(place.x, place.y + 10, place.width, place.height - 10, times[0], times[-1], 0.0, top)
    line = "L".join("{:.1f} {:.1f}".format(*axes.at(*point)) for point in points)
    bottom = axes.y + axes.height
    x, y = axes.at(*points[-1])
    begin, fill = axes.across(points[0][0]), KINDS["compute"].color
    return [
        f'<path d="M{begin:.1f} {bottom}L{line}V{bottom}Z" fill="{fill}" opacity=".22"/>',
        f'<path d="M{line}" fill="none" stroke="{LOSS}" stroke-width="1.4" stroke-linejoin="round"/>',
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.4" fill="{LOSS}"/>',
        f'<path d="M{axes.x} {bottom}h{axes.width}" stroke="#bbbbbb"/>',
    ]


def _frame(axes: Axes) -> list[str]:
    return [f'<path d="M{axes.x} {axes.y}v{axes.height}h{axes.width}" fill="none" stroke="#999999"/>']


def _across(axes: Axes, values: Sequence[float], label: str) -> list[str]:
    bottom = axes.y + axes.height
    parts = _frame(axes)
    for value in values:
        x = axes.across(value)
        parts.append(f'<path d="M{x:.1f} {bottom}v4" stroke="#999999"/>')
        parts.append(text(x, bottom + 15, f"{value:.6g}", anchor="middle", color=FAINT))
    return [*parts, text(axes.x + axes.width, bottom + 27, label, anchor="end", color=FAINT)]


def _middle(axes: Axes, said: str) -> str:
    return text(
        axes.x + axes.width / 2, axes.y + axes.height / 2, said, anchor="middle", color=FAINT, size=12
    )


def shortened(name: str, most: int) -> str:
    """Return a name that fits.

    >>> shortened("a-long-name", 6)
    'a-lon…'
    """
    return name if len(name) <= most else f"{name[: most - 1]}…"


def text(
    x: float, y: float, said: str, *, anchor: str = "start", size: int = 10, weight: str = "400",
    color: str = INK, more: str = "",
) -> str:  # fmt: skip
    """Return a line of text; what it says is escaped."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{color}" '
        f'text-anchor="{anchor}" xml:space="preserve"{more}>{escape(said)}</text>'
    )


def _document(height: float, parts: Sequence[str], title: str) -> str:
    patterns = "".join(
        f'<pattern id="psbook-live-{kind}" width="6" height="6" patternUnits="userSpaceOnUse">'
        f'<rect width="6" height="6" fill="{style.color}"/>'
        f'<path d="{HATCHES[style.hatch]}" stroke="#00000070" stroke-width=".7"/></pattern>'
        for kind, style in KINDS.items()
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {height:.0f}" '
        f'width="{WIDTH:.0f}" height="{height:.0f}" role="img" font-family="system-ui,sans-serif" '
        f'style="max-width:100%;height:auto"><title>{escape(title)}</title><defs>{patterns}</defs>'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>'
    )
