"""The protocol as pure state: ``handle(event, now) -> [action]``, and nothing else.

A shard, a worker's client and the controller are state machines. They know no clock, no randomness, no
network, no event loop and no values: a driver hands them messages and the time, and carries out the
actions they return, in order. The simulator and the Dask backend are two such drivers, so a protocol
decision is made in this room once and holds in both worlds.
"""
