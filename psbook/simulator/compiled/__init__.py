"""The compiled engine: the runs of a `psbook.Loop` as a recursion for times and a scan for numbers."""

from psbook.simulator.compiled.engine import Outcome, Point, run_batch, run_compiled, why_not
from psbook.simulator.compiled.timing import Timeline, timeline

__all__ = ["Outcome", "Point", "Timeline", "run_batch", "run_compiled", "timeline", "why_not"]
