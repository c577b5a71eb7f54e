"""All behaviours of the protocol's core in a small scope: every order of messages, a crash at every step.

`explore(Scope(...))` goes through them breadth first and judges every state and step. What it finds is the
shortest history that breaks a property; if it finds nothing, it says which scope it has exhausted.
"""

from psbook.explorer.properties import PROPERTIES
from psbook.explorer.result import Explored, Violation
from psbook.explorer.scope import Scope
from psbook.explorer.search import explore
from psbook.explorer.system import Step, System
from psbook.explorer.world import World

__all__ = ["PROPERTIES", "Explored", "Scope", "Step", "System", "Violation", "World", "explore"]
