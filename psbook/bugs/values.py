"""Bugs in the arithmetic: what is summed in which order, and what an optimiser forgets."""

from __future__ import annotations

from typing import Any

from psbook.bugs.bug import Bug
from psbook.core.actions import Action
from psbook.core.shard import Shard
from psbook.updates.adaptive import Adagrad
from psbook.updates.base import Array, State

_apply = Adagrad.apply


def _forget(self: Adagrad, xp: Any, value: Array, state: State, grad: Array) -> tuple[Array, State]:
    """Return the new value, and the sums of squares as they were."""
    return _apply(self, xp, value, state, grad)[0], state


ADAGRAD_FORGETS = Bug(
    "AdaGrad that forgets its history",
    "the sums of squares are added to a copy that is thrown away, so that the rate never falls",
    "Multiverso",
    "github.com/microsoft/Multiverso, adagrad_updater.h: `auto g_sqr_data_ = historic_g_sqr_.at(…)` copies",
    Adagrad,
    "apply",
    _forget,
    "the sum of squares includes every update so far (semantics F)",
)


def _close_in_order_of_arrival(self: Shard) -> list[Action]:
    actions: list[Action] = []
    for clock in sorted(self.rounds):
        if clock >= self.clocks.min:
            break
        pushes = self.rounds.pop(clock)
        for table in self.versions:
            batch = [push for push in pushes if push.table == table]
            if batch:
                workers = len({push.id.rank for push in pushes})
                actions.append(self._apply(table, batch, 1.0 / workers if self._means[table] else 1.0))
    return actions


ORDER_OF_SUM = Bug(
    "order-dependent float sum",
    "a round is summed in the order in which the pushes came, so that no two runs end with the same bits",
    "any server that adds gradients as they come",
    "semantics A4: summed in order of worker id; Goldberg 1991: floating-point addition is not associative",
    Shard,
    "_close_rounds",
    _close_in_order_of_arrival,
    "a round is summed in the order of the workers",
)
