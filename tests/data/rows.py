"""Rows of a small problem, in every kind of data that a job takes, and the job."""

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
from scipy import sparse

import psbook as ps
from psbook.laws.streams import generator

ROWS, FEATURES = 20, 5
"""Of each partition."""


def rows(number):
    """Partition `number`: the same wherever it is made."""
    rng = generator(7, "test", number)
    X = np.round(rng.normal(size=(ROWS, FEATURES)), 3).astype(np.float32)
    return X, (X.sum(axis=1) + rng.normal(size=ROWS) > 0).astype(np.int64)


def shards(n=2):
    return [rows(k) for k in range(n)]


def frame(number):
    X, y = rows(number)
    return pd.DataFrame(X, columns=[*"abcde"]).assign(y=y)


def files(folder, suffix, write):
    """Write a file for each partition; return the pattern."""
    for k in range(2):
        write(k, folder / f"{k}.{suffix}")
    return str(folder / f"*.{suffix}")


def svmlight(number, path):
    X, y = rows(number)
    lines = (
        f"{b} {' '.join(f'{i}:{v:.9g}' for i, v in enumerate(a, 1))}\n" for a, b in zip(X, y, strict=True)
    )
    path.write_text("".join(lines))


def arrays(folder):
    made = [dask.delayed(rows)(k) for k in range(2)]
    X = da.concatenate([da.from_delayed(m[0], (ROWS, FEATURES), "f4") for m in made])
    y = da.concatenate([da.from_delayed(m[1], (ROWS,), "i8") for m in made])
    return X, y


def sparse_arrays(X, y):
    return X.map_blocks(sparse.csr_array), y


KINDS = {
    "arrays": arrays,
    "sparse blocks": lambda folder: sparse_arrays(*arrays(folder)),
    "dataframe": lambda folder: ps.Partitions(dd.from_map(frame, range(2)), target="y"),
    "bag": lambda folder: db.from_sequence(range(2), npartitions=2).map_partitions(lambda ks: pairs(*ks)),
    "delayed": lambda folder: [dask.delayed(rows)(k) for k in range(2)],
    "in memory": lambda folder: ps.Partitions(shards()),
    "scipy": lambda folder: [(sparse.csr_array(X), y) for X, y in shards()],
    "svmlight": lambda folder: ps.read(files(folder, "svm", svmlight), features=FEATURES),
    "csv": lambda folder: files(folder, "csv", lambda k, path: frame(k).to_csv(path, index=False)),
    "parquet": lambda folder: files(folder, "parquet", lambda k, path: frame(k).to_parquet(path)),
}
"""By name, how the two partitions are made of a folder."""


def pairs(number):
    """A partition as a list of single examples."""
    return list(zip(*rows(number), strict=True))


def gradient(w, X, y):
    X = X.toarray() if sparse.issparse(X) else X
    return X.T @ (1 / (1 + np.exp(-X @ w)) - y) / len(y)


def job(data, epochs=3, shuffle=True, **options):
    """Logistic regression on rows that are pairs of X and y, or a list of such."""

    async def train(worker):
        for batch in worker.batches(8, epochs=epochs, shuffle=shuffle):
            X, y = batch if isinstance(batch, tuple) else map(np.stack, zip(*batch, strict=True))
            w = await worker.pull("w")
            worker.push("w", (await worker.compute(gradient, w, X, y)).astype("f4"))
            await worker.clock()

    return ps.Job(train, tables={"w": ps.Table(FEATURES, update=ps.SGD(0.5))}, data=data, **options)
