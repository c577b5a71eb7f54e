"""A row of a trace as a sentence."""

from __future__ import annotations

from collections.abc import Callable

from psbook.view.state import Event, State


def sentence(event: Event, before: State) -> str:
    """Say what a row means.

    Parameters
    ----------
    event
        The row.
    before
        The state just before it, which knows why a program is held.

    Examples
    --------
    >>> event = Event(1.0, 0.0, "server-1", "apply", "worker-3", "w", 1, 0, 62, 5, 17, 4, "", "", -1, 0.0, "")
    >>> sentence(event, State({}))
    "server-1 applied worker-3's update of w[0:62], 4 versions stale; version 17"
    """
    say = SENTENCES.get(event.kind)
    if say is None:
        return f"{event.node}: {event.kind} {event.detail}".rstrip()
    why = before.why(event.node) if event.kind == "blocked" else []
    return f"{say(event)} ({why[-1][1].why})" if why else say(event)


def keys(event: Event) -> str:
    """Name the keys of a row, as in ``w[0:62]``."""
    return f"{event.table}[{event.start}:{event.stop}]" if event.start >= 0 else event.table or "a value"


def _plural(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _compute(event: Event) -> str:
    return f"{event.node} computes for {event.duration:.4g} s, at clock {event.clock}"


def _network(event: Event) -> str:
    return f"{event.node} waits {event.duration:.4g} s for messages on their way"


def _blocked(event: Event) -> str:
    return f"{event.node} is held by the consistency model for {event.duration:.4g} s"


def _queued(event: Event) -> str:
    return f"{event.node} waits {event.duration:.4g} s while its request is queued or served"


def _idle(event: Event) -> str:
    return f"{event.node} has nothing to do for {event.duration:.4g} s: {event.detail or 'idle'}"


def _clock(event: Event) -> str:
    return f"{event.node} ended an iteration: its clock is {event.clock}"


def _finish(event: Event) -> str:
    return f"{event.node} ended, after {_plural(max(event.clock, 0), 'iteration')}"


def _report(event: Event) -> str:
    return f"{event.node} reported {event.detail} = {event.value:.6g}"


def _apply(event: Event) -> str:
    stale = {
        -1: "computed from no read",
        0: "not stale",
    }.get(event.staleness, f"{_plural(event.staleness, 'version')} stale")
    return f"{event.node} applied {event.peer}'s update of {keys(event)}, {stale}; version {event.version}"


def _replicate(event: Event) -> str:
    return f"{event.node} applied {event.peer}'s update of {keys(event)} to its copy; version {event.version}"


def _answer(event: Event) -> str:
    return f"{event.node} read {keys(event)} for {event.peer}, at version {event.version}"


def _park(event: Event) -> str:
    return f"{event.node} holds {event.peer}'s request: {event.detail}"


def _release(event: Event) -> str:
    return f"{event.node} lets {event.peer}'s request go on, after {event.value:.4g} s"


def _send(event: Event) -> str:
    size = f", {_plural(event.bytes, 'byte')}" if event.bytes >= 0 else ""
    return f"{event.node} sent {event.detail} to {event.peer}{size}"


def _receive(event: Event) -> str:
    return f"{event.node} received {event.detail} from {event.peer}"


def _loss(event: Event) -> str:
    return (
        f"after {_plural(event.clock, 'worker iteration')} and {_plural(event.version, 'update')} the "
        f"held-out loss is {event.value:.6g}"
    )


def _failure(event: Event) -> str:
    return f"{event.node} failed: {event.detail}"


def _fault(event: Event) -> str:
    return f"{event.node}: {event.detail}"


def _lost(event: Event) -> str:
    return f"the controller gives {event.node} up: {event.detail}"


def _restart(event: Event) -> str:
    return f"{event.node} was started again, for the {event.version}. time"


def _drop(event: Event) -> str:
    return (
        f"{event.node} dropped {event.peer}'s update of {keys(event)}, of clock {event.clock}: {event.detail}"
    )


def _serve(event: Event) -> str:
    role = {"both": "head and tail", "": "neither head nor tail"}.get(event.detail, event.detail)
    return f"{event.node} is {role} of shard {event.shard}, in epoch {event.version}"


def _epoch(event: Event) -> str:
    return f"the map of epoch {event.version}: {event.detail}"


def _checkpoint(event: Event) -> str:
    return f"a checkpoint of clock {event.clock} is complete: {event.detail}"


SENTENCES: dict[str, Callable[[Event], str]] = {
    "compute": _compute,
    "network": _network,
    "blocked": _blocked,
    "queued": _queued,
    "idle": _idle,
    "clock": _clock,
    "finish": _finish,
    "report": _report,
    "apply": _apply,
    "answer": _answer,
    "park": _park,
    "release": _release,
    "send": _send,
    "receive": _receive,
    "loss": _loss,
    "failure": _failure,
    "replicate": _replicate,
    "drop": _drop,
    "drop copy": _drop,
    "fault": _fault,
    "lost": _lost,
    "restart": _restart,
    "serve": _serve,
    "epoch": _epoch,
    "checkpoint": _checkpoint,
}
"""A sentence for each kind of `psbook.trace.schema.KINDS`."""
