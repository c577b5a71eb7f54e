"""The record of a run: schema, recorder, statistics, checks, export. Where it came from is all one."""

from psbook.trace.recorder import Recorder
from psbook.trace.trace import Trace

from psbook.trace.checks import check  # isort: skip  # it is made of the others

__all__ = ["Recorder", "Trace", "check"]
