"""The stepper as a widget: a slider, buttons, and one HTML widget whose value changes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from psbook.errors import DataError

if TYPE_CHECKING:
    import ipywidgets

    from psbook.view.stepper import Stepper

JUMPS = ("clock", "apply", "park", "release", "receive", "loss")
"""Kinds that have a button, if the trace has them."""


def widget(stepper: Stepper) -> ipywidgets.VBox:
    """Return the widget; it moves the stepper that it was made from.

    Parameters
    ----------
    stepper
        A stepper.
    """
    import ipywidgets as ui

    page = ui.HTML(stepper.html())
    slider = ui.IntSlider(
        value=max(stepper.index, 0), min=0, max=max(len(stepper) - 1, 0), description="row",
        continuous_update=False, layout=ui.Layout(width="860px", max_width="100%"),
    )  # fmt: skip

    def show(change: Any) -> None:
        if len(stepper):
            stepper.goto(change["new"])
        page.value = stepper.html()
        for each in buttons:
            each.disabled = False

    def button(label: str, tip: str, move: Callable[[], object]) -> ui.Button:
        def clicked(_: object) -> None:
            try:
                move()
            except DataError as error:
                made.tooltip = str(error)
                made.disabled = True
                return
            slider.value = stepper.index

        made = ui.Button(description=label, tooltip=tip, layout=ui.Layout(width="auto"))
        made.on_click(clicked)
        return made

    slider.observe(show, names="value")
    kinds = set(stepper.trace.frame["kind"].unique())
    buttons = [
        button("◀ previous", "the row before", stepper.previous),
        button("next ▶", "the next row", stepper.next),
        *(
            button(f"▶ {kind}", f"the next row of kind {kind}", partial(stepper.next_of, kind))
            for kind in JUMPS
            if kind in kinds
        ),
    ]
    return ui.VBox([ui.HBox(buttons, layout=ui.Layout(flex_flow="row wrap")), slider, page])
