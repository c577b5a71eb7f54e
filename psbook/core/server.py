"""A server: the replicas of shards that a node holds, its map, its lease to serve (semantics.md E4-E6)."""

from __future__ import annotations

import math
from collections.abc import Iterable

from psbook.core.actions import Action, Discard, Divide, Send, TakeIn
from psbook.core.consistency import Consistency
from psbook.core.controls import (
    CONTROLLER,
    Beat,
    Forward,
    Freeze,
    Hello,
    Install,
    Installed,
    Lease,
    Lend,
    Remove,
    Reroute,
    SetModel,
    Stable,
)
from psbook.core.layout import Layout
from psbook.core.messages import (
    Call,
    Clock,
    EndRound,
    Finish,
    Message,
    Pull,
    Push,
    Reject,
    Rejoin,
    Request,
)
from psbook.core.replica import Replica
from psbook.core.routes import Routes, Segment
from psbook.core.shard import Shard
from psbook.errors import ProtocolError

REQUESTS = frozenset({Pull, Push, Clock, Finish, Call, Rejoin, EndRound})


class Server:
    """State machine of one server node.

    Parameters
    ----------
    node
        Its name.
    layout
        Who takes part.
    model
        Consistency model.
    every
        Worker iterations between two snapshots of each shard; 0: none.
    incarnation
        How often the node has been started before; one that was holds nothing at first.

    Notes
    -----
    It serves as long as its lease lasts, counted from when it *sent* the beat that the controller has
    answered: the controller, which heard it later, gives the node up later (E6).
    """

    def __init__(
        self, node: str, layout: Layout, model: Consistency, every: int = 0, incarnation: int = 0
    ) -> None:
        self.node = node
        self.layout = layout
        self.model = model
        self.every = every
        self.incarnation = incarnation
        self.routes = layout.routes
        self.lease_until = math.inf if math.isinf(layout.safety.lease) else 0.0
        self.since = 0
        """Epoch since which the node is a member, as far as it has heard."""
        self.replicas: dict[int, Replica] = {}
        self.explains = True
        if not incarnation:
            for segment in layout.routes.of(node):
                shard = Shard(segment, layout, model, every)
                self.replicas[segment.shard] = Replica(shard, node, segment)

    def hello(self, now: float) -> list[Action]:
        """Say that the node is there, and which roles it has."""
        self.lease_until = max(self.lease_until, now + self.layout.safety.lease)
        roles: list[Action] = [replica.serves() for replica in self.replicas.values()]
        return [*roles, Send(CONTROLLER, Hello(self.node))]

    def handle(self, source: str, event: Message, now: float) -> list[Action]:
        """Take in a message; return what is to be done, in order."""
        if type(event) in REQUESTS:
            return self._request(event, now)  # type: ignore[arg-type]  # exactly these types
        if isinstance(event, Forward):
            replica = self.replicas.get(event.shard)
            return replica.forwarded(source, event, now) if replica and now < self.lease_until else []
        if isinstance(event, Stable):
            replica = self.replicas.get(event.shard)
            return replica.stabilized(source, event) if replica else []
        if isinstance(event, Lease):
            return self._renew(event)
        if isinstance(event, Reroute):
            return self._adopt(event.routes)
        if isinstance(event, Install):
            return self._install(event)
        return self._order(event, now)

    def _renew(self, lease: Lease) -> list[Action]:
        """Serve on; but what the node held when it was given up, others hold now (E6)."""
        actions: list[Action] = []
        if lease.since > self.since:
            self.since = lease.since
            actions = [Discard(number) for number in self.replicas]
            self.replicas.clear()
        self.lease_until = max(self.lease_until, lease.sent + self.layout.safety.lease)
        return actions

    def _request(self, request: Request, now: float) -> list[Action]:
        if now >= self.lease_until:
            return []
        replica = self.replicas.get(request.id.shard)
        if replica is not None:
            actions = replica.read(request, now) if type(request) is Pull else replica.write(request, now)  # type: ignore[arg-type]
            if actions is not None:
                return actions
        return [Send(self.layout.node(request.id.rank), Reject(request.id, self.routes.epoch))]

    def _order(self, event: Message, now: float) -> list[Action]:
        """Do what the controller says about one shard."""
        if not isinstance(event, Remove | SetModel | Freeze | Lend):
            raise ProtocolError(f"{self.node} got {type(event).__name__}, which is not for it")
        replica = self.replicas.get(event.shard)
        if replica is None:
            return []
        if isinstance(event, Freeze):
            return replica.freeze(event.role, event.epoch)
        if isinstance(event, Lend):
            return replica.lend(event.to) if event.epoch == replica.epoch else []
        return replica.control(event, now)

    def beat(self, now: float) -> list[Action]:
        """Say that the node lives; send again what may have been lost."""
        actions: list[Action] = [Send(CONTROLLER, Beat(self.node, self.incarnation, now, self.routes.epoch))]
        if now < self.lease_until:
            for replica in self.replicas.values():
                actions += replica.resend()
        return actions

    def _install(self, install: Install) -> list[Action]:
        """Hold a copy; it becomes a replica when the map says so."""
        segment = install.segment
        mine = self.replicas.get(segment.shard)
        known = self.routes.find(segment.shard)
        done = Installed(segment.shard, self.node, segment.epoch, self.since)
        if known is not None and known.epoch > segment.epoch:
            return []
        if mine is not None and (self.node in mine.segment.chain or mine.position >= install.position):
            return [Send(CONTROLLER, done)] if mine.epoch == segment.epoch else []
        install.state.explains = self.explains
        self.replicas[segment.shard] = Replica(install.state, self.node, segment, install.position)
        return [TakeIn(install, CONTROLLER, done)]

    def _adopt(self, routes: Routes) -> list[Action]:
        """Go over to a newer map: cut shards along its borders, take up roles, drop what is others'.

        A copy that was lent under a map still to come stays as it is.
        """
        if routes.epoch <= self.routes.epoch:
            return []
        self.routes = routes
        actions: list[Action] = []
        mine = routes.of(self.node)
        for replica in list(self.replicas.values()):
            if replica.epoch <= routes.epoch:
                actions += self._divide(replica, mine)
        kept = {segment.shard for segment in mine}
        for number, replica in list(self.replicas.items()):
            segment = routes.find(number)
            is_guest = replica.epoch > routes.epoch or (
                segment is not None and segment.epoch == replica.epoch
            )
            if number not in kept and not is_guest:
                self.replicas.pop(number)
                actions.append(Discard(number))
        for segment in mine:
            if segment.shard in self.replicas:
                actions += self.replicas[segment.shard].adopt(segment)
        return actions

    def _divide(self, replica: Replica, mine: Iterable[Segment]) -> list[Action]:
        """Cut a replica into the segments of the new map that lie in it (C1)."""
        old = replica.shard
        parts = [
            part for part in mine if old.start <= part.start and part.stop <= old.stop
            and (part.shard == replica.number or part.shard not in self.replicas)
        ]  # fmt: skip
        if all(part.stop - part.start == old.stop - old.start for part in parts):
            return []
        del self.replicas[replica.number]
        for part in parts:
            self.replicas[part.shard] = replica.part(part)
        return [Divide(replica.number, parts)]

    def validate(self) -> None:
        """Raise `ProtocolError` unless the state keeps every invariant of the protocol."""
        for replica in self.replicas.values():
            replica.validate()
