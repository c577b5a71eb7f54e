"""Views: every picture, table and walk is made from a trace and changes nothing in it."""

from psbook.view.comparison import plot_comparison
from psbook.view.plots import RunPlots
from psbook.view.stepper import Stepper

__all__ = ["RunPlots", "Stepper", "plot_comparison"]
