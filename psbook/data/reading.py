"""`read`: files as partitions, named by a path or a pattern, here or anywhere that fsspec reaches."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

from psbook.data.formats import Format, suffix_kind
from psbook.data.partition import Partition
from psbook.data.partitions import Partitions
from psbook.data.pieces import Block, compression, groups, headed
from psbook.errors import DataError, InvalidJob

BLOCK = 64 * 2**20
"""Bytes of a partition of a file, by default."""


def read(
    path: str | os.PathLike[str],
    *,
    target: int | str = -1,
    features: int | Sequence[str] | None = None,
    kind: Literal["svmlight", "csv", "parquet"] | None = None,
    header: bool | None = None,
    zero_based: bool = False,
    signs: bool = True,
    labels: str = "float32",
    block: int = BLOCK,
    queue: bool = False,
    keep: bool = False,
    storage: dict[str, Any] | None = None,
) -> Partitions:
    r"""Describe files of rows and labels, to be read by the programs that train on them.

    Here they are listed, and of one the columns are looked at; nothing else is read.

    Parameters
    ----------
    path : str or path
        A file or a pattern: ``"data/*.svm"``, ``"s3://bucket/*.parquet"``, ``"memory://rows.csv"``. Its
        suffix tells the kind: ``.svm``, ``.svmlight``, ``.libsvm``; ``.csv``, ``.tsv``; ``.parquet``; of
        text also compressed, with ``.gz`` for instance.
    target : int or str
        CSV and Parquet: name of the column of the labels, or its position; the last by default.
    features : int or sequence of str
        svmlight: number of columns of X, which no file tells; required. CSV and Parquet: names of the columns
        of X, by default all but the target.
    kind : {"svmlight", "csv", "parquet"}, optional
        What the files are, where their names do not tell.
    header : bool, optional
        CSV: whether the first line of each file holds names; by default it does if it has no numbers.
    zero_based : bool
        svmlight: whether features are numbered from 0, not from 1.
    signs : bool
        svmlight: labels -1 and +1 become 0 and 1.
    labels : {"float32", "int64"}
        dtype of y, the same in all partitions; "int64" for numbers of classes.
    block : int
        Bytes of a partition: larger files are cut, text between lines and Parquet between row groups.
        Compressed text is not cut.
    queue, keep
        As of `psbook.Partitions`.
    storage : dict, optional
        Options of the file system, as fsspec takes them.

    Returns
    -------
    Partitions
        Each reads as ``(X, y)``: X float32, CSR of svmlight and dense of the others; y as `labels` says.

    Raises
    ------
    DataError
        No such file, nothing that the pattern matches, an unknown suffix, no such column; when it is read: a
        faulty line, with its number in its block.
    InvalidJob
        Options that make no sense.

    Examples
    --------
    >>> import fsspec
    >>> with fsspec.open("memory://doc/rows.svm", "w") as file:
    ...     _ = file.write("+1 1:0.5 3:2\n-1 2:1\n")
    >>> data = read("memory://doc/*.svm", features=3)
    >>> X, y = data.parts[0].read()
    >>> X.toarray().tolist(), y.tolist()
    ([[0.5, 0.0, 2.0], [0.0, 1.0, 0.0]], [1.0, 0.0])
    """
    if isinstance(block, bool) or not isinstance(block, int) or block < 1:
        raise InvalidJob(f"block={block!r}; required: bytes >= 1.")
    if labels not in ("float32", "int64"):
        raise InvalidJob(f"labels={labels!r}; required: 'float32' or 'int64'.")
    url, storage = os.fspath(path), storage or {}
    files = _found(url, storage)
    kind = kind or suffix_kind(files[0][0])
    if kind == "svmlight" and (isinstance(features, bool) or not isinstance(features, int) or features < 1):
        raise InvalidJob(
            f"features={features!r} for {url}; required: the number of features, a whole number >= 1. No "
            "part of an svmlight file tells how many there are in all."
        )
    if kind != "svmlight" and (isinstance(features, int | str) or features == []):
        raise InvalidJob(f"features={features!r} for {url}; required: names of columns, or None for all.")
    first, _ = files[0]
    delimiter = "\t" if ".tsv" in first.lower() else ","
    form = Format(kind, target, features, header, zero_based, signs, delimiter, labels)
    if kind != "svmlight":
        form = headed(form, first, storage)
    parts = [part for name, size in files for part in _cut(name, size, form, block, storage)]
    return Partitions(parts, queue=queue, keep=keep)


def _found(url: str, storage: dict[str, Any]) -> list[tuple[str, int]]:
    """URLs and sizes of the files that a path or pattern names, by their names."""
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(url, **storage)
        names = sorted(system.glob(path)) if any(sign in path for sign in "*?[") else [path]
        found = [(name, system.info(name)) for name in names]
    except FileNotFoundError as error:
        raise DataError(f"{url} does not exist; required: a file, or a pattern such as data/*.svm") from error
    except (ValueError, ImportError) as error:
        raise DataError(f"{url} cannot be opened ({error}); required: a path or a URL of fsspec's") from error
    files = [
        (system.unstrip_protocol(name), int(info["size"])) for name, info in found if info["type"] == "file"
    ]
    if not files:
        what = "is a folder" if names and names == [path] else "matches no file"
        raise DataError(f"{url} {what}; required: a file, or a pattern such as {url.rstrip('/')}/*.parquet")
    return files


def _cut(name: str, size: int, form: Format, block: int, storage: dict[str, Any]) -> Sequence[Partition]:
    """Cut a file into partitions of about `block` bytes."""
    if form.kind == "parquet":
        return groups(name, form, storage, None if size <= block else block)
    if size <= block or compression(name):
        return [Block(name, 0, None, form, storage)]
    return [Block(name, at, min(at + block, size), form, storage) for at in range(0, size, block)]
