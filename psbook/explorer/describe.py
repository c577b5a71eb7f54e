"""Steps and messages as sentences."""

from __future__ import annotations

from typing import Any

from psbook.core.controls import Beat, Forward, Freeze, Frozen, Install, Installed, Lend, Reroute, Stable
from psbook.core.messages import Ack, Batch, Clock, Finish, Pull, PullReply, Push, Reject, Rejoin, Rejoined
from psbook.explorer.properties import sentence
from psbook.explorer.system import State, Step, System


def describe(system: System, state: State, step: Step) -> str:
    """Say what a step does in a state."""
    if step.at >= len(system.nodes):
        source, destination = (system.nodes[each] for each in system.pairs[step.at - len(system.nodes)])
        message = system.local.messages.thaw(system.channels.contents[state[step.at]][step.position])
        text = message_sentence(message)
        if step.kind == "list":
            return f"{source} → {destination}: {text}"
        if step.kind == "lose":
            return f"{text}, from {source} to {destination}, is lost"
        if step.kind == "copy":
            return f"{text}, from {source} to {destination}, will come twice"
        from_whom = "" if source.startswith("worker") else f" from {source}"
        return f"{destination} takes {text}{from_whom}"
    node = system.nodes[step.at] if step.at >= 0 else ""
    heard = f"every server but {node}" if node else "every server"
    return {
        "crash": f"{node} crashes; what it has sent will still arrive",
        "crash-lossy": f"{node} crashes, and what it has sent is lost",
        "notice": f"the controller learns that {node} is dead",
        "restart": f"{node} starts again, empty",
        "timer": f"{node}'s timers fire",
        "second": f"a second passes, in which the controller hears {heard}",
    }[step.kind]


def message_sentence(message: Any) -> str:
    """Name a message in words."""
    kind = type(message)
    if kind is Push:
        return _push(message)
    if kind is Forward:
        return f"log entry {message.position} (epoch {message.epoch}): {message_sentence(message.entry)}"
    if kind is Batch:
        return "a batch of " + ", ".join(map(message_sentence, message.entries))
    id = getattr(message, "id", None)
    who = "" if id is None else f"worker-{id.rank}"
    again = f" (start {id.incarnation + 1})" if id is not None and id.incarnation else ""
    number = 0 if id is None else id.sequence
    shard = getattr(message, "shard", None)
    texts = {
        Pull: lambda: f"{who}'s read at clock {message.clock}{again}",
        PullReply: lambda: f"the answer to {who}'s read{again}",
        Clock: lambda: f"{who}'s clock {message.clock}{again}",
        Finish: lambda: f"{who}'s finish{again}",
        Rejoin: lambda: f"{who}'s rejoin{again}",
        Rejoined: lambda: f"the word that {who} goes on at clock {message.clock}",
        Ack: lambda: f"the acknowledgement of {who}'s message {number}{again}",
        Reject: lambda: f"the rejection of {who}'s message {number} (epoch {message.epoch})",
        Stable: lambda: f"word that the log is stable up to {message.position} (epoch {message.epoch})",
        Reroute: lambda: f"the map of epoch {message.routes.epoch}",
        Beat: lambda: f"{message.node}'s beat",
        Lend: lambda: f"the order to lend shard {shard} to {message.to}",
        Install: lambda: f"a copy of shard {message.segment.shard}",
        Installed: lambda: f"word that {message.node} has a copy of shard {shard}",
        Freeze: lambda: f"the order to freeze shard {shard} as {message.role}",
        Frozen: lambda: f"word that shard {shard} is frozen as {message.role}",
    }
    text = texts.get(kind)
    return kind.__name__ if text is None else text()


def _push(push: Push) -> str:
    if push.value is None:
        return f"worker-{push.id.rank}'s update of clock {push.clock}, without its value"
    return sentence(push.value[0]) if len(push.value) else f"an empty update of worker-{push.id.rank}"
