"""psbook: parameter servers to learn from, to study and to run.

A worker program is written once and runs on a `Simulator`, in simulated time, or on a `Dask` cluster. Either
run leaves a trace, and everything that is shown or concluded is made from traces.
"""

import importlib
from typing import TYPE_CHECKING, Any

from psbook.assembly import SparseRows
from psbook.checkpoints import Checkpoints
from psbook.collectives import all_reduce, broadcast, tree_aggregate
from psbook.core.consistency import (
    ASP,
    BSP,
    DSSP,
    ESSP,
    PSP,
    SSP,
    VAP,
    BackupWorkers,
    BoundedDelay,
    Consistency,
    KAsync,
    KBatchAsync,
    KBatchSync,
    KSync,
    Serial,
    parse_model,
)
from psbook.core.keys import KeyRange
from psbook.core.layout import Safety
from psbook.data import Partitions, read
from psbook.errors import PsbookError
from psbook.initial import Normal
from psbook.job import Job, Role
from psbook.laws import (
    Constant,
    Empirical,
    Exponential,
    Gamma,
    Law,
    LogNormal,
    Measured,
    Pareto,
    Recorded,
    ShiftedExponential,
    Uniform,
)
from psbook.loop import Loop
from psbook.operation import gather
from psbook.run import Handle, Run
from psbook.storage import NewValues
from psbook.table import Table
from psbook.trace import Trace
from psbook.updates import (
    SGD,
    Adagrad,
    Adam,
    Add,
    Assign,
    DelayCompensated,
    FTRLProximal,
    Momentum,
    Optax,
    StalenessAware,
    Update,
)
from psbook.versions import VERSION
from psbook.worker import Worker

if TYPE_CHECKING:
    from psbook.cluster import Dask, FoundJob, Served, find_job, jobs, served, unpublish
    from psbook.experiments import (
        Calibration,
        Comparison,
        Prediction,
        Sweep,
        WhatIf,
        calibrate,
        check_determinism,
        compare,
        predict,
        sweep,
        what_if,
    )
    from psbook.simulator import Hosts, Network, Simulator
    from psbook.simulator.faults import (
        BurstyLoss,
        Crash,
        Delay,
        Duplicate,
        Faults,
        Join,
        Leave,
        Loss,
        Partition,
        Pause,
        Rack,
        Reorder,
        SlowLink,
        SlowNode,
    )
    from psbook.simulator.replay import replay

__version__ = VERSION

_LAZY = {
    "Simulator": "psbook.simulator",
    "replay": "psbook.simulator.replay",
    "Hosts": "psbook.simulator",
    "Network": "psbook.simulator",
    **dict.fromkeys(
        ("Dask", "FoundJob", "Served", "find_job", "jobs", "served", "unpublish"), "psbook.cluster"
    ),
    **dict.fromkeys(
        (
            "BurstyLoss",
            "Crash",
            "Delay",
            "Duplicate",
            "Faults",
            "Join",
            "Leave",
            "Loss",
            "Partition",
            "Pause",
            "Rack",
            "Reorder",
            "SlowLink",
            "SlowNode",
        ),
        "psbook.simulator.faults",
    ),
    **dict.fromkeys(
        ("Calibration", "Prediction", "WhatIf", "calibrate", "predict", "what_if"), "psbook.experiments"
    ),
    "compare": "psbook.experiments",
    "Comparison": "psbook.experiments",
    "check_determinism": "psbook.experiments",
    "sweep": "psbook.experiments",
    "Sweep": "psbook.experiments",
}

__all__ = [
    "ASP",
    "BSP",
    "DSSP",
    "ESSP",
    "PSP",
    "SGD",
    "SSP",
    "VAP",
    "Adagrad",
    "Adam",
    "Add",
    "Assign",
    "BackupWorkers",
    "BoundedDelay",
    "BurstyLoss",
    "Calibration",
    "Checkpoints",
    "Comparison",
    "Consistency",
    "Constant",
    "Crash",
    "Dask",
    "Delay",
    "DelayCompensated",
    "Duplicate",
    "Empirical",
    "Exponential",
    "FTRLProximal",
    "Faults",
    "FoundJob",
    "Gamma",
    "Handle",
    "Hosts",
    "Job",
    "Join",
    "KAsync",
    "KBatchAsync",
    "KBatchSync",
    "KSync",
    "KeyRange",
    "Law",
    "Leave",
    "LogNormal",
    "Loop",
    "Loss",
    "Measured",
    "Momentum",
    "Network",
    "NewValues",
    "Normal",
    "Optax",
    "Pareto",
    "Partition",
    "Partitions",
    "Pause",
    "Prediction",
    "PsbookError",
    "Rack",
    "Recorded",
    "Reorder",
    "Role",
    "Run",
    "Safety",
    "Serial",
    "Served",
    "ShiftedExponential",
    "Simulator",
    "SlowLink",
    "SlowNode",
    "SparseRows",
    "StalenessAware",
    "Sweep",
    "Table",
    "Trace",
    "Uniform",
    "Update",
    "WhatIf",
    "Worker",
    "all_reduce",
    "broadcast",
    "calibrate",
    "check_determinism",
    "compare",
    "find_job",
    "gather",
    "jobs",
    "parse_model",
    "predict",
    "read",
    "replay",
    "served",
    "sweep",
    "tree_aggregate",
    "unpublish",
    "what_if",
]


def __getattr__(name: str) -> Any:
    """Import backends and experiments when they are first asked for, so that ``import psbook`` is quick."""
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'psbook' has no attribute {name!r}")
