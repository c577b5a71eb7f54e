"""The record of a run: schema, recorder, statistics, export. Where a trace came from makes no difference."""

from psbook.trace.recorder import Recorder
from psbook.trace.trace import Trace

__all__ = ["Recorder", "Trace"]
