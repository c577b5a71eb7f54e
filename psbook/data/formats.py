"""From bytes to rows: what is in the files, and which of it is the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from psbook.datasets import delimited, svmlight
from psbook.errors import DataError

Kind = Literal["svmlight", "csv", "parquet"]
KINDS: dict[str, Kind] = {
    ".svm": "svmlight",
    ".svmlight": "svmlight",
    ".libsvm": "svmlight",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}


def suffix_kind(name: str) -> Kind:
    """Return what a file is by its name.

    Raises
    ------
    DataError
        If that does not tell.

    Examples
    --------
    >>> suffix_kind("memory://a/b.svm.gz")
    'svmlight'
    """
    base = name.lower().rpartition("/")[2]
    for suffix, kind in KINDS.items():
        if base.endswith(suffix) or f"{suffix}." in base:
            return kind
    raise DataError(
        f"{name}: cannot tell what kind of file this is; known are {', '.join(KINDS)}, text also compressed: "
        "give kind='svmlight', 'csv' or 'parquet'"
    )


@dataclass(frozen=True)
class Format:
    """How rows lie in files; parameters as of `psbook.read`.

    Attributes
    ----------
    columns : tuple of str
        Names of the columns of CSV and Parquet, in the first file.
    """

    kind: Kind
    target: int | str
    features: Any
    header: bool | None
    zero_based: bool
    signs: bool
    delimiter: str
    labels: str = "float32"
    columns: tuple[str, ...] = ()

    def with_columns(self, columns: Sequence[str], header: bool | None, name: str) -> Format:
        """Return the format with its columns known; refuse a target or features that are not among them."""
        names = [str(column) for column in columns]
        known = isinstance(self.target, str) and self.target in names
        if not known and (isinstance(self.target, str) or not -len(names) <= self.target < len(names)):
            raise DataError(
                f"{name} has the columns {', '.join(names)}; required: target={self.target!r} among them"
            )
        missing = [str(column) for column in self.features or () if column not in names]
        if missing:
            raise DataError(f"{name} has no columns {', '.join(missing)}, only {', '.join(names)}")
        target = self.target if isinstance(self.target, str) else names[self.target]
        features = list(self.features) if self.features else [each for each in names if each != target]
        if not features:
            raise DataError(f"{name} has the one column {target}; required: at least one more, for X")
        return replace(self, target=target, features=features, header=header, columns=tuple(names))

    def text(self, data: bytes, header: bool) -> Any:
        """Return the rows of some lines of text.

        Raises
        ------
        DataError
            If a line is faulty; the message gives its number among these.
        """
        if not data.strip():
            return self._empty()
        try:
            return self._svmlight(data) if self.kind == "svmlight" else self._csv(data, header)
        except (ValueError, OverflowError) as error:
            if self.kind == "svmlight":
                why = svmlight.diagnose(data, 0 if self.zero_based else 1)
            else:
                why = delimited.diagnose(data, self.delimiter, header)
            raise DataError(str(why or error)) from error

    def table(self, values: NDArray[np.float64], names: Sequence[str]) -> Any:
        """Return the rows of a table of numbers."""
        X = np.ascontiguousarray(values[:, [names.index(name) for name in self.features]], np.float32)
        return X, labelled(values[:, names.index(str(self.target))], self.labels)

    def check(self, names: Sequence[str]) -> None:
        """Raise `DataError` unless a file has the columns of the first."""
        if tuple(names) != self.columns:
            raise DataError(
                f"the columns {', '.join(names)}; required: those of the first file, "
                f"{', '.join(self.columns)}"
            )

    def _svmlight(self, data: bytes) -> Any:
        from scipy import sparse
        from sklearn.datasets import load_svmlight_file

        X, y = load_svmlight_file(BytesIO(data), dtype=np.float64, zero_based=True)
        least = 0 if self.zero_based else 1
        if (X.indices < least).any():
            raise ValueError("feature 0; required: features from 1, or zero_based=True")
        most = int(X.indices.max(initial=0)) - least + 1
        if most > self.features:
            raise ValueError(
                f"{most} features, and features={self.features}; required: the number of features of all "
                "files together"
            )
        parts = X.data.astype(np.float32), X.indices - least, X.indptr
        X = sparse.csr_array(parts, shape=(X.shape[0], self.features))
        if not (np.isfinite(X.data).all() and np.isfinite(y).all()):
            raise ValueError("NaN, infinity or a number too large for float32")
        return X, labelled(self._signed(y), self.labels)

    def _signed(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        if not self.signs or not (y == -1).any():
            return y
        if not (np.abs(y) == 1).all():
            raise ValueError(
                f"labels -1 and {y[np.abs(y) != 1][0]:g}; required: -1 and +1 only, which become 0 and 1, or "
                "signs=False"
            )
        return (y + 1) / 2

    def _csv(self, data: bytes, header: bool) -> Any:
        values, names = delimited.parse(data, self.delimiter, header)
        if not np.isfinite(values).all():
            raise ValueError("NaN or infinity")
        if not header and len(names) == len(self.columns):
            names = list(self.columns)
        self.check(names)
        return self.table(values, names) if values.size else self._empty()

    def _empty(self) -> Any:
        if self.kind == "svmlight":
            from scipy import sparse

            return sparse.csr_array((0, self.features), dtype=np.float32), np.empty(0, self.labels)
        return np.empty((0, len(self.features)), np.float32), np.empty(0, self.labels)


def labelled(y: NDArray[np.float64], dtype: str) -> NDArray[Any]:
    """Return labels in the dtype that all partitions have.

    Raises
    ------
    ValueError
        If they are to be whole numbers, and one is not.

    Examples
    --------
    >>> labelled(np.array([1.0, 2.0]), "int64"), labelled(np.array([0.5]), "float32")
    (array([1, 2]), array([0.5], dtype=float32))
    """
    if dtype == "int64":
        odd = y[(y != np.floor(y)) | (np.abs(y) >= 2**53)]
        if odd.size:
            raise ValueError(f"the label {odd[0]:g}; required: whole numbers, or labels='float32'")
    return y.astype(dtype)
