"""The controller: who is there, who has finished, who waits at a barrier, which model is in force."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psbook.core.actions import Action, End, Send
from psbook.core.messages import (
    Arrive,
    ChangeModel,
    Failed,
    Finished,
    Hello,
    Layout,
    Message,
    ModelChanged,
    ModelSet,
    Release,
    Remove,
    SetModel,
    Start,
)
from psbook.errors import ProtocolError


class Controller:
    """State machine of the controller.

    It starts the run when every node has said hello, lets barriers go, spreads a change of the model, and
    ends the run when every program has finished or a node is lost.

    Notes
    -----
    State grows with nodes; a message costs O(programs) at most.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.absent = {*layout.programs, *layout.servers}
        self.active = set(range(len(layout.programs)))
        self.barriers: dict[tuple[str, int], set[int]] = {}
        self._changes: list[ChangeModel] = []
        self._unchanged: dict[int, set[int]] = {}
        self._handlers: dict[type, Callable[[Any], list[Action]]] = {
            Hello: self._hello,
            Arrive: self._arrive,
            Finished: self._finished,
            Failed: self._failed,
            ChangeModel: self._change_model,
            ModelSet: self._model_set,
        }

    def handle(self, event: Message, now: float) -> list[Action]:
        """Take in a message; return what is to be done, in order."""
        handler = self._handlers.get(type(event))
        if handler is None:
            raise ProtocolError(f"the controller got {type(event).__name__}, which is not for it")
        return handler(event)

    def _hello(self, hello: Hello) -> list[Action]:
        if hello.node not in self.absent:
            return []
        self.absent.discard(hello.node)
        return [] if self.absent else [Send(node, Start()) for node in self.layout.programs]

    def _arrive(self, arrive: Arrive) -> list[Action]:
        place = self.layout.roles[arrive.rank], arrive.number
        self.barriers.setdefault(place, set()).add(arrive.rank)
        return self._open_barriers()

    def _open_barriers(self) -> list[Action]:
        actions: list[Action] = []
        for place in sorted(self.barriers):
            role, number = place
            if {rank for rank in self.active if self.layout.roles[rank] == role} <= self.barriers[place]:
                there = sorted(self.barriers.pop(place))
                actions += [Send(self.layout.programs[rank], Release(number)) for rank in there]
        return actions

    def _finished(self, finished: Finished) -> list[Action]:
        self.active.discard(finished.rank)
        actions = self._open_barriers()
        return actions if self.active else [*actions, End()]

    def _failed(self, failed: Failed) -> list[Action]:
        if failed.node in self.layout.programs:
            rank = self.layout.programs.index(failed.node)
            self.active.discard(rank)
            removals: list[Action] = [Send(server, Remove(rank)) for server in self.layout.servers]
            return [*removals, *self._open_barriers(), End(failed.detail)]
        return [End(failed.detail)]

    def _change_model(self, change: ChangeModel) -> list[Action]:
        self._changes.append(change)
        number = len(self._changes)
        self._unchanged[number] = set(range(self.layout.shards))
        return [Send(server, SetModel(change.model, number)) for server in self.layout.servers]

    def _model_set(self, done: ModelSet) -> list[Action]:
        waiting = self._unchanged[done.number]
        waiting.discard(done.shard)
        if waiting:
            return []
        change = self._changes[done.number - 1]
        changed = ModelChanged(change.rank, change.model, done.number)
        return [Send(node, changed) for node in self.layout.programs]

    def validate(self) -> None:
        """Raise `ProtocolError` unless the state keeps every invariant of the protocol."""
        for (role, number), there in self.barriers.items():
            waiting_for = {rank for rank in self.active if self.layout.roles[rank] == role} - there
            if not waiting_for:
                raise ProtocolError(f"barrier {number} of {role} is closed, but everybody is there")
