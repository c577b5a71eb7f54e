"""The data plane: messages between the nodes of a run, in order for each pair of them.

`framing` is the form of the bytes, free of sockets; `wire` one connection; `door` where a process listens;
`comms` the way through Dask where there is no door; `link` the queue to one peer; `plane` who is where.
"""

from psbook.cluster.plane.plane import Broken, Plane, ProgramPlane, Receive

__all__ = ["Broken", "Plane", "ProgramPlane", "Receive"]
