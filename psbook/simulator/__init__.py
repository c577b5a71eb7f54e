"""The simulated cluster: a deterministic event engine, networks, and the driver of the protocol's hosts."""

from psbook.simulator.cores import Hosts
from psbook.simulator.network import Network
from psbook.simulator.simulator import Simulator

__all__ = ["Hosts", "Network", "Simulator"]
