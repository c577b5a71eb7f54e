"""Reading a user's file into rows and labels, with errors that name the line."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from psbook.datasets import columnar, delimited, svmlight
from psbook.errors import DataError

Kind = Literal["svmlight", "csv", "parquet"]
_KINDS: dict[str, Kind] = {
    ".svm": "svmlight",
    ".svmlight": "svmlight",
    ".libsvm": "svmlight",
    ".txt": "svmlight",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
_UNREADABLE = (ValueError, OSError, EOFError, OverflowError, zlib.error)


def read(
    path: str | os.PathLike[str],
    *,
    kind: Kind | None = None,
    label: int | str = -1,
    header: bool | None = None,
    delimiter: str | None = None,
    n_features: int | None = None,
    zero_based: bool | Literal["auto"] = "auto",
    signs: bool = True,
) -> tuple[Any, NDArray[Any]]:
    r"""Read rows and labels from a file.

    Parameters
    ----------
    path : path
        ``.svm``, ``.svmlight``, ``.libsvm`` or ``.txt`` (svmlight text), ``.csv`` or ``.tsv``, each also with
        ``.gz``; or ``.parquet``.
    kind : {"svmlight", "csv", "parquet"}, optional
        What the file is, where its name does not tell.
    label : int or str, default -1
        CSV and Parquet: position (negative: from the end) or name of the column with the labels.
    header : bool, optional
        CSV: whether the first line holds names. By default it does if none of its fields is a number.
    delimiter : str, optional
        CSV: default a tab for ``.tsv``, otherwise a comma.
    n_features : int, optional
        svmlight: number of columns; give the training file's for a test file that lacks the last features.
    zero_based : bool or "auto", default "auto"
        svmlight: whether indices count from 0. "auto": from 1, unless index 0 occurs.
    signs : bool, default True
        Map labels -1 and +1, where a file has no others and -1 occurs, to 0 and 1.

    Returns
    -------
    X : float32 CSR matrix (svmlight) or float32 array, of shape (n, d)
    y : array of shape (n,)
        int64 if all labels are whole numbers, otherwise float32.

    Raises
    ------
    DataError
        The file is missing, empty, of unknown kind, damaged or malformed, or holds NaN or infinity. The
        message names file and line (Parquet: row), and for CSV and Parquet the column.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "tiny.svm"
    ...     _ = path.write_text("+1 1:0.5 3:2\n-1 2:1\n")
    ...     X, y = read(path)
    >>> X.toarray().tolist(), y.tolist()
    ([[0.5, 0.0, 2.0], [0.0, 1.0, 0.0]], [1, 0])
    """
    path = Path(path)
    kind = kind or _kind(path)
    _check_exists(path)
    delimiter = delimiter or ("\t" if ".tsv" in path.suffixes[-2:] else ",")
    try:
        if kind == "svmlight":
            X, y = svmlight.parse(path, n_features, zero_based)
        elif kind == "csv":
            X, y = _columns(path, *delimited.parse(path, delimiter, header), label)
        else:
            X, y = _columns(path, *columnar.parse(path), label)
    except DataError:
        raise
    except _UNREADABLE as error:
        _refuse(path, kind, delimiter, header, zero_based, error)
    if len(y) == 0:
        raise DataError(f"{path} has no rows; required is at least one line of data")
    with np.errstate(over="ignore"):  # what overflows is refused below, with its line
        X = X.astype(np.float32)
    X = sparse.csr_array(X) if kind == "svmlight" else np.ascontiguousarray(X)
    if not (np.isfinite(X.data if kind == "svmlight" else X).all() and np.isfinite(y).all()):
        _refuse(
            path,
            kind,
            delimiter,
            header,
            zero_based,
            ValueError("NaN, infinity or a number too large for float32"),
        )
    return X, _labels(y, signs)


def _kind(path: Path) -> Kind:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    if not suffixes or suffixes[-1] not in _KINDS:
        raise DataError(
            f"{path}: cannot tell what kind of file this is; known are {', '.join(_KINDS)}, each but the "
            "last also with .gz: rename it, or give kind='svmlight', 'csv' or 'parquet'"
        )
    return _KINDS[suffixes[-1]]


def _check_exists(path: Path) -> None:
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f"{path} {found}; required is a file (the working folder is {Path.cwd()})")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty; required is at least one line of data")


def _columns(
    path: Path, values: NDArray[np.float64], names: list[str], label: int | str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Take the label column out of the others."""
    if values.size == 0:
        return values, np.empty(0)
    position = names.index(label) if label in names else label
    if len(names) < 2 or isinstance(position, str) or not -len(names) <= position < len(names):
        raise DataError(
            f"{path} has the columns {', '.join(names)}; required are at least two, label={label!r} among "
            "them: give the label column's name or position"
        )
    return np.delete(values, position, axis=1), values[:, position]


def _refuse(
    path: Path, kind: Kind, delimiter: str, header: bool | None, zero_based: object, error: BaseException
) -> NoReturn:
    """Raise the error with the line it comes from, as far as that can be found."""
    why = None
    try:
        if kind == "svmlight":
            why = svmlight.diagnose(path, least=1 if zero_based is False else 0)
        elif kind == "csv":
            why = delimited.diagnose(path, delimiter, header)
    except _UNREADABLE as unreadable:  # a damaged archive ends before its faulty line
        error = unreadable
    raise DataError(f"{path}: {why or error}") from error


def _labels(y: NDArray[np.float64], signs: bool) -> NDArray[Any]:
    if not ((y == np.floor(y)) & (np.abs(y) < 2**53)).all():
        return y.astype(np.float32)
    whole = y.astype(np.int64)
    if signs and (whole == -1).any() and (np.abs(whole) == 1).all():
        return (whole + 1) // 2
    return whole
