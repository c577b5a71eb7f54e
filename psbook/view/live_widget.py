"""A watched run as a widget: a Stop button, a line of words, and one HTML widget whose value changes."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from psbook.errors import PsbookError

if TYPE_CHECKING:
    from psbook.view.live_watch import Watch


class LiveWidget:
    """The widget of a watch.

    Parameters
    ----------
    watch
        What is shown.

    Attributes
    ----------
    box : ipywidgets.VBox
        The widget.
    """

    def __init__(self, watch: Watch) -> None:
        import ipywidgets as ui

        self.watch = watch
        self._page = ui.HTML(watch.html())
        self._note = ui.HTML()
        self._stop = ui.Button(
            description="Stop", icon="stop", tooltip="End the run and keep what it has learned"
        )
        self._stop.on_click(self._clicked)
        self.box = ui.VBox([ui.HBox([self._stop, self._note]), self._page])

    def show(self) -> None:
        """Show what was seen last; from any thread."""
        if self.box.comm is None:  # the widget was closed, nobody sees it any more
            return
        self._page.value = self.watch.html()
        if self.watch.trouble:
            self._say(f"No news of the run: {self.watch.trouble}")
        elif not self._stop.disabled:
            self._say("")

    def ended(self) -> None:
        """Say that there is nothing more to come."""
        status = self.watch.status
        self._stop.disabled = True
        if status is not None and status.over:
            self._say(f"The run has {status.state}.")

    def _clicked(self, _: Any) -> None:
        self._stop.disabled = True
        self._say("The run is being stopped …")
        try:
            self.watch.run.stop()
        except (PsbookError, OSError) as error:
            self._say(f"It could not be stopped: {type(error).__name__}: {error}")
            self._stop.disabled = False

    def _say(self, said: str) -> None:
        self._note.value = f"<i>{escape(said)}</i>" if said else ""
