"""Reading svmlight/LIBSVM text: scikit-learn parses, psbook says which line is wrong and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from sklearn.datasets import load_svmlight_file

from psbook.datasets.text import fault, open_text


def parse(path: Path, n_features: int | None, zero_based: bool | Literal["auto"]) -> tuple[Any, Any]:
    """X as CSR and y, both float64, of a file of lines ``label index:value …``.

    Raises
    ------
    ValueError, OSError, EOFError
        From scikit-learn; `diagnose` finds the line.
    """
    X, y = load_svmlight_file(str(path), n_features=n_features, zero_based=zero_based, dtype=np.float64)
    return X, y


def diagnose(path: Path | bytes, least: int = 0) -> str | None:
    """Say what is wrong with the first faulty line, as ``line n: …``, or None; `least` is the first index."""
    with open_text(path) as lines:
        for number, line in enumerate(lines, start=1):
            tokens = line.split("#", 1)[0].split()
            if tokens and (why := _line_fault(tokens, least)):
                return f"line {number}: {why}; required is 'label index:value …' with ascending indices"
    return None


def _line_fault(tokens: list[str], least: int) -> str | None:
    label, *pairs = tokens
    if why := fault(label):
        return f"label {why}"
    previous = least - 1
    for pair in pairs:
        index, colon, value = pair.partition(":")
        if index == "qid":
            continue
        if not colon:
            return f"{pair!r} has no ':'"
        if not index.isdecimal() or not least <= int(index) < 2**31:
            return f"index {index!r} of {pair!r} is not a whole number from {least} to 2^31 - 1"
        if int(index) <= previous:
            return f"index {index} comes after {previous}"
        if why := fault(value):
            return f"value {why}"
        previous = int(index)
    return None
