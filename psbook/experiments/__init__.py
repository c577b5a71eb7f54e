"""Questions put to many runs: comparisons of consistency models, and checks of the runs themselves."""

from psbook.experiments.comparing import compare
from psbook.experiments.comparison import Comparison
from psbook.experiments.determinism import check_determinism
from psbook.experiments.sweeping import sweep
from psbook.experiments.swept import Sweep

__all__ = ["Comparison", "Sweep", "check_determinism", "compare", "sweep"]
