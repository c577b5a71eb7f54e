"""`Watch`: a run that goes on, shown in a notebook or a terminal until it ends."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from psbook.errors import PsbookError
from psbook.live import Status
from psbook.view.live_history import History
from psbook.view.live_page import page
from psbook.view.live_svg import picture

if TYPE_CHECKING:
    import ipywidgets

EVERY = 0.35
"""Seconds between two looks at a run: about three a second."""

GIVE_UP = 60.0
"""Seconds without news after which a run is watched no longer."""


class Watched(Protocol):
    """What can be watched, a `psbook.Handle` for example."""

    def live(self) -> Status | None:
        """Return the status of the run now."""

    def stop(self) -> object:
        """End the run."""


class Watch:
    """A run, and what was seen of it.

    In a notebook it shows itself as a widget that changes until the run ends, and then leaves a picture. It
    looks at the run from a thread of its own, which ends with the run, and never touches it: the trace of a
    run that is watched is that of one that is not.

    Parameters
    ----------
    run
        A handle.
    every : float
        Seconds between two looks.
    """

    def __init__(self, run: Watched, every: float = EVERY) -> None:
        self.run = run
        self.every = every
        self.history = History()
        self.status: Status | None = None
        self.trouble = ""
        """Why the run could not be looked at, the last time."""
        self._viewers: list[tuple[Callable[[], object], Callable[[], object]]] = []
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def look(self) -> Status | None:
        """Look at the run; what goes wrong with that is kept as `trouble`, and tried again."""
        try:
            status = self.run.live()
        except (PsbookError, OSError) as error:
            self.trouble = f"{type(error).__name__}: {error}"
            return self.status
        self.trouble = ""
        if status is not None:
            self.status = status
            self.history.see(status)
        return self.status

    @property
    def over(self) -> bool:
        """Whether there is nothing more to be seen."""
        return self._closed.is_set() or (self.status is not None and self.status.over)

    def close(self) -> None:
        """Watch no longer; the run goes on."""
        self._closed.set()

    def follow(self, show: Callable[[], object]) -> None:
        """Look and show until the run is over, or has given no news for long; then return."""
        seen = time.monotonic()
        while True:
            self.look()
            show()
            seen = seen if self.trouble else time.monotonic()
            if self.over or time.monotonic() - seen > GIVE_UP or self._closed.wait(self.every):
                return

    # The three forms

    def html(self) -> str:
        """Return a page that needs nothing else."""
        return page(self.status, self.history)

    def svg(self) -> str:
        """Return the picture."""
        return picture(self.status or Status(job="the run is about to start"), self.history)

    def __repr__(self) -> str:
        said = "The run is about to start." if self.status is None else self.status.sentence
        return f"{said} {self.trouble}".strip()

    def static(self) -> dict[str, str]:
        """Return what stays when nobody watches any more: the picture, and a sentence."""
        return {"image/svg+xml": self.svg(), "text/plain": repr(self)}

    # In a notebook

    def widget(self) -> ipywidgets.VBox:
        """Return the page with a button that stops the run; it changes until the run ends."""
        from psbook.view.live_widget import LiveWidget

        widget = LiveWidget(self)
        self.start(widget.show, widget.ended)
        return widget.box

    def _ipython_display_(self) -> None:
        from IPython.display import display

        from psbook.view.live_widget import LiveWidget

        self.look()
        if self.over:
            display(self.static(), raw=True)  # type: ignore[no-untyped-call]
            return

        def ended() -> None:
            widget.ended()
            shown.update(self.static(), raw=True)

        widget = LiveWidget(self)
        forms = {**widget.box._repr_mimebundle_(), **self.static()}
        shown = display(forms, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        self.start(widget.show, ended)

    def start(self, show: Callable[[], object], ended: Callable[[], object]) -> None:
        """Show the run from a thread, one for all who look at it; it ends with the run."""
        self._viewers.append((show, ended))
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._main, name="psbook-watch", daemon=True)
            self._thread.start()

    def _main(self) -> None:
        try:
            self.follow(lambda: [show() for show, _ in list(self._viewers)])
        finally:
            for _, ended in self._viewers:
                ended()


def in_notebook() -> bool:
    """Whether this is a kernel, which can show widgets."""
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    return getattr(shell, "kernel", None) is not None


def watch(run: Watched, every: float = EVERY) -> Watch:
    """Show a run until it ends: as a widget in a notebook, else in the terminal, where this waits for it.

    Raises
    ------
    Unsupported
        In a terminal, where rich is not installed.
    """
    shown = Watch(run, every)
    if not in_notebook():
        from psbook.view.live_terminal import watch_in_terminal

        watch_in_terminal(shown)
    return shown
