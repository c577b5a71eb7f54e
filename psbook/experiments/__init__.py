"""Questions put to many runs: comparisons, sweeps and their answers, and checks of the runs themselves."""

from psbook.experiments.calibration import Calibration, calibrate
from psbook.experiments.comparing import compare
from psbook.experiments.comparison import Comparison
from psbook.experiments.determinism import check_determinism
from psbook.experiments.intervals import bootstrap
from psbook.experiments.prediction import Prediction, predict
from psbook.experiments.questions import loss_at, pareto, time_to_target
from psbook.experiments.sweeping import sweep
from psbook.experiments.swept import Sweep
from psbook.experiments.tuning import at_best_rate, best_rate, tuned_comparison
from psbook.experiments.what_ifs import WhatIf, what_if

__all__ = [
    "Calibration",
    "Comparison",
    "Prediction",
    "Sweep",
    "WhatIf",
    "at_best_rate",
    "best_rate",
    "bootstrap",
    "calibrate",
    "check_determinism",
    "compare",
    "loss_at",
    "pareto",
    "predict",
    "sweep",
    "time_to_target",
    "tuned_comparison",
    "what_if",
]
