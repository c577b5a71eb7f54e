"""Bugs of replication, fail-over and retries: what a crash, a partition or a repeated message reveals."""

from __future__ import annotations

import math
from typing import Any

from psbook.bugs.bug import Bug
from psbook.core.actions import Action, Send
from psbook.core.controller import Controller
from psbook.core.controls import Forward
from psbook.core.messages import Ack
from psbook.core.replica import Replica
from psbook.core.server import Server
from psbook.core.shard import Shard
from psbook.core.window import Window

_let_out = Replica._let_out
_copy = Shard.copy
_forwarded = Replica.forwarded
_hello = Server.hello
_tick = Controller.tick


def _acknowledge_at_once(self: Replica, actions: list[Action], until: int) -> list[Action]:
    acks = [action for action in actions if isinstance(action, Send) and isinstance(action.message, Ack)]
    if self.is_head:
        return acks + [each for each in _let_out(self, actions, until) if each not in acks]
    return _let_out(self, actions, until)


ACK_BEFORE_REPLICATION = Bug(
    "acknowledgement before replication",
    "the primary acknowledges a push before its replicas have it",
    "primary/backup stores that replicate in the background",
    "Li et al. 2014, section 4.4: a push is acknowledged only once it is copied; semantics E1, E2",
    Replica,
    "_let_out",
    _acknowledge_at_once,
    "an acknowledged update is on every replica",
)


def _copy_without_windows(self: Shard) -> Shard:
    twin = _copy(self)
    twin._windows = {rank: Window(window.incarnation) for rank, window in self._windows.items()}
    return twin


WINDOWS_NOT_COPIED = Bug(
    "deduplication state not failed over",
    "a copy of a shard has the values, but not which messages are in them",
    "stores whose replicas copy keys and values only",
    "semantics D5: the deduplication state travels with the values; Li et al. 2014, section 4.1",
    Shard,
    "copy",
    _copy_without_windows,
    "replicas have the same log",
)


def _forwarded_of_any_epoch(self: Replica, source: str, forward: Forward, now: float) -> list[Action]:
    forward.epoch = max(forward.epoch, self.epoch)
    return _forwarded(self, source, forward, now)


STALE_ROUTE = Bug(
    "stale route accepted",
    "a replica takes what a head of an earlier epoch has sent, beside what its own head sends",
    "stores whose messages do not carry the epoch of the map that they were sent by",
    "semantics B4; van Renesse and Schneider 2004, section 3",
    Replica,
    "forwarded",
    _forwarded_of_any_epoch,
    "replicas have the same log",
)


def _hello_for_ever(self: Server, now: float) -> list[Action]:
    actions = _hello(self, now)
    self.lease_until = math.inf
    return actions


TWO_PRIMARIES = Bug(
    "two primaries after a partition",
    "a server that the controller has given up goes on serving, beside the one that took over",
    "controllers without leases; what the leases of Adam's controllers are for",
    "Chilimbi et al. 2014 (Project Adam), on the parameter server; semantics E6",
    Server,
    "hello",
    _hello_for_ever,
    "never do two servers serve one range",
)


def _tick_too_early(self: Controller, now: float) -> list[Action]:
    return _tick(self, now + self.layout.safety.lease)


GIVEN_UP_TOO_EARLY = Bug(
    "given up before its lease ends",
    "the controller names another primary while the silent one may still serve",
    "failure detectors that are tuned without the leases",
    "semantics E6: after the lease ends one replica takes over",
    Controller,
    "tick",
    _tick_too_early,
    "never do two servers serve one range",
)


def _accept_repeats(self: Window, write: Any, _at_most_once: bool = False) -> str:
    self.last = min(self.last, max(write.after, 0))
    return "new"


RETRY_TWICE = Bug(
    "retry applied twice",
    "a push whose acknowledgement was lost is sent again, and applied again",
    "at-least-once delivery taken for exactly-once",
    "semantics D5: exactly-once is retry and deduplication by message id",
    Window,
    "standing",
    _accept_repeats,
    "no update is applied twice",
)
