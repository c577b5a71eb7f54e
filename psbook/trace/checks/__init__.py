"""The checker: what the semantics promises, as properties of a trace; each is true, unknown or false."""

from psbook.trace.checks.judging import PROPERTIES, check
from psbook.trace.checks.verdicts import Verdict, Verdicts

__all__ = ["PROPERTIES", "Verdict", "Verdicts", "check"]
