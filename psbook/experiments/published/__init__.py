"""Published figures, reproduced: what was calibrated on what, and how far the rest is off.

>>> sorted(FIGURES)
['chen', 'dutta', 'li', 'momentum', 'psp']
"""

from __future__ import annotations

import importlib
from typing import Any

from psbook.errors import InvalidJob
from psbook.experiments.published.result import Gate, Reproduction

FIGURES = {
    "li": "li_2014",
    "chen": "chen_2016",
    "dutta": "dutta_2018",
    "psp": "wang_2017",
    "momentum": "mitliagkas_2016",
}
"""Short name of each figure, and its module."""

ALIASES = {"p1": "li", "p3": "chen", "p5": "dutta", "p7": "psp", "p9": "momentum"}

__all__ = ["FIGURES", "Gate", "Reproduction", "reproduce"]


def reproduce(name: str, **settings: Any) -> Reproduction:
    """Reproduce a published figure.

    Parameters
    ----------
    name : str
        One of `FIGURES`.
    **settings
        Arguments of the figure's own ``reproduce``, such as ``seeds=4``.

    Raises
    ------
    InvalidJob
        For another name.

    Examples
    --------
    >>> reproduce("psp", seeds=2).paper
    'Wang, Catterall and Mortier 2017 (arXiv 1709.07772)'
    """
    found = ALIASES.get(name.lower(), name.lower())
    if found not in FIGURES:
        raise InvalidJob(f"no figure {name!r}; required: one of {', '.join(FIGURES)}.")
    module = importlib.import_module(f"psbook.experiments.published.{FIGURES[found]}")
    result: Reproduction = module.reproduce(**settings)
    return result
