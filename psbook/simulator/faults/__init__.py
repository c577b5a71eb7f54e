"""Faults as data: what goes wrong in a simulated run, when, to whom and with what luck.

A fault is a frozen description with a sentence; `Faults` is a schedule of them. The engine asks the
schedule for its `Event` list (crashes, restarts, pauses), for slow nodes, and for the `Links` that tell the
fate of every message. Nothing here knows the engine.
"""

from psbook.simulator.faults.crashes import Crash, Pause, Rack
from psbook.simulator.faults.delays import Delay, Duplicate, Reorder, SlowLink
from psbook.simulator.faults.events import Event
from psbook.simulator.faults.fault import Fault
from psbook.simulator.faults.links import Links
from psbook.simulator.faults.losses import BurstyLoss, Loss, Partition
from psbook.simulator.faults.members import Join, Leave
from psbook.simulator.faults.message import LOST, NORMAL, Fate, MessageFault
from psbook.simulator.faults.schedule import Faults
from psbook.simulator.faults.slow import SlowNode

__all__ = [
    "LOST",
    "NORMAL",
    "BurstyLoss",
    "Crash",
    "Delay",
    "Duplicate",
    "Event",
    "Fate",
    "Fault",
    "Faults",
    "Join",
    "Leave",
    "Links",
    "Loss",
    "MessageFault",
    "Partition",
    "Pause",
    "Rack",
    "Reorder",
    "SlowLink",
    "SlowNode",
]
