"""The page ``/psbook`` of a Dask scheduler's dashboard: the runs that go on, and how they are.

It is a page of its own beside Dask's, so that it needs no bokeh, and it asks for nothing from elsewhere.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import math
import secrets
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from tornado import web

from psbook.cluster.live import metrics
from psbook.live import Status

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler

PATH = r"(?:/.*)?/psbook"
"""Where the page is; Dask may serve it behind a prefix."""

HEAD = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>psbook</title><style>
body{font:14px/1.45 system-ui,sans-serif;color:#222;max-width:900px;margin:1.5rem auto;padding:0 1rem}
h1{font-size:1.3rem}section{border-top:1px solid #ddd;padding:.6rem 0}table{font-size:.85rem}
svg{max-width:100%;height:auto}</style></head><body><h1>psbook: runs on this cluster</h1><div id="runs">"""

FOOT = """</div><script nonce="{nonce}">
const here = location.pathname.replace(/\\/$/, "") + "/body";
setInterval(async () => {{
  if (document.hidden) return;
  try {{
    const answer = await fetch(here);
    if (answer.ok) document.getElementById("runs").innerHTML = await answer.text();
  }} catch {{ /* the scheduler is away; what was seen last stays */ }}
}}, 1000);
</script></body></html>"""

GUARD = "default-src 'none'; style-src 'unsafe-inline'; connect-src 'self'; script-src 'nonce-{nonce}'"


class Board:
    """The runs of one scheduler, and the application that shows them.

    Parameters
    ----------
    scheduler
        Its HTTP server gets the page with the first run, and loses it with the last.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self.runs: dict[str, Callable[[], Status]] = {}
        self._histories: dict[str, Any] = {}
        self._http = getattr(scheduler, "http_application", None)
        self._application = web.Application(
            [
                (PATH + "/?", _Page, {"board": self}),
                (PATH + "/body", _Body, {"board": self}),
                (PATH + "/runs.json", _Data, {"board": self}),
            ]
        )

    def join(self, name: str, status: Callable[[], Status]) -> None:
        """Show a run; `status` is asked on the scheduler's loop."""
        if not self.runs and self._http is not None:
            self._http.add_application(self._application)
        self.runs[name] = status

    def leave(self, name: str) -> None:
        """Show a run no longer."""
        if self.runs.pop(name, None) is None:
            return
        self._histories.pop(name, None)
        if not self.runs and self._http is not None:
            self._http.applications.remove(self._application)

    def body(self, view: Any, histories: Any) -> str:
        """Return all runs as HTML, every name in it escaped; `view` makes the page of one run."""
        parts = []
        for name, ask in list(self.runs.items()):
            status = ask()
            history = self._histories.setdefault(name, histories.History())
            history.see(status)
            parts.append(f"<section><p>{escape(name)}</p>{view.page(status, history)}</section>")
        return "".join(parts) or "<p>No run goes on.</p>"


_BOARDS: WeakKeyDictionary[Any, Board] = WeakKeyDictionary()


def join(scheduler: Scheduler, name: str, status: Callable[[], Status]) -> None:
    """Show a run on the scheduler's dashboard and among its Prometheus metrics.

    Parameters
    ----------
    scheduler
        The scheduler.
    name
        Unique name of the run.
    status
        Returns how the run is.
    """
    _BOARDS.setdefault(scheduler, Board(scheduler)).join(name, status)
    metrics.join(name, status)


def leave(scheduler: Scheduler, name: str) -> None:
    """Show a run no longer; safe to call again."""
    board = _BOARDS.get(scheduler)
    if board is not None:
        board.leave(name)
        if not board.runs:
            del _BOARDS[scheduler]
    metrics.leave(name)


class _Handler(web.RequestHandler):
    def initialize(self, board: Board) -> None:
        self.board = board
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")

    async def runs(self) -> str:
        # Pictures are a room above this one, and importing it takes a second: not on the scheduler's loop.
        view = await asyncio.to_thread(importlib.import_module, "psbook.view.live_page")
        histories = importlib.import_module("psbook.view.live_history")
        return self.board.body(view, histories)


class _Page(_Handler):
    async def get(self) -> None:
        nonce = secrets.token_urlsafe(16)
        self.set_header("Content-Security-Policy", GUARD.format(nonce=nonce))
        self.write(HEAD + await self.runs() + FOOT.format(nonce=nonce))


class _Body(_Handler):
    async def get(self) -> None:
        self.write(await self.runs())


class _Data(_Handler):
    def get(self) -> None:
        found = {name: _json(ask().to_dict()) for name, ask in self.board.runs.items()}
        self.set_header("Content-Type", "application/json")
        self.write(json.dumps(found))


def _json(thing: Any) -> Any:
    """Return plain data without what JSON has no form for."""
    if isinstance(thing, dict):
        return {name: _json(value) for name, value in thing.items()}
    if isinstance(thing, list):
        return [_json(value) for value in thing]
    return None if isinstance(thing, float) and not math.isfinite(thing) else thing
