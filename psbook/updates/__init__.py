"""Update functions: what a server does with a pushed value.

An update function is pure and row-wise, written once for numpy and JAX:
``apply(xp, value, state, grad) -> (value, state)``; those that ask for it also get how stale a gradient
is, and what it was computed from. Its state lives on the server with the shard, one row a
key, so that it splits, moves and is saved by slicing. Own ones are subclasses of `Update`.
"""

from psbook.updates.adaptive import Adagrad, Adam
from psbook.updates.base import GIVEN, Array, State, Update
from psbook.updates.basic import SGD, Add, Assign, Momentum
from psbook.updates.ftrl import FTRLProximal
from psbook.updates.optax_adapter import Optax
from psbook.updates.stale import DelayCompensated, StalenessAware

__all__ = [
    "GIVEN",
    "SGD",
    "Adagrad",
    "Adam",
    "Add",
    "Array",
    "Assign",
    "DelayCompensated",
    "FTRLProximal",
    "Momentum",
    "Optax",
    "StalenessAware",
    "State",
    "Update",
]
