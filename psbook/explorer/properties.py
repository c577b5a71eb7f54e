"""What must hold in every state and at every step (semantics.md A, D5, E); `Violated` says what does not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import combinations

from psbook.core.consistency import BoundedDelay
from psbook.core.routes import Segment
from psbook.errors import ProtocolError
from psbook.explorer.nodes import Clocked, ControllerNode, Name, Outcome, Program, Read, ServerNode, Violated
from psbook.explorer.scope import Scope
from psbook.explorer.views import (
    ControllerView,
    Node,
    ProgramView,
    ReplicaView,
    ServerView,
    View,
)

INVARIANTS = "the machines keep their invariants"
READ_BOUND = "a read shows every update that the model promises"
READ_ONCE = "a read shows no update twice"
OWN_WRITES = "a read shows the worker's own updates"
BSP_ROUND = "under BSP a read shows whole rounds only"
CLOCK_GATE = "a clock returns when the others are near enough"
MIN_APPLIED = "min never exceeds what is applied"
NOT_DOUBLED = "no update is applied twice"
ORDER_OF_SUM = "a round is summed in the order of the workers"
ACKNOWLEDGED = "an acknowledged update is on every replica"
ONE_SERVES = "never do two servers serve one range"
LOGS_AGREE = "replicas have the same log"
VERSIONS_RISE = "versions only rise"
COMPLETE_END = "at the end every update is applied once"
ENDS = "every run can end"

PROPERTIES = (
    INVARIANTS, READ_BOUND, READ_ONCE, OWN_WRITES, BSP_ROUND, CLOCK_GATE, MIN_APPLIED, NOT_DOUBLED,
    ORDER_OF_SUM, ACKNOWLEDGED, ONE_SERVES, LOGS_AGREE, VERSIONS_RISE, COMPLETE_END, ENDS,
)  # fmt: skip
"""Names of all properties."""


def sentence(name: Name) -> str:
    """Name an update in words.

    >>> sentence(Name(1, 0, 2))
    "worker-1's update of clock 2"
    """
    again = f" (start {name.incarnation + 1})" if name.incarnation else ""
    return f"worker-{name.rank}'s update of clock {name.clock}{again}"


# One node


def check_node(node: Node, scope: Scope, view: View) -> None:
    """Judge the state of one node."""
    if isinstance(view, ServerView):
        for replica in view.replicas:
            _check_replica(view.node, replica, scope)
    try:
        if isinstance(node, Program):
            node.client.validate()
        elif isinstance(node, ServerNode):
            node.server.validate()
        elif isinstance(node, ControllerNode):
            node.controller.validate()
    except ProtocolError as error:
        raise Violated(INVARIANTS, str(error)) from error


def _check_replica(node: str, replica: ReplicaView, scope: Scope) -> None:
    if scope.delivery != "exactly-once":
        return
    where = f"shard {replica.shard} on {node}"
    for key, names in replica.values:
        kept = [name for at, name in replica.waiting if at == key]
        _no_doubles((*names, *kept), where, scope)
        there = {(name.rank, name.clock) for name in names}
        for rank, reached in replica.reached:
            for clock in range(reached):
                waits = scope.model.buffered and clock >= replica.min and any(
                    (name.rank, name.clock) == (rank, clock) for name in kept
                )  # fmt: skip
                if (rank, clock) not in there and not waits:
                    raise Violated(
                        MIN_APPLIED,
                        f"{where} has counted clock {reached} of worker-{rank}, but "
                        f"{sentence(Name(rank, 0, clock))} is not applied",
                    )
        if scope.model.buffered:
            _whole_rounds(names, replica, where)


def _no_doubles(names: Sequence[Name], where: str, scope: Scope) -> None:
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise Violated(NOT_DOUBLED, f"{sentence(min(twice))} is applied twice on {where}")
    if scope.atomic or scope.model.buffered:
        done = [(name.rank, name.clock) for name in names]
        again = [Name(rank, 0, clock) for rank, clock in done if done.count((rank, clock)) > 1]
        if again:
            raise Violated(NOT_DOUBLED, f"{sentence(again[0])} is applied by two starts of it on {where}")


def _whole_rounds(names: Iterable[Name], replica: ReplicaView, where: str) -> None:
    slow = {rank: reached for rank, reached in replica.reached if rank in replica.active}
    for name in names:
        behind = [rank for rank, reached in slow.items() if reached <= name.clock]
        if behind:
            raise Violated(
                BSP_ROUND,
                f"{where} has applied {sentence(name)}, but worker-{behind[0]} has not ended that clock",
            )


# One step


def check_outcome(outcome: Outcome) -> None:
    """Judge what one node did in a step."""
    for names in outcome.rounds:
        if list(names) != sorted(names):
            raise Violated(ORDER_OF_SUM, "summed: " + ", then ".join(map(sentence, names)))


def check_seen(seen: Read | Clocked, programs: Sequence[ProgramView], scope: Scope) -> None:
    """Judge what a program was told, in the state in which it was."""
    if isinstance(seen, Read):
        for key, names in enumerate(seen.values):
            _check_read(
                seen, names, f"worker-{seen.rank}, at clock {seen.clock}, reads key {key}", programs, scope
            )
        return
    if scope.model.gates_clock:
        for other in programs:
            if other.started and not other.over and other.clock < seen.clock - scope.bound:
                raise Violated(
                    CLOCK_GATE,
                    f"clock {seen.clock} of worker-{seen.rank} returns while "
                    f"{other.node} is at clock {other.clock}",
                )


def _check_read(
    read: Read, names: Sequence[Name], who: str, programs: Sequence[ProgramView], scope: Scope
) -> None:
    if scope.delivery != "exactly-once":
        return
    there = {(name.rank, name.clock) for name in names}
    for other in programs:
        if scope.lost_workers == "leave" and not other.alive:
            continue
        promised = 0 if math.isinf(scope.bound) else max(0, read.clock - int(scope.bound))
        for clock in range(min(promised, scope.clocks(other.rank))):
            if (other.rank, clock) not in there:
                missing = sentence(Name(other.rank, 0, clock))
                raise Violated(READ_BOUND, f"{who} without {missing}")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise Violated(READ_ONCE, f"{who} with {sentence(twice[0])} in it twice")
    if scope.model.buffered:
        early = [name for name in names if name.clock >= read.clock]
        if early:
            raise Violated(BSP_ROUND, f"{who} with {sentence(early[0])} in it")
    elif not isinstance(scope.model, BoundedDelay):
        own = [name for name in read.own if name not in names]
        if own:
            raise Violated(OWN_WRITES, f"{who} without its own {sentence(own[0])}")


# The world


def check_world(
    programs: Sequence[ProgramView],
    servers: Sequence[ServerView],
    controller: ControllerView,
    now: float,
    scope: Scope,
) -> None:
    """Judge the nodes together."""
    alive = {server.node: server for server in servers if server.alive}
    serving = [
        (server, each) for server in alive.values() if now < server.lease_until for each in server.replicas
    ]
    for (one, mine), (other, its) in combinations(serving, 2):
        if one is not other and mine.start < its.stop and its.start < mine.stop:
            for what in ("writes", "reads"):
                if getattr(mine, what) and getattr(its, what):
                    raise Violated(
                        ONE_SERVES,
                        f"{one.node} (epoch {mine.epoch}) and {other.node} (epoch {its.epoch}) "
                        f"both take {what} for shard {mine.shard}",
                    )
    if scope.delivery != "exactly-once":
        return
    for segment in controller.routes.segments:
        if segment.shard in controller.lost:
            continue
        chain = [
            (server, each) for node in segment.chain if (server := alive.get(node)) is not None
            for each in server.replicas if each.shard == segment.shard
        ]  # fmt: skip
        for node in segment.chain:
            _check_holds(alive.get(node), segment)
        for server, replica in chain:
            _check_acknowledged(programs, server, replica)
        for (_, mine), (_, its) in combinations(chain, 2):
            _check_logs(mine, its, scope)
    if controller.ended and not controller.failure:
        _check_end(programs, alive, controller, scope)


def _check_holds(server: ServerView | None, segment: Segment) -> None:
    """A server that knows the map has what it is to have; one that has started again has lost it."""
    if server is None or server.epoch < segment.epoch or (server.incarnation and not segment.epoch):
        return
    if all(each.shard != segment.shard for each in server.replicas):
        raise Violated(
            ACKNOWLEDGED, f"{server.node} has no copy of shard {segment.shard}, which it is to serve"
        )


def _check_acknowledged(programs: Sequence[ProgramView], server: ServerView, replica: ReplicaView) -> None:
    held = replica.held
    keys = {key for key, _ in replica.values}
    for program in programs:
        missing = [(key, name) for key, name in program.acknowledged - held if key in keys]
        if missing:
            raise Violated(
                ACKNOWLEDGED,
                f"{sentence(min(missing)[1])} was acknowledged, but {server.node} has not got it, "
                f"which holds shard {replica.shard}",
            )


def _check_logs(mine: ReplicaView, its: ReplicaView, scope: Scope) -> None:
    if mine.epoch != its.epoch or not (mine.agrees and its.agrees):
        return  # one of them does not take part in this epoch yet
    short, long = sorted((mine, its), key=lambda each: each.position)
    if short.position == long.position and (short.values, short.reached) != (long.values, long.reached):
        raise Violated(
            LOGS_AGREE, f"two replicas of shard {mine.shard} differ at position {mine.position} of the log"
        )
    if not scope.replicated:
        return
    behind = dict(short.values)
    for key, names in long.values:
        if key in behind and names[: len(behind[key])] != behind[key]:
            raise Violated(LOGS_AGREE, f"the logs of two replicas of shard {mine.shard} differ at key {key}")


def _check_end(
    programs: Sequence[ProgramView], alive: dict[str, ServerView], controller: ControllerView, scope: Scope
) -> None:
    expected = [
        (each.rank, clock) for each in programs if each.alive for clock in range(scope.clocks(each.rank))
    ]
    for segment in controller.routes.segments:
        answering = alive.get(segment.tail if scope.scheme == "chain" else segment.head)
        for replica in answering.replicas if answering is not None else ():
            if replica.shard != segment.shard:
                continue
            for key, names in replica.values:
                there = [(name.rank, name.clock) for name in names]
                missing = [each for each in expected if each not in there]
                if missing:
                    rank, clock = missing[0]
                    raise Violated(
                        COMPLETE_END,
                        f"{sentence(Name(rank, 0, clock))} is not in key {key} on {segment.tail}",
                    )


def why_stuck(programs: Sequence[ProgramView], servers: Sequence[ServerView]) -> str:
    """Say who waits for what."""
    waiting = [each.waits_for for each in programs if each.alive and not each.over]
    gone = [f"{each.node} is dead" for each in programs if not each.alive]
    gone += [f"{each.node} is dead" for each in servers if not each.alive]
    parked = dict.fromkeys(why for each in servers for why in each.why_parked)
    return "; ".join([*waiting, *gone, *parked])
