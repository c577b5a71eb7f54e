"""Views: every picture, table and walk is made from traces or tables of runs and changes nothing in them."""

from psbook.view.bands import plot_sweep_bands
from psbook.view.comparison import plot_comparison
from psbook.view.efficiency import plot_efficiency
from psbook.view.frontier import plot_frontier
from psbook.view.heatmap import plot_heatmap
from psbook.view.plots import RunPlots
from psbook.view.shares import plot_waiting_shares
from psbook.view.staleness_theory import plot_staleness
from psbook.view.stepper import Stepper
from psbook.view.throughput import plot_throughput
from psbook.view.winners import plot_winners

__all__ = [
    "RunPlots",
    "Stepper",
    "plot_comparison",
    "plot_efficiency",
    "plot_frontier",
    "plot_heatmap",
    "plot_staleness",
    "plot_sweep_bands",
    "plot_throughput",
    "plot_waiting_shares",
    "plot_winners",
]
