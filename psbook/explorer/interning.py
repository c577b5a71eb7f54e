"""States of nodes, messages and channels as small numbers, and every step of a node done only once.

A world has far more states than its nodes have together: most of its steps repeat one that a node has made
elsewhere. So a node's state gets a number (that of its canonical form) the first time it is seen, and
what happens to state a when message b comes is computed once and then looked up (the *collapse* compression
of Holzmann, The Spin Model Checker, 2003, and a memory of the transitions beside it).
"""

from __future__ import annotations

import copyreg
import io
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from psbook.core.layout import Layout
from psbook.errors import PsbookError
from psbook.explorer.canonical import Form, Renaming
from psbook.explorer.nodes import Clocked, Outcome, Read, Violated
from psbook.explorer.properties import INVARIANTS, check_node, check_outcome
from psbook.explorer.scope import Scope
from psbook.explorer.views import Node, View, view

_LAYOUTS: list[Layout] = []


def _layout(number: int) -> Layout:
    return _LAYOUTS[number]


def _reduce_layout(layout: Layout) -> tuple[Callable[[int], Layout], tuple[int]]:
    for number, known in enumerate(_LAYOUTS):
        if known is layout:
            return _layout, (number,)
    _LAYOUTS.append(layout)
    return _layout, (len(_LAYOUTS) - 1,)


class _Pickler(pickle.Pickler):
    """Copies all but the layout, which everybody shares."""

    dispatch_table: ClassVar[dict[type, Any]] = {  # type: ignore[misc]  # a class may have it, too
        **copyreg.dispatch_table,
        Layout: _reduce_layout,
    }


def freeze(value: Any) -> bytes:
    """Return a copy of a state or message that nobody can change."""
    buffer = io.BytesIO()
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class Effect:
    """What a step of a node comes to: its new state, messages (receiver, number), what is to be judged."""

    state: int
    sends: tuple[tuple[str, int], ...] = ()
    seen: tuple[Read | Clocked, ...] = ()
    starts: tuple[tuple[int, int], ...] = ()
    violated: Violated | None = None


class Numbers:
    """Forms by number; and the number of each form when workers have other names.

    Parameters
    ----------
    renamings
        The first leaves all names as they are.
    """

    def __init__(self, renamings: Sequence[Renaming]) -> None:
        self._numbers: dict[Form, int] = {}
        self._renamings = renamings
        self.frozen: dict[int, bytes] = {}
        self.renamed: list[dict[int, int]] = [{} for _ in renamings]
        """Under each renaming, number by number."""

    def number(self, value: Any) -> tuple[int, bool]:
        """Return the number of a state, and whether it is new."""
        number = self._of(self._renamings[0].form(value))
        if number in self.frozen:
            return number, False
        self.frozen[number] = freeze(value)
        for renaming, renamed in zip(self._renamings, self.renamed, strict=True):
            renamed[number] = self._of(renaming.form(value))
        return number, True

    def _of(self, form: Form) -> int:
        return self._numbers.setdefault(form, len(self._numbers))

    def thaw(self, number: int) -> Any:
        """Return a copy of the value, to be changed."""
        return pickle.loads(self.frozen[number])

    def __len__(self) -> int:
        return len(self.frozen)


class Channels:
    """Contents of channels by number; 0 is empty. A channel that is not ordered is kept sorted."""

    def __init__(self, messages: Numbers, ordered: bool) -> None:
        self._ordered = ordered
        self._messages = messages
        self._numbers: dict[tuple[int, ...], int] = {(): 0}
        self.contents: list[tuple[int, ...]] = [()]
        self.renamed: list[dict[int, int]] = [{0: 0} for _ in messages.renamed]
        self._forms: dict[tuple[int, ...], int] = {(): 0}
        self._after: dict[tuple[int, int], int] = {}
        self._without: dict[tuple[int, int], int] = {}

    def number(self, content: tuple[int, ...]) -> int:
        """Return the number of a content."""
        if not self._ordered:
            content = tuple(sorted(content))
        number = self._numbers.get(content)
        if number is None:
            number = self._numbers[content] = len(self.contents)
            self.contents.append(content)
            for names, renamed in zip(self._messages.renamed, self.renamed, strict=True):
                form = tuple(names[message] for message in content)
                form = form if self._ordered else tuple(sorted(form))
                renamed[number] = self._forms.setdefault(form, len(self._forms))
        return number

    def after(self, channel: int, message: int) -> int:
        """Return what a channel holds when a message is sent."""
        after = self._after.get((channel, message))
        if after is None:
            after = self._after[channel, message] = self.number((*self.contents[channel], message))
        return after

    def without(self, channel: int, position: int) -> int:
        """Return what a channel holds when the message at a position is gone."""
        without = self._without.get((channel, position))
        if without is None:
            content = self.contents[channel]
            without = self.number(content[:position] + content[position + 1 :])
            self._without[channel, position] = without
        return without


class LocalSteps:
    """States of all nodes, and what becomes of each when something happens to it."""

    def __init__(self, scope: Scope, renamings: Sequence[Renaming]) -> None:
        self.scope = scope
        self.states = Numbers(renamings)
        self.messages = Numbers(renamings)
        self.views: dict[int, View] = {}
        self.computed = 0
        """Steps that were computed and not looked up."""
        self._violated: dict[int, Violated | None] = {}
        self._effects: dict[tuple[Any, ...], Effect] = {}

    def state(self, node: Node) -> int:
        """Return the number of a node's state."""
        number, new = self.states.number(node)
        if new:
            self.views[number] = seen = view(node)
            self._violated[number] = None
            try:
                check_node(node, self.scope, seen)
            except Violated as violated:
                self._violated[number] = violated
        return number

    def effect(self, state: int, what: str, *arguments: Any) -> Effect:
        """Return what becomes of a node's state when its method `what` is called."""
        key = state, what, *arguments
        effect = self._effects.get(key)
        if effect is None:
            effect = self._effects[key] = self._compute(state, what, arguments)
        return effect

    def take(self, state: int, source: str, message: int, now: float) -> Effect:
        """Return what becomes of a node's state when a message comes."""
        key = state, message, source, now
        effect = self._effects.get(key)
        if effect is None:
            event = self.messages.thaw(message)
            server = hasattr(self.states.thaw(state), "server")
            arguments = (source, event, now) if server else (event, now)
            effect = self._effects[key] = self._compute(state, "take", arguments)
        return effect

    def _compute(self, state: int, what: str, arguments: tuple[Any, ...]) -> Effect:
        self.computed += 1
        node = self.states.thaw(state)
        try:
            outcome: Outcome = getattr(node, what)(*arguments)
            check_outcome(outcome)
        except Violated as violated:
            return Effect(state, violated=violated)
        except (PsbookError, KeyError, IndexError, ValueError) as error:
            why = f"{node.node} raised {type(error).__name__}: {error}"
            return Effect(state, violated=Violated(INVARIANTS, why))
        return self.done(node, outcome)

    def done(self, node: Node, outcome: Outcome) -> Effect:
        """Return the effect of a step that led to the node's present state."""
        after = self.state(node)
        sends = tuple((to, self.messages.number(message)[0]) for to, message in outcome.sends)
        return Effect(after, sends, tuple(outcome.seen), tuple(outcome.starts), self._violated[after])
