"""A run that goes on, as HTML that needs nothing else: the picture, programs, servers, processes."""

from __future__ import annotations

from psbook.live import ServerStatus, Status
from psbook.view.live_history import History, amount
from psbook.view.live_svg import WORDS, picture
from psbook.view.stepper_page import table


def page(status: Status | None, history: History) -> str:
    """Return the run as HTML; every text in it is escaped.

    Parameters
    ----------
    status
        The run as it is; ``None`` before anything is known of it.
    history
        What was seen of it before.

    Examples
    --------
    >>> page(None, History())
    '<div class="psbook-live"><p>The run is about to start.</p></div>'
    """
    if status is None:
        return '<div class="psbook-live"><p>The run is about to start.</p></div>'
    parts = [picture(status, history), *tables(status)]
    return f'<div class="psbook-live">{"".join(parts)}</div>'


def tables(status: Status) -> list[str]:
    """Return what every program does, what every server holds, and how the processes are."""
    programs = [
        (
            name,
            str(program.clock) if program.counts else "–",
            WORDS.get(program.state, program.state),
            program.waits_for,
            f"{program.seconds:.3g} s" if program.waits_for else "",
        )
        for name, program in status.programs.items()
    ]
    away = {node: each.state for each in status.processes.values() for node in each.nodes}
    servers = [
        (name if away.get(name, "alive") == "alive" else f"{name} ({away[name]})", *server_cells(server))
        for name, server in status.servers.items()
    ]
    processes = [
        (name, each.address, each.state, ", ".join(each.nodes)) for name, each in status.processes.items()
    ]
    found = [
        table("Programs", ("program", "clock", "does", "waits for", "since"), programs, len(programs)),
        table("Servers", ("server", *SERVER_HEADS), servers, len(servers)),
    ]
    if processes:
        found.append(table("Processes", ("process", "address", "is", "nodes"), processes, len(processes)))
    return [each for each, rows in zip(found, (programs, servers, processes), strict=False) if rows]


SERVER_HEADS = ("versions", "pushes", "staleness", "at most", "held back", "in", "out", "holds")
"""Columns of `server_cells`."""


def server_cells(server: ServerStatus) -> tuple[str, ...]:
    """Return a server in a row of texts.

    >>> server_cells(ServerStatus({"w": 3}, bytes_in=2000, staleness=0.5, staleness_max=2))
    ('w: 3', '0', '0.5', '2', '0', '2 kB', '0 B', '0 B')
    """
    return (
        ", ".join(f"{name}: {version}" for name, version in server.versions.items()),
        str(server.pushes),
        "–" if server.staleness is None else f"{server.staleness:.3g}",
        str(server.staleness_max),
        str(len(server.parked) + server.more),
        amount(server.bytes_in, "B"),
        amount(server.bytes_out, "B"),
        amount(server.held_bytes, "B"),
    )
