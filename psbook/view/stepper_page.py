"""What a stepper knows, as HTML and as text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from psbook.view.picture import name_of, unit_of
from psbook.view.state import State

if TYPE_CHECKING:
    from psbook.view.stepper import Stepper

SHOWN = 24
"""Rows of a table that are shown; the rest is counted."""

DOING = {
    "compute": "computes",
    "network": "waits for messages",
    "blocked": "held by the consistency model",
    "queued": "waits at a server",
    "idle": "idle",
}


def plain(stepper: Stepper) -> str:
    """Return the state at the cursor in a few sentences."""
    state = stepper.state
    parts = [
        stepper.sentence + ("" if stepper.sentence.endswith(".") else "."),
        f"Row {stepper.index + 1} of {len(stepper)}.",
        gap(state) + "." if state.clocks else "",
        f"{len(state.in_flight())} messages under way, {len(state.held)} requests held."
        if not stepper.missing
        else stepper.missing,
        f"Loss {state.loss:.6g}." if not math.isnan(state.loss) else "",
    ]
    return " ".join(part for part in parts if part)


def gap(state: State) -> str:
    """Say how far the clocks of the workers are apart."""
    clocks = state.clock_range()
    if clocks is None:
        return "All workers have ended"
    low, high = clocks
    return f"Slowest clock {low}, fastest {high}, gap {high - low}"


def doing(state: State, node: str, time: float, level: str = "full") -> tuple[str, str]:
    """Return what a program does at a moment, and why."""
    span = state.doing.get(node)
    if node in state.finished and (span is None or span.kind != "idle"):
        return "ended", ""
    if span is None or span.time + span.duration < time:
        return ("between two steps" if span else "not begun") if level != "off" else "not recorded", ""
    what = f"{DOING[span.kind]} until {span.time + span.duration:.6g}"
    if span.kind == "idle":
        return what, span.detail
    held = state.why(node)
    if held:
        # Shards that hold for the same reason say it once.
        servers: dict[str, list[str]] = {}
        for server, request in held:
            servers.setdefault(request.why, []).append(server)
        return what, "; ".join(f"{', '.join(where)}: {why}" for why, where in servers.items())
    if span.kind == "network":
        under_way = [m for m, _ in state.in_flight() if node in (m.source, m.to) and m.type != "Ack"]
        return what, ", ".join(f"{m.type} {m.source} → {m.to}" for m in under_way[:4])
    return what, ""


def page(stepper: Stepper) -> str:
    """Return the state at the cursor as HTML that needs nothing else; every text in it is escaped."""
    state, time = stepper.state, stepper.time
    level = str(stepper.trace.meta.get("trace_level", "full"))
    loss = "" if math.isnan(state.loss) else f" Loss so far {state.loss:.6g}."
    kind = "" if stepper.event is None else f" ({stepper.event.kind})"
    where = f"{name_of(stepper.trace)}, row {stepper.index + 1} of {len(stepper)}{kind}."
    programs = stepper.trace.meta.get("programs") or sorted({*state.clocks, *state.doing})
    parts = [
        f"<p><b>{escape(stepper.sentence)}</b><br>{escape(where)} {escape(gap(state))}.{escape(loss)}</p>",
        f"<p><i>{escape(stepper.missing)}</i></p>" if stepper.missing else "",
        stepper.svg(),
        table(
            f"Programs at {time:.6g} {unit_of(stepper.trace)}",
            ("program", "clock", "what it does", "why"),
            ((node, _clock(state, node, level), *doing(state, node, time, level)) for node in programs),
            len(programs),
        ),
    ]
    if not stepper.missing:
        parts.append(_under_way(state))
        parts.append(_held(state))
    if state.versions:
        versions = [(*shard, str(version)) for shard, version in sorted(state.versions.items())]
        parts.append(table("Shards", ("server", "table", "version"), versions, len(versions)))
    return f'<div class="psbook-stepper">{"".join(parts)}</div>'


def _clock(state: State, node: str, level: str) -> str:
    return "?" if level == "off" else str(state.clocks.get(node, "–"))


def _under_way(state: State) -> str:
    messages = state.in_flight()
    if not messages:
        return "<p>No message is under way.</p>"
    rows = ((m.type, f"{m.source} → {m.to}", f"{time:.6g}", m.message) for m, time in messages)
    return table("Messages under way", ("type", "from → to", "sent at", "id"), rows, len(messages))


def _held(state: State) -> str:
    if not state.held:
        return "<p>No request is held.</p>"
    rows = ((server, held.node, f"{held.since:.6g}", held.why) for (server, _), held in state.held.items())
    return table("Requests held", ("server", "of", "since", "why, at that time"), rows, len(state.held))


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], count: int) -> str:
    """Return `count` rows of texts as a table of HTML, at most `SHOWN`; all are escaped."""
    left = ' style="text-align:left;vertical-align:top;padding:1px 12px 1px 0"'
    head = "".join(f"<th{left}>{escape(text)}</th>" for text in heads)
    body = []
    for number, row in enumerate(rows):
        if number == SHOWN:
            body.append(f"<tr><td{left} colspan={len(heads)}>… and {count - SHOWN} more</td></tr>")
            break
        body.append("<tr>" + "".join(f"<td{left}>{escape(text)}</td>" for text in row) + "</tr>")
    return (
        f'<table style="margin:.4em 0"><caption style="text-align:left;font-weight:600">{escape(caption)}'
        f"</caption><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    )
