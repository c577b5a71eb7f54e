"""The nodes along time, around a row: who computes, who waits, which messages are under way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

from psbook.trace import Trace
from psbook.trace.schema import SPANS
from psbook.view.picture import unit_of
from psbook.view.state import Event, InFlight, Replay, State
from psbook.view.style import FAINT, INK, KINDS, MARKS

WIDTH, MARGIN, LANE, TOP = 860.0, 96.0, 24.0, 20.0
PROGRAMS, SERVERS, ROWS = 16, 8, 1200
"""At most so many lanes, and rows drawn."""

MESSAGES = {"Pull": "#0072B2", "PullReply": "#0072B2", "Push": "#D55E00", "Parcel": "#832db6"}
"""Colours of messages; the others, which carry no values, are grey."""


@dataclass(frozen=True)
class Frame:
    """Where things are in the picture: seconds along x, a lane a node along y."""

    start: float
    stop: float
    lanes: dict[str, float]

    def x(self, time: float) -> float:
        """Pixels of a moment, cut off at the borders."""
        share = (time - self.start) / (self.stop - self.start)
        return MARGIN + (WIDTH - MARGIN - 10) * min(max(share, 0.0), 1.0)


def spacetime(trace: Trace, replay: Replay, index: int) -> str:
    """Return the picture as SVG.

    Parameters
    ----------
    trace
        The trace.
    replay
        Its rows and states.
    index
        Row of the cursor; what comes later is faint.
    """
    if not len(replay):
        return _document(40.0, [_text(10, 25, "This trace has no rows.")], "This trace has no rows.")
    event = replay.events[index]
    start, stop = stretch(trace, replay, event.time)
    nodes, left_out = lanes(trace, replay, event)
    frame = Frame(start, stop, {node: TOP + LANE * (k + 0.5) for k, node in enumerate(nodes)})
    first, last = replay.between(start, stop)
    before = replay.at(first - 1)
    befell = any(row.kind in SIGNS for row in replay.events[first:last])
    height = TOP + LANE * len(nodes) + 34
    rows = list(enumerate(replay.events[first:last], first))
    arriving = [row for row in rows if row[0] not in replay.lost]
    parts = [
        *_lane_lines(frame),
        *_spans(frame, [(-1, span) for span in before.doing.values()] + rows, index),
        *_messages(frame, before, arriving, index, replay.at(index)),
        *_lost(frame, [row for row in rows if row[0] in replay.lost], index),
        *_marks(frame, rows, index),
        *_cursor(frame, event, unit_of(trace)),
        _text(MARGIN + 60, TOP + LANE * len(nodes) + 14, WHAT_BEFELL, color=MARKS["fault"].color)
        if befell
        else "",
        _text(WIDTH / 2, height - 20, f"{left_out} more nodes are not shown", anchor="middle", color=FAINT)
        if left_out
        else "",
    ]
    return _document(height, parts, f"Nodes along time around {event.time:.6g} {unit_of(trace)}")


def stretch(trace: Trace, replay: Replay, time: float) -> tuple[float, float]:
    """Return the seconds to show: some two iterations of a worker, less where there are too many rows."""
    final = replay.at(len(replay) - 1)
    ended = sum(final.clocks.values())
    length = 2.0 * trace.end * len(final.clocks) / ended if ended else trace.end / 10
    while True:
        start, stop = time - 0.65 * length, time + 0.35 * length
        first, last = replay.between(start, stop)
        if last - first <= ROWS or length < 1e-9 * max(trace.end, 1e-9):
            break
        length /= 2
    return (start, stop) if stop > start else (time - 0.5, time + 0.5)


def lanes(trace: Trace, replay: Replay, event: Event) -> tuple[list[str], int]:
    """Return the nodes to show, programs first, those of the row always among them; and how many are not."""
    final = replay.at(len(replay) - 1)
    programs = list(trace.meta.get("programs") or sorted(final.doing) or final.clocks)
    servers = list(trace.meta.get("servers") or sorted({server for server, _ in final.versions}))
    shown = programs[:PROGRAMS] + servers[:SERVERS]
    wanted = set(shown) | {event.node, event.peer}
    nodes = [node for node in programs + servers if node in wanted]
    return nodes, len(programs) + len(servers) - len(nodes)


def _lane_lines(frame: Frame) -> list[str]:
    parts = []
    for node, y in frame.lanes.items():
        parts.append(_text(MARGIN - 8, y + 4, node, anchor="end"))
        parts.append(f'<path d="M{MARGIN} {y:.1f}H{WIDTH - 10}" stroke="#d5d5d5"/>')
    return parts


def _spans(frame: Frame, rows: list[tuple[int, Event]], index: int) -> list[str]:
    parts = []
    for at, span in rows:
        y = frame.lanes.get(span.node)
        if y is None or span.kind not in SPANS:
            continue
        left, right = frame.x(span.time), frame.x(span.time + span.duration)
        if right > left:
            parts.append(
                f'<rect x="{left:.1f}" y="{y - 7:.1f}" width="{right - left:.1f}" height="14" '
                f'fill="url(#psbook-{span.kind})" stroke="#00000040" stroke-width=".5"'
                f"{_faint(at, index)}><title>{escape(_tip(span))}</title></rect>"
            )
    return parts


def _tip(span: Event) -> str:
    cause = f" ({span.detail})" if span.detail else ""
    return f"{span.node}: {KINDS[span.kind].label}{cause}, {span.duration:.4g} s at clock {span.clock}"


def _messages(
    frame: Frame, before: State, rows: list[tuple[int, Event]], index: int, now: State
) -> list[str]:
    """Draw an arrow a message: those under way at the cursor strong, later ones faint."""
    parts: list[str] = []
    sent: dict[InFlight, list[tuple[int, float]]] = {
        message: [(-1, time)] * count for message, (time, count) in before.sent.items() if count > 0
    }
    for at, row in rows:
        if row.kind == "send":
            sent.setdefault(InFlight(row.detail, row.node, row.peer, row.message), []).append((at, row.time))
        elif row.kind == "receive":
            message = InFlight(row.detail, row.peer, row.node, row.message)
            waiting = sent.get(message)
            if waiting:
                since, time = waiting.pop(0)
                under_way = since <= index < at
                parts += _arrow(frame, message, time, row.time, under_way, at == index, since > index)
    for message, left in sent.items():
        for since, time in left:
            parts += _arrow(frame, message, time, math.inf, message in now.sent, False, since > index)
    return parts


def _arrow(
    frame: Frame, message: InFlight, sent: float, received: float, under_way: bool, just: bool, later: bool
) -> list[str]:
    source, to = frame.lanes.get(message.source), frame.lanes.get(message.to)
    if source is None or to is None:
        return []
    x1, x2 = frame.x(sent), frame.x(received)
    color = MESSAGES.get(message.type, "#8a8a8a")
    strong = under_way or just
    width = 2.2 if strong else 0.9 if message.type in MESSAGES else 0.5
    opacity = 1.0 if strong else 0.22 if later else 0.65
    dashes = ' stroke-dasharray="5 3"' if under_way else ""
    tip = f"{message.type} from {message.source} to {message.to} {message.message}"
    path = (
        f'<path d="M{x1:.1f} {source:.1f}L{x2:.1f} {to:.1f}" stroke="{color}" stroke-width="{width}"'
        f'{dashes} opacity="{opacity}" fill="none" marker-end="url(#psbook-head)">'
        f"<title>{escape(tip)}</title></path>"
    )
    return [path]


def _lost(frame: Frame, rows: list[tuple[int, Event]], index: int) -> list[str]:
    """Draw the beginning of the way of messages that never arrive."""
    parts = []
    for at, row in rows:
        source, to = frame.lanes.get(row.node), frame.lanes.get(row.peer)
        if source is None or to is None:
            continue
        x, y = frame.x(row.time), source + 0.4 * (to - source)
        color, faint = MARKS["lost"].color, _faint(at, index)
        tip = f"{row.detail} from {row.node} to {row.peer} {row.message} never arrives"
        parts.append(
            f'<path d="M{x:.1f} {source:.1f}L{x + 10:.1f} {y:.1f}m-3 -3l6 6m0 -6l-6 6" stroke="{color}" '
            f'stroke-width="1" fill="none"{faint}><title>{escape(tip)}</title></path>'
        )
    return parts


SIGNS = {"fault": "✖", "lost": "▼", "restart": "▲"}
"""What befalls a node, in its lane."""

WHAT_BEFELL = "✖ fault   ▼ given up   ▲ starts again"


def _marks(frame: Frame, rows: list[tuple[int, Event]], index: int) -> list[str]:
    """Draw clocks as ticks with their number, updates as squares, held requests as rings, faults by signs."""
    parts = []
    for at, row in rows:
        y = frame.lanes.get(row.node)
        if y is None:
            continue
        x, faint = frame.x(row.time), _faint(at, index)
        if row.kind == "clock":
            parts.append(f'<path d="M{x:.1f} {y - 9:.1f}v18" stroke="{INK}" stroke-width="1.4"{faint}/>')
            parts.append(_text(x + 3, y - 1, str(row.clock), size=8, more=faint))
        elif row.kind == "apply":
            parts.append(f'<rect x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6" fill="{INK}"{faint}/>')
        elif row.kind in ("park", "release"):
            fill = "#ffffff" if row.kind == "park" else "#E69F00"
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}" stroke="#b36b00" '
                f'stroke-width="1.6"{faint}><title>{escape(row.detail)}</title></circle>'
            )
        elif row.kind in SIGNS:
            look = MARKS[row.kind]
            sign = _text(x, y + 4, SIGNS[row.kind], anchor="middle", size=12, color=look.color, more=faint)
            parts.append(f"<g><title>{escape(row.detail or look.label)}</title>{sign}</g>")
    return parts


def _cursor(frame: Frame, event: Event, unit: str) -> list[str]:
    x, bottom = frame.x(event.time), TOP + LANE * len(frame.lanes)
    parts = [f'<path d="M{x:.1f} {TOP - 4}V{bottom + 4:.1f}" stroke="{INK}" stroke-dasharray="2 2"/>']
    parts.append(_text(x, TOP - 8, f"{event.time:.6g} {unit}", anchor="middle", weight="600"))
    y = frame.lanes.get(event.node)
    if y is not None:
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="8" fill="none" stroke="{INK}" stroke-width="1.6"/>'
        )
    # What the marks mean, and the borders of the stretch.
    parts.append(_text(MARGIN, bottom + 14, f"{frame.start:.5g}", color=FAINT))
    parts.append(_text(WIDTH - 10, bottom + 14, f"{frame.stop:.5g}", anchor="end", color=FAINT))
    at = MARGIN
    for kind in SPANS:
        parts.append(
            f'<rect x="{at}" y="{bottom + 20:.1f}" width="14" height="9" fill="url(#psbook-{kind})" '
            'stroke="#00000040" stroke-width=".5"/>'
        )
        parts.append(_text(at + 18, bottom + 28, KINDS[kind].label, color=FAINT))
        at += 34 + 6.0 * len(KINDS[kind].label)
    parts.append(_text(at, bottom + 28, "| clock   ■ update   ○ held   → message", color=FAINT))
    return parts


def _faint(at: int, index: int) -> str:
    return ' opacity=".3"' if at > index else ""


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 10, weight: str = "400",
    color: str = INK, more: str = "",
) -> str:  # fmt: skip
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{color}" '
        f'text-anchor="{anchor}"{more}>{escape(text)}</text>'
    )


HATCHES = {"": "", "////": "M0 6L6 0", "xxx": "M0 6L6 0M0 0L6 6", "....": "M2 3h2", "---": "M0 3h6"}
"""A stroke on six by six pixels for each hatch of `KINDS`."""


def _document(height: float, parts: list[str], title: str) -> str:
    patterns = "".join(
        f'<pattern id="psbook-{kind}" width="6" height="6" patternUnits="userSpaceOnUse">'
        f'<rect width="6" height="6" fill="{style.color}"/>'
        f'<path d="{HATCHES[style.hatch]}" stroke="#00000070" stroke-width=".7"/></pattern>'
        for kind, style in KINDS.items()
    )
    head = (
        '<marker id="psbook-head" viewBox="0 0 6 6" refX="6" refY="3" markerWidth="5" markerHeight="5" '
        'orient="auto-start-reverse"><path d="M0 0L6 3L0 6z" fill="context-stroke"/></marker>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {height:.0f}" '
        f'width="{WIDTH:.0f}" height="{height:.0f}" role="img" font-family="system-ui,sans-serif" '
        f'style="max-width:100%;height:auto"><title>{escape(title)}</title><defs>{patterns}{head}</defs>'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>'
    )
