"""Hosts: what stands between the core's state machines and a driver, the same code on both backends.

A `ProgramHost` drives one program's coroutine and its client; a `ServerHost` one shard and its values. A
driver gives them the time, carries their messages and lets time pass; see `psbook.hosts.driver`.
"""
