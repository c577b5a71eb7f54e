"""Questions put to many runs: comparisons of consistency models, and checks of the runs themselves."""

from psbook.experiments.comparing import compare
from psbook.experiments.comparison import Comparison
from psbook.experiments.determinism import check_determinism

__all__ = ["Comparison", "check_determinism", "compare"]
