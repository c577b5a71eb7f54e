"""A run that goes on, in a terminal: the same facts as in a notebook, drawn with letters by rich."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from psbook.errors import Unsupported
from psbook.live import Status
from psbook.view.live_history import History, amount
from psbook.view.live_page import SERVER_HEADS, server_cells
from psbook.view.live_svg import WORDS, shown, words

if TYPE_CHECKING:
    from rich.console import Console

    from psbook.view.live_watch import Watch

BLOCKS = "▁▂▃▄▅▆▇█"
BAR = 34
"""Letters of a clock's bar."""

LOOKS = {
    "computing": ("█", "bright_blue"),
    "waiting": ("▒", "yellow"),
    "held": ("▓", "dark_orange"),
    "idle": ("░", "bright_black"),
    "starting": ("░", "bright_black"),
    "ended": ("─", "bright_black"),
    "lost": ("x", "red"),
}
"""Letter and colour of a bar by the program's state, which is also written beside it."""


def watch_in_terminal(watch: Watch, console: Console | None = None) -> None:
    """Show a run until it ends, or until Ctrl-C, which only ends the view: the run goes on.

    Parameters
    ----------
    watch
        What is shown.
    console
        Where; the terminal by default.

    Raises
    ------
    Unsupported
        Where rich is not installed.
    """
    try:
        from rich.console import Console
        from rich.live import Live
    except ImportError as error:
        raise Unsupported(
            f"a run is watched in a terminal with rich, which is not installed ({error}); required: "
            "pip install 'psbook[live]'. handle.live() gives the same as data."
        ) from error
    console = console or Console()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        try:
            watch.follow(lambda: live.update(screen(watch.status, watch.history), refresh=True))
        except KeyboardInterrupt:
            watch.close()
    console.print(screen(watch.status, watch.history))
    if watch.trouble:
        console.print(watch.trouble, style="red", markup=False)
    if not watch.over or watch.status is None or not watch.status.over:
        console.print("No longer watched; the run goes on. Its handle's stop() ends it.", markup=False)


def screen(status: Status | None, history: History) -> Any:
    """Return what a terminal shows of a run.

    Parameters
    ----------
    status
        The run as it is.
    history
        What was seen of it before.
    """
    from rich.console import Group
    from rich.text import Text

    if status is None:
        return Text("The run is about to start.")
    parts = [_head(status), _curves(status, history), _clocks(status)]
    if status.servers:
        parts.append(_servers(status))
    parts += [Text(line, style="dark_orange") for line in words(status, letters=100)]
    return Group(*parts)


def sparkline(values: list[float], letters: int = 24, low: float | None = 0.0) -> str:
    """Return a curve as a line of blocks above `low`, by default 0; ``None``: above the lowest value.

    >>> sparkline([1.0, 2.0, 3.0]), sparkline([1.0, 2.0, 3.0], low=None)
    ('▃▆█', '▁▅█')
    """
    known = [value for value in values if math.isfinite(value)]
    if len(known) > letters:
        known = [known[round(k * (len(known) - 1) / (letters - 1))] for k in range(letters)]
    low = min(known, default=0.0) if low is None else low
    high = max(known, default=low)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((value - low) * scale)] for value in known)


def _head(status: Status) -> Any:
    from rich.text import Text

    color = {"failed": "bold red", "running": "bold green"}.get(status.state, "bold")
    said = Text()
    said.append(f"{status.job or 'run'} · {status.model}  ", style="bold")
    said.append(status.state, style=color)
    said.append(f" at {status.time:.4g} {status.time_unit}, {status.iterations:,} worker iterations")
    return said


def _curves(status: Status, history: History) -> Any:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    moments = history.moments
    stale = math.nan if status.staleness is None else status.staleness
    unit = status.time_unit
    most = f" of at most {status.window + 1:g}" if status.window is not None else ""
    rows = [
        ("gap" + most, str(status.gap), [float(m.gap) for m in moments]),
        ("mean staleness", amount(stale), [m.staleness for m in moments]),
        (f"iterations / {unit}", amount(status.iterations_per_s), [m.iterations_per_s for m in moments]),
        (f"bytes / {unit}", amount(status.bytes_per_s, "B"), [m.bytes_per_s for m in moments]),
    ]
    if status.losses:
        rows.insert(0, ("loss", f"{status.loss:.5g}", [loss for _, _, loss in status.losses]))
    for label, value, series in rows:
        grid.add_row(
            label,
            f"[bold]{value}[/]",
            f"[bright_blue]{sparkline(series, low=None if label == 'loss' else 0.0)}[/]",
        )
    return grid


def _clocks(status: Status) -> Any:
    from rich.table import Table
    from rich.text import Text

    programs, left_out = shown(status)
    grid = Table(box=None, padding=(0, 1), title_justify="left", title_style="bold")
    heads = ("worker", "clock", "", "does", "waits for")
    for head in heads:
        grid.add_column(head, justify="right" if head == "clock" else "left", no_wrap=head != "waits for")
    going = status.clocks.values()
    high = max((program.clock for _, program in programs), default=1)
    low = max(0, min(going, default=0) - 4) if going else 0
    for name, program in programs:
        letter, color = LOOKS.get(program.state, ("█", "white"))
        long = round(BAR * (program.clock - low) / max(high - low, 1))
        grid.add_row(
            Text(name), str(program.clock), Text(letter * max(long, 0), style=color),
            Text(WORDS.get(program.state, program.state)), Text(program.waits_for),
        )  # fmt: skip
    if left_out:
        grid.add_row(Text(f"… {left_out} more between these"), "", "", "", "")
    return grid


def _servers(status: Status) -> Any:
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, padding=(0, 1))
    kept = [index for index, head in enumerate(SERVER_HEADS) if head not in ("at most", "holds")]
    for head in ("server", *(SERVER_HEADS[index] for index in kept)):
        grid.add_column(head, justify="left" if head in ("server", "versions") else "right", no_wrap=True)
    for name, server in list(status.servers.items())[:8]:
        cells = server_cells(server)
        grid.add_row(Text(name), *(Text(cells[index]) for index in kept))
    return grid
