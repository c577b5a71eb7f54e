"""Which steps may be taken first, without looking at any other order: *persistent sets* (Godefroid 1996).

Steps of different nodes commute: each changes its own node, takes a message out of a channel into it, and
adds behind the last one of channels out of it. So all that can depend on a delivery are other steps of its
receiver.
"""

from __future__ import annotations

from typing import Any

from psbook.core.controls import Forward, Freeze, Frozen, Lease, Lend, Reroute, Stable
from psbook.core.messages import Ack, CallReply, PullReply, Reject, Rejoined
from psbook.core.routes import Routes
from psbook.explorer.views import ControllerView, ProgramView, ServerView, View


def is_dead(message: Any, receiver: View) -> bool:
    """Whether a message that changes nothing now never will: then it may be taken at once.

    Replies are to requests whose numbers are never used again; epochs only rise. It has been seen that taking
    the message changes nothing, so this is not asked of the protocol but observed; what is asked is that it
    stays so, which holds as long as the receiver does not start again.
    """
    if isinstance(message, Ack | PullReply | CallReply | Rejoined | Lease):
        return True
    if isinstance(message, Reroute):
        return message.routes.epoch <= _epoch(receiver)
    if isinstance(message, Reject):
        return message.epoch <= _epoch(receiver)
    if isinstance(message, Forward | Stable | Freeze | Lend | Frozen):
        return message.epoch < _epoch_of(receiver, message.shard)
    return False


def _epoch(receiver: View) -> int:
    return receiver.routes.epoch if isinstance(receiver, ControllerView) else receiver.epoch


def _epoch_of(receiver: View, shard: int) -> int:
    """Return the epoch in which the receiver last saw a shard change; −1 if it does not know it."""
    if isinstance(receiver, ServerView):
        return next((each.epoch for each in receiver.replicas if each.shard == shard), -1)
    routes: Routes | None = receiver.routes if isinstance(receiver, ControllerView) else None
    segment = routes.find(shard) if routes is not None else None
    return -1 if segment is None else segment.epoch


def may_come_first(program: ProgramView, owing: set[str], senders: set[str]) -> bool:
    """Whether nothing that happens elsewhere adds to what a worker can take in next, if nothing goes wrong.

    Only the servers `owing` a reply send to it. If each of them is among the `senders` of a message that is
    under way to it, every other order begins with these deliveries, up to commuting steps. What a property
    sees of a worker, what it was told, is acknowledged all the earlier, and is judged at the step.
    """
    return program.alive and owing <= senders
