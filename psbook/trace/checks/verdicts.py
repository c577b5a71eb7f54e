"""Verdicts: what a property was found to be on a trace, and the table of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from typing import Literal, NamedTuple

import pandas as pd

from psbook.errors import PropertyViolated
from psbook.trace.checks.case import Case
from psbook.trace.statistics import documented

Answer = Literal["true", "unknown", "false"]


class Finding(NamedTuple):
    """What a property's function returns.

    Attributes
    ----------
    holds : bool, optional
        ``None``: the run does not promise it, or the trace cannot tell.
    why : str
        In a sentence.
    reached : int
        How often the state was reached in which it could have been broken.
    first : int
        Position of the first row that breaks it; −1: none.
    """

    holds: bool | None
    why: str
    reached: int = 0
    first: int = -1


class Property(NamedTuple):
    """A name, where the semantics says so, the kinds of row that it is judged by, and the function."""

    name: str
    rule: str
    needs: tuple[str, ...]
    judge: Callable[[Case], Finding]


@dataclass(frozen=True)
class Verdict:
    """One property on one trace.

    Attributes
    ----------
    property, rule : str
        Its name; the lines of the semantics, or of the theory, that it checks.
    verdict : {"true", "unknown", "false"}
        "unknown": the state in which it could break was never reached, or the trace does not tell.
    why : str
        In a sentence.
    first : int
        Position in ``trace.frame`` of the first row that breaks it; −1: none.
    reached : int
        How often the state was reached in which it could have been broken.
    """

    property: str
    verdict: Answer
    why: str
    first: int = -1
    reached: int = 0
    rule: str = ""


COLUMNS: dict[str, str] = {
    "property": "what is to hold",
    "verdict": "true, unknown (never put to the test, or the trace does not tell), false",
    "why": "in a sentence",
    "first": "position in trace.frame of the first row that breaks it; −1: none",
    "reached": "how often the state was reached in which it could have been broken",
    "rule": "line of the semantics (A-H) or of the theory (T)",
}
"""Columns of `Verdicts.frame`."""

COLORS = {"true": "#e8f3ea", "unknown": "#f3f3f3", "false": "#fbe3dc"}


class Verdicts:
    """The verdicts on one trace, in the order of the properties.

    Parameters
    ----------
    verdicts
        One a property.
    title
        What was judged.

    Examples
    --------
    >>> verdicts = Verdicts([Verdict("min rises", "false", "it fell from 3 to 2", 17, 40, "A7")], "a run")
    >>> verdicts.ok, verdicts["min rises"].first
    (False, 17)
    >>> print(verdicts)
    a run: 1 false, 0 unknown, 0 true
    false    min rises            40  it fell from 3 to 2 (row 17; A7)
    >>> verdicts.require()
    Traceback (most recent call last):
    psbook.errors.PropertyViolated: a run: min rises is false: it fell from 3 to 2 (row 17; A7). ...
    """

    def __init__(self, verdicts: list[Verdict], title: str = "trace") -> None:
        self._verdicts = {verdict.property: verdict for verdict in verdicts}
        self.title = title

    def __iter__(self) -> Iterator[Verdict]:
        return iter(self._verdicts.values())

    def __len__(self) -> int:
        return len(self._verdicts)

    def __getitem__(self, name: str) -> Verdict:
        return self._verdicts[name]

    @property
    def ok(self) -> bool:
        """Whether nothing is false."""
        return not self.false

    @property
    def false(self) -> list[Verdict]:
        """Those that are false."""
        return [verdict for verdict in self if verdict.verdict == "false"]

    @property
    def frame(self) -> pd.DataFrame:
        """One row a property; the meaning of the columns is in ``.attrs["columns"]``."""
        cells = {name: [getattr(verdict, name) for verdict in self] for name in COLUMNS}
        return documented(pd.DataFrame(cells), COLUMNS)

    def require(self) -> Verdicts:
        """Return the verdicts themselves if nothing is false.

        Raises
        ------
        PropertyViolated
            If something is; the message names the first, and the row that breaks it.
        """
        if self.ok:
            return self
        first, *others = self.false
        more = f" So are {len(others)} more." if others else ""
        raise PropertyViolated(
            f"{self.title}: {first.property} is false: {_why(first)}.{more} Required: nothing false; walk "
            "through the trace at that row to see how it came about."
        )

    @property
    def _count(self) -> str:
        found = [verdict.verdict for verdict in self]
        return ", ".join(f"{found.count(which)} {which}" for which in ("false", "unknown", "true"))

    def __repr__(self) -> str:
        lines = [
            f"{verdict.verdict:8} {verdict.property:18} {verdict.reached:>5}  {_why(verdict)}"
            for verdict in self
        ]
        return "\n".join([f"{self.title}: {self._count}", *lines])

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><td>{escape(verdict.property)}</td><td style="background:{COLORS[verdict.verdict]}">'
            f"{verdict.verdict}</td><td>{verdict.reached}</td>"
            f'<td style="text-align:left">{escape(_why(verdict))}</td></tr>'
            for verdict in self
        )
        return (
            f"<table><caption>{escape(self.title)}: {self._count}</caption><thead><tr><th>property</th>"
            f"<th>verdict</th><th>reached</th><th>why</th></tr></thead><tbody>{rows}</tbody></table>"
        )


def _why(verdict: Verdict) -> str:
    place = [f"row {verdict.first}"] if verdict.first >= 0 else []
    return f"{verdict.why} ({'; '.join([*place, verdict.rule])})" if verdict.rule or place else verdict.why
